"""The records that wait for a transaction, from the lane's cursor on.

Owns: `Prefix`: records by block, single records, refusals, and what goes into the next transaction.
Always: a transaction gets the records directly after the cursor, without a gap. What is in a transaction that runs is not dropped.
Never: sends, or moves a cursor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.engine.delivery.blocks import BlockWaiting, LaneBlock, sequences_of
from event_processor.engine.delivery.queue import Waiting
from event_processor.model.transactions import Handed, HandedBlocks, Refusal

__all__ = ["Prefix", "Selected"]


@dataclass(frozen=True, slots=True)
class Selected:
    """The records of one transaction, as the lane has them and as the receiver gets them."""

    waiting: Sequence[Waiting]
    handed: Sequence[Handed]


class Prefix:
    """The records that wait for a transaction, by sequence. Used by one thread.

    Without enrichers they come in blocks, in order. Enrichers add one after the other, in any order.
    """

    def __init__(self) -> None:
        self._blocks: Final[deque[LaneBlock]] = deque()
        self._entries: Final[dict[int, tuple[Waiting, Refusal | None]]] = {}
        """Single records; if a block has the record too, this is what became of it."""
        self._entry_bytes = 0
        self.locked_through = 0
        """Records up to this sequence are in a transaction that runs."""

    def __len__(self) -> int:
        if not self._blocks:
            return len(self._entries)
        in_blocks = self._blocks[-1].records.last - self._blocks[0].records.first + 1
        return in_blocks + sum(not self._is_in_blocks(each) for each in self._entries)

    @property
    def size_bytes(self) -> int:
        """The bytes of all records that wait here, as the outbox has them."""
        return self._entry_bytes + sum(block.records.size_bytes for block in self._blocks)

    def add(self, waiting: Waiting) -> None:
        """Adds a record. Enrichers may add it before earlier ones."""
        self._put(waiting, None)

    def add_block(self, block: LaneBlock) -> None:
        """Adds records, directly after those of the last block."""
        self._blocks.append(block)

    def refuse(self, waiting: Waiting, refusal: Refusal) -> None:
        """The record is not to be written."""
        self._put(waiting, refusal)

    def drop(self, sequences: frozenset[int]) -> list[tuple[Waiting, int]]:
        """Returns the records with these sequences that are to be written, except those in a transaction that runs.

        They are no longer to be written: each must be refused.
        """
        found = []
        for sequence in sorted(each for each in sequences if each > self.locked_through and self.has(each)):
            waiting, refusal = self._entry(sequence)
            if refusal is None:
                self._pop(sequence)
                found.append((waiting, 0))
        return found

    def is_full(self, events_max: int, bytes_max: int) -> bool:
        """Whether there are so many records, or bytes of them."""
        return len(self) >= events_max or self.size_bytes >= bytes_max

    def has(self, sequence: int) -> bool:
        """Whether this record waits here."""
        return sequence in self._entries or self._is_in_blocks(sequence)

    def is_refused(self, sequence: int) -> bool:
        """Whether this record waits here and is not to be written."""
        return sequence in self._entries and self._entries[sequence][1] is not None

    def after(self, sequence: int, events_max: int, bytes_max: int, *, alone: bool) -> Selected | None:
        """The records directly after `sequence`; None if the next one is not here. `alone`: at most one of them is to be written."""
        is_of_blocks = self._blocks and self._blocks[0].records.first == sequence + 1 and not alone
        if is_of_blocks and not any(sequence < each <= sequence + events_max for each in self._entries):
            return self._of_blocks(events_max, bytes_max)
        found: list[tuple[Waiting, Refusal | None]] = []
        size_bytes = to_write = 0
        while len(found) < events_max and self.has(following := sequence + len(found) + 1):
            entry = self._entry(following)
            size_bytes += entry[0].size_bytes
            to_write += entry[1] is None
            if found and (size_bytes > bytes_max or (alone and to_write > 1)):
                break
            found.append(entry)
        handed = [Handed(waiting.record, waiting.sent, waiting.key, refusal) for waiting, refusal in found]
        return Selected([waiting for waiting, _ in found], handed) if found else None

    def _of_blocks(self, events_max: int, bytes_max: int) -> Selected:
        parts: list[LaneBlock] = []
        for block in self._blocks:
            count = block.records.fitting(events_max, bytes_max) or (0 if parts else 1)
            if count:
                parts.append(block.part(0, count))
            if count < len(block):
                break
            events_max -= count
            bytes_max -= block.records.size_bytes
        return Selected(BlockWaiting(parts), HandedBlocks([part.records for part in parts], parts[0].key_of))

    def through(self, after: int, last: int) -> list[Waiting]:
        """The records after sequence `after` up to `last`; empty if one of them is not here."""
        sequences = range(after + 1, last + 1)
        # Not more than are here: a receiver may be millions ahead.
        is_whole = len(sequences) <= len(self) and all(map(self.has, sequences))
        return [self._entry(each)[0] for each in sequences] if is_whole else []

    def remove(self, waiting: Sequence[Waiting]) -> None:
        """These records were answered. None before them is here."""
        sequences = sequences_of(waiting)
        if self._entries:
            for each in sequences:
                self._pop(each)
        while self._blocks and self._blocks[0].records.last <= sequences[-1]:
            self._blocks.popleft()
        if self._blocks and (count := sequences[-1] + 1 - self._blocks[0].records.first) > 0:
            self._blocks[0] = self._blocks[0].part(count, len(self._blocks[0]))

    def clear(self) -> list[Waiting]:
        """Removes everything, and returns it."""
        found = [waiting for waiting, _ in self._entries.values()]
        for block in self._blocks:
            first = block.records.first
            found += [block.waiting(index) for index in range(len(block)) if first + index not in self._entries]
        self._entries.clear()
        self._entry_bytes = 0
        self._blocks.clear()
        return found

    def _put(self, waiting: Waiting, refusal: Refusal | None) -> None:
        sequence = waiting.record.sequence
        self._pop(sequence)
        self._entries[sequence] = (waiting, refusal)
        # A record of a block is counted there.
        self._entry_bytes += 0 if self._is_in_blocks(sequence) else waiting.size_bytes

    def _pop(self, sequence: int) -> None:
        entry = self._entries.pop(sequence, None)
        if entry is not None and not self._is_in_blocks(sequence):
            self._entry_bytes -= entry[0].size_bytes

    def _is_in_blocks(self, sequence: int) -> bool:
        return bool(self._blocks) and self._blocks[0].records.first <= sequence <= self._blocks[-1].records.last

    def _entry(self, sequence: int) -> tuple[Waiting, Refusal | None]:
        """A record that is here."""
        if sequence in self._entries:
            return self._entries[sequence]
        block = next(each for each in self._blocks if sequence <= each.records.last)
        return block.waiting(sequence - block.records.first), None
