"""The document of a checkpoint: its shape, its bytes, its checksum and its JSON Schema.

Owns: what `checkpoint.json` holds, and the two ways between a state and its bytes.
Always: equal states give equal bytes of `version` and `state`, and the checksum covers them. A document of version 1 is read as one
of version 2.
Never: reads or writes a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import replace

from event_processor.aggregation.documents import AggregateDocument, CategoryTotal, GroupTotalsDocument
from event_processor.engine import migration
from event_processor.engine.journal import JournalRun
from event_processor.engine.losses import NOTHING_LOST, Losses
from event_processor.engine.outbox import NO_OUTBOX, LaneDocument, Outbox, SeriesDocument
from event_processor.engine.state import Counts, OrderSummary, SourceState, State, summarise_order
from event_processor.model.errors import StateError
from event_processor.model.event import Json

if TYPE_CHECKING:
    from event_processor.aggregation.categories.shown import ShownTotals
    from event_processor.engine.order import OrderStage

__all__ = [
    "CATEGORIES_DEPTH",
    "MERGED",
    "OWNED_FOLDERS",
    "REPLAY_HINT",
    "VERSION",
    "Checkpoint",
    "CheckpointEncoder",
    "StateDocument",
    "checkpoint_schema",
    "decode_checkpoint",
    "encode_checkpoint",
]

VERSION: Final = 2
CATEGORIES_DEPTH: Final = 2
"""The totals of the categories are inside this number of objects: `state` and the whole document."""
OWNED_FOLDERS: Final = ("ids", "held", "windows", "closed", "sorted", "outbox")
"""Folders of the state directory. A file in them that no checkpoint names is an orphan."""
MERGED: Final = "merged"
"""The key of `meta` that only a state merged from shards has. Such a state can be read, not resumed."""
_NESTED: Final = frozenset({dict, list, tuple})
_OBJECTS: Final = frozenset({dict, orjson.Fragment})
REPLAY_HINT: Final = "rebuild the state from the log: event-processor replay; or move the state aside: event-processor reset"


class StateDocument(Struct, frozen=True, omit_defaults=True):
    """`state` as it is in the file.

    `appended` holds the committed length in bytes of every file that we append to. Its key is the path below the state directory,
    or `sinks.NAME:PATH`. `ids` is the manifest of the index of seen ids. `staged` maps files of `appended` to a file that will be
    renamed to its place (see `CheckpointStore.swap_in`); only the checkpoint that swaps has it. `outbox` (by input) and `lanes` (by
    sink) are missing if no sink is remote. `follows_journal`: a fallback was here, and the journal's entries beyond its committed
    length say what is read next. Like `appended`, they depend on history.
    """

    state_id: str
    config_hash: str
    sources: dict[str, SourceState]
    counts: Counts
    categories: Mapping[str, CategoryTotal]
    aggregates: Mapping[str, AggregateDocument]
    order: OrderSummary
    journal: JournalRun | None
    appended: dict[str, int]
    ids: dict[str, Any]
    staged: dict[str, str] = {}
    outbox: dict[str, SeriesDocument] = {}
    lanes: dict[str, LaneDocument] = {}
    lost: Losses = NOTHING_LOST
    follows_journal: bool = False

    @classmethod
    def of(
        cls,
        state: State,
        *,
        state_id: str,
        config_hash: str,
        appended: Mapping[str, int],
        ids: Mapping[str, Json],
        aggregates: Mapping[str, AggregateDocument],
        outbox: Outbox = NO_OUTBOX,
        follows_journal: bool = False,
    ) -> StateDocument:
        """`state` as a document, with the names and lengths of our own files."""
        return cls(
            state_id=state_id,
            config_hash=config_hash,
            sources=dict(state.sources),
            counts=state.counts,
            categories=state.categories,
            aggregates=dict(aggregates),
            order=summarise_order(state.order, active=state.ordered),
            journal=state.journal,
            appended=dict(appended),
            ids=dict(ids),
            outbox=outbox.documents(),
            lanes=dict(outbox.lanes),
            lost=state.lost if state.lost != NOTHING_LOST else NOTHING_LOST,  # only that very object is left out of the file
            follows_journal=follows_journal,
        )

    def to_state(self, order: OrderStage) -> State:
        """The state, with the order stage that was read back from its own files."""
        return State(
            sources=self.sources,
            counts=self.counts,
            categories=_in_columns(self.categories),
            order=order,
            ordered=self.order.active,
            journal=self.journal,
            lost=self.lost,
        )

    def named_files(self) -> frozenset[str]:
        """The paths, below the state directory, of our own files that this checkpoint needs."""
        return frozenset({name for name in self.appended if name.split("/")[0] in OWNED_FOLDERS} | self.segment_sizes().keys())

    def segment_sizes(self) -> dict[str, int]:
        """The immutable files of the index, and their sizes in bytes."""
        return {f"ids/{segment['file']}": segment["size_bytes"] for segment in self.ids.get("segments", ())}


def _in_columns(categories: Mapping[str, CategoryTotal]) -> Mapping[str, CategoryTotal]:
    from event_processor.aggregation.categories.totals import Totals  # noqa: PLC0415 - only to run

    return Totals.of(categories)


class CheckpointDocument(Struct, frozen=True):
    """The whole file. `checksum` is `sha256:` and the hash of the canonical bytes of `version` and `state`.

    `meta` holds what depends on the clock, the host or the process. No total depends on it. If a log was lost, `written_at` tells
    which rotated files are newer, and `lost_at` when that was found. If the configuration changed, `config` tells which keys did.
    """

    version: Literal[2]
    checksum: str
    state: StateDocument
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint. Promise P2 covers `state`. `meta` depends on clock, host or process. `version`: as it was written."""

    state: StateDocument
    meta: Mapping[str, Json]
    version: int = VERSION


class CheckpointEncoder:
    """Encodes one checkpoint after the other, and keeps the text of what did not change. Used by one thread."""

    def __init__(self) -> None:
        self._totals: ShownTotals | None = None
        self._written: dict[int, tuple[Struct, orjson.Fragment]] = {}
        """The line of each generation and of each group that was encoded last, by the id of the object, which is kept with it."""

    def encode(self, checkpoint: Checkpoint) -> bytes:
        """The file's bytes: sorted keys, indented down to objects that hold no other object, a line feed at the end.

        A generation and a group are on one line, too. So a category, a file that is followed, or a group is one line for people and
        for `grep`.
        """
        sources = checkpoint.state.sources
        tables = {name: each for name, each in checkpoint.state.aggregates.items() if isinstance(each, GroupTotalsDocument)}
        fewer_sources = {name: replace(source, generations=()) for name, source in sources.items()}
        fewer_aggregates = {**checkpoint.state.aggregates, **{name: replace(each, groups=()) for name, each in tables.items()}}
        state: dict[str, Any] = msgspec.to_builtins(
            replace(checkpoint.state, categories={}, sources=fewer_sources, aggregates=fewer_aggregates)
        )
        before, self._written = self._written, {}
        for name, source in sources.items():
            state["sources"][name]["generations"] = self._lines_of(source.generations, before)
        for name, table in tables.items():
            state["aggregates"][name]["groups"] = self._lines_of(table.groups, before)
        compact, lined = self._forms_of(checkpoint.state.categories)
        document = {
            "version": VERSION,
            "state": _in_lines({**state, "categories": lined}),
            "checksum": _checksum(VERSION, {**state, "categories": compact}),
            "meta": _in_lines(dict(checkpoint.meta)),
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)

    def _forms_of(self, totals: Mapping[str, CategoryTotal]) -> tuple[Any, Any]:
        """The categories as one text, and on one line each."""
        from event_processor.aggregation.categories.shown import ShownTotals  # noqa: PLC0415 - only to write
        from event_processor.aggregation.categories.totals import Totals  # noqa: PLC0415

        # Totals that were read from a file, not kept as `Totals`, are written as they were read.
        if not isinstance(totals, Totals):
            return (msgspec.to_builtins(totals),) * 2
        self._totals = self._totals or ShownTotals(CATEGORIES_DEPTH)
        return self._totals.both_forms(totals)

    def _lines_of(self, parts: Sequence[Struct], before: Mapping[int, tuple[Struct, orjson.Fragment]]) -> list[orjson.Fragment]:
        """One line for each part. A part that was encoded `before` is not encoded again: there may be thousands, of which few change."""
        lines = []
        for each in parts:
            known = before.get(id(each))  # that very object: it is kept, so no other one can have its id
            self._written[id(each)] = known = known or (each, orjson.Fragment(_canonical(msgspec.to_builtins(each))))
            lines.append(known[1])
        return lines


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """The file's bytes, for a single checkpoint."""
    return CheckpointEncoder().encode(checkpoint)


def _in_lines(value: Any) -> Any:
    """The object or list for `orjson`, which then indents only those that hold another object. Every other one is on one line."""
    if not _holds_object(value):
        return orjson.Fragment(_canonical(value))
    if type(value) is dict:
        return {name: _in_lines(each) if type(each) in _NESTED else each for name, each in value.items()}
    return [_in_lines(each) if type(each) in _NESTED else each for each in value]


def _holds_object(value: Any) -> bool:
    """Whether one of the values in an object or a list is an object, or a list that holds one."""
    inside = value.values() if type(value) is dict else value
    kinds = set(map(type, inside))
    if kinds & _OBJECTS:
        return True
    return bool(kinds & _NESTED) and any(type(each) in _NESTED and _holds_object(each) for each in inside)


def decode_checkpoint(content: bytes, path: str) -> Checkpoint | str:
    """The checkpoint in `content`, or the reason why it is broken.

    Raises `StateError` if it is whole but this program cannot read it: another version, or another shape.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        return f"not JSON ({error})" if content else "empty"
    if not isinstance(document, dict) or not {"version", "state", "checksum"} <= document.keys():
        return "not a checkpoint: version, state or checksum is missing"
    if document["checksum"] != _checksum(document["version"], document["state"]):
        return "the checksum does not match the content"
    version = document["version"]
    if version not in (migration.VERSION, VERSION):
        raise StateError(
            f"{path}: written in version {version} of the state, but this program reads versions {migration.VERSION} and {VERSION}",
            hint="run the program that wrote it, or " + REPLAY_HINT,
        )
    meta = document["meta"] if isinstance(document.get("meta"), dict) else {}
    try:
        state = migration.to_version_2(document["state"], meta) if version == migration.VERSION else document["state"]
        return Checkpoint(msgspec.convert(state, StateDocument), meta, version)
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{path}: the state has another shape than expected: {error}", hint=REPLAY_HINT) from error


def checkpoint_schema() -> dict[str, Any]:
    """The published JSON Schema of the file."""
    schema = msgspec.json.schema(CheckpointDocument)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "event-processor checkpoint", **schema}


def _checksum(version: Json, state: object) -> str:
    """The hash of the canonical bytes: version and state as compact JSON with sorted keys."""
    return f"sha256:{hashlib.sha256(_canonical({'state': state, 'version': version})).hexdigest()}"


def _canonical(value: object) -> bytes:
    """Compact JSON with sorted keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
