"""The example of transactions: its prediction service, its generator, and a batch run from the CSV into a database."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from support.documents import ROOT, SESSION_S_MAX
from support.processes import DEADLINE_S

EXAMPLE = ROOT / "examples" / "003-transactions"
FIELDS = ["id", "description", "amount", "timestamp", "merchant", "operation_type", "side"]


def environment() -> dict[str, str]:
    """Ours, without settings of ours, and with the example's modules."""
    names = {
        name: value for name, value in os.environ.items() if not name.startswith(("EVENT_PROCESSOR_", "COVERAGE_", "DATABASE_"))
    }
    return {**names, "PYTHONPATH": f"{EXAMPLE}{os.pathsep}{ROOT}", "PYTHONUTF8": "1"}


def called(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, where it finds the example's modules."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment(), check=False, capture_output=True, text=True, timeout=DEADLINE_S)


def made(folder: Path, *options: str) -> dict[str, Any]:
    """Makes the file data/transactions.csv in a folder; what the generator says of it."""
    folder.mkdir(exist_ok=True)
    finished = called(folder, str(EXAMPLE / "generate.py"), "--output", str(folder / "data" / "transactions.csv"), *options)
    assert finished.returncode == 0, finished.stderr
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of the file, line by line: a quote that is not closed breaks its own line alone."""
    _, *lines = (folder / "data" / "transactions.csv").read_text(encoding="utf-8").splitlines()
    return [row for line in lines for row in csv.DictReader([line], FIELDS, delimiter=";")]


@contextmanager
def service(port: int = 0) -> Iterator[str]:
    """The address of a prediction service that runs."""
    command = [sys.executable, "-m", "ml_api", "--port", str(port)]
    with subprocess.Popen(command, cwd=EXAMPLE, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()
            assert process.wait(DEADLINE_S) == 0


# The prediction service.


def test_the_tests_of_the_prediction_service_pass() -> None:
    finished = called(EXAMPLE, "-W", "error", "-m", "unittest", "ml_api.test_ml_api")
    assert finished.returncode == 0, finished.stderr


def test_the_command_of_the_document_gets_its_prediction() -> None:
    command = re.search(r"curl -X POST http://localhost:8000/predict.*?\]'", (EXAMPLE / "HOWTO.md").read_text(), re.DOTALL)
    assert command is not None
    body = command[0][command[0].index("'[") + 1 : -1]
    with service() as address:
        finished = subprocess.run(
            ["bash", "-c", command[0].replace("http://localhost:8000", address)],
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
    number = int(json.loads(body)[0]["id"].replace("-", ""), 16)
    assert json.loads(finished.stdout) == [{"transaction_id": json.loads(body)[0]["id"], "category": category(number)}]


def category(number: int) -> str:
    """The rule of the document for a UUID of this number: the hash of an integer is its remainder by 2**61 - 1."""
    names = [
        "Rent",
        "Salary Income",
        "Food",
        "Restaurant",
        "Client Expenses",
        "Transportation",
        "Utilities",
        "Entertainment",
        "Healthcare",
        "Shopping",
        "Travel",
        "Education",
        "Insurance",
        "Investment",
        "Subscriptions",
    ]
    return names[number % (2**61 - 1) % 15]


def test_a_service_whose_port_is_taken_says_so() -> None:
    with service() as address:
        finished = called(EXAMPLE, "-m", "ml_api", "--port", address.rpartition(":")[2])
    assert finished.returncode == 1
    assert "cannot listen on 127.0.0.1:" in finished.stderr
    assert "Traceback" not in finished.stderr


# The generator.


def test_the_file_has_the_form_of_the_document(tmp_path: Path) -> None:
    assert made(tmp_path) | {"file": ""} == {"file": "", "rows": 10_000, "bad": 0, "faults": {}}
    first, *lines = (tmp_path / "data" / "transactions.csv").read_text(encoding="utf-8").splitlines()
    assert first == "id;description;amount;timestamp;merchant;operation_type;side"
    form = re.compile(
        r'\d+;"(?:[^"]|"")+";-?\d+,\d\d;"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d";"(?:[^"]|"")*";"[a-z_]+";"(?:debit|credit)"'
    )
    assert [line for line in lines if not form.fullmatch(line)] == []
    rows = rows_of(tmp_path)
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 10_001)]
    moments = [row["timestamp"] for row in rows]
    assert moments != sorted(moments)
    assert 200 < sum(row["merchant"] == "" for row in rows) < 800
    assert all((row["side"] == "debit") == row["amount"].startswith("-") for row in rows)
    assert any(not row["description"].isascii() for row in rows)
    assert any('"' in row["merchant"] for row in rows)


def test_the_same_seed_makes_the_same_file(tmp_path: Path) -> None:
    files = []
    for name, seed in (("one", "7"), ("two", "7"), ("other", "8")):
        made(tmp_path / name, "--rows", "200", "--bad", "20", "--seed", seed)
        files.append((tmp_path / name / "data" / "transactions.csv").read_bytes())
    assert files[0] == files[1] != files[2]


def is_sound(row: dict[str, Any]) -> bool:
    """Whether a row of the CSV is a transaction, by rules of its own."""
    try:
        assert None not in row.values()
        assert re.fullmatch(r"\d+", row["id"])
        assert re.fullmatch(r"-?\d+(,\d+)?", row["amount"])
        datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the document's timestamps have no zone
        Decimal(row["amount"].replace(",", "."))
    except (AssertionError, ValueError, InvalidOperation):
        return False
    return row["operation_type"] != "" and row["side"] in ("debit", "credit")


def test_every_kind_of_fault_is_made_and_breaks_its_row_alone(tmp_path: Path) -> None:
    said = made(tmp_path, "--rows", "300", "--bad", "30")
    assert said["bad"] == sum(said["faults"].values()) == 30
    assert len(said["faults"]) == 9
    assert sum(not is_sound(row) for row in rows_of(tmp_path)) == 30


@pytest.mark.parametrize("options", [("--rows", "-1"), ("--rows", "2", "--bad", "3"), ("--bad", "-1")])
def test_a_file_that_cannot_be_made_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    finished = called(tmp_path, str(EXAMPLE / "generate.py"), "--output", "x.csv", *options)
    assert finished.returncode == 2
    assert not (tmp_path / "x.csv").exists()


# A batch run. Each test has a copy of the example, and a database of its own.


def folder_of(tmp_path: Path, extra: str = "") -> Path:
    """A copy of the example. `extra` is one more configuration, last.toml."""
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "out", "state*", "work", "__pycache__", ".venv"))
    (folder / "last.toml").write_text(extra, encoding="utf-8")
    return folder


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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = (folder / "ml_service.py").read_text()
    (folder / "ml_service.py").write_text(text.replace("PORT: Final = 8000", f"PORT: Final = {port}"))
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
