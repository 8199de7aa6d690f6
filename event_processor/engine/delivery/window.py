"""The records between a lane's cursor and the place to which it has read its outbox.

Owns: what is read and when, the check that it is the outbox that the cursor knows, and which records are answered.
Always: at most `WindowLimits.events` records, and about `WindowLimits.size_bytes` bytes of them, are in memory. Every record is checked
against the chain.
Never: sends, or knows what an answer means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

from event_processor.engine.delivery.blocks import LaneBlock
from event_processor.engine.delivery.cursor import Cursor, CursorDocument, LaneCounts, Result
from event_processor.engine.delivery.figures import LaneFigures
from event_processor.engine.delivery.keys import key_of
from event_processor.engine.delivery.progress import LaneIdentity
from event_processor.engine.delivery.queue import Waiting
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.record_blocks import RecordBlock
from event_processor.model.remote import RemoteSinkOptions
from event_processor.storage.outbox_reader import not_following

__all__ = ["OutboxReading", "Released", "Window", "WindowLimits"]

AHEAD_MAX: Final = 10_000
READ_BYTES: Final = 262_144
WINDOW_BYTES: Final = 16 * 1_048_576


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """How many records are in memory, and about how many bytes of them."""

    events: int = AHEAD_MAX
    size_bytes: int = WINDOW_BYTES

    @classmethod
    def of(cls, options: RemoteSinkOptions) -> WindowLimits:
        """Those of a lane. If records wait for a full request, at least one such request."""
        if not options.request_age_s_max:
            return cls()
        return cls(max(AHEAD_MAX, options.request_events_max), max(WINDOW_BYTES, options.request_bytes_max))


DEFAULT_LIMITS: Final = WindowLimits()


class Released(Protocol):
    """How far a durable checkpoint covers a series."""

    @property
    def sequence(self) -> int:
        """The sequence of the last record."""
        ...

    @property
    def chain(self) -> str:
        """The chain of the last record."""
        ...

    @property
    def total(self) -> int | None:
        """None; or, if the lane is detached, the sequence of the last record of the series: those after `sequence` are not for it."""
        ...

    def for_lane(self, lane: str) -> Released:
        """The part that is for this lane."""
        ...


class OutboxReading(Protocol):
    """Reads a series from the place of the lane on, as far as a durable checkpoint covers it."""

    def read(self, bytes_max: int) -> list[tuple[OutboxRecord, int]]:
        """The next records and the sizes of their lines, about `bytes_max` bytes of them; empty if there are none."""
        ...

    def read_block(self, bytes_max: int, chain: str) -> RecordBlock | None:
        """The same as one value; None if there is none. `chain`: of the record before. Raises `StateError` if they do not follow from it."""
        ...

    def follow(self, released: Any) -> None:
        """A durable checkpoint covers the series this far: a value of the kind that the series publishes."""
        ...

    def unread_bytes(self) -> int:
        """The bytes that `read` has not returned yet. Raises `StateError` if its place is not there."""
        ...

    def all_bytes(self) -> int:
        """The bytes of all files that a durable checkpoint names."""
        ...

    def close(self) -> None:
        """Releases the file."""
        ...


class WaitingQueue(Protocol):
    """Where records go that were read."""

    def add(self, waiting: Waiting) -> None:
        """Adds a record; its sequence is above all others'."""
        ...


@runtime_checkable
class BlockQueue(Protocol):
    """Where records go in blocks. Its cursor has no ranges: records are answered in order."""

    def add_block(self, block: LaneBlock) -> None:
        """Adds records, directly after those of the last block."""
        ...


class Window:
    """The window of one lane. Used by one thread."""

    def __init__(
        self,
        identity: LaneIdentity,
        document: CursorDocument,
        released: Released,
        *,
        reader: OutboxReading,
        queue: WaitingQueue,
        chain_after: Callable[[str, OutboxRecord], str],
        figures: LaneFigures,
        limits: WindowLimits = DEFAULT_LIMITS,
    ) -> None:
        """`document`: the lane's cursor. `reader` begins after it, or at the end of an outbox that fell behind it.

        `figures` counts each record that is queued. If the queue takes blocks, records are read in blocks.
        """
        self.released = released
        self.queue: Final = queue
        self._identity: Final = identity
        self._earlier_names: Final = document.earlier_names
        self._key_of: Final[Callable[[OutboxRecord], str]] = partial(key_of, identity, document)
        self._reader: Final = reader
        self._chain_after: Final = chain_after
        self._figures: Final = figures
        self._limits: Final = limits
        self._blocks: Final = queue if isinstance(queue, BlockQueue) else None
        self._unpassed: Final[deque[RecordBlock]] = deque()
        """The blocks, or what is left of them, beyond the cursor's prefix."""
        self._cursor: Final = Cursor(document.sequence, document.chain, document.answered, ahead_max=limits.events)
        self._counts = document.counts
        self._saved = document.sequence
        is_behind = document.sequence > released.sequence
        self._read_to = released.sequence if is_behind else document.sequence
        self._read_chain = released.chain if is_behind else document.chain
        self._sizes: Final[dict[int, int]] = {}
        """The sizes of the records that were read and lie beyond the cursor's prefix."""
        self._bytes = 0

    @property
    def unread(self) -> int:
        """The released records for this lane that were neither read nor answered."""
        cursor, read_to = self._cursor, max(self._read_to, self._cursor.sequence)
        end = max(read_to, self.known if self.released.total is None else self.released.sequence)
        return end - read_to - (cursor.answered_after(read_to) - cursor.answered_after(end))

    @property
    def detached(self) -> int:
        """The released records that are not for this lane, because it was detached before them."""
        if self.released.total is None:
            return 0
        first = max(self.released.sequence, self._cursor.sequence)
        return max(0, self.known - first - self._cursor.answered_after(first))

    @property
    def known(self) -> int:
        """The last sequence that was released, as far as this lane knows: a state that fell back may be behind what was answered."""
        released = self.released.sequence if self.released.total is None else self.released.total
        return max(released, self._cursor.last_answered)

    @property
    def pending_bytes(self) -> int:
        """The bytes of the outbox after the cursor's prefix; if its place cannot be found, all of them: none can be removed."""
        try:
            return self._reader.unread_bytes() + self._bytes
        except StateError:
            # The lane finds the same when it reads on, and stops. Figures must not stop anything else.
            return self._reader.all_bytes()

    @property
    def passed(self) -> int:
        """The sequence up to which the lane needs no record again: its durable cursor has passed it, and it was read.

        After a fallback the cursor may be ahead of what was released again. Those records are not sent, but their chain is compared.
        """
        return min(self._saved, self._read_to)

    @property
    def is_ahead(self) -> bool:
        """Whether the cursor is after the last record that was read. Until that one is read, its chain was not compared."""
        return self._cursor.sequence > self._read_to

    @property
    def is_uncompared(self) -> bool:
        """Whether released records up to the cursor were not read yet: they are not sent, but their chain is to be compared."""
        return self._read_to < min(self.released.sequence, self._cursor.sequence)

    def note_saved(self, document: CursorDocument) -> None:
        """This cursor is durable now."""
        self._saved = document.sequence

    @property
    def counts(self) -> tuple[int, int, int]:
        """Delivered, failed, skipped: by operators, or because the lane is detached."""
        return self._counts.delivered, self._counts.failed, self._counts.skipped + self.detached

    def document(self) -> CursorDocument:
        """The cursor as it is now."""
        identity, cursor = self._identity, self._cursor
        return CursorDocument(
            state_id=identity.state_id,
            input=identity.input,
            target=identity.target,
            started_after=identity.started_after,
            sequence=cursor.sequence,
            chain=cursor.chain,
            answered=cursor.answered,
            counts=self._counts,
            earlier_names=self._earlier_names,
        )

    def follow(self, released: Released) -> None:
        """A durable checkpoint covers the series this far. `released`: the part that is for this lane."""
        self.released = released
        self._reader.follow(released)

    def require_chain(self) -> None:
        """Raises `StateError` if the outbox ends where the cursor is, but with another record."""
        if self._cursor.sequence == self.released.sequence:
            self._cursor.read(self.released.sequence, self.released.chain)

    def refill(self) -> None:
        """Reads on, as far as memory and the cursor allow. Raises `StateError` if it is not the outbox that the cursor knows."""
        while (
            self._read_to < self.released.sequence
            and self._read_to - self._cursor.sequence < self._limits.events
            and (self._bytes < self._limits.size_bytes or not self._bytes)
        ):
            if self._blocks is not None:
                if (block := self._reader.read_block(READ_BYTES, self._read_chain)) is None:
                    return
                self._take_block(block, self._blocks)
                continue
            entries = self._reader.read(READ_BYTES)
            if not entries:
                return
            for record, size_bytes in entries:
                self._take(record, size_bytes)

    def were_answered(self, sequences: Iterable[int]) -> bool:
        """Whether each of these was answered."""
        return all(self._cursor.is_answered(each) for each in sequences)

    def are_answered(self, sequences: Iterable[int]) -> bool:
        """Whether each of these was answered, or never released."""
        return all(self._cursor.is_answered(each) or each > self.released.sequence for each in sequences)

    def finished(self, waiting: Waiting, result: Result) -> None:
        """The record was answered."""
        before = self._cursor.sequence
        self._cursor.answer(waiting.record.sequence)
        self._pass(before)
        self._counts = self._counts.with_more(result, 1)

    def finished_through(self, last: OutboxRecord, counts: LaneCounts) -> None:
        """All records up to `last` were answered. `counts`: of the lane, from now on."""
        before = self._cursor.sequence
        self._cursor.pass_through(last.sequence, last.chain)
        self._pass(before)
        self._counts = counts

    def _take(self, record: OutboxRecord, size_bytes: int) -> None:
        """Takes the next record of the outbox, and queues it if it was not answered."""
        sequence = record.sequence
        if self._chain_after(self._read_chain, record) != record.chain:
            raise not_following(sequence)
        self._read_to, self._read_chain = sequence, record.chain
        before = self._cursor.sequence
        if sequence > before:
            self._sizes[sequence] = size_bytes
            self._bytes += size_bytes
        self._cursor.read(sequence, record.chain)
        self._pass(before)
        if not self._cursor.is_answered(sequence):
            self.queue.add(Waiting(record, self._key_of(record), size_bytes, self._figures.taken(record)))

    def _take_block(self, block: RecordBlock, queue: BlockQueue) -> None:
        """Takes the next records of the outbox, whose chain was checked, and queues those that were not answered."""
        last, answered = block.record(len(block) - 1), self._cursor.sequence
        if block.first <= answered <= block.last:
            self._cursor.read(answered, block.record(answered - block.first).chain)
        self._read_to, self._read_chain = last.sequence, last.chain
        if block.last > answered:
            fresh = block.part(max(0, answered + 1 - block.first), len(block))
            self._bytes += fresh.size_bytes
            self._unpassed.append(fresh)
            queue.add_block(LaneBlock(fresh, self._figures.taken_block(fresh), self._key_of))

    def _pass(self, before: int) -> None:
        """Forgets the sizes of the records that the prefix moved over."""
        through = self._cursor.sequence
        if self._sizes:
            for sequence in range(before + 1, through + 1):
                self._bytes -= self._sizes.pop(sequence, 0)
        while self._unpassed and self._unpassed[0].first <= through:
            block = self._unpassed.popleft()
            self._bytes -= block.size_bytes
            if block.last > through:
                rest = block.part(through + 1 - block.first, len(block))
                self._bytes += rest.size_bytes
                self._unpassed.appendleft(rest)

    def close(self) -> None:
        """Releases the file."""
        self._reader.close()
