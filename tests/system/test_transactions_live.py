"""The live pipeline of the example of transactions, with a real broker: the tables are those of the file, also if processes share the topic."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from support.documents import SESSION_S_MAX, play, session
from support.kafka_broker import KafkaBroker, broker_of_tests
from support.live_transactions import LiveExample, live_example
from support.postgres_server import server_of_tests
from support.processes import wait_until
from support.transactions import EXAMPLE, category, environment, folder_of, is_sound, made, rows_of, service

ROWS, BAD = 10_000, 45
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


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_the_same_rows_give_the_same_tables_through_the_file_and_through_the_topic(
    request: pytest.FixtureRequest, database: str
) -> None:
    example: LiveExample = request.getfixturevalue(database)
    folder = example.folder
    made(folder, "--rows", str(ROWS), "--bad", str(BAD))
    right = f"check: right: {ROWS - BAD:,} transactions as in the file, each with its prediction; {BAD} bad rows"
    assert right in example.batch()
    assert right in example.streaming()
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
    # Each bad row is one dead letter, both ways: its line of the file, and its record.
    is_postgres = example.database == "postgres"
    lines = [*zip((folder / "data" / "transactions.csv").read_text().splitlines()[1:], records(folder), strict=True)]
    bad = [pair for pair, row in zip(lines, rows_of(folder), strict=True) if not is_sound(row)]
    assert sorted(letters(folder, "state-postgres" if is_postgres else "state")) == sorted(line for line, _ in bad)
    state = "state-live-postgres" if is_postgres else "state-live"
    assert sorted(letters(folder, state)) == sorted(record for _, record in bad)
    if is_postgres:
        return
    # Sent again, every transaction is a duplicate.
    assert right in example.streaming()
    assert rows(example, "transactions", "= 'transactions-live'") == rows(example, "transactions", "= 'transactions'")
    counts = json.loads((folder / state / "checkpoint.json").read_text())["state"]["counts"]
    assert (counts["accepted"], counts["duplicate"], counts["rejected"]) == (ROWS - BAD, ROWS - BAD, 2 * BAD)


def records(folder: Path) -> list[str]:
    return (folder / "work" / "transactions.jsonl").read_text(encoding="utf-8").splitlines()


def test_two_processes_share_the_topic_and_one_is_killed_on_the_way(postgres: LiveExample) -> None:
    example, folder = postgres, postgres.folder
    made(folder, "--rows", "4000", "--bad", "18")
    content = (folder / "data" / "transactions.csv").read_text()
    head, *lines = content.splitlines(keepends=True)
    example.streaming("start", "--processes", "2")
    (folder / "data" / "transactions.csv").write_text("".join([head, *lines[:2000]]))
    example.streaming("produce")
    wait_until(lambda: example.has_row("predictions", "transactions-live-1-of-2"), "the first process writes")
    example.kill("1-of-2")
    (folder / "data" / "transactions.csv").write_text(content)
    example.streaming("produce")
    said = example.streaming("start", "--processes", "2")
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
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", "DOCKER=no", "KAFKA_BROKERS=127.0.0.1:1"]
    for target, is_ended in (("all", True), ("streaming", False)):
        finished = subprocess.run(
            [*command, "ROWS=20", target],
            cwd=folder,
            env=environment() | {"ML_API_URL": "http://127.0.0.1:1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=SESSION_S_MAX,
        )
        said = finished.stdout + finished.stderr
        assert (finished.returncode == 0) is is_ended, said
        assert "streaming: no broker answers at 127.0.0.1:1. Start one there" in said
        assert "make streaming KAFKA_BROKERS=host:9092" in said
        assert "Traceback" not in said
        assert not (folder / "state-live").exists()
