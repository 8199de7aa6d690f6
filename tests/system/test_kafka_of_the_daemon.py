"""The real program and a real broker: what readers of committed records find is what an independent reading of the log says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from support.crash_trial import MAIN_PROGRAM
from support.kafka_broker import KafkaBroker, broker_of_tests
from support.processes import Pipeline, wait_until

KILLS = 20
EVENTS = 2000
LARGE = frozenset({333, 1500, 1501})
"""Events that are too large for the topic."""
CONFIGURATION = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[batch]
bytes_max = 8192
[state]
dir = "durable/state"
[sinks.results]
type = "kafka"
brokers = "{brokers}"
topic = "{topic}"
record_key = "id"
cursor_topic = "{topic}-cursors"
dead_letter_topic = "{letters}"
request_events_max = 20
[sinks.rejected]
type = "kafka"
input = "dead_letters"
brokers = "{brokers}"
topic = "{rejected}"
cursor_topic = "{topic}-cursors"
"""
OVER_TLS = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[sinks.results]
type = "kafka"
brokers = "{brokers}"
topic = "{topic}"
{tls}
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


def log_of(seed: int) -> list[bytes]:
    """Lines: events, with duplicates, events that are too large, and lines that are no events."""
    numbers, lines = Random(seed), []
    for number in range(EVENTS):
        chance = numbers.random()
        id_ = number if chance > 0.05 else numbers.randrange(max(1, number))
        event = {"id": id_, "category": f"c{number % 7}", "value": 1, "mark": "x" * 3000 if number in LARGE else ""}
        is_event = numbers.random() > 0.01 or number in LARGE
        lines.append((json.dumps(event) if is_event else f"no event {number}").encode() + b"\n")
    return lines


def expected(lines: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The records that must be in the topic, those among the failed ones, and the rejected ones, each in order."""
    delivered: list[bytes] = []
    failed: list[bytes] = []
    rejected: list[bytes] = []
    seen = set()
    for line in lines:
        record = line.rstrip(b"\n")
        try:
            id_ = json.loads(record)["id"]
        except ValueError:
            rejected.append(record)
            continue
        if id_ not in seen:
            seen.add(id_)
            (failed if len(record) > 2000 else delivered).append(record)
    return delivered, failed, rejected


def found(broker: KafkaBroker, topic: str) -> list[tuple[int, bytes | None]]:
    """Every committed record with the number that its header has, by that number."""
    messages = broker.read_committed(topic)
    return sorted((int(dict(each.headers() or ())["event_processor.sequence"] or b""), each.value()) for each in messages)


def answered(pipeline: Pipeline) -> int:
    """How many records the files of the lane say were answered."""
    try:
        counts = json.loads((pipeline.durable / "state" / "delivery" / "results.json").read_text())["counts"]
    except FileNotFoundError:
        return 0
    return int(counts["delivered"] + counts["failed"])


def test_after_twenty_kills_each_record_is_in_the_topic_once(broker: KafkaBroker, tmp_path: Path) -> None:
    lines, numbers = log_of(11), Random(12)
    delivered, failed, rejected = expected(lines)
    topic, letters, refused = broker.new_topic(3, max_message_bytes="2000"), broker.new_topic(1), broker.new_topic(1)
    pipeline = Pipeline(tmp_path, tmp_path / "durable", MAIN_PROGRAM.disturbed)
    pipeline.prepare(b"")
    text = CONFIGURATION.format(brokers=broker.address, topic=topic, letters=letters, rejected=refused)
    (tmp_path / "pipeline.toml").write_text(text)
    share = len(lines) // KILLS
    for part in range(KILLS):
        with pipeline.log.open("ab") as appended:
            appended.write(b"".join(lines[part * share : (part + 1) * share]))
        daemon = pipeline.start()
        # Somewhere in the records of this part.
        new = sum(len(each) for each in expected(lines[: (part + 1) * share])[:2]) - answered(pipeline)
        wanted = answered(pipeline) + numbers.randrange(1, new + 1)
        wait_until(lambda daemon=daemon, wanted=wanted: answered(pipeline) >= wanted or not daemon.alive, "records")  # type: ignore[misc]
        if part == KILLS // 2:
            broker.kill()
            broker.start()
        assert daemon.kill().exit_code < 0, "it runs until it is killed"
    finished = pipeline.run("--once")
    assert finished.exit_code == 0, finished
    assert "Traceback" not in finished.stderr
    records = found(broker, topic)
    assert [value for _, value in records] == delivered
    assert [value for _, value in found(broker, letters)] == failed
    assert [value for _, value in found(broker, refused)] == rejected
    assert sorted([number for number, _ in records] + [number for number, _ in found(broker, letters)]) == list(
        range(1, len(delivered) + len(failed) + 1)
    )
    mirror = json.loads((tmp_path / "durable" / "state" / "delivery" / "results.json").read_text())
    assert mirror["counts"] == {"delivered": len(delivered), "failed": len(failed), "skipped": 0}
    mirrored = (tmp_path / "durable" / "state" / "delivery" / "results.failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["object"] for line in mirrored] == [json.loads(each) for each in failed]


def test_a_fault_of_the_brokers_is_told_in_words_and_with_an_exit_code(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(1)
    pipeline = Pipeline(tmp_path, tmp_path / "durable", MAIN_PROGRAM.disturbed)
    pipeline.prepare(b'{"id":1,"category":"a","value":1}\n')
    text = CONFIGURATION.format(brokers=broker.address, topic=topic, letters="nowhere", rejected=topic)
    (tmp_path / "pipeline.toml").write_text(text)
    valid = pipeline.command_of("validate")
    assert valid.exit_code == 0, valid
    assert "exactly once, for readers with isolation.level = read_committed" in valid.stderr
    found_out = pipeline.command_of("doctor")
    assert found_out.exit_code == 78, found_out
    assert "topic nowhere: UNKNOWN_TOPIC_OR_PART" in found_out.stderr
    assert "Traceback" not in found_out.stderr
    broker.make_topic("nowhere")
    found_out = pipeline.command_of("doctor")
    assert found_out.exit_code == 0, found_out
    assert f"the topic {topic} has 1 partition, 1 replica, min.insync.replicas 1" in found_out.stderr
    assert f"the topic {topic}-cursors does not exist yet; the first start makes it" in found_out.stderr
    assert "transactions are allowed" in found_out.stderr
    with broker.admin() as admin:
        assert f"{topic}-cursors" not in admin.list_topics(timeout=60).topics, "it changes nothing"


def test_a_sink_that_is_reached_by_tls_checks_the_certificate(broker: KafkaBroker, tmp_path: Path) -> None:
    topic, record = broker.new_topic(1), b'{"id":1,"category":"a","value":1}'
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.log.write_bytes(record + b"\n")

    def configure(tls: str) -> None:
        text = OVER_TLS.format(brokers=broker.tls_address, topic=topic, tls=tls)
        (tmp_path / "pipeline.toml").write_text(text)

    configure('client."security.protocol" = "SSL"')  # the machine's certificates do not sign the broker's
    refused = pipeline.command_of("doctor")
    assert refused.exit_code != 0
    assert "certificate verify failed" in refused.stderr, refused
    assert "Traceback" not in refused.stderr
    configure(f'tls.ca_file = "{broker.certificate_file}"')
    assert pipeline.run("--once").exit_code == 0
    assert [value for _, value in found(broker, topic)] == [record]
