"""A real Apache Kafka broker on 127.0.0.1, one node in KRaft mode, with a folder of its own.

Owns: `KafkaBroker`: how it is made, started, killed, paused and stopped, and what tests do with topics; `broker_of_tests`.
Always: the broker is a child that dies with this process, and is stopped by the id it was started with. Every wait is bounded.
Programs come from `kafka_programs.py`. Every client is closed before its broker ends.
Never: trusts a broker that it did not start.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import pytest
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec  # type: ignore[attr-defined]  # they are not listed

from support.kafka_programs import JAVA_OPTIONS, KafkaPrograms, why_no_kafka, write_settings
from support.processes import wait_until

__all__ = ["KafkaBroker", "broker_of_tests"]

WITHIN_S: Final = 60.0
NUMBERS: Final = count(1)
NO_LEADER_YET: Final = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


@dataclass
class KafkaBroker:
    """A context manager: inside, the broker runs. `folder` exists. `settings`: as in server.properties.

    Clients reach it by `address`. A test that cuts the network starts `TcpProxy(broker.behind_port, broker.proxy_port)`, and gives its
    clients `proxied_address`: the broker then sends them to the proxy for everything.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    behind_port: int = 0
    proxy_port: int = 0
    sasl_port: int = 0
    tls_port: int = 0
    controller_port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """What clients connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def proxied_address(self) -> str:
        """What clients connect to if a `TcpProxy` is in between."""
        return f"127.0.0.1:{self.proxy_port}"

    @property
    def sasl_address(self) -> str:
        """Takes the users app (app-secret), with all rights, and guest (guest-secret), without any; SASL_PLAINTEXT, PLAIN."""
        return f"127.0.0.1:{self.sasl_port}"

    @property
    def tls_address(self) -> str:
        """Has the certificate `certificate_file`, for 127.0.0.1."""
        return f"127.0.0.1:{self.tls_port}"

    @property
    def certificate_file(self) -> Path:
        return self.folder / "certificate" / "kafka.pem"

    def make(self) -> None:
        """Makes an empty node."""
        programs = KafkaPrograms.of_this_machine()
        shutil.copytree(programs.formatted, self.folder / "data")
        for name, port in write_settings(self.folder, self.settings).items():
            setattr(self, name, port)

    def start(self) -> None:
        """Starts the broker, and waits until it answers. It has the same ports and data as before."""
        assert self.process is None
        programs = KafkaPrograms.of_this_machine()
        java = ["java", *JAVA_OPTIONS, f"-XX:SharedArchiveFile={programs.archive}", "-cp", programs.class_path, "kafka.Kafka"]
        with open(self.folder / "log", "ab") as log:
            command = ["setpriv", "--pdeathsig=KILL", *java, str(self.folder / "server.properties")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        # A client that is made after the port is open does not sleep before its second try.
        wait_until(self._has_port, f"Kafka opens port {self.port}")
        with self.admin() as admin:
            wait_until(lambda: _answers(admin), f"Kafka on port {self.port} answers")

    def _has_port(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kills it with -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stops it in order."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freezes it: connections stay open, and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Ends a pause."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            self.process.wait(WITHIN_S)
            self.process = None

    def __enter__(self) -> Self:
        self.make()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @contextmanager
    def admin(self) -> Iterator[AdminClient]:
        """A client for everything that has no method here. It must not be used after the block."""
        yield AdminClient({"bootstrap.servers": self.address, **QUIET})

    def new_topic(self, partitions: int = 1, **settings: str) -> str:
        """The name of a new, empty topic. `settings`: as topics have them, with _ for ."""
        name = f"topic-{os.getpid()}-{next(NUMBERS)}"
        self.make_topic(name, partitions, **settings)
        return name

    def make_topic(self, name: str, partitions: int = 1, **settings: str) -> None:
        """Makes a topic, and waits until each of its partitions has a leader."""
        config = {key.replace("_", "."): value for key, value in settings.items()}
        with self.admin() as admin:
            _done(admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)]))
            wait_until(lambda: len(_led(admin, name)) == partitions, f"{name} has leaders")

    def add_partitions(self, name: str, partitions: int) -> None:
        """Gives a topic so many partitions in all."""
        with self.admin() as admin:
            _done(admin.create_partitions([NewPartitions(name, partitions)]))
            wait_until(lambda: len(_led(admin, name)) == partitions, f"{name} has leaders")

    def delete_topic(self, name: str) -> None:
        """Deletes a topic, and waits until it is gone."""
        with self.admin() as admin:
            _done(admin.delete_topics([name]))
            wait_until(lambda: name not in admin.list_topics(timeout=WITHIN_S).topics, f"{name} is gone")

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Deletes the records of a partition before an offset: its log then begins there, as after retention."""
        with self.admin() as admin:
            _done(admin.delete_records([TopicPartition(topic, partition, before)]))

    def offsets(self, topic: str, partition: int = 0) -> tuple[int, int]:
        """The first offset of a partition, and the one after the last that a reader of committed records may see."""
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # they have no types
        return self._offset(topic, partition, earliest), self._offset(topic, partition, latest)

    def _offset(self, topic: str, partition: int, spec: OffsetSpec) -> int:
        asked = TopicPartition(topic, partition)
        answers: list[int] = []

        def is_answered() -> bool:
            found = admin.list_offsets({asked: spec}, isolation_level=IsolationLevel.READ_COMMITTED)
            try:
                answers.append(int(found[asked].result(WITHIN_S).offset))
            except KafkaException as error:
                # The metadata name the leader a moment before it answers as one.
                if error.args[0].code() not in NO_LEADER_YET:
                    raise
            return bool(answers)

        with self.admin() as admin:
            wait_until(is_answered, f"the leader of {topic} answers")
        return answers[0]

    def produce(
        self,
        topic: str,
        values: Sequence[bytes | None],
        partition: int = 0,
        *,
        key: Callable[[int], bytes | None] = lambda _: None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Writes records, and waits until the broker has them all, each once. `key`: of a value, by its index."""
        # Without idempotence, a slow answer makes the library send again, and the record is there twice.
        producer = Producer({"bootstrap.servers": self.address, "enable.idempotence": True, "linger.ms": 0, **QUIET})
        _produce(producer, topic, values, partition, key=key, headers=headers)
        assert producer.flush(WITHIN_S) == 0

    def transaction(self, topic: str, values: Sequence[bytes], partition: int = 0, *, is_aborted: bool = False) -> None:
        """Writes records in one transaction of its own."""
        with self.open_transaction(topic, values, partition) as producer:
            (producer.abort_transaction if is_aborted else producer.commit_transaction)(WITHIN_S)

    @contextmanager
    def open_transaction(self, topic: str, values: Sequence[bytes], partition: int = 0) -> Iterator[Producer]:
        """Writes records in a transaction that the caller commits or aborts."""
        name = f"transaction-{os.getpid()}-{next(NUMBERS)}"
        producer = Producer({"bootstrap.servers": self.address, "transactional.id": name, **QUIET})
        producer.init_transactions(WITHIN_S)
        producer.begin_transaction()
        _produce(producer, topic, values, partition)
        assert producer.flush(WITHIN_S) == 0
        yield producer

    def read_committed(self, topic: str, *, isolation: str = "read_committed") -> list[Message]:
        """All records that a reader of committed records sees, by partition and offset."""
        with self.admin() as admin:
            partitions = _led(admin, topic)
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "tests",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
                **QUIET,
            }
        )
        try:
            consumer.assign([TopicPartition(topic, each, self.offsets(topic, each)[0]) for each in partitions])
            return sorted(
                _read_to_the_end(consumer, len(partitions)), key=lambda each: (each.partition() or 0, each.offset() or 0)
            )
        finally:
            consumer.close()

    def topic_id(self, topic: str) -> str:
        """The id of a topic, which another topic of the same name does not have."""
        with self.admin() as admin:
            return str(admin.describe_topics(TopicCollection([topic]))[topic].result(WITHIN_S).topic_id)


QUIET: Final = {"log_level": 0, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200}
"""A broker that is away or comes back is found at once, and a client says nothing on its own."""


def _done(futures: Mapping[Any, Any]) -> None:
    for future in futures.values():
        future.result(WITHIN_S)


def _answers(admin: AdminClient) -> bool:
    try:
        return bool(admin.list_topics(timeout=5).brokers)
    except KafkaException:
        return False


def _led(admin: AdminClient, topic: str) -> list[int]:
    """The partitions of a topic that have a leader."""
    found = admin.list_topics(topic, timeout=WITHIN_S).topics[topic].partitions
    return sorted(number for number, each in found.items() if each.leader >= 0 and each.error is None)


def _produce(
    producer: Producer,
    topic: str,
    values: Sequence[bytes | None],
    partition: int,
    *,
    key: Callable[[int], bytes | None] = lambda _: None,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    for index, value in enumerate(values):
        while True:
            try:
                producer.produce(topic, value, key(index), partition, headers=list(headers))
                break
            except BufferError:
                producer.poll(1)


def _read_to_the_end(consumer: Consumer, partitions: int) -> Iterator[Message]:
    ended: set[int] = set()
    while len(ended) < partitions:
        # One by one: `consume` of many waits for as many, or for its whole time.
        first = consumer.poll(WITHIN_S)
        assert first is not None, f"no end of {partitions} partitions"
        for message in (first, *consumer.consume(1000, 0)):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition() or 0)
            else:
                raise KafkaException(error)


@contextmanager
def broker_of_tests(**settings: str) -> Iterator[KafkaBroker]:
    """A broker that runs with these settings (with _ for .). Skips the test if none can run here; with CI=true it may not skip."""
    reason = why_no_kafka()
    if reason and os.environ.get("CI") != "true":
        pytest.skip(reason)
    given = {name.replace("_", "."): value for name, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder, KafkaBroker(Path(folder), given) as broker:
        yield broker
