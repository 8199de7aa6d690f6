"""What `doctor` finds out about a sink of `type = "kafka"`.

Owns: `probe_sink`.
Always: no record is written, and no topic is made. Whether transactions are allowed is found out with a transactional id of its own, so that
no running sink is stopped.
Never: decides what is good enough: it names replicas and limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # it has them from its parts

from event_processor.connectors.kafka.client_options import client_settings
from event_processor.connectors.kafka.cursor_topic import COMPACT
from event_processor.connectors.kafka.failures import NO_TOPIC
from event_processor.connectors.kafka.producer_session import BATCH_BYTES, ProducerSession, SessionOptions
from event_processor.connectors.kafka.sink_clients import Clients, Interruption
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.model.answers import Verdict
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.transactions import TransactionError

__all__ = ["probe_sink"]

PROBE_S: Final = 10.0
"""How long the brokers may take for each answer, if the sink has no service."""


def probe_sink(options: KafkaSinkOptions, context: ProbeContext) -> Iterator[Finding]:
    """Looks at the topics, then at transactions. Ends at the first thing that is wrong, since the rest would fail as well."""
    within_s = PROBE_S if context.service is None else context.service.timeout_s
    now = context.world.clock.monotonic_s
    late_s = now() + 3 * within_s
    settings = client_settings(options, context.world.fs, context.environment)
    clients = Clients(settings, context.key, Interruption(lambda: now() > late_s))
    try:
        admin = clients.admin()
        for name in (*options.topics(), options.cursor_topic):
            yield _topic(clients, admin, (name, options.cursor_topic), context.key, within_s)
        yield _transactions(clients, options, context.key, within_s)
    except TransactionError as error:
        is_waiting = error.answer.verdict is Verdict.WAIT
        remedy = "make the brokers available" if is_waiting else error.remedy
        yield Finding(context.key, "unreachable" if is_waiting else "wrong", error.answer.words, remedy)


def _topic(clients: Clients, admin: AdminClient, names: tuple[str, str], key: str, within_s: float) -> Finding:
    """One topic. `names`: its name, and the name of the cursor topic. Raises `TransactionError`."""
    name, cursor_topic = names
    try:
        future = admin.describe_topics(TopicCollection([name]), request_timeout=within_s)[name]
        described = clients.result(admin, future, f"topic {name}")
    except KafkaException as exception:
        failure = clients.errors.failure(exception, f"topic {name}")
        if name == cursor_topic and failure.answer.status in NO_TOPIC:
            return Finding(
                key, "ok", f"the topic {name} does not exist yet; the first start makes it, with the brokers' default replication"
            )
        raise failure from exception
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    try:
        future = admin.describe_configs([resource], request_timeout=within_s)[resource]
        found = clients.result(admin, future, f"topic {name}")
    except KafkaException:
        return Finding(key, "ok", f"the topic {name} exists; its settings may not be looked at")
    policy = found["cleanup.policy"].value
    if name == cursor_topic and policy != "compact":
        words = f'the topic {name} has cleanup.policy "{policy}", so it forgets cursors after a while'
        return Finding(key, "wrong", words, COMPACT.format(topic=name))
    replicas = min((len(each.replicas) for each in described.partitions), default=0)
    lost = "; if the disk of its broker is lost, it is lost" if replicas == 1 else ""
    words = (
        f"the topic {name} has {_counted(len(described.partitions), 'partition')}, {_counted(replicas, 'replica')}, min.insync.replicas "
        f"{found['min.insync.replicas'].value}, max.message.bytes {found['max.message.bytes'].value}{lost}"
    )
    return Finding(key, "ok", words)


def _transactions(clients: Clients, options: KafkaSinkOptions, key: str, within_s: float) -> Finding:
    """Whether the sink may write in transactions. Raises `TransactionError`."""
    session = ProducerSession(
        clients, SessionOptions("event-processor.doctor", within_s, batch_bytes=BATCH_BYTES), options.client
    )
    try:
        session.fence()
    finally:
        session.close()
    return Finding(key, "ok", "transactions are allowed")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
