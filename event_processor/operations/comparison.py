"""Two states, two sink files, two files of dead letters: where they differ.

Always: a difference names its place, what is committed and what the log gives. Files are compared in blocks, whatever their size.
Never: nothing is written here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

import msgspec
import orjson

from event_processor.engine.checkpoint import StateDocument
from event_processor.engine.state import Counts
from event_processor.model.event import Json
from event_processor.operations.state_access import count_lines
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import FileSystem, read_range, storage_call

__all__ = [
    "EXCERPT_BYTES",
    "CommittedFile",
    "Difference",
    "compare_dead_letters",
    "compare_sinks",
    "compare_states",
    "conservation_faults",
]

OUTSIDE_P2: Final = ("state_id", "ids", "appended", "staged")
"""Keys of `state` that depend on its own history, and not on the log."""
OUTSIDE_P2_OF_A_FILE: Final = ("device", "inode")
BLOCK_BYTES: Final = 1_048_576
EXCERPT_BYTES: Final = 80
_PLACE: Final = ("source", "generation", "line", "offset")
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where what is `committed` is not what the log gives; None where one of them has nothing there."""

    path: str
    committed: Json
    recomputed: Json

    def __str__(self) -> str:
        return f"{self.path}: committed {_shown(self.committed)}, from the log {_shown(self.recomputed)}"


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """A file's first `length_bytes`; what stands behind them does not count."""

    fs: FileSystem
    path: str
    length_bytes: int

    def line_count(self) -> int:
        """How many lines that is. Raises `StateError` where the file is shorter, `StorageError`."""
        return count_lines(self.fs, self.path, self.length_bytes)


def _shown(value: Json) -> str:
    return "nothing" if value is None else orjson.dumps(value).decode()


def compare_states(committed: StateDocument, recomputed: StateDocument) -> Iterator[Difference]:
    """Every leaf on which the two differ, by path; what does not depend on the log is left out."""
    left, right = _comparable(committed), _comparable(recomputed)
    _leave_out_unknown(left, right)
    yield from _differences("", left, right)


def _comparable(document: StateDocument) -> dict[str, Any]:
    """The state as JSON, without what history, device and inode say."""
    state: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    for key in OUTSIDE_P2:
        state.pop(key, None)
    for source in state["sources"].values():
        for generation in source["generations"]:
            for key in OUTSIDE_P2_OF_A_FILE:
                generation["position"].pop(key, None)
    return state


def _leave_out_unknown(committed: dict[str, Any], recomputed: dict[str, Any]) -> None:
    """Takes out of both what a state of version 1 did not keep: `engine.migration.unknown_parts` names it."""
    for name, total in committed["categories"].items():
        if total["values"] is None:
            for each in (total, recomputed["categories"].get(name, {})):
                each.pop("values", None)
                each.pop("mean", None)
    for name, aggregate in committed["aggregates"].items():
        if aggregate["rows"] is None:
            for each in (aggregate, recomputed["aggregates"].get(name, {})):
                each.pop("rows", None)


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
    """Bytes that are equal exactly where the JSON is: 1, 1.0 and true are three values, and so are 0.0 and -0.0."""
    return b"" if value is _ABSENT else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def conservation_faults(state: StateDocument) -> Iterator[Difference]:
    """Where the committed numbers contradict one another: records by outcome, in all and per source, and accepted by category."""
    for path, counts in [
        ("counts", state.counts),
        *((f"sources.{name}.counts", each.counts) for name, each in state.sources.items()),
    ]:
        by_outcome = counts.accepted + counts.duplicate + counts.rejected + counts.blank
        if counts.records != by_outcome:
            yield Difference(f"{path}.records", counts.records, by_outcome)
    of_sources = sum((source.counts for source in state.sources.values()), start=Counts())
    for outcome in ("accepted", "duplicate", "rejected", "blank"):
        in_all, summed = getattr(state.counts, outcome), getattr(of_sources, outcome)
        if in_all != summed:
            yield Difference(f"counts.{outcome} (the sum of the sources)", in_all, summed)
    in_categories = sum(total.count for total in state.categories.values())
    if state.counts.accepted != in_categories:
        yield Difference("counts.accepted (the sum of the categories)", state.counts.accepted, in_categories)


def compare_sinks(name: str, committed: CommittedFile, recomputed: CommittedFile, *, header_bytes: int = 0) -> Difference | None:
    """The first place where a sink's file is not what was released; None where all of it is right.

    A sink that was added to a state later holds the end of what was released, so that the committed bytes are compared with as
    many at the end; but for its header, which stands at the head of both. Raises `StateError` where the committed file is shorter than committed, `StorageError`.
    """
    skipped_bytes = recomputed.length_bytes - committed.length_bytes
    if skipped_bytes < 0:
        return Difference(f"sinks.{name} (bytes)", committed.length_bytes, recomputed.length_bytes)
    # The header of a sink that was added later is what it is by the start of the sink, which refuses another.
    offset = _first_difference(committed, recomputed, start=header_bytes if skipped_bytes else 0, shift=skipped_bytes)
    if offset is None:
        return None
    place = f"sinks.{name} (byte {offset})"
    return Difference(place, _excerpt(committed, offset), _excerpt(recomputed, offset + skipped_bytes))


def _first_difference(one: CommittedFile, other: CommittedFile, *, start: int, shift: int) -> int | None:
    """The offset, from `start` on, on which the two differ; what stands in the one stands `shift` bytes later in the other."""
    with _opened(one) as first, _opened(other) as second:
        for offset in range(start, one.length_bytes, BLOCK_BYTES):
            size_bytes = min(BLOCK_BYTES, one.length_bytes - offset)
            with storage_call("read", one.path):
                left = read_range(one.fs, first, size_bytes, offset)
            with storage_call("read", other.path):
                right = read_range(other.fs, second, size_bytes, offset + shift)
            if left != right:
                differing = (index for index, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
                return offset + next(differing, min(len(left), len(right)))
    return None


@contextmanager
def _opened(file: CommittedFile) -> Iterator[int]:
    with storage_call("open", file.path):
        descriptor = file.fs.open(file.path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        file.fs.close(descriptor)


def _excerpt(file: CommittedFile, offset: int) -> str:
    """What stands in the file from `offset` on, as far as it is worth showing."""
    with _opened(file) as descriptor, storage_call("read", file.path):
        size_bytes = max(0, min(EXCERPT_BYTES, file.length_bytes - offset))
        return read_range(file.fs, descriptor, size_bytes, offset).decode("utf-8", "replace")


def compare_dead_letters(committed: CommittedFile, recomputed: CommittedFile) -> Difference | None:
    """The first dead letter that stands for another record than the one that was rejected there; None where all are right.

    What was purged was the oldest, so that the committed letters are compared with as many at the end. Only their places are
    compared: the words for a reason may change with the software. Raises `StateError`, `StorageError`.
    """
    count, expected = committed.line_count(), recomputed.line_count()
    if count > expected:
        return Difference("dead_letters (how many)", count, expected)
    rest = islice(_places(recomputed), expected - count, None)
    for number, (one, other) in enumerate(zip(_places(committed), rest, strict=True), start=1):
        if one != other:
            return Difference(f"dead_letters (line {number})", one, other)
    return None


def _places(file: CommittedFile) -> Iterator[Json]:
    """Where each dead letter's record stands; what is no dead letter is given as the text that it is."""
    for line in chain.from_iterable(committed_lines(file.fs, file.path, file.length_bytes)):
        try:
            letter = orjson.loads(line)
            yield {key: letter[key] for key in _PLACE}
        except (orjson.JSONDecodeError, KeyError, TypeError):
            yield line[:EXCERPT_BYTES].decode("utf-8", "replace")
