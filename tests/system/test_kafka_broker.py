"""The broker that tests of Kafka use: what was committed survives a kill, an aborted record is hidden, an offset expires, users are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from support.kafka_broker import KafkaBroker, broker_of_tests
from support.processes import wait_until
from support.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


def values(broker: KafkaBroker, topic: str) -> list[bytes | str | None]:
    return [message.value() for message in broker.read_committed(topic)]


def test_a_kill_keeps_what_was_committed_and_the_port(broker: KafkaBroker) -> None:
    topic = broker.new_topic(partitions=2)
    broker.produce(topic, [b"1", b"2\n", None], partition=1)
    address = broker.address
    broker.kill()
    broker.start()
    broker.produce(topic, [b"0"])
    assert broker.address == address
    assert values(broker, topic) == [b"0", b"1", b"2\n", None]


def test_aborted_and_open_records_are_hidden_and_leave_gaps(broker: KafkaBroker) -> None:
    topic = broker.new_topic()
    broker.transaction(topic, [b"0", b"1"])
    broker.transaction(topic, [b"aborted"], is_aborted=True)
    broker.produce(topic, [b"5"])
    with broker.open_transaction(topic, [b"open"]) as producer:
        assert [(each.offset(), each.value()) for each in broker.read_committed(topic)] == [(0, b"0"), (1, b"1"), (5, b"5")]
        assert broker.offsets(topic) == (0, 6)
        producer.abort_transaction()


def test_deleted_records_move_the_beginning_and_a_topic_made_again_has_another_id(broker: KafkaBroker) -> None:
    topic = broker.new_topic()
    broker.produce(topic, [b"0", b"1", b"2"])
    broker.delete_records(topic, 0, 2)
    assert broker.offsets(topic) == (2, 3)
    before = broker.topic_id(topic)
    broker.delete_topic(topic)
    broker.make_topic(topic)
    assert broker.topic_id(topic) != before
    assert broker.offsets(topic) == (0, 0)


def test_a_proxy_between_client_and_broker_is_used_for_everything(broker: KafkaBroker) -> None:
    topic = broker.new_topic()
    with TcpProxy(broker.behind_port, broker.proxy_port) as proxy:
        client = AdminClient({"bootstrap.servers": broker.proxied_address})
        brokers = client.list_topics(topic, timeout=30).brokers
        assert [each.port for each in brokers.values()] == [broker.proxy_port]
        assert proxy.connections >= 1
        del client


def test_users_are_told_apart_and_a_certificate_is_checked(broker: KafkaBroker) -> None:
    topic = broker.new_topic()
    user: dict[str, str | int | float | bool] = {
        "bootstrap.servers": broker.sasl_address,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "guest",
        "sasl.password": "guest-secret",
    }
    error = AdminClient(user).list_topics(topic, timeout=30).topics[topic].error
    assert error is not None
    assert error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    app = user | {"sasl.username": "app", "sasl.password": "app-secret"}
    assert AdminClient(app).list_topics(topic, timeout=30).topics[topic].error is None
    tls: dict[str, str | int | float | bool] = {
        "bootstrap.servers": broker.tls_address,
        "security.protocol": "SSL",
        "ssl.ca.location": str(broker.certificate_file),
    }
    assert AdminClient(tls).list_topics(topic, timeout=30).topics[topic].error is None


def test_a_paused_broker_answers_when_it_is_resumed(broker: KafkaBroker) -> None:
    broker.pause()
    client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
    try:
        with pytest.raises(KafkaException):
            client.list_topics(timeout=1)
    finally:
        broker.resume()
    wait_until(lambda: bool(client.list_topics(timeout=30).brokers), "it answers")
