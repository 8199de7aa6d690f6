"""`produce` and a real broker: what a reader finds is what is in the file."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kafka_broker import KafkaBroker, broker_of_tests
from support.processes import MAIN_JOB, Finished, wait_until, warm_job

LINES = [b'{"id":"a","n":1}', b'{"id":7,"n":2}', b"", b" \t", b"no JSON", b'{"n":4}', b'{"id":"a","n":5}']


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


def environment() -> dict[str, str]:
    return {**os.environ, "EVENT_PROCESSOR_CONFIG": "/dev/null"}


def produce(folder: Path, *arguments: str, given: bytes = b"") -> Finished:
    """Runs the command to its end."""
    called = [*warm_job(), "produce", *arguments]
    ended = subprocess.run(called, cwd=folder, capture_output=True, check=False, timeout=120, env=environment(), input=given)
    assert b"Traceback" not in ended.stderr
    return Finished(ended.returncode, (ended.stdout + ended.stderr).decode())


def values(broker: KafkaBroker, topic: str) -> list[bytes | None]:
    return [each.value() for each in broker.read_committed(topic)]


SENT = [line for line in LINES if line.strip()]


@pytest.mark.parametrize("form", ["plain", "gzip", "standard input", "CRLF, and no line end at the end"])
def test_each_line_is_a_record(broker: KafkaBroker, tmp_path: Path, form: str) -> None:
    topic = broker.new_topic()
    content = b"\n".join(LINES) + b"\n"
    if form.startswith("CRLF"):
        content = b"\r\n".join(LINES)
    path = tmp_path / "lines"
    path.write_bytes(gzip.compress(content) if form == "gzip" else content)
    options = ["--topic", topic, "--brokers", broker.address, "--key", "id"]
    ended = produce(tmp_path, "-", *options, given=content) if form == "standard input" else produce(tmp_path, "lines", *options)
    assert ended.exit_code == 0, ended
    assert f"{topic}: 5 records acknowledged in " in ended.stderr
    assert "2 x blank line\n2 x record without a key" in ended.stderr
    assert values(broker, topic) == SENT
    assert [each.key() for each in broker.read_committed(topic)] == [b"a", b"7", None, None, b"a"]


def test_the_brokers_of_a_configured_table_are_used(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic()
    table = f'[sinks.results]\ntype = "kafka"\nbrokers = "{broker.address}"\ntopic = "{topic}"\n'
    (tmp_path / "pipeline.toml").write_text(table)
    (tmp_path / "lines").write_bytes(b"\n".join(LINES))
    ended = produce(tmp_path, "lines", "--topic", topic, "--json", "--config", "pipeline.toml")
    assert ended.exit_code == 0, ended
    assert {key: value for key, value in json.loads(ended.stderr).items() if key != "took_s"} == {
        "acknowledged": 5, "refused": 0, "refusal": "", "unanswered": 0, "blank": 2, "oversized": 0, "without_key": 0, "damaged": [],
        "is_complete": True,
    }  # fmt: skip
    assert values(broker, topic) == SENT


def test_a_rate_is_kept_and_a_signal_ends_the_stream_with_what_was_sent(broker: KafkaBroker, tmp_path: Path) -> None:
    """An hour of records at this rate: it does not send them all at once, and it sends more than one."""
    topic = broker.new_topic()
    (tmp_path / "lines").write_bytes(b"".join(b'{"n":%d}\n' % n for n in range(72_000)))
    options = ["--topic", topic, "--brokers", broker.address, "--rate", "20/s"]
    started = subprocess.Popen([*MAIN_JOB, "produce", "lines", *options], cwd=tmp_path, stdout=subprocess.PIPE, env=environment())
    wait_until(lambda: len(values(broker, topic)) >= 3, "records arrive")
    started.send_signal(signal.SIGTERM)
    said = started.communicate(timeout=60)[0].decode()
    found = values(broker, topic)
    assert started.returncode == 128 + signal.SIGTERM
    assert len(found) < 72_000
    assert f"{topic}: {len(found):,} records acknowledged" in said
    assert "stopped before the end of the input" in said
    assert found == [b'{"n":%d}' % n for n in range(len(found))]


def test_a_record_that_is_too_large_is_counted_and_takes_no_other_with_it(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(1, max_message_bytes="2000")
    lines = [b'{"n":%d,"mark":"%s"}' % (n, b"x" * 3000 if n in (50, 51) else b"") for n in range(500)]
    (tmp_path / "lines").write_bytes(b"\n".join(lines) + b"\n")
    ended = produce(tmp_path, "lines", "--topic", topic, "--brokers", broker.address)
    assert ended.exit_code == 65, ended
    assert "2 records refused; the first: MSG_SIZE_TOO_LARGE" in ended.stderr
    assert values(broker, topic) == [line for line in lines if len(line) < 2000]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["lines", "--topic", "nowhere", "--brokers", "{brokers}"], 78, "topic nowhere: UNKNOWN_TOPIC_OR_PART"),
        (["missing", "--topic", "t", "--brokers", "{brokers}"], 66, "missing: no such file"),
        (["lines", "--topic", "t"], 64, "it is not clear which brokers have this topic"),
        (["lines", "--topic", "t", "--brokers", "a b"], 64, "wanted: addresses such as"),
        (["lines", "--topic", "t", "--rate", "fast"], 64, "is not a rate such as 100/s"),
        (["lines"], 64, "--topic"),
    ],
)
def test_a_fault_is_told_in_words_and_by_the_exit_code(
    broker: KafkaBroker, tmp_path: Path, arguments: list[str], exit_code: int, words: str
) -> None:
    (tmp_path / "lines").write_bytes(b"{}\n")
    ended = produce(tmp_path, *[each.format(brokers=broker.address) for each in arguments])
    assert ended.exit_code == exit_code, ended
    assert words in " ".join(ended.stderr.split())


def test_a_truncated_file_is_sent_as_far_as_it_goes(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic()
    whole = gzip.compress(b"".join(b'{"n":%d}\n' % n for n in range(20_000)), mtime=0)
    (tmp_path / "lines.gz").write_bytes(whole[: len(whole) // 2])
    ended = produce(tmp_path, "lines.gz", "--topic", topic, "--brokers", broker.address)
    assert ended.exit_code == 66, ended
    found = values(broker, topic)
    assert f"{topic}: {len(found):,} records acknowledged" in ended.stderr
    assert 0 < len(found) < 20_000
