"""Compares the parts of a sink with what was released, and finds the first difference.

Owns: the comparison of lines, and `PartsOutput`, the parts' `CommittedOutput`. The place where a part ends depends on when the
input was finished and on options that may change, not on the log. And readers remove parts. So the lines are compared, not the
cuts: from the open part back to the last part before a missing one. It is unknown which lines the parts before that should hold.
Always: memory holds at most one part of the sink and its released lines.
Never: writes anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from event_processor.connectors.files.growing_comparison import EXCERPT_BYTES
from event_processor.connectors.files.part_files import CommittedParts
from event_processor.model.connector import CommittedFile, Difference, SinkVerification
from event_processor.storage.append_file import committed_lines, count_lines

__all__ = ["ComparedParts", "PartsOutput", "compare_parts"]


class PartsOutput:
    """The committed parts of a sink, as a `CommittedOutput`."""

    def __init__(self, name: str, parts: CommittedParts) -> None:
        """Owns `parts` from now on."""
        self._name: Final = name
        self._parts: Final = parts

    @property
    def is_whole(self) -> bool:
        return self._parts.pending_bytes_there == self._parts.pending_bytes

    def compare(self, released: CommittedFile) -> SinkVerification:
        compared, parts = compare_parts(self._name, self._parts, released), self._parts
        return SinkVerification(
            self._name,
            parts.pending_path,
            parts.pending_bytes,
            parts=compared.compared,
            parts_gone=compared.not_compared,
            difference=compared.difference,
        )

    def close(self) -> None:
        self._parts.close()


@dataclass(frozen=True, slots=True)
class ComparedParts:
    """The number of whole parts that were compared, the number of committed parts that could not be, and the first difference."""

    compared: int
    not_compared: int
    difference: Difference | None


def compare_parts(name: str, parts: CommittedParts, released: CommittedFile) -> ComparedParts:
    """Compares the existing parts of sink `name`, line by line, with the end of what was `released`.

    A sink that was added to a state later holds only the end of what was released, like a sink whose older parts were removed.
    Raises `StateError`, `StorageError`.
    """
    if parts.pending_bytes_there < parts.pending_bytes:
        place = f"sinks.{name} ({parts.pending_path}, bytes that are there)"
        return ComparedParts(0, parts.open_number - 1, Difference(place, parts.pending_bytes_there, parts.pending_bytes))
    counts, unreadable = _counts(parts)
    compared = ComparedParts(len(counts), parts.open_number - 1 - len(counts), None)
    if unreadable is not None:
        return _with(compared, Difference(f"sinks.{name} ({parts.path(unreadable)})", "not a whole part", None))
    pending_count = sum(block.count(b"\n") for block in parts.pending())
    released_count, there_count = (
        count_lines(released.fs, released.path, released.length_bytes),
        sum(counts.values()) + pending_count,
    )
    if there_count > released_count:
        return _with(compared, Difference(f"sinks.{name} (how many)", there_count, released_count))
    lines = chain.from_iterable(committed_lines(released.fs, released.path, released.length_bytes))
    rest = islice(lines, released_count - there_count, None)
    return _with(compared, _first_difference(name, parts, counts, rest))


def _counts(parts: CommittedParts) -> tuple[dict[int, int], int | None]:
    """The number of lines of each existing part, by part number, back to the first missing one; and a file that is no part."""
    counts: dict[int, int] = {}
    for number in range(parts.open_number - 1, 0, -1):
        content = parts.content(number)
        if content is None:
            break
        count = parts.count(content)
        if count is None:
            return counts, number
        counts[number] = count
    return counts, None


def _first_difference(name: str, parts: CommittedParts, counts: dict[int, int], lines: Iterator[bytes]) -> Difference | None:
    """The first part that does not hold its lines. The pending lines are the remaining ones."""
    for number in sorted(counts):
        expected = b"".join(line + b"\n" for line in islice(lines, counts[number]))
        content = parts.content(number)
        # A part that was removed meanwhile is no difference.
        if content is not None and not parts.holds(content, expected):
            return Difference(f"sinks.{name} ({parts.path(number)})", "other lines", f"{counts[number]} lines")
    for number, (line, expected) in enumerate(zip(_lines(parts.pending()), lines, strict=True), start=1):
        if line != expected:
            return Difference(f"sinks.{name} ({parts.pending_path}, line {number})", _excerpt(line), _excerpt(expected))
    return None


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines in `blocks`, without their line ends."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines


def _excerpt(line: bytes) -> str:
    return line[:EXCERPT_BYTES].decode("utf-8", "replace")


def _with(compared: ComparedParts, difference: Difference | None) -> ComparedParts:
    return ComparedParts(compared.compared, compared.not_compared, difference)
