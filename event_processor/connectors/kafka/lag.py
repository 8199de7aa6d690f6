"""How far a topic is behind, asked by a command beside the daemon.

Owns: the number of unread records, clamped at the begin of the log and at its last stable offset.
Always: an end of offsets without records (markers and aborted records of transactions) is not counted: it is read over. Takes a few seconds at most.
Never: fails because no broker answers: then the lag is unknown, with words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from event_processor.connectors.kafka.client import Consumer, KafkaError, TopicPartition, made
from event_processor.connectors.kafka.client_options import client_settings
from event_processor.connectors.kafka.positions import PartitionPosition
from event_processor.connectors.kafka.source import AVERAGE_BYTES, CONSUMER_SETTINGS
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.connectors.kafka.survey import Bounds, look_now
from event_processor.model.connector import Lag, SourceContext
from event_processor.model.errors import NotAnsweredError

__all__ = ["lag_of"]

LOOK_S_MAX: Final = 5.0
"""Partitions that seem to have unread records are looked at for so long. Those that gave no answer are counted by their offsets."""
POLL_S: Final = 0.1


def lag_of(options: KafkaSourceOptions, context: SourceContext, positions: Sequence[PartitionPosition]) -> Lag:
    """How much is unread. Raises `ConfigurationError`."""
    if not positions:
        return Lag()
    try:
        topic = look_now(options, options.topic, context.world, f"sources.{context.name}")
    except NotAnsweredError as error:
        return Lag(unknown=error.message)
    behind = {
        each.partition: each for each in positions if (bounds := topic.bounds.get(each.partition)) and bounds.end > each.offset
    }
    firsts = _first_unread(options, context, behind, topic.bounds) if behind else {}
    records = size_bytes = 0
    for number, position in behind.items():
        bounds = topic.bounds[number]
        unread = max(0, bounds.end - max(firsts.get(number, position.offset), bounds.begin))
        records += unread
        size_bytes += unread * (position.bytes // position.records if position.records else AVERAGE_BYTES)
    return Lag(size_bytes, records)


def _first_unread(
    options: KafkaSourceOptions,
    context: SourceContext,
    behind: Mapping[int, PartitionPosition],
    bounds: Mapping[int, Bounds],
) -> dict[int, int]:
    """By partition, the offset of the first unread record; the end of the log if there is none."""
    # One record of each is enough.
    little = {"queued.min.messages": 1, "queued.max.messages.kbytes": 1_024, "fetch.max.bytes": 1_048_576}
    settings = {**CONSUMER_SETTINGS, **client_settings(options, context.world.fs), **little, "group.id": "event-processor.lag"}
    consumer, found = made(Consumer, settings, f"sources.{context.name}"), dict[int, int]()
    try:
        consumer.assign(
            [TopicPartition(options.topic, number, max(each.offset, bounds[number].begin)) for number, each in behind.items()]
        )
        deadline_s = context.world.clock.monotonic_s() + LOOK_S_MAX
        while len(found) < len(behind) and context.world.clock.monotonic_s() < deadline_s:
            for message in consumer.consume(1, POLL_S):
                error, offset = message.error(), message.offset()
                if offset is None or not (error is None or error.code() == KafkaError._PARTITION_EOF):  # noqa: SLF001
                    continue
                number = message.partition() or 0
                if number not in found:
                    found[number] = offset
                    consumer.pause([TopicPartition(options.topic, number)])
    finally:
        consumer.close()
    return found
