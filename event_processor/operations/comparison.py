"""Compares two states, and two files of dead letters.

Owns: which parts of a state are compared. Connectors compare the output of their sinks.
Always: a difference names its place, the committed value and the value from the log.
Never: writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import Any, Final

import msgspec
import orjson

from event_processor.engine.checkpoint_document import StateDocument
from event_processor.engine.state import Counts
from event_processor.model.connector import CommittedFile, Difference
from event_processor.model.event import Json
from event_processor.storage.append_file import committed_lines, count_lines

__all__ = [
    "compare_aggregates",
    "compare_dead_letters",
    "compare_states",
    "conservation_faults",
    "line_count",
]

OUTSIDE_P2: Final = ("state_id", "ids", "appended", "staged", "lanes", "follows_journal")
"""Keys of `state` that depend on its own history, not on the log."""
EXCERPT_BYTES: Final = 80
_PLACE: Final = ("source", "generation", "line", "offset")
_ABSENT: Final = object()


def compare_states(
    committed: StateDocument, recomputed: StateDocument, outside_p2: Mapping[str, frozenset[str]]
) -> Iterator[Difference]:
    """Yields every leaf that differs, by path.

    Skips what does not depend on the log; `outside_p2` names such fields of positions, by source.
    """
    left, right = _comparable(committed, outside_p2), _comparable(recomputed, outside_p2)
    _leave_out_unknown(left, right)
    yield from _differences("", left, right)


def compare_aggregates(before: StateDocument, after: StateDocument) -> Iterator[Difference]:
    """Yields every leaf of the aggregates that differs, by path. `before` may be of version 1, which did not know all of it."""
    left, right = ({"categories": {}, "aggregates": msgspec.to_builtins(each.aggregates)} for each in (before, after))
    _leave_out_unknown(left, right)
    yield from _differences("aggregates", left["aggregates"], right["aggregates"])


def _comparable(document: StateDocument, outside_p2: Mapping[str, frozenset[str]]) -> dict[str, Any]:
    """The state as JSON, without the parts that depend on history or on the host."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    for key in OUTSIDE_P2:
        state.pop(key, None)
    for series in state.get("outbox", {}).values():
        # Where a lane was detached depends on its receiver.
        series.pop("sealed_after", None)
    for name, source in state["sources"].items():
        for generation in source["generations"]:
            for key in outside_p2.get(name, ()):
                generation["position"].pop(key, None)
    return state


def _leave_out_unknown(committed: dict[str, Any], recomputed: dict[str, Any]) -> None:
    """Removes from both what an earlier version did not keep (`engine.migration.unknown_parts` lists most of it)."""
    for name, total in committed["categories"].items():
        if total["values"] is None:
            for each in (total, recomputed["categories"].get(name, {})):
                each.pop("values", None)
                each.pop("mean", None)
    for name, aggregate in committed["aggregates"].items():
        for key in ("rows", "left_out"):
            if aggregate[key] is None:
                for each in (aggregate, recomputed["aggregates"].get(name, {})):
                    each.pop(key, None)


def _differences(path: str, committed: Any, recomputed: Any) -> Iterator[Difference]:
    if isinstance(committed, dict) and isinstance(recomputed, dict):
        for key in sorted(committed.keys() | recomputed.keys()):
            below = f"{path}.{key}" if path else str(key)
            yield from _differences(below, committed.get(key, _ABSENT), recomputed.get(key, _ABSENT))
    elif isinstance(committed, list) and isinstance(recomputed, list) and len(committed) == len(recomputed):
        for index, (one, other) in enumerate(zip(committed, recomputed, strict=True)):
            yield from _differences(f"{path}[{index}]", one, other)
    elif _canonical(committed) != _canonical(recomputed):
        yield Difference(path, None if committed is _ABSENT else committed, None if recomputed is _ABSENT else recomputed)


def _canonical(value: object) -> bytes:
    """Bytes that are equal exactly if the JSON is. 1, 1.0 and true are three values; 0.0 and -0.0 are two."""
    return b"" if value is _ABSENT else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def conservation_faults(state: StateDocument) -> Iterator[Difference]:
    """Yields contradictions between committed numbers.

    Compares records with their outcomes (in total and per source), and accepted events with the categories.
    """
    for path, counts in [
        ("counts", state.counts),
        *((f"sources.{name}.counts", each.counts) for name, each in state.sources.items()),
    ]:
        by_outcome = counts.accepted + counts.duplicate + counts.rejected + counts.blank
        if counts.records != by_outcome:
            yield Difference(f"{path}.records", counts.records, by_outcome)
    of_sources = sum((source.counts for source in state.sources.values()), start=Counts())
    for outcome in ("accepted", "duplicate", "rejected", "blank", "of_other_shards"):
        in_all, summed = getattr(state.counts, outcome), getattr(of_sources, outcome)
        if in_all != summed:
            yield Difference(f"counts.{outcome} (the sum of the sources)", in_all, summed)
    in_categories = sum(total.count for total in state.categories.values())
    if state.counts.accepted != in_categories:
        yield Difference("counts.accepted (the sum of the categories)", state.counts.accepted, in_categories)


def compare_dead_letters(committed: CommittedFile, recomputed: CommittedFile) -> Difference | None:
    """The first dead letter whose place differs from that of the rejected record; None if all are right.

    A purge removes the oldest letters, so the committed letters are compared with the same number at the end. Only places are
    compared: the text of a reason may change with the software. Raises `StateError`, `StorageError`.
    """
    count, expected = line_count(committed), line_count(recomputed)
    if count > expected:
        return Difference("dead_letters (number)", count, expected)
    rest = islice(_places(recomputed), expected - count, None)
    for number, (one, other) in enumerate(zip(_places(committed), rest, strict=True), start=1):
        if one != other:
            return Difference(f"dead_letters (line {number})", one, other)
    return None


def line_count(file: CommittedFile) -> int:
    """The number of committed lines. Raises `StateError` if the file is shorter, `StorageError`."""
    return count_lines(file.fs, file.path, file.length_bytes)


def _places(file: CommittedFile) -> Iterator[Json]:
    """Yields the place of each dead letter's record. If a line is not a dead letter, yields the start of its text."""
    for line in chain.from_iterable(committed_lines(file.fs, file.path, file.length_bytes)):
        try:
            letter = orjson.loads(line)
            yield {key: letter[key] for key in _PLACE}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            yield line[:EXCERPT_BYTES].decode("utf-8", "replace")
