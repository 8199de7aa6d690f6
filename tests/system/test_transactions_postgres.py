"""The example of transactions with a real PostgreSQL: the same tables as in SQLite, and a second run that changes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from support.documents import SESSION_S_MAX
from support.postgres_server import PostgresServer, server_of_tests
from support.transactions import category, environment, folder_of, is_sound, made, rows_of

FIELDS = "_line, _offset, id, description, amount, timestamp, merchant, operation_type, side, processing_type"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with server_of_tests() as server:
        yield server


def batch(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "batch.py", "--database", "postgres", "--api-port", "0"]
    return subprocess.run(
        command,
        cwd=folder,
        env=environment() | {"DATABASE_URL": url},
        check=False,
        capture_output=True,
        text=True,
        timeout=SESSION_S_MAX,
    )


def row_of(line: int, row: dict[str, Any], offset: int) -> tuple[Any, ...]:
    """What the table must hold of a row of the file."""
    moment = datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    amount = Decimal(row["amount"].replace(",", "."))
    others = (row["merchant"] or None, row["operation_type"], row["side"], "batch")
    return (line, offset, UUID(int=int(row["id"])), row["description"], amount, moment, *others)


def test_the_file_is_loaded_into_postgresql_once(tmp_path: Path, server: PostgresServer) -> None:
    folder = folder_of(tmp_path)
    made(folder, "--bad", "9")
    database = server.new_database()
    tables = []
    for _ in range(2):
        finished = batch(folder, server.url(database))
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "check: right: 9,991 transactions as in the file, each with its prediction; 9 bad rows" in finished.stdout
        tables.append(
            [server.execute(database, f"SELECT * FROM {name} ORDER BY _line") for name in ("transactions", "predictions")]
        )
    assert tables[0] == tables[1]
    offsets = [0]
    for content in (folder / "data" / "transactions.csv").read_bytes().split(b"\n"):
        offsets.append(offsets[-1] + len(content) + 1)
    sound = {line: row for line, row in enumerate(rows_of(folder), start=2) if is_sound(row)}
    expected = [row_of(line, row, offsets[line - 1]) for line, row in sound.items()]
    assert server.execute(database, f"SELECT {FIELDS} FROM transactions ORDER BY _line") == expected
    predictions = server.execute(database, "SELECT _line, transaction_id, category FROM predictions ORDER BY _line")
    assert predictions == [(line, UUID(int=int(row["id"])), category(int(row["id"]))) for line, row in sound.items()]
    assert server.execute(database, "SELECT COUNT(*), SUM(transactions) FROM figures_by_category") == [(15, 9_991)]
    assert server.execute(database, "SELECT COUNT(*) FROM transactions_without_prediction") == [(0,)]


def test_a_state_that_is_lost_is_noticed_and_nothing_is_written_twice(tmp_path: Path, server: PostgresServer) -> None:
    folder = folder_of(tmp_path)
    made(folder, "--rows", "20")
    database = server.new_database()
    assert batch(folder, server.url(database)).returncode == 0
    shutil.rmtree(folder / "state-postgres")
    finished = batch(folder, server.url(database))
    assert finished.returncode == 65, finished.stdout + finished.stderr
    assert "another state" in finished.stdout
    assert server.execute(database, "SELECT COUNT(*) FROM transactions") == [(20,)]
    # The way out of HOWTO.md: an empty database, and the whole file again.
    other = server.new_database()
    shutil.rmtree(folder / "state-postgres")
    assert batch(folder, server.url(other)).returncode == 0
    assert server.execute(other, "SELECT COUNT(*) FROM transactions_with_prediction") == [(20,)]


def test_a_database_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    made(folder, "--rows", "1")
    finished = subprocess.run(
        [sys.executable, "check.py", "--database", "postgres"],
        cwd=folder,
        env=environment() | {"DATABASE_URL": "postgresql:/user:hunter2@127.0.0.1:1/x"},
        check=False,
        capture_output=True,
        text=True,
        timeout=SESSION_S_MAX,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("postgres: ")
    assert "Traceback" not in finished.stderr
    assert "hunter2" not in finished.stdout + finished.stderr
