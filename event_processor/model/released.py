"""What goes to the sinks: released events, and the rows of windows, as JSON objects, a line each.

Always: lines are made as they are read, so that what nobody reads, and what is too much for memory, is never made at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

__all__ = ["NOTHING_RELEASED", "Released"]


@dataclass(frozen=True, slots=True)
class _Joined:
    """Pieces of several, one behind the other."""

    parts: tuple[Iterable[bytes], ...]

    def __iter__(self) -> Iterator[bytes]:
        return chain.from_iterable(self.parts)


@dataclass(frozen=True, slots=True)
class Released:
    """What the order stage let go, in the order in which sinks see it: `count` events' JSON objects, each with a line feed behind it.

    `pieces` are whole lines, one piece behind the other; they can be read more than once, and may be made only as they are.
    Rows of an aggregate's windows travel in the same form.
    """

    pieces: Iterable[bytes]
    count: int

    def __add__(self, other: Released) -> Released:
        """Both, one behind the other; nothing is made of them yet."""
        parts = [each.parts if isinstance(each, _Joined) else (each,) for each in (self.pieces, other.pieces)]
        return Released(_Joined((*parts[0], *parts[1])), self.count + other.count)

    def records(self) -> list[bytes]:
        """The events' JSON objects, without line ends."""
        return [record for piece in self.pieces for record in piece.split(b"\n")[:-1]]


NOTHING_RELEASED: Final = Released((), 0)
