"""The example of transactions: its prediction service, its generator, and a batch run from the CSV into a database."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pytest

from support.documents import ROOT
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
