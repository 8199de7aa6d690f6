"""What the sinks write: released events and the rows of windows, as JSON objects, one a line.

Owns: `Released`, and how two of them are joined.
Always: the lines may be made only when they are read. So unread lines are never made, and all lines are never in memory at once.
Never: no line is parsed or changed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

__all__ = ["NOTHING_RELEASED", "Released"]


@dataclass(frozen=True, slots=True)
class _Joined:
    """The pieces of several iterables, one after the other."""

    parts: tuple[Iterable[bytes], ...]

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self.parts)


@dataclass(frozen=True, slots=True)
class Released:
    """The events that the order stage released, in the order for the sinks: `count` JSON objects, each followed by a line feed.

    `pieces` hold whole lines, one piece after the other. They can be read more than once, and may be made during the read.
    The rows of an aggregate's windows have the same form.
    """

    pieces: Iterable[bytes]
    count: int

    def __add__(self, other: Released) -> Released:
        """Joins both, `other` after `self`. Makes no line yet."""
        parts = [each.parts if isinstance(each, _Joined) else (each,) for each in (self.pieces, other.pieces)]
        return Released(_Joined((*parts[0], *parts[1])), self.count + other.count)

    def records(self) -> list[bytes]:
        """The events' JSON objects, without line ends."""
        return [record for piece in self.pieces for record in piece.split(b"\n")[:-1]]


NOTHING_RELEASED: Final = Released((), 0)
