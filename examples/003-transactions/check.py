"""Works out from the CSV alone what the tables must hold, and compares: `python check.py`.

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
CATEGORIES: Final = (
    "Rent", "Salary Income", "Food", "Restaurant", "Client Expenses", "Transportation", "Utilities", "Entertainment", "Healthcare",
    "Shopping", "Travel", "Education", "Insurance", "Investment", "Subscriptions",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expected:
    """What the file says. `rows`: by line number, from 2 (line 1 is the header); `bad`: the lines that are no transaction."""

    rows: dict[int, tuple[Any, ...]]
    bad: list[int]


def expected(path: Path) -> Expected:
    """Reads the file line by line. Of several rows with one id, the first counts."""
    rows: dict[int, tuple[Any, ...]] = {}
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
                rows[number] = (*row, offset)
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


def _found(connection: Any) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], set[int]]:
    """The rows of both tables, and the lines of the transactions that the service refused."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT _line, id, description, amount, timestamp, merchant, operation_type, side, _offset FROM transactions ORDER BY _line"
    )
    transactions = []
    for row in cursor.fetchall():
        line, transaction_id, description, amount, timestamp, *others = map(_plain, row)
        moment = datetime.fromisoformat(timestamp) if isinstance(timestamp, str) else timestamp
        transactions.append((line, transaction_id, description, Decimal(str(amount)), moment, *others))
    cursor.execute("SELECT _line, transaction_id, category FROM predictions ORDER BY _line")
    predictions = [tuple(map(_plain, row)) for row in cursor.fetchall()]
    cursor.execute("SELECT line FROM transactions_without_prediction WHERE reason IS NOT NULL")
    return transactions, predictions, {line for (line,) in cursor.fetchall()}


def differences(wanted: Expected, connection: Any) -> Iterator[str]:
    """Yields each difference between the file and the tables, in words."""
    transactions, predictions, refused = _found(connection)
    rows = dict(wanted.rows)
    for line, *values in transactions:
        row = rows.pop(line, None)
        if row is None:
            yield f"transactions: a row from line {line} that should not be there, or is there twice"
        elif tuple(values) != row:
            yield f"transactions: line {line} is {tuple(values)}, not {row}"
    yield from (f"transactions: line {line} is missing" for line in rows)
    missing = {line: row[0] for line, row in wanted.rows.items() if line not in refused}
    for line, transaction_id, found in predictions:
        if missing.pop(line, None) != transaction_id:
            yield f"predictions: a row from line {line} that should not be there, or is there twice"
        elif found != category(transaction_id):
            yield f"predictions: line {line} is {found}, not {category(transaction_id)}"
    yield from (f"predictions: line {line} is missing" for line in missing)


def main() -> int:
    """Compares, and prints the result. 0 if everything is right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--csv", type=Path, default=HERE / "data" / "transactions.csv", help="default: %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite", help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        wanted = expected(arguments.csv)
    except OSError as error:
        raise SystemExit(f"{arguments.csv} cannot be read: {error.strerror}; make it: python generate.py") from error
    with opened(arguments.database) as connection:
        found = differences(wanted, connection)
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
