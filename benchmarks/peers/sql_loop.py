"""What a SQL sink is compared with: a loop that writes each line of a log into a table, as one writes it by hand.

`sql_loop.py URL LOG` with `sqlite:///PATH` or `postgresql://…`.
Always: the columns of the sink's table, its transactions of 5,000 rows, and a cursor in the same transaction: where to go on after a
crash. Commits are as durable as the sink's. The needed fields are checked; a line that is no event ends the loop.
Never: finds duplicates, puts anything in order, keeps a total, a dead letter or a refused row, or notices a log that was replaced.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, TypeAlias

import msgspec

ROWS = 5_000
COLUMNS = [
    "id",
    "category",
    "value",
    "timestamp",
    "_pipeline",
    "_sink",
    "_source",
    "_generation",
    "_offset",
    "_line",
    "_sequence",
    "_delivered_at",
    "_software",
]
TABLE = (
    'CREATE TABLE IF NOT EXISTS "events" ("id" {text}, "category" {text}, "value" {double}, "timestamp" {timestamp}, '
    '"_pipeline" {text} NOT NULL, "_sink" {text} NOT NULL, "_source" {text}, "_generation" {integer}, "_offset" {integer}, '
    '"_line" {integer}, "_sequence" {integer} NOT NULL, "_delivered_at" {timestamp} NOT NULL, "_software" {text} NOT NULL){end}'
)
CURSOR = (
    'CREATE TABLE IF NOT EXISTS "cursor" (name {text} PRIMARY KEY, "offset" {integer} NOT NULL, line {integer} NOT NULL){end}'
)
MOVE = 'UPDATE "cursor" SET "offset" = {0}, line = {0} WHERE name = \'events\' AND "offset" = {0}'
Row: TypeAlias = tuple[object, ...]
Place: TypeAlias = tuple[int, int]
"""The offset of the next line, and the number of the line before it."""


class Event(msgspec.Struct, gc=False):
    """The fields that become columns, with their types."""

    id: str
    category: str
    value: float
    timestamp: str


def rows(log: BinaryIO, place: Place) -> Iterator[tuple[list[Row], Place]]:
    """Yields the rows of each transaction, and the place after them."""
    offset, line = place
    decode, is_moment = msgspec.json.Decoder(Event).decode, datetime.fromisoformat
    found: list[Row] = []
    now = moment()
    log.seek(offset)
    for content in log:
        event = decode(content)
        is_moment(event.timestamp)
        line += 1
        found.append(
            (
                event.id,
                event.category,
                event.value,
                event.timestamp,
                "by-hand",
                "rows",
                "events",
                1,
                offset,
                line,
                line,
                now,
                "loop",
            )
        )
        offset += len(content)
        if len(found) == ROWS:
            yield found, (offset, line)
            found, now = [], moment()
    if found:
        yield found, (offset, line)


def moment() -> str:
    """The time of a transaction."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def loop(log: BinaryIO, place: Place, write: Callable[[Sequence[Row], Place, int], None]) -> None:
    """Writes everything after `place`; each call of `write` is a transaction."""
    for found, after in rows(log, place):
        write(found, after, place[0])
        place = after


def to_sqlite(path: str, log: BinaryIO) -> None:
    """`executemany` in WAL mode."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    kinds = {"text": "TEXT", "double": "REAL", "integer": "INTEGER", "timestamp": "TEXT", "end": " STRICT"}
    insert = f"INSERT INTO events VALUES ({', '.join('?' * len(COLUMNS))})"

    def write(found: Sequence[Row], after: Place, before: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, found)
        connection.execute(MOVE.format("?"), (*after, before))
        connection.execute("COMMIT")

    loop(log, prepared(connection.execute, kinds), write)
    connection.close()


def to_postgres(url: str, log: BinaryIO) -> None:
    """`COPY`, row by row."""
    import psycopg  # noqa: PLC0415 - SQLite needs none

    connection = psycopg.connect(url, autocommit=True)
    kinds = {"text": "text", "double": "double precision", "integer": "bigint", "timestamp": "timestamptz", "end": ""}

    def write(found: Sequence[Row], after: Place, before: int) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            with cursor.copy("COPY events FROM STDIN") as copy:
                for row in found:
                    copy.write_row(row)
            cursor.execute(MOVE.format("%s").encode(), (*after, before))

    loop(log, prepared(lambda statement: connection.execute(statement.encode()), kinds), write)
    connection.close()


def prepared(execute: Callable[[str], Any], kinds: dict[str, str]) -> Place:
    """Makes the tables if need be. Returns the place to go on from."""
    execute(TABLE.format(**kinds))
    execute(CURSOR.format(**kinds))
    execute("INSERT INTO \"cursor\" VALUES ('events', 0, 0) ON CONFLICT DO NOTHING")
    offset, line = execute('SELECT "offset", line FROM "cursor"').fetchone()
    return offset, line


if __name__ == "__main__":
    address, log_path = sys.argv[1:]
    with open(log_path, "rb") as opened:
        if address.startswith("sqlite:///"):
            to_sqlite(address.removeprefix("sqlite:///"), opened)
        else:
            to_postgres(address, opened)
