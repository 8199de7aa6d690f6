"""The example of transactions: a batch run from the CSV into a database, and what happens if something is wrong on the way."""

from __future__ import annotations

import ast
import json
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from support.documents import SESSION_S_MAX
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

# A batch run. Each test has a copy of the example, and a database of its own.


def run_of(folder: Path, address: str, *command: str) -> subprocess.CompletedProcess[str]:
    """The program, with the example's configuration, here."""
    settings = [
        word for name in ("event-processor", "batch", "sqlite", "last") for word in ("--config", str(folder / f"{name}.toml"))
    ]
    return called(folder, "-m", "event_processor", *settings, "--set", f"services.ml.base_url={address}", *command)


def queried(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{(folder / 'out' / 'transactions.db').as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(statement).fetchall()


def sound_rows(folder: Path) -> dict[int, dict[str, Any]]:
    """The rows of the file that are transactions, by line."""
    return {line: row for line, row in enumerate(rows_of(folder), start=2) if is_sound(row)}


def assert_tables_are_those_of_the_file(folder: Path) -> None:
    """Row by row: both tables, the rule of the service, and the line and offset that a row says it is from."""
    content = (folder / "data" / "transactions.csv").read_bytes()
    sound = sound_rows(folder)
    fields = "_line, _offset, id, description, amount, timestamp, merchant, operation_type, side, processing_type"
    found = queried(folder, f"SELECT {fields} FROM transactions ORDER BY _line")
    assert [row[0] for row in found] == list(sound)
    for line, offset, *values in found:
        row = sound[line]
        assert content[:offset].count(b"\n") == line - 1
        assert content[offset:].startswith(f"{row['id']};".encode())
        assert values == [
            str(UUID(int=int(row["id"]))),
            row["description"],
            row["amount"].replace(",", "."),
            row["timestamp"].replace(" ", "T") + "Z",
            row["merchant"] or None,
            row["operation_type"],
            row["side"],
            "batch",
        ]
    predictions = queried(folder, "SELECT _line, transaction_id, category FROM predictions ORDER BY _line")
    assert predictions == [(line, str(UUID(int=int(row["id"]))), category(int(row["id"]))) for line, row in sound.items()]


def test_one_command_leads_from_nothing_to_rows_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    python = f"PYTHON={sys.executable}"
    command = ["make", "--no-print-directory", python, "DOCKER=no", "batch"]
    said = []
    tables = []
    for _ in range(2):
        finished = subprocess.run(
            command, cwd=folder, env=environment(), check=False, capture_output=True, text=True, timeout=SESSION_S_MAX
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        said.append(finished.stdout)
        tables.append([queried(folder, f"SELECT * FROM {table} ORDER BY _sequence") for table in ("transactions", "predictions")])
    assert tables[0] == tables[1]
    assert all("check: right: 10,000 transactions as in the file, each with its prediction; 0 bad rows" in text for text in said)
    assert re.search(r"^Travel +667 ", said[0], re.MULTILINE)
    assert_tables_are_those_of_the_file(folder)
    assert queried(folder, "SELECT COUNT(*), SUM(transactions) FROM figures_by_category") == [(15, 10_000)]
    assert queried(folder, "SELECT COUNT(*) FROM transactions_with_prediction") == [(10_000,)]


def test_the_batch_run_uses_another_port_if_something_else_has_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    made(folder, "--rows", "10")
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        # A connection is accepted by the kernel, and never answered.
        finished = called(folder, "batch.py", "--api-port", str(other.getsockname()[1]))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "is taken by something else" in finished.stdout
    assert_tables_are_those_of_the_file(folder)


def test_a_bad_row_of_the_file_is_a_dead_letter_and_the_service_never_sees_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    made(folder, "--rows", "600", "--bad", "18")
    finished = called(folder, "batch.py", "--api-port", "0")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "582 transactions as in the file, each with its prediction; 18 bad rows" in finished.stdout
    assert_tables_are_those_of_the_file(folder)
    dead = [json.loads(line) for line in (folder / "state" / "dead_letters.jsonl").read_text().splitlines()]
    assert sorted(letter["line"] for letter in dead) == sorted(set(range(2, 602)) - set(sound_rows(folder)))
    assert queried(folder, "SELECT COUNT(*) FROM event_processor_failed") == [(0,)]


def test_a_row_that_only_the_service_refuses_is_one_dead_letter_with_the_reason(tmp_path: Path) -> None:
    # Without validation and without the conversion, a timestamp reaches the service as it is in the file.
    folder = folder_of(
        tmp_path,
        """[[transforms]]
null_if_empty = ["merchant"]
convert = { id = "uuid" }
set = { processing_type = "batch", run_id = "csv-1", model_version = "1" }
[event]
model = ""
timestamp = ""
[sinks.transactions.columns]
timestamp = "text"
""",
    )
    made(folder, "--rows", "700")
    path = folder / "data" / "transactions.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[321] = re.sub(r'"\d{4}-[^"]+"', '"tomorrow"', lines[321])
    path.write_text("".join(lines), encoding="utf-8")
    with service() as address:
        finished = run_of(folder, address, "run", "--once")
    assert finished.returncode == 0, finished.stderr
    called_views = called(folder, "views.py")
    assert called_views.returncode == 0, called_views.stderr
    expected = [(line, category(int(line) - 1)) for line in range(2, 702) if line != 322]
    assert queried(folder, "SELECT _line, category FROM predictions ORDER BY _line") == expected
    assert queried(folder, "SELECT COUNT(*) FROM transactions") == [(700,)]
    ((line, status, reason),) = queried(folder, "SELECT line, status, reason FROM transactions_without_prediction")
    assert (line, status) == (322, "422")
    assert "timestamp" in reason
    failed = [json.loads(text) for text in (folder / "state" / "delivery" / "predictions.failed.jsonl").read_text().splitlines()]
    assert [(each["stage"], each["place"]["line"]) for each in failed] == [("predict", 322)]
    # Repaired, it goes to this sink alone.
    repaired = failed[0] | {"object": failed[0]["object"] | {"timestamp": "2023-11-28T06:35:12Z"}}
    (folder / "repaired.jsonl").write_text(json.dumps(repaired) + "\n", encoding="utf-8")
    with service() as address:
        for command in (["dead-letters", "retry", "repaired.jsonl", "--sink", "predictions"], ["run", "--once"]):
            finished = run_of(folder, address, *command)
            assert finished.returncode == 0, finished.stderr
    assert queried(folder, "SELECT category FROM predictions WHERE _line = 322") == [(category(321),)]
    assert queried(folder, "SELECT COUNT(*) FROM transactions_without_prediction") == [(0,)]


def test_nothing_is_lost_while_the_service_is_down(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "[outbox]\nonce_wait_s = 0\n")
    made(folder, "--rows", "800")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    finished = run_of(folder, f"http://127.0.0.1:{port}", "run", "--once")
    assert finished.returncode == 69, finished.stderr
    assert queried(folder, "SELECT COUNT(*) FROM predictions") == [(0,)]
    (folder / "last.toml").write_text("")
    with service() as address:
        finished = run_of(folder, address, "run", "--once")
    assert finished.returncode == 0, finished.stderr
    assert_tables_are_those_of_the_file(folder)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM transactions WHERE _line = 5", "transactions: line 5 is missing"),
        (
            "INSERT INTO transactions SELECT * FROM transactions WHERE _line = 5",
            "line 5 that should not be there, or is there twice",
        ),
        ("UPDATE transactions SET amount = '0.01' WHERE _line = 5", "transactions: line 5 is"),
        ("DELETE FROM predictions WHERE _line = 5", "predictions: line 5 is missing"),
        ("UPDATE predictions SET category = 'Rent' WHERE _line = 5", "predictions: line 5 is Rent, not Client Expenses"),
    ],
)
def test_the_check_finds_what_is_wrong(tmp_path: Path, statement: str, words: str) -> None:
    folder = folder_of(tmp_path)
    made(folder, "--rows", "10")
    assert called(folder, "batch.py", "--api-port", "0").returncode == 0
    with closing(sqlite3.connect(folder / "out" / "transactions.db")) as connection, connection:
        connection.execute(statement)
    finished = called(folder, "check.py")
    assert finished.returncode == 1
    assert words in finished.stdout


def test_the_check_and_the_service_stand_apart_from_the_program() -> None:
    for name in ("check.py", "ml_api/prediction.py", "ml_api/server.py", "ml_api/__main__.py", "generate.py"):
        tree = ast.parse((EXAMPLE / name).read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(module.split(".")[0] == "event_processor" for module in imported)


def test_the_service_is_started_and_stopped_by_its_number(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    port = on_a_free_port(folder)
    said = [
        (finished.returncode, finished.stdout)
        for step in ("status", "start", "start", "status", "stop", "stop")
        for finished in [called(folder, "ml_service.py", step)]
    ]
    address = f"http://127.0.0.1:{port}"
    assert said == [
        (69, f"prediction service: none at {address}\n"),
        (0, f"prediction service: {address}\n"),
        (0, f"prediction service: runs already at {address}\n"),
        (0, f"prediction service: healthy at {address}\n"),
        (0, "prediction service: stopped\n"),
        (0, "prediction service: none that was started here\n"),
    ]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["check.py"], "transactions.csv cannot be read: No such file or directory; make it: python generate.py"),
        (["views.py"], "sqlite: unable to open database file; was the file loaded? python batch.py --database sqlite"),
        (["views.py", "--database", "postgres"], "DATABASE_URL is not set"),
        (["generate.py", "--output", "batch.py/x.csv"], "batch.py/x.csv cannot be written: "),
    ],
)
def test_what_is_missing_is_said_in_a_line(tmp_path: Path, command: list[str], words: str) -> None:
    finished = called(folder_of(tmp_path), *command)
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert words in finished.stderr


def test_the_other_targets_of_the_makefile_work_without_docker(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    made(folder, "--rows", "10")
    assert called(folder, "batch.py", "--api-port", "0").returncode == 0
    said = {}
    for target in ("status", "logs", "down", "test", "clean"):
        command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", "DOCKER=no", target]
        finished = subprocess.run(
            command, cwd=folder, env=environment(), check=False, capture_output=True, text=True, timeout=SESSION_S_MAX
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        said[target] = finished.stdout + finished.stderr
    assert re.search(r"^accepted +10, ", said["status"], re.MULTILINE)
    assert re.search(r"^predictions +events +not running +0 +10 ", said["status"], re.MULTILINE)
    assert '"event": "stopped"' in said["logs"]
    assert "streaming: never started here" in said["status"]
    assert said["down"] == "prediction service: none that was started here\n"
    assert said["test"].endswith("OK\n")
    assert not [name for name in ("data", "out", "state", "work") if (folder / name).exists()]
