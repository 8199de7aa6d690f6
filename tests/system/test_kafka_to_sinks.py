"""From a topic to a database and to another topic, while the program, the broker and the network fail: each event is there once.

The receivers are read by clients of our own; what must be there is computed from what was written (`support/kafka_trial.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.kafka_broker import KafkaBroker, broker_of_tests
from support.kafka_trial import PARTITIONS, UNFIT_BYTES, Answered, KafkaTrial
from support.postgres_server import PostgresServer, server_of_tests
from support.processes import Daemon, wait_until
from support.tcp_proxy import TcpProxy

KILLS = 20
RECORDS = 80
"""So many are written before each kill."""
DATABASE = """
[services.database]
timeout_s = 1
[sinks.rows]
type = "sql"
service = "database"
url = "{url}"
table = "results"
columns = {{ id = "integer", category = "text", value = "double", amount = "double", more = "json" }}
request_events_max = 20
"""
TOPIC = """
[sinks.rows]
type = "kafka"
brokers = "{brokers}"
topic = "{topic}"
record_key = "id"
cursor_topic = "{topic}-cursors"
dead_letter_topic = "{letters}"
request_events_max = 20
client = {{ "reconnect.backoff.ms" = 10, "reconnect.backoff.max.ms" = 200 }}
"""
WRITTEN = "SELECT _generation, _offset, id, category, value, amount, more FROM results ORDER BY _sequence"


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with server_of_tests() as server:
        yield server


@pytest.fixture
def trial(broker: KafkaBroker, tmp_path: Path) -> KafkaTrial:
    if broker.process is None:
        broker.start()  # a test that failed left it so
    return KafkaTrial(tmp_path, broker)


def rows_of(trial: KafkaTrial, url: str) -> Answered:
    """What the database holds, after its cursor was compared with it."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(WRITTEN).fetchall()
        refused = connection.execute("SELECT place FROM event_processor_failed ORDER BY sequence").fetchall()
        cursors = connection.execute("SELECT sequence, delivered, failed, skipped FROM event_processor_cursor").fetchall()
    assert cursors == [(trial.released, len(rows), len(refused), 0)]
    names = ("id", "category", "value", "amount", "more")
    places = trial.places((generation, offset) for generation, offset, *_ in rows)
    failed = trial.places((place["generation"], place["offset"]) for place in (json.loads(text) for (text,) in refused))
    return Answered([(place, dict(zip(names, row[2:], strict=True))) for place, row in zip(places, rows, strict=True)], failed)


def messages_of(trial: KafkaTrial, topic: str, letters: str) -> Answered:
    """What a reader of committed records finds, in the order of the sequence; each number is there once, in one of the two topics."""
    found = [(True, each) for each in trial.broker.read_committed(topic)]
    found += [(False, each) for each in trial.broker.read_committed(letters)]
    headers = [dict(each.headers() or ()) for _, each in found]
    assert sorted(int(each["event_processor.sequence"] or b"") for each in headers) == list(range(1, trial.released + 1))
    # state_id:sink:source:generation:offset
    keys = [_text(each["event_processor.key"]).split(":") for each in headers]
    places = trial.places((int(key[3]), int(key[4])) for key in keys)
    contents = zip(places, found, strict=True)
    return Answered(
        [(place, json.loads(each.value() or b"")) for place, (is_delivered, each) in contents if is_delivered],
        [place for place, (is_delivered, _) in zip(places, found, strict=True) if not is_delivered],
    )


def _text(header: object) -> str:
    assert isinstance(header, bytes)
    return header.decode()


def cut_until_both_are_reported(trial: KafkaTrial, daemon: Daemon, proxies: tuple[TcpProxy, TcpProxy]) -> None:
    """Freezes the ways to the brokers and to the database until the daemon has reported that no broker answers (a question may take ten
    seconds), and the sink has tried several times. Then what was under way is reset.
    """
    before = int(trial.lane().get("waits", 0))
    for proxy in proxies:
        proxy.freeze()
    trial.append(RECORDS)

    def is_reported() -> bool:
        return "cannot be reached" in daemon.said() and int(trial.lane().get("waits", 0)) >= before + 3

    wait_until(lambda: is_reported() or not daemon.alive, "both cuts are reported")
    assert daemon.alive, daemon.said()
    for proxy in proxies:
        proxy.reset()
        proxy.thaw()


def test_from_a_topic_to_a_database_each_event_is_a_row_once(trial: KafkaTrial, server: PostgresServer) -> None:
    """Under twenty kills of the program, one of the broker, and a cut of the network on both sides."""
    database = server.new_database()
    with TcpProxy(trial.broker.behind_port, trial.broker.proxy_port) as kafka, TcpProxy(server.port) as postgres:
        trial.configure(DATABASE.format(url=server.url(database, port=postgres.port)), brokers=trial.broker.proxied_address)
        for part in range(KILLS):
            trial.append(RECORDS)
            daemon = trial.pipeline.start()
            if part == 7:
                trial.wait_for(daemon, trial.answered() + 10)
                trial.broker.kill()
                trial.broker.start()
            if part == 14:
                trial.wait_for(daemon, trial.answered() + 10)
                cut_until_both_are_reported(trial, daemon, (kafka, postgres))
            trial.kill_on_the_way(daemon)
        trial.once()
        trial.require_end(rows_of(trial, server.url(database)))
        assert "ok:" in trial.pipeline.verify().stderr


def test_from_a_topic_to_a_topic_readers_of_committed_records_see_each_event_once(trial: KafkaTrial) -> None:
    """Under twenty kills of the program, and one of the broker that holds both."""
    topic, letters = trial.broker.new_topic(PARTITIONS, max_message_bytes=str(UNFIT_BYTES)), trial.broker.new_topic()
    trial.configure(TOPIC.format(brokers=trial.broker.address, topic=topic, letters=letters))
    for part in range(KILLS):
        trial.append(RECORDS)
        daemon = trial.pipeline.start()
        if part == 10:
            trial.wait_for(daemon, trial.answered() + 10)
            trial.broker.kill()
            trial.broker.start()
        trial.kill_on_the_way(daemon)
    trial.once()
    trial.require_end(messages_of(trial, topic, letters))
    assert "ok:" in trial.pipeline.verify().stderr
