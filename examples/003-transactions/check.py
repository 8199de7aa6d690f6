"""Works out from the CSV alone what the tables must hold, and compares: `python check.py`, for the live pipeline `python check.py --processing-type streaming`.

Owns: a second, independent reading of the file and of the prediction's rule.
Always: ends with 0 if every row is right, otherwise with 1 and the first differences.
Never: imports event_processor, or anything else of this folder. It changes nothing in the database.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

HERE: Final = Path(__file__).resolve().parent
SHOWN_MAX: Final = 5
BATCH: Final = "batch"
STREAMING: Final = "streaming"
KEYS: Final = {BATCH: "line", STREAMING: "id"}
"""By what a row of the file is found again. A record of a topic does not know its line."""
CATEGORIES: Final = (
    "Rent", "Salary Income", "Food", "Restaurant", "Client Expenses", "Transportation", "Utilities", "Entertainment", "Healthcare",
    "Shopping", "Travel", "Education", "Insurance", "Investment", "Subscriptions",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expected:
    """What the file says. `rows`: by their key (`KEYS`; line 1 is the header); `bad`: the lines that are no transaction."""

    rows: dict[Any, tuple[Any, ...]]
    bad: list[int]


def expected(path: Path, processing_type: str) -> Expected:
    """Reads the file line by line. Of several rows with one id, the first counts. Only a batch keeps the offset of a row."""
    rows: dict[Any, tuple[Any, ...]] = {}
    bad: list[int] = []
    ids: set[str] = set()
    offset = 0
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if number > 1 and line.strip():
            row = _row(line)
            if row is None:
                bad.append(number)
            elif row[0] not in ids:
                ids.add(row[0])
                if processing_type == BATCH:
                    rows[number] = (*row, offset)
                else:
                    rows[row[0]] = row
        offset += len(line) + 1
    return Expected(rows, bad)


def _row(line: bytes) -> tuple[Any, ...] | None:
    """The seven fields; None if the line is no transaction."""
    try:
        ((number, description, amount, moment, merchant, operation_type, side),) = csv.reader(
            [line.decode().rstrip("\r")], delimiter=";", strict=True
        )
        if not (re.fullmatch(r"\d+", number) and re.fullmatch(r"-?\d{1,8}(,\d+)?", amount)):
            return None
        timestamp = datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except (ValueError, csv.Error):
        return None
    if not operation_type or side not in ("debit", "credit"):
        return None
    return (
        str(UUID(int=int(number))),
        description,
        Decimal(amount.replace(",", ".")),
        timestamp,
        merchant or None,
        operation_type,
        side,
    )


def category(transaction_id: str) -> str:
    """The category of a transaction: the hash of a UUID is its number's remainder by 2**61 - 1."""
    return CATEGORIES[UUID(transaction_id).int % (2**61 - 1) % len(CATEGORIES)]


@contextmanager
def opened(database: str) -> Iterator[Any]:
    """A connection of Python's DB-API to "sqlite" (out/transactions.db) or "postgres" (`DATABASE_URL`).

    Raises `SystemExit` with a reason if it cannot be opened, or if the block's statements fail.
    """
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    url = os.environ.get("DATABASE_URL", "")
    if database == "postgres" and not url:
        raise SystemExit("DATABASE_URL is not set; it is such as postgresql://user:password@host:5432/database")
    try:
        if database == "sqlite":
            path = HERE / "out" / "transactions.db"
            connection: Any = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)
        else:
            import psycopg  # noqa: PLC0415 - only PostgreSQL needs it

            errors = (psycopg.Error,)
            connection = psycopg.connect(url)
        with closing(connection):
            yield connection
    except ImportError as error:
        raise SystemExit("psycopg is not there: pip install 'event-processor[postgres]'") from error
    except errors as error:
        # The address may hold a password, and a driver may repeat it.
        words = " ".join((str(error).replace(url, "DATABASE_URL") if url else str(error)).split())
        raise SystemExit(f"{database}: {words}; was the file loaded? python batch.py --database {database}") from error


def _plain(value: Any) -> Any:
    """The value in one form for both databases."""
    if isinstance(value, UUID):
        return str(value)
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _found(connection: Any, processing_type: str) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], set[Any]]:
    """The rows of both tables with their keys first, and the keys of the transactions that the service refused."""
    is_batch = processing_type == BATCH
    cursor = connection.cursor()
    # Every pipeline but the one of the file is a live one.
    key, place, pipelines = ("_line", ", _offset", "= 'transactions'") if is_batch else ("id", "", "<> 'transactions'")
    cursor.execute(
        f"SELECT {key}, id, description, amount, timestamp, merchant, operation_type, side{place} FROM transactions "  # noqa: S608 - words of ours
        f"WHERE processing_type = '{processing_type}' AND _pipeline {pipelines} ORDER BY {key}"
    )
    transactions = []
    for row in cursor.fetchall():
        found, transaction_id, description, amount, timestamp, *others = map(_plain, row)
        moment = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else timestamp
        transactions.append((found, transaction_id, description, Decimal(str(amount)), moment, *others))
    key = "_line" if is_batch else "transaction_id"
    cursor.execute(f"SELECT {key}, transaction_id, category FROM predictions WHERE _pipeline {pipelines} ORDER BY {key}")  # noqa: S608 - the same
    predictions = [tuple(map(_plain, row)) for row in cursor.fetchall()]
    cursor.execute(
        f"SELECT {KEYS[processing_type]} FROM transactions_without_prediction "  # noqa: S608 - the same
        f"WHERE reason IS NOT NULL AND processing_type = '{processing_type}'"
    )
    return transactions, predictions, {_plain(key) for (key,) in cursor.fetchall()}


def differences(wanted: Expected, connection: Any, processing_type: str) -> Iterator[str]:
    """Yields each difference between the file and the tables, in words."""
    transactions, predictions, refused = _found(connection, processing_type)
    word = KEYS[processing_type]
    rows = dict(wanted.rows)
    for key, *values in transactions:
        row = rows.pop(key, None)
        if row is None:
            yield f"transactions: a row from {word} {key} that should not be there, or is there twice"
        elif tuple(values) != row:
            yield f"transactions: {word} {key} is {tuple(values)}, not {row}"
    yield from (f"transactions: {word} {key} is missing" for key in rows)
    missing = {key: row[0] for key, row in wanted.rows.items() if key not in refused}
    for key, transaction_id, found in predictions:
        if missing.pop(key, None) != transaction_id:
            yield f"predictions: a row from {word} {key} that should not be there, or is there twice"
        elif found != category(transaction_id):
            yield f"predictions: {word} {key} is {found}, not {category(transaction_id)}"
    yield from (f"predictions: {word} {key} is missing" for key in missing)


def main() -> int:
    """Compares, and prints the result. 0 if everything is right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--csv", type=Path, default=HERE / "data" / "transactions.csv", help="default: %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite", help="default: %(default)s")
    parser.add_argument("--processing-type", choices=tuple(KEYS), default=BATCH, help="which rows; default: %(default)s")
    arguments = parser.parse_args()
    try:
        wanted = expected(arguments.csv, arguments.processing_type)
    except OSError as error:
        raise SystemExit(f"{arguments.csv} cannot be read: {error.strerror}; make it: python generate.py") from error
    with opened(arguments.database) as connection:
        found = differences(wanted, connection, arguments.processing_type)
        shown = list(islice(found, SHOWN_MAX))
        more = sum(1 for _ in found)
    for words in shown:
        print(f"check: {words}")
    if more:
        print(f"check: and {more:,} more")
    if not shown:
        print(
            f"check: right: {len(wanted.rows):,} transactions as in the file, each with its prediction; {len(wanted.bad):,} bad rows"
        )
    return 1 if shown else 0


if __name__ == "__main__":
    sys.exit(main())
