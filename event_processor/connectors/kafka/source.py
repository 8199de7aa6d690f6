"""The Kafka source: the partitions of one topic, each a generation, read exactly once.

Owns: when the brokers are asked, what is fetched, and which partition gives the next chunk.
Always: a record is handed on only after the topic's id was asked for again, later than the record was fetched, and was the same: a topic that was
deleted and made again is never read under the old positions. An offset that is gone stops the process (65) with the way out.
A broker that is away is waited for.
Never: blocks; resets an offset; commits one at the broker (except in a group, see `group.py`).
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Final

from event_processor.connectors.kafka import gaps
from event_processor.connectors.kafka.client import (
    AdminClient,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
    error_of,
    made,
)
from event_processor.connectors.kafka.client_options import client_settings
from event_processor.connectors.kafka.partition import Partition
from event_processor.connectors.kafka.positions import PartitionPosition, read_position
from event_processor.connectors.kafka.records import Fetched
from event_processor.connectors.kafka.reports import Reports
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.connectors.kafka.survey import Bounds, Surveyor, Topic, Trouble
from event_processor.model.connector import SourceContext
from event_processor.model.event import Chunk, Json

__all__ = ["CONSUMER_SETTINGS", "KafkaSource"]

CONSUMER_SETTINGS: Final[Mapping[str, object]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "check.crcs": True,
    "allow.auto.create.topics": False,
    # What the library fetches ahead, for all partitions together, and in one answer of a broker.
    "queued.max.messages.kbytes": 32_768,
    "fetch.max.bytes": 16_777_216,
    "fetch.wait.max.ms": 200,
    "reconnect.backoff.max.ms": 2_000,
    # While the outbox is full, nothing is fetched; that must not look like a death.
    "max.poll.interval.ms": 86_400_000,
}
FETCH_RECORDS: Final = 5_000
"""So many records are taken from the library at once."""
QUEUED_RECORDS_MAX: Final = 10_000
"""If so many were fetched and not handed on, nothing is fetched."""
SURVEY_S: Final = 5.0
"""So often the brokers are asked about the topic: its id, new partitions, and how far its logs reach."""
TROUBLED_SURVEY_S: Final = 1.0
SHORT_S_MAX: Final = 30.0
"""A log that ends before our position is waited for so long: after a broker's restart its end may be shown too early for a moment."""
AVERAGE_BYTES: Final = 100
"""The size of a record while none was read, to say how much is unread."""
FETCHING_S: Final = 0.02
VERIFYING_S: Final = 0.002
"""While an answer of a broker is on its way, a read is worth repeating after this time."""
_OFFSET_GONE: Final = frozenset(
    {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}  # noqa: SLF001
)


class KafkaSource:
    """Chunks of one topic, as `contracts.Source` promises. See also `ReadsGenerations`."""

    def __init__(self, options: KafkaSourceOptions, context: SourceContext) -> None:
        """Connects in the background. Raises `ConfigurationError`, for example if the password cannot be read."""
        self.name: Final = context.name
        where = f"sources.{context.name}"
        self._options: Final = options
        self._start: Final = context.start or options.start
        self._clock: Final = context.world.clock
        self._telemetry: Final = context.world.telemetry
        self._reports: Final = Reports(options, context)
        settings = client_settings(options, context.world.fs)
        own = {"group.id": options.group or f"event-processor.{context.name}", "error_cb": self._reports.client_failed}
        self._consumer: Final = made(Consumer, {**CONSUMER_SETTINGS, **settings, **own}, where)
        self._surveyor: Final = Surveyor(made(AdminClient, settings, where), options.topic, self._clock.monotonic_s)
        self._metadata: Final = frozenset(options.metadata)
        self._partitions: Final[dict[int, Partition]] = {}
        self._siblings: Final[dict[int, int]] = {}
        """Starts of partitions that were chosen with the first ones, but are in no checkpoint yet."""
        self._moved: Final[deque[Chunk]] = deque()
        """Chunks without records, to be handed on first."""
        self._bounds: Mapping[int, Bounds] = {}
        self._next_generation = 1
        self._next_survey_s = 0.0
        self._verified_s = float("-inf")
        self._turn = -1
        self._is_assigned = False
        self._has_only: int | None = None
        """The only partition that is fetched now; None: all are."""

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        self._next_generation = next_generation
        for generation, position in sorted(positions.items()):
            known = read_position(position)
            self._partitions[known.partition] = Partition(generation, known, known.offset)
            self._siblings.update({int(partition): start for partition, start in (known.siblings or {}).items()})

    def read(self, bytes_max: int) -> Chunk | None:
        self._only(None)
        self._work()
        if self._moved:
            return self._moved.popleft()
        ready = [number for number, each in self._partitions.items() if each.is_ready(self._verified_s)]
        if not ready:
            return None
        # In turn: the first one after the last that gave a chunk.
        self._turn = next((number for number in ready if number > self._turn), ready[0])
        return self._partitions[self._turn].chunk(self.name, bytes_max)

    def read_from(self, generation: int, after: int, bytes_max: int) -> Chunk | None:  # noqa: ARG002 - a partition has no successor
        """See `ReadsGenerations.read_from`. `bytes_max` is also the number of offsets up to the end of the run that is read again."""
        number = next((number for number, each in self._partitions.items() if each.generation == generation), None)
        if number is None or self._moved:
            return self.read(bytes_max)
        partition = self._partitions[number]
        self._only(number)
        self._work()
        if not partition.is_ready(self._verified_s):
            return None
        return partition.chunk(self.name, bytes_max, end=partition.position.offset + bytes_max)

    def lag_bytes(self) -> int:
        return sum(self._unread_bytes(number, each) for number, each in self._partitions.items())

    def _unread_bytes(self, number: int, partition: Partition) -> int:
        """An estimate: the number of offsets that are unread, and the average size of the records that were read."""
        bounds, position = self._bounds.get(number), partition.position
        if bounds is None or partition.is_at_end:
            return 0
        unread = max(0, bounds.end - max(position.offset, bounds.begin))
        return unread * (position.bytes // position.records if position.records else AVERAGE_BYTES)

    def has_more(self) -> bool:
        return bool(self._moved) or any(each.is_ready(self._verified_s) for each in self._partitions.values())

    def wait_s(self) -> float | None:
        if any(each.queue for each in self._partitions.values()):
            return VERIFYING_S
        if self._is_assigned and all(each.is_at_end for each in self._partitions.values()):
            return None
        return TROUBLED_SURVEY_S / 5 if self._reports.is_troubled else FETCHING_S

    def acknowledge(self) -> None:
        """Does nothing: the position is in our checkpoint."""

    def close(self) -> None:
        self._consumer.close()

    # What the brokers say.

    def _work(self) -> None:
        """Takes what the brokers have answered, and asks again if it is time."""
        answer = self._surveyor.answer()
        if isinstance(answer, Trouble):
            self._next_survey_s = self._clock.monotonic_s() + TROUBLED_SURVEY_S
            self._reports.troubled(answer)
        elif answer is not None:
            self._found(answer)
        self._fetch()
        self._reports.give_up_if_once()
        if self._surveyor.is_asking:
            return
        now_s = self._clock.monotonic_s()
        if now_s >= self._next_survey_s:
            self._next_survey_s = now_s + SURVEY_S
            self._surveyor.ask()
        elif any(each.queue and not each.is_ready(self._verified_s) for each in self._partitions.values()):
            self._surveyor.ask(only_id=True)

    def _found(self, topic: Topic) -> None:
        self._check_id(topic)
        self._verified_s = topic.asked_s
        if topic.bounds:
            self._bounds = topic.bounds
            self._check_offsets(topic)
            self._discover(topic)
        if missing := [number for number in self._options.partitions if number not in topic.partitions]:
            words = f"the topic has no partition {missing[0]}; it has {len(topic.partitions)}"
            self._reports.troubled(Trouble(words, is_missing=True))
        else:
            self._reports.answered()

    def _check_id(self, topic: Topic) -> None:
        """Raises `StateError` if it is another topic of the same name."""
        known = [each.position for each in self._partitions.values()]
        if any(each.topic_id and topic.id and each.topic_id != topic.id for each in known):
            raise gaps.made_again(self.name, self._options.topic, known, topic.id)

    def _check_offsets(self, topic: Topic) -> None:
        """Raises `StateError` if records are gone that were not fetched."""
        known = {number: (each, topic.bounds[number]) for number, each in self._partitions.items() if number in topic.bounds}
        gone = {number: (each.fetched, bounds) for number, (each, bounds) in known.items() if each.fetched < bounds.begin}
        if gone:
            raise gaps.expired(self.name, self._options.topic, gone)
        short = {number: (each, bounds) for number, (each, bounds) in known.items() if each.fetched > bounds.end}
        for number, (each, _) in known.items():
            if number in short:
                each.lost_since_s = topic.asked_s if each.lost_since_s is None else each.lost_since_s
            elif each.lost_since_s is not None and each.lost_since_s <= topic.asked_s:
                each.lost_since_s = None
                self._assign()  # the library stopped at the error
        too_short = {number: (each.fetched, bounds) for number, (each, bounds) in short.items() if _is_over(each, topic)}
        if too_short:
            raise gaps.too_short(self.name, self._options.topic, too_short)

    def _discover(self, topic: Topic) -> None:
        """Begins to read partitions that are not known yet."""
        wanted = self._options.partitions or topic.partitions
        new = [number for number in wanted if number not in self._partitions and number in topic.bounds]
        is_first = not self._partitions and self._next_generation == 1
        if is_first and len(new) < len(wanted):
            return  # the places at which a first start begins are of one moment
        if is_first:
            at_end = self._start == "end"
            self._siblings.update(
                {number: each.end if at_end else each.begin for number, each in topic.bounds.items() if number in new}
            )
        for index, number in enumerate(new):
            siblings = {str(each): self._siblings[each] for each in new[index + 1 :]} if is_first and index == 0 else None
            self._begin(number, topic, siblings or None)
        if new or not self._is_assigned:
            self._assign()

    def _begin(self, number: int, topic: Topic, siblings: Mapping[str, int] | None) -> None:
        start = self._siblings.pop(number, topic.bounds[number].begin)
        path = self._options.path_of(number)
        position = PartitionPosition(path, number, start, start, topic.id, siblings=siblings)
        partition = Partition(self._next_generation, position, start)
        self._next_generation += 1
        self._partitions[number] = partition
        # If we die before the commit of this chunk, the next start begins at the first one's siblings, or looks again.
        self._moved.append(partition.opened(self.name))
        self._telemetry.file_opened(source=self.name, path=path, generation=partition.generation, offset=start)

    def _assign(self) -> None:
        """Tells the library what to fetch, and from where."""
        self._is_assigned = True
        self._consumer.assign([self._place(number, each) for number, each in self._partitions.items()])

    def _place(self, number: int, partition: Partition) -> TopicPartition:
        epoch = partition.position.epoch if partition.fetched == partition.position.offset else -1
        return TopicPartition(self._options.topic, number, partition.fetched, leader_epoch=epoch)

    # What is fetched.

    def _fetch(self) -> None:
        """Takes from the library what it has fetched. It also reports failures then."""
        queued = sum(each.queued for each in self._partitions.values())
        limit = FETCH_RECORDS if queued < QUEUED_RECORDS_MAX else 0
        if self._has_only is not None and not self._partitions[self._has_only].queue:
            limit = FETCH_RECORDS
        if limit:
            with _without_collections():
                self._take(limit)

    def _take(self, limit: int) -> None:
        try:
            messages = self._consumer.consume(limit, 0)
        except KafkaException as exception:
            self._reports.client_failed(error_of(exception))
            return
        now_s = self._clock.monotonic_s()
        by_partition: dict[int, list[Message]] = {}
        # They come in long runs of one partition. Work per message is a few calls of C.
        for partition, run in groupby(messages, Message.partition):
            number, found = -1 if partition is None else partition, list(run)
            if any(map(Message.error, found)):
                found = [message for message in found if not self._has_failed(number, message, now_s)]
            if found:
                by_partition.setdefault(number, []).extend(found)
        for number, whole in by_partition.items():
            self._add(number, whole, now_s)

    def _add(self, number: int, messages: Sequence[Message], now_s: float) -> None:
        partition = self._partitions.get(number)
        if partition is None:
            return  # it was revoked
        fetched = Fetched(messages, self._metadata, self._options.record_bytes_max)  # type: ignore[arg-type]  # they are messages
        assert fetched.next_offset >= partition.fetched, "the library gives each record once, in order"
        partition.add(fetched, fetched.last_offset + 1, now_s)

    def _has_failed(self, number: int, message: Message, now_s: float) -> bool:
        """Whether it is no record but an error, which is taken then."""
        error = message.error()
        if error is not None:
            self._failed(number, error, message.offset(), now_s)
        return error is not None

    def _failed(self, number: int, error: KafkaError, offset: int | None, now_s: float) -> None:
        partition = self._partitions.get(number)
        code = error.code()
        if partition is None:
            self._reports.client_failed(error)
        elif code == KafkaError._PARTITION_EOF:  # noqa: SLF001
            partition.end = offset
        elif code in _OFFSET_GONE:
            # What the brokers say now decides whether it is gone, or was shown as gone for a moment.
            partition.lost_since_s = partition.lost_since_s or now_s
            self._next_survey_s = 0.0
        else:
            self._next_survey_s = 0.0
            self._reports.client_failed(error)

    def _only(self, number: int | None) -> None:
        """Fetches only this partition for now, or all of them again (None)."""
        if number == self._has_only or not self._is_assigned:
            return
        self._has_only = number
        others = [TopicPartition(self._options.topic, each) for each in self._partitions if each != number]
        one = [] if number is None else [TopicPartition(self._options.topic, number)]
        self._consumer.resume(others if number is None else one)
        if number is not None:
            self._consumer.pause(others)


@contextmanager
def _without_collections() -> Iterator[None]:
    """Python's garbage collector stays off.

    Thousands of messages are made and dropped, none of them in a cycle, and it would look at the whole heap for them again and again. What
    other threads leave meanwhile is collected a moment later.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _is_over(partition: Partition, topic: Topic) -> bool:
    """Whether the log was too short for long enough."""
    return partition.lost_since_s is not None and topic.asked_s - partition.lost_since_s >= SHORT_S_MAX
