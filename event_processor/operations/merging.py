"""Adds the states of all shards to one state, to be read.

Owns: which states may be merged, what the merged state says, and its files.
Always: works beside running daemons: reads one checkpoint of each shard. Totals are added exactly: their bytes equal the totals of one
process that read the same log. What cannot be added is named in the result.
Never: changes the state of a shard; makes a state that can be resumed: no process knows all of its ids.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from event_processor import __version__
from event_processor.aggregation.categories.totals import CategoryTotal, Totals, merge
from event_processor.assembly import Environment, host_fields
from event_processor.configuration.parts import SHARD_KEY, config_hash
from event_processor.deduplication.shards import Shard
from event_processor.engine.checkpoint import CHECKPOINT_NAME, CheckpointStore
from event_processor.engine.checkpoint_document import MERGED, Checkpoint, StateDocument, encode_checkpoint
from event_processor.engine.losses import NOTHING_LOST, Losses
from event_processor.engine.state import Counts, OrderSummary, SourceState
from event_processor.model.clock import utc_text
from event_processor.model.errors import InputGoneError, StateError, UsageError
from event_processor.model.event import Json
from event_processor.operations.merged_aggregates import MergedAggregates, merged_aggregates
from event_processor.operations.processing import write_whole
from event_processor.storage.durable import prepare_directory

__all__ = ["MergedState", "ShardState", "merge_states", "write_merged"]

INTAKE_TYPE: Final = "file"
PARTIAL_HINT: Final = "or use --partial: the result then says what is missing"


@dataclass(frozen=True, slots=True)
class ShardState:
    """The checkpoint of one shard, and the configuration that made it."""

    directory: str
    shard: Shard
    checkpoint: Checkpoint
    parts: Mapping[str, Json]

    @property
    def state(self) -> StateDocument:
        return self.checkpoint.state


@dataclass(frozen=True, slots=True)
class MergedState:
    """The merged checkpoint, the rows of windows by aggregate, and what a reader must know, in words."""

    checkpoint: Checkpoint
    rows: Mapping[str, Iterable[bytes]]
    notes: tuple[str, ...]


def merge_states(directories: Sequence[str], environment: Environment, *, partial: bool) -> MergedState:
    """Adds the states in these directories: all shards of one pipeline, at one place of the log.

    With `partial`, shards may be missing, and they may have read differently far; the notes say so. Raises `UsageError` if the
    states are not those of the shards of one pipeline, `InputGoneError` if there is no state, `StateError` if they were made by different
    configurations, or do not add up; `StorageError`.
    """
    shards = sorted((_shard_state(each, environment) for each in directories), key=lambda each: each.shard.number)
    missing = _missing(shards)
    apart = _apart(shards)
    if missing and not partial:
        raise UsageError(f"shards are missing: {', '.join(missing)}", hint=f"name their states too; {PARTIAL_HINT}")
    if apart and not partial:
        raise StateError(
            f"the shards are not at one place of the log: {apart[0]}",
            hint=f"let each shard read to the end (run --once), and merge again; {PARTIAL_HINT}",
        )
    aggregates = merged_aggregates([(each.directory, each.state) for each in shards], shards[0].parts, environment.fs)
    notes = (
        *([f"shards are missing: {', '.join(missing)}"] if missing else []),
        *(f"not at one place of the log: {each}" for each in apart),
        *_limit_notes(shards),
        *aggregates.notes,
    )
    state = _state(shards, aggregates, is_whole=not missing and not apart)
    return MergedState(Checkpoint(state, _meta(shards, missing, notes, environment)), aggregates.rows, notes)


def write_merged(merged: MergedState, directory: str, environment: Environment) -> str:
    """Writes the checkpoint and the rows into `directory`; an earlier merged state there is replaced. Returns the checkpoint's path.

    Raises `UsageError` if another state is there, `StorageError`.
    """
    prepare_directory(environment.fs, directory)
    present = CheckpointStore(environment.fs, directory, environment.telemetry).peek()
    if present is not None and MERGED not in present.meta:
        raise UsageError(f"{directory}: a state is here already, and it is not a merged one", hint="name another folder")
    for name, pieces in merged.rows.items():
        # If we die here, the rows may be newer than the checkpoint beside them. Merge again: both are replaced.
        write_whole(environment, os.path.join(directory, f"{name}.jsonl"), pieces)
    path = os.path.join(directory, CHECKPOINT_NAME)
    write_whole(environment, path, [encode_checkpoint(merged.checkpoint)])
    return path


def _shard_state(directory: str, environment: Environment) -> ShardState:
    checkpoint = CheckpointStore(environment.fs, directory, environment.telemetry).peek()
    if checkpoint is None:
        raise InputGoneError(f"{directory}: no state here", hint="name the folder that has the checkpoint.json of a shard")
    parts = checkpoint.meta.get("config")
    if not isinstance(parts, dict) or config_hash(parts) != checkpoint.state.config_hash:
        raise StateError(
            f"{directory}: the checkpoint does not say which configuration made it",
            hint="rebuild the state from the log: event-processor replay",
        )
    text = parts.get(SHARD_KEY)
    if MERGED in checkpoint.meta or not isinstance(text, str) or not text:
        raise UsageError(f"{directory}: not the state of a shard", hint="only states with engine.shard can be merged")
    shard = Shard.of(text)
    assert shard is not None, "the text is not empty"
    return ShardState(directory, shard, checkpoint, parts)


def _missing(shards: Sequence[ShardState]) -> list[str]:
    """The shards that no state is from. Raises `UsageError`, `StateError` if the states are not of one pipeline, each once."""
    first, numbers = shards[0], Counter(each.shard.number for each in shards)
    for each in shards:
        if each.shard.count != first.shard.count:
            raise UsageError(
                f"{each.directory} is shard {each.shard}, but {first.directory} is shard {first.shard}",
                hint="name the states of one pipeline: all have the same number of shards",
            )
        if _without_shard(each.parts) != _without_shard(first.parts):
            raise StateError(
                f"{each.directory} and {first.directory} were made by different configurations",
                hint="rebuild one of them from the log: event-processor replay",
            )
    if twice := next((number for number, count in numbers.items() if count > 1), 0):
        named = [each.directory for each in shards if each.shard.number == twice]
        raise UsageError(f"shard {twice} is there twice: {' and '.join(named)}", hint="name each state once")
    return [str(Shard(number, first.shard.count)) for number in range(1, first.shard.count + 1) if number not in numbers]


def _without_shard(parts: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in parts.items() if key != SHARD_KEY}


def _apart(shards: Sequence[ShardState]) -> list[str]:
    """The sources in which a shard is at another place than the first shard, in words."""
    first, found = shards[0], []
    for each in shards[1:]:
        for name in sorted(first.state.sources.keys() | each.state.sources.keys()):
            here, there = (_place(shard, name) for shard in (first, each))
            if here != there:
                records = [shard.state.sources.get(name, SourceState()).counts.read for shard in (first, each)]
                words = f"shard {first.shard} has read {records[0]:,} records, shard {each.shard} {records[1]:,}"
                found.append(f"source {name}: {words}" + ("" if records[0] != records[1] else ", of another file"))
    return found


def _place(shard: ShardState, name: str) -> Any:
    """How far a shard has read a source. What depends on the host is left out."""
    source = shard.state.sources.get(name, SourceState())
    outside = host_fields(str(shard.parts.get(f"sources.{name}.type", INTAKE_TYPE)))
    opened = [
        (each.generation, each.line, {key: value for key, value in each.position.items() if key not in outside})
        for each in source.generations
    ]
    return opened, source.retired, source.counts.read


def _limit_notes(shards: Sequence[ShardState]) -> list[str]:
    """What is different because a limit of one process was reached, or may have been."""
    limit = shards[0].parts.get("totals.categories_max")
    together = len({name for each in shards for name in each.state.categories})
    if not isinstance(limit, int) or (together <= limit and all(len(each.state.categories) < limit for each in shards)):
        return []
    return [f"totals.categories_max = {limit:,} holds for each shard: one process may have rejected other records"]


def _state(shards: Sequence[ShardState], aggregates: MergedAggregates, *, is_whole: bool) -> StateDocument:
    """The merged state. Raises `StateError` if the records of all shards are not those of the log."""
    documents = [each.state for each in shards]
    least = min(documents, key=lambda each: each.counts.read)
    names = sorted({name for each in documents for name in each.sources})
    sources = {
        name: replace(
            least.sources.get(name, SourceState()),
            counts=_counts([each.sources.get(name, SourceState()).counts for each in documents], is_whole=is_whole),
        )
        for name in names
    }
    journals = [each.journal for each in documents]
    lost = reduce(_joined, (each.lost for each in documents))
    return StateDocument(
        state_id=config_hash({each.state.state_id: "" for each in shards}),
        config_hash=config_hash(_merged_parts(shards)),
        sources=sources,
        counts=_counts([each.counts for each in documents], is_whole=is_whole),
        categories=Totals.of(_categories([each.categories for each in documents])),
        aggregates=aggregates.documents,
        order=_order([each.order for each in documents]),
        journal=journals[0] if all(each == journals[0] for each in journals) else None,
        appended={},
        ids={},
        lost=lost if lost != NOTHING_LOST else NOTHING_LOST,
    )


def _counts(several: Sequence[Counts], *, is_whole: bool) -> Counts:
    """The sum. Nothing is foreign to all shards together; if some are missing, `foreign` is what they would count."""
    total = replace(sum(several, start=Counts()), foreign=UNSET)
    most = max(each.read for each in several)
    if is_whole and total.records != most:
        raise StateError(
            f"the shards have counted {total.records:,} records of {most:,}: one of the states is damaged",
            hint="look for it with event-processor verify, in each shard",
        )
    return total if is_whole else replace(total, foreign=max(0, most - total.records))


def _categories(several: Sequence[Mapping[str, CategoryTotal]]) -> dict[str, CategoryTotal]:
    merged: dict[str, CategoryTotal] = {}
    for categories in several:
        for name, total in categories.items():
            present = merged.get(name)
            merged[name] = total if present is None else merge(present, total)
    return merged


def _order(several: Sequence[OrderSummary]) -> OrderSummary:
    """The order stages together. No hash can be made of what they hold, because the events are not here."""
    last = max((each.last_released for each in several if each.last_released is not None), default=None)
    return OrderSummary(
        active=any(each.active for each in several),
        held=sum(each.held for each in several),
        released=sum(each.released for each in several),
        last_released=last,
        sorting=several[0].sorting,
    )


def _joined(one: Losses, other: Losses) -> Losses:
    """Each shard reads the same log, so it finds the same losses."""
    joined = reduce(lambda losses, loss: losses.adding(loss), other.entries, one)
    return replace(joined, unlisted=max(one.unlisted, other.unlisted))


def _merged_parts(shards: Sequence[ShardState]) -> dict[str, Json]:
    """The configuration of a merged state. No process has it, so none can resume the state."""
    return {**shards[0].parts, SHARD_KEY: f"{MERGED} from {shards[0].shard.count}"}


def _meta(
    shards: Sequence[ShardState], missing: Sequence[str], notes: Sequence[str], environment: Environment
) -> dict[str, Json]:
    return {
        "written_at": utc_text(environment.clock.wall_ns()),
        "software": f"event-processor {__version__}",
        "config": _merged_parts(shards),
        MERGED: {
            "shards": [
                {"shard": str(each.shard), "state_id": each.state.state_id, "written_at": each.checkpoint.meta.get("written_at")}
                for each in shards
            ],
            "missing": list(missing),
            "notes": list(notes),
        },
    }
