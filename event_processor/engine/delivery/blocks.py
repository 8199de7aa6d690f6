"""Records of a lane in blocks: what they are to the lane, and each as a `Waiting` only if it is asked for.

Owns: `LaneBlock`, and `BlockWaiting`, the records of one transaction.
Always: the same records, keys and groups as if each had been read alone.
Never: changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias, overload

from event_processor.engine.delivery.figures import Figures
from event_processor.engine.delivery.queue import Waiting
from event_processor.model.delivery import OutboxRecord
from event_processor.model.record_blocks import RecordBlock, Runs, place_in

__all__ = ["BlockWaiting", "Groups", "LaneBlock", "groups_of", "sequences_of"]

Groups: TypeAlias = tuple[Figures, ...]


@dataclass(frozen=True, slots=True)
class LaneBlock:
    """Consecutive records that a lane has read: at least one. `groups`: where their figures are counted."""

    records: RecordBlock
    groups: Runs[Groups]
    key_of: Callable[[OutboxRecord], str]

    def __len__(self) -> int:
        return len(self.records)

    def part(self, begin: int, end: int) -> LaneBlock:
        """The records from `begin` to `end` - 1; at least one."""
        return LaneBlock(self.records.part(begin, end), self.groups.part(begin, end), self.key_of)

    def waiting(self, index: int) -> Waiting:
        """One record."""
        record = self.records.record(index)
        return Waiting(record, self.key_of(record), self.records.line_bytes(index), self.groups.at(index))


class BlockWaiting(Sequence[Waiting]):
    """The records of several blocks, one after the other without a gap; at least one."""

    def __init__(self, parts: Sequence[LaneBlock]) -> None:
        self.parts: Final = parts
        self._ends: Final = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Waiting: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Waiting]: ...
    def __getitem__(self, index: int | slice) -> Waiting | Sequence[Waiting]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        part, place = place_in(self._ends, index)
        return self.parts[part].waiting(place)


def sequences_of(waiting: Sequence[Waiting]) -> Sequence[int]:
    """The sequences of these records."""
    if isinstance(waiting, BlockWaiting):
        return range(waiting.parts[0].records.first, waiting.parts[-1].records.last + 1)
    return [each.record.sequence for each in waiting]


def groups_of(waiting: Sequence[Waiting]) -> list[tuple[Groups, int]]:
    """The groups of these records, each with the number of consecutive records that have it."""
    if isinstance(waiting, BlockWaiting):
        return [counted for part in waiting.parts for counted in part.groups.counted()]
    return [(each.groups, 1) for each in waiting]
