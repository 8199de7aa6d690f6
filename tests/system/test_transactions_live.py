"""The live pipeline of the example of transactions, with a real broker: the tables hold what the file says, also if processes share the topic."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from support.documents import play, session
from support.kafka_broker import KafkaBroker, broker_of_tests
from support.live_transactions import LiveExample, live_example, made_by
from support.postgres_server import server_of_tests
from support.processes import wait_until
from support.transactions import (
    EXAMPLE,
    called,
    category,
    environment,
    folder_of,
    is_sound,
    made,
    on_a_free_port,
    rows_of,
    service,
)

ROWS, BAD = 10_000, 45
RIGHT = "check: right: 9,955 transactions as in the file, each with its prediction; 45 bad rows"
CONFIGURATION = ("event-processor.toml", "live.toml", "sqlite.toml")
SAME = {
    "transactions": [
        "id", "description", "amount", "timestamp", "merchant", "operation_type", "side", "_sink", "_source", "_software",
    ],
    "predictions": ["transaction_id", "category", "model_version", "_sink", "_source", "_software"],
}  # fmt: skip
"""The columns in which a row from the file and one from the topic are equal."""
PLACE = {"_pipeline", "_generation", "_offset", "_line", "_sequence", "_delivered_at"}
"""Where the row comes from, and when it was written."""
DIFFERENT = {"transactions": {"processing_type", "run_id", *PLACE}, "predictions": PLACE}


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with service() as address:
        yield address


@pytest.fixture
def sqlite(tmp_path: Path, broker: KafkaBroker, api: str) -> Iterator[LiveExample]:
    with live_example(LiveExample(folder_of(tmp_path), broker, api)) as example:
        yield example


@pytest.fixture
def postgres(tmp_path: Path, broker: KafkaBroker, api: str) -> Iterator[LiveExample]:
    with server_of_tests() as server, live_example(LiveExample(folder_of(tmp_path), broker, api, server)) as example:
        yield example


def rows(example: LiveExample, table: str, pipelines: str) -> list[tuple[object, ...]]:
    columns = ", ".join(SAME[table])
    return example.query(f"SELECT {columns} FROM {table} WHERE _pipeline {pipelines} ORDER BY 1")


def letters(folder: Path, state: str) -> list[str]:
    """The records of the dead letters."""
    lines = (folder / state / "dead_letters.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["record"] for line in lines]


def test_the_same_rows_give_the_same_tables_in_sqlite_through_the_file_and_through_the_topic(sqlite: LiveExample) -> None:
    made(sqlite.folder, "--rows", str(ROWS), "--bad", str(BAD))
    assert RIGHT in sqlite.batch()
    assert RIGHT in sqlite.streaming()
    assert_both_ways_are_the_same(sqlite, "state", "state-live")
    settings = ["-m", "event_processor", *(word for name in CONFIGURATION for word in ("--config", name))]
    assert f"ok: {ROWS:,} records" in sqlite.step(
        *settings, "--set", f"sources.transactions.brokers={sqlite.broker.address}", "verify"
    )
    # Sent again, every transaction is a duplicate, and each bad row one more dead letter.
    assert RIGHT in sqlite.make("streaming")
    counts = json.loads((sqlite.folder / "state-live" / "checkpoint.json").read_text())["state"]["counts"]
    assert (counts["accepted"], counts["duplicate"], counts["rejected"]) == (ROWS - BAD, ROWS - BAD, 2 * BAD)
    assert re.search(r"^sink predictions .* 9,955 delivered", sqlite.make("status"), re.MULTILINE)
    assert '"event": "started"' in sqlite.make("logs")
    assert sqlite.make("down") == "streaming: stopped\nprediction service: none that was started here\n"
    assert sqlite.make("clean").startswith("topic transactions: removed\n")
    assert not [name for name in ("data", "out", "state", "state-live", "work") if (sqlite.folder / name).exists()]


def test_the_same_rows_give_the_same_tables_in_postgresql_and_a_container_s_commands_work(postgres: LiveExample) -> None:
    made(postgres.folder, "--rows", str(ROWS), "--bad", str(BAD))
    assert RIGHT in postgres.batch()
    postgres.streaming("produce")
    with postgres.in_the_foreground():
        wait_until((postgres.folder / "state-live-postgres" / "checkpoint.json").exists, "the first commit")
        assert RIGHT in postgres.streaming("check")
        assert re.search(r"^sink predictions .* 9,955 delivered", postgres.streaming("status"), re.MULTILINE)
    assert_both_ways_are_the_same(postgres, "state-postgres", "state-live-postgres")


def assert_both_ways_are_the_same(example: LiveExample, state: str, live_state: str) -> None:
    """Fails unless both tables have the same rows both ways, as the file says, and each bad row is one dead letter both ways."""
    folder = example.folder
    sound = sorted(str(UUID(int=int(row["id"]))) for row in rows_of(folder) if is_sound(row))
    assert len(sound) == ROWS - BAD
    for table, same in SAME.items():
        assert {*example.columns(table)} == {*same, *DIFFERENT[table]}
        from_the_file, from_the_topic = rows(example, table, "= 'transactions'"), rows(example, table, "= 'transactions-live'")
        assert [str(row[0]) for row in from_the_file] == sound
        assert from_the_topic == from_the_file
    assert example.query("SELECT DISTINCT processing_type, run_id FROM transactions WHERE _pipeline = 'transactions-live'") == [
        ("streaming", "kafka-1")
    ]
    lines = [*zip((folder / "data" / "transactions.csv").read_text().splitlines()[1:], records(folder), strict=True)]
    bad = [pair for pair, row in zip(lines, rows_of(folder), strict=True) if not is_sound(row)]
    assert sorted(letters(folder, state)) == sorted(line for line, _ in bad)
    assert sorted(letters(folder, live_state)) == sorted(record for _, record in bad)


def records(folder: Path) -> list[str]:
    return (folder / "work" / "transactions.jsonl").read_text(encoding="utf-8").splitlines()


def test_two_processes_share_the_topic_and_one_is_killed_on_the_way_and_then_the_broker(postgres: LiveExample) -> None:
    example, folder = postgres, postgres.folder
    made(folder, "--rows", "4000", "--bad", "18")
    content = (folder / "data" / "transactions.csv").read_text()
    head, *lines = content.splitlines(keepends=True)
    example.streaming("start", "--processes", "2")
    assert len([*folder.glob("state-live-postgres-*-of-2")]) == 2, "the division is known before the first commit"
    (folder / "data" / "transactions.csv").write_text("".join([head, *lines[:2000]]))
    example.streaming("produce")
    wait_until(lambda: example.has_row("predictions", "transactions-live-1-of-2"), "the first process writes")
    example.kill("1-of-2")
    # The other process lives through it.
    example.broker.kill()
    example.broker.start()
    (folder / "data" / "transactions.csv").write_text(content)
    example.streaming("produce")
    said = example.streaming("start")
    assert re.search(r"^streaming\S*-1-of-2: started", said, re.MULTILINE)
    assert re.search(r"^streaming\S*-2-of-2: runs already", said, re.MULTILINE)
    assert "check: right: 3,982 transactions as in the file, each with its prediction; 18 bad rows" in example.streaming("check")
    # By a rule of its own: each transaction once, from one of the two, and each process has written some.
    sound = sorted(int(row["id"]) for row in rows_of(folder) if is_sound(row))
    found = example.query("SELECT transaction_id, category FROM predictions ORDER BY transaction_id")
    assert [(UUID(str(key)).int, name) for key, name in found] == [(number, category(number)) for number in sound]
    shares = example.query("SELECT _pipeline, COUNT(*) FROM transactions GROUP BY _pipeline ORDER BY _pipeline")
    assert [name for name, _ in shares] == ["transactions-live-1-of-2", "transactions-live-2-of-2"]
    assert sum(count for _, count in shares) == len(sound)
    partitions = {
        each["position"]["path"]
        for number in (1, 2)
        for each in json.loads(next(folder.glob(f"state-live*-{number}-of-2/checkpoint.json")).read_text())["state"]["sources"][
            "transactions"
        ]["generations"]
    }
    assert len(partitions) == 4
    assert "PROCESSES=2" in example.streaming("start", "--processes", "1", exit_code=78)
    # A process with another's name does not write: the cursor of this name belongs to another state.
    settings = [word for name in (*CONFIGURATION[:2], "postgres.toml") for word in ("--config", name)]
    settings += [
        "--set",
        f"sources.transactions.brokers={example.broker.address}",
        "--set",
        "state.name=transactions-live-1-of-2",
    ]
    said = example.step("-m", "event_processor", *settings, "--state", "state-other", "run", "--once", exit_code=65)
    assert "another state" in said
    assert example.query("SELECT COUNT(*) FROM transactions") == [(len(sound),)]


def test_a_topic_of_others_is_used_and_not_removed(sqlite: LiveExample) -> None:
    made(sqlite.folder, "--rows", "1")
    sqlite.broker.make_topic("transactions", 3)
    assert "the topic transactions has 3 partitions, not 4: use PROCESSES=1" in sqlite.streaming(
        "start", "--processes", "2", exit_code=69
    )
    sqlite.streaming("produce")
    assert "removed" not in sqlite.streaming("clean")
    assert [each.key() for each in sqlite.broker.read_committed("transactions")] == [b"1"]


MESSAGES = {
    '1;"Card expense at EDF";-952,40;"2023-11-28 06:35:12";"EDF";"refund";"debit"': (
        '{"id": 1, "description": "Card expense at EDF", "amount": -952.40, "timestamp": "2023-11-28 06:35:12", '
        '"merchant": "EDF", "operation_type": "refund", "side": "debit"}'
    ),
    '20;"Café ""X""";7;"2023-01-01 00:00:00";"";"transfer";"credit"': (
        '{"id": 20, "description": "Café \\"X\\"", "amount": 7, "timestamp": "2023-01-01 00:00:00", '
        '"merchant": "", "operation_type": "transfer", "side": "credit"}'
    ),
    'TX-7;a;-12.50;"28/11/2023";b;"";both': (
        '{"id": "TX-7", "description": "a", "amount": "-12.50", "timestamp": "28/11/2023", "merchant": "b", '
        '"operation_type": "", "side": "both"}'
    ),
    "-7;a;;c;d;e;f": (
        '{"id": -7, "description": "a", "amount": null, "timestamp": "c", "merchant": "d", "operation_type": "e", "side": "f"}'
    ),
    "007;a;00,5;c;d;e;f": (
        '{"id": "007", "description": "a", "amount": "00,5", "timestamp": "c", "merchant": "d", "operation_type": "e", "side": "f"}'
    ),
    '5;"Card expens': '5;"Card expens',
    "5;a;1,0;too;few": "5;a;1,0;too;few",
    "": "",
}
"""Lines of the file, and the messages that they become."""


def test_a_message_has_what_the_row_has_and_a_broken_line_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"{line}\n" for line in ("header", *MESSAGES)), encoding="utf-8")
    finished = called(EXAMPLE, "stream.py", "--csv", str(path), "--output", str(tmp_path / "records.jsonl"))
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["records"] == len(MESSAGES)
    assert (tmp_path / "records.jsonl").read_text(encoding="utf-8").splitlines() == list(MESSAGES.values())


def test_the_session_of_the_page_says_what_it_says(sqlite: LiveExample, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("jq") is None and os.environ.get("CI") != "true":
        pytest.skip("needs jq")
    for name, value in sqlite.environment.items():
        monkeypatch.setenv(name, value)
    steps = session(EXAMPLE / "README.md", language="console kafka")
    assert len(steps) > 5
    faults = [
        f"{step.place}: $ {step.command}\n  expected {list(step.expected)}\n  said     {said}"
        for step, said in zip(steps, play(steps, sqlite.folder), strict=True)
        if not step.is_answered_by(said)
    ]
    assert not faults, "\n".join(faults)


def test_without_a_broker_the_live_pipeline_says_what_to_do(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    on_a_free_port(folder)
    made(folder, "--rows", "20")
    variables = environment() | {"KAFKA_BROKERS": "127.0.0.1:1"}
    try:
        for target, exit_code in (("all", 0), ("streaming", 2)):
            said = made_by(folder, variables, target, exit_code=exit_code)
            assert "streaming: no broker answers at 127.0.0.1:1. Start one there" in said
            assert "make streaming KAFKA_BROKERS=host:9092" in said
            assert ("check: right: 20 transactions" in said) is (target == "all")
            assert not (folder / "state-live").exists()
    finally:
        said = made_by(folder, variables, "down")
    assert said == "prediction service: stopped\n"
