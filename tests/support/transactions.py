"""The example of transactions as tests see it: a folder of one's own, a file, the prediction service, and what is right by other rules.

Owns: how the example's programs are called, and the document's rules for a row and for a category.
Always: every process that is started ends with its block.
Never: imports the example or the package.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from support.documents import ROOT
from support.processes import DEADLINE_S

__all__ = [
    "EXAMPLE",
    "FIELDS",
    "called",
    "category",
    "environment",
    "folder_of",
    "is_sound",
    "made",
    "on_a_free_port",
    "rows_of",
    "service",
]

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


def folder_of(tmp_path: Path, extra: str = "") -> Path:
    """A copy of the example. `extra` is one more configuration, last.toml."""
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "out", "state*", "work", "__pycache__", ".venv"))
    (folder / "last.toml").write_text(extra, encoding="utf-8")
    return folder


def on_a_free_port(folder: Path) -> int:
    """Gives a copy of the example another port for its prediction service, so that tests do not share one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    text = (folder / "ml_service.py").read_text()
    (folder / "ml_service.py").write_text(text.replace("PORT: Final = 8000", f"PORT: Final = {port}"))
    return port
