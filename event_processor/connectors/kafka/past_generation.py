"""A stretch of a partition that is read again, for `verify`, `replay` and `explain`.

Owns: `KafkaGeneration`: the same records at the same offsets, or the words why they are not there any more.
Always: the records are those that were counted: the topic's id is the same, and if all of a generation was read again, their number and size
are. A topic that is compacted loses records without a sign, so only this shows it.
Never: resets an offset; waits without end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from event_processor.connectors.kafka.client import Consumer, KafkaError, TopicPartition, made, words_of
from event_processor.connectors.kafka.client_options import client_settings
from event_processor.connectors.kafka.positions import PartitionPosition
from event_processor.connectors.kafka.records import Fetched
from event_processor.connectors.kafka.source import CONSUMER_SETTINGS
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.model.connector import Piece
from event_processor.model.errors import InputGoneError, NotAnsweredError
from event_processor.model.world import World

__all__ = ["KafkaGeneration"]

QUEUED_KBYTES: Final = 8_192
"""Several generations are open at once."""
FETCH_RECORDS: Final = 5_000
SILENT_S_MAX: Final = 60.0
"""If no broker gives anything for so long, the reading ends."""
POLL_S: Final = 0.05


class KafkaGeneration:
    """See `PastGeneration`."""

    head = b""

    def __init__(self, options: KafkaSourceOptions, position: PartitionPosition, world: World) -> None:
        """`position`: where the generation ended, or where it is now. Raises `ConfigurationError`."""
        self.path: Final = position.path
        self._options: Final = options
        self._position: Final = position
        self._clock: Final = world.clock
        settings = {**CONSUMER_SETTINGS, **client_settings(options, world.fs), "queued.max.messages.kbytes": QUEUED_KBYTES}
        self._consumer: Final = made(Consumer, {**settings, "group.id": "event-processor.again"}, options.topic)
        self._queue: Final[deque[Fetched]] = deque()
        self._next: int | None = None
        """The offset from which the consumer goes on without a new look; None if there is none."""
        self._end: int | None = None
        self._read_from: int | None = None
        self._records = 0
        self._size_bytes = 0

    def pieces(self, start: int, end: int, bytes_max: int) -> Iterator[Piece]:
        """See `PastGeneration.pieces`. Raises `InputGoneError`, `NotAnsweredError`."""
        if self._next != start:
            self._seek(start)
        offset = start
        while offset < end and self._has_more(offset, end):
            records = self._queue[0].take(bytes_max, end=end)
            if self._queue[0].is_empty:
                self._queue.popleft()
            begin, offset = offset, int(records.places[-1]) + 1
            self._next = offset
            self._records += len(records.places)
            self._size_bytes += records.size_bytes
            yield Piece(begin, records.content, oversized_bytes=records.oversized_bytes, own=records.own, places=records.places)
        if offset < end:
            raise self._gone(f"the records from offset {offset:,} to {end:,} are not there any more")
        self._compare_sizes(end)

    def close(self) -> None:
        self._consumer.close()

    def _seek(self, start: int) -> None:
        self._queue.clear()
        self._next = self._end = None
        self._read_from, self._records, self._size_bytes = start, 0, 0
        self._consumer.assign([TopicPartition(self._options.topic, self._position.partition, start)])

    def _has_more(self, offset: int, end: int) -> bool:
        """Whether there is a record before `end`. Waits for it."""
        deadline_s = self._clock.monotonic_s() + SILENT_S_MAX
        while not self._queue:
            if self._end is not None and self._end >= offset:
                return False
            for message in self._consumer.consume(1, POLL_S):
                # One at a time while it is waited for: a call for many returns only when it has as many, or when its time is over.
                self._take([message, *self._consumer.consume(FETCH_RECORDS, 0)], offset)
            if self._clock.monotonic_s() > deadline_s:
                raise NotAnsweredError(
                    f"{self.path}: no broker of {self._options.brokers} gives records from offset {offset:,} on",
                    hint="start the brokers, then repeat the command",
                )
        return self._queue[0].next_offset < end

    def _take(self, messages: list[object], offset: int) -> None:
        found = []
        for message in messages:
            error = message.error()  # type: ignore[attr-defined]  # they are messages
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                self._end = message.offset()  # type: ignore[attr-defined]
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
                raise self._gone(f"the records from offset {offset:,} on were deleted")
            else:
                raise NotAnsweredError(f"{self.path}: {words_of(error)}", hint="look at the brokers, then repeat the command")
        if found:
            self._queue.append(Fetched(found, frozenset(self._options.metadata), self._options.record_bytes_max))  # type: ignore[arg-type]

    def _compare_sizes(self, end: int) -> None:
        """If all of the generation was read again, compares what was counted. Raises `InputGoneError`."""
        known = self._position
        if (self._read_from, end) != (known.start, known.offset):
            return
        missing = known.records - self._records
        if missing or known.bytes != self._size_bytes:
            raise self._gone(
                f"{known.records:,} records were counted, {self._records:,} are there now: the topic was compacted, or records were deleted"
            )

    def _gone(self, what: str) -> InputGoneError:
        return InputGoneError(
            f"{self.path}: {what}", hint="the state stays as it is and goes on; what the topic does not keep cannot be checked"
        )
