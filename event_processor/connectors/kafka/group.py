"""The Kafka source in a consumer group: the members share the partitions, and each record is counted at least once.

Owns: what happens when partitions come and go; the offsets that are committed to the group.
Always: an offset is committed to the group only after the checkpoint that counts its records. A partition goes on at the later one of the
group's offset and ours, so that a restart of this process repeats nothing. If others read it meanwhile, another generation begins.
Never: exactly once: a partition that moves to another member moves without our state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from event_processor.connectors.kafka.client import Consumer, KafkaException, TopicPartition, error_of
from event_processor.connectors.kafka.partition import Partition
from event_processor.connectors.kafka.positions import PartitionPosition
from event_processor.connectors.kafka.source import FETCHING_S, KafkaSource
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.connectors.kafka.survey import Topic
from event_processor.model.connector import SourceContext
from event_processor.model.event import Chunk, Json

__all__ = ["GroupSource"]

COMMITTED_S_MAX: Final = 5.0
"""A new assignment waits so long for the group's offsets; then it is tried again."""


class GroupSource(KafkaSource):
    """See `KafkaSource`. `_partitions` are those that this member has now; `_resting` are the others that the state knows."""

    def __init__(self, options: KafkaSourceOptions, context: SourceContext) -> None:
        super().__init__(options, context)
        self._resting: Final[dict[int, Partition]] = {}
        self._unresolved: set[int] = set()
        """Partitions that we were given, while the group's offsets are not known."""
        self._topic_id = ""
        self._is_subscribed = False

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        super().open(positions, next_generation)
        self._resting.update(self._partitions)
        self._partitions.clear()

    def acknowledge(self) -> None:
        """Commits to the group what the checkpoint counts. If we die before this, the next start knows it from the checkpoint."""
        done = [
            TopicPartition(self._options.topic, number, each.position.offset)
            for number, each in self._partitions.items()
            if each.position.records
        ]
        if done:
            with suppress(KafkaException):
                self._consumer.commit(offsets=done, asynchronous=True)

    def wait_s(self) -> float | None:
        return FETCHING_S if self._unresolved else super().wait_s()

    def _discover(self, topic: Topic) -> None:
        """Joins the group, once the topic is known. The group says which partitions are ours."""
        self._topic_id = topic.id
        if not self._is_subscribed:
            self._is_subscribed = True
            self._consumer.subscribe([self._options.topic], on_assign=self._given, on_revoke=self._taken, on_lost=self._taken)
        self._resolve()

    def _given(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        """The group has given us partitions. The library calls it from `consume`."""
        self._unresolved |= {each.partition for each in partitions}
        self._resolve()
        if not partitions:
            self._assign()

    def _taken(self, _consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
        """The group takes partitions away. What was fetched of them and not handed on is read by another member."""
        for each in partitions:
            self._unresolved.discard(each.partition)
            partition = self._partitions.pop(each.partition, None)
            if partition is not None:
                partition.queue.clear()
                self._resting[each.partition] = partition

    def _resolve(self) -> None:
        """Finds out where the new partitions go on, and begins to fetch them. Blocks for a moment: it happens once per change of the group."""
        if not self._unresolved:
            return
        asked = [TopicPartition(self._options.topic, number) for number in sorted(self._unresolved)]
        try:
            answers = self._consumer.committed(asked, timeout=COMMITTED_S_MAX)
        except KafkaException as exception:
            self._reports.client_failed(error_of(exception))
            return
        if any(each.error is not None for each in answers) or not self._unresolved <= self._bounds.keys():
            return  # it is asked again
        for number, offset in sorted((each.partition, each.offset) for each in answers):
            self._go_on(number, offset if offset >= 0 else None)
        self._unresolved.clear()
        self._assign()

    def _go_on(self, number: int, committed: int | None) -> None:
        """`committed`: the group's offset; None if it has none."""
        resting, bounds = self._resting.pop(number, None), self._bounds.get(number)
        ours = resting.position.offset if resting else None
        known = [each for each in (committed, ours) if each is not None]
        first = 0 if bounds is None else bounds.end if self._start == "end" else bounds.begin
        start = max(known) if known else first
        if resting is not None and resting.position.offset == start:
            resting.fetched, resting.end = start, None
            self._partitions[number] = resting
            return
        if resting is not None:
            # Others read what is in between: our generation ends where we stopped.
            position = resting.position
            self._moved.append(Chunk(self.name, resting.generation, position.offset, b"", position.to_json(), retired=True))
        path = self._options.path_of(number)
        position = PartitionPosition(path, number, start, start, self._topic_id)
        partition = Partition(self._next_generation, position, start)
        self._next_generation += 1
        self._partitions[number] = partition
        self._moved.append(partition.opened(self.name))
        self._telemetry.file_opened(source=self.name, path=path, generation=partition.generation, offset=start)
