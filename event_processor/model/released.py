"""What the sinks write: released events and the rows of windows, as JSON objects, one a line.

Owns: `Released`, and how two of them are joined.
Always: the lines may be made only when they are read. So unread lines are never made, and all lines are never in memory at once.
The same is true of the places.
Never: no line is parsed or changed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Generic, TypeVar

__all__ = ["NOTHING_RELEASED", "Released"]


Part = TypeVar("Part")


@dataclass(frozen=True)  # without slots, which the interpreter does not join with Generic in every version
class _Joined(Generic[Part]):
    """The pieces of several iterables, one after the other."""

    parts: tuple[Iterable[Part], ...]

    def __iter__(self) -> Iterator[Part]:
        return chain.from_iterable(self.parts)


def _joined(first: Iterable[Part], second: Iterable[Part]) -> _Joined[Part]:
    parts = [each.parts if isinstance(each, _Joined) else (each,) for each in (first, second)]
    return _Joined((*parts[0], *parts[1]))


@dataclass(frozen=True, slots=True)
class Released:
    """The events that the order stage released, in the order for the sinks: `count` JSON objects, each followed by a line feed.

    `pieces` hold whole lines, one piece after the other. They can be read more than once, and may be made during the read.
    The rows of an aggregate's windows have the same form.

    `places` are in step with `pieces`: for each piece, the place of each of its records, as a JSON object. Only an outbox reads
    them. Two records of one input have different places.
    """

    pieces: Iterable[bytes]
    count: int
    places: Iterable[Sequence[bytes]] = ()

    def __add__(self, other: Released) -> Released:
        """Joins both, `other` after `self`. Makes no line and no place yet."""
        return Released(_joined(self.pieces, other.pieces), self.count + other.count, _joined(self.places, other.places))

    def records(self) -> list[bytes]:
        """The events' JSON objects, without line ends."""
        return [record for piece in self.pieces for record in piece.split(b"\n")[:-1]]


NOTHING_RELEASED: Final = Released((), 0)
