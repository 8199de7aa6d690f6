"""Whether a topic can be read, for `doctor`.

Owns: what is looked at, and the words.
Always: takes some seconds at most, and reads no record.
Never: changes anything.
"""

from __future__ import annotations

from event_processor.connectors.kafka.client import AdminClient, made
from event_processor.connectors.kafka.client_options import client_settings
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.connectors.kafka.survey import Surveyor, Trouble, wait_for_answer
from event_processor.model.probes import Finding, ProbeContext

__all__ = ["topic_finding"]


def topic_finding(options: KafkaSourceOptions, context: ProbeContext) -> Finding:
    """Whether a broker answers, and the topic with its partitions is there. Raises `ConfigurationError`."""
    settings = client_settings(options, context.world.fs, context.environment)
    surveyor = Surveyor(made(AdminClient, settings, context.key), options.topic, context.world.clock.monotonic_s)
    answer = wait_for_answer(surveyor, context.world.clock)
    if isinstance(answer, Trouble):
        words = f"topic {options.topic} at {options.brokers}: {answer.words}"
        must_change = answer.is_missing or answer.is_refused
        return Finding(context.key, "wrong" if must_change else "unreachable", words, answer.remedy(context.key))
    if missing := [number for number in options.partitions if number not in answer.partitions]:
        words = f"topic {options.topic} has no partition {missing[0]}; it has {len(answer.partitions)}"
        return Finding(context.key, "wrong", words, f"correct {context.key}.partitions")
    unread = sum(bounds.end - bounds.begin for bounds in answer.bounds.values())
    words = f"topic {options.topic} can be described: {len(answer.partitions)} partitions, up to {unread:,} records"
    return Finding(context.key, "ok", words)
