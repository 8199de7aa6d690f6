"""A database for the contract of SQL sinks, the lane that writes into it, and faults at any call of its connection.

Owns: `SqlWorld`, the contract that a database's tests implement, `SqliteWorld`, `FaultyDialect`, and one life of a lane.
Always: what is found in the database is read by a connection of its own, which does not use the package's statements.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from event_processor.connectors.sql.dialect import Dialect, FoundTable, Insert, Row, Rows, Session, SqlError, Value
from event_processor.connectors.sql.options import ColumnType, SqlSinkOptions
from event_processor.connectors.sql.sqlite import SqliteDialect
from event_processor.connectors.sql.transactions import LaneTransactions
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.reports import LaneReport
from event_processor.model.answers import Answer, Verdict
from event_processor.model.blocking_receiver import BlockingReceiver
from event_processor.storage.durable import OperatingSystem
from support.lanes import Bench, MemoryOutbox
from support.virtual_time import run_in_virtual_time

__all__ = [
    "COLUMNS",
    "LOST",
    "Fault",
    "FaultyDialect",
    "KilledError",
    "SqlWorld",
    "SqliteWorld",
    "deliver",
    "receiver_of",
    "require_true",
    "transactions_of",
]

COLUMNS: dict[str, str] = {"n": "integer", "mark": "text"}
LOST = Answer(Verdict.WAIT, "connection lost", "08006")


class KilledError(BaseException):
    """The process is gone."""


@dataclass
class Fault:
    """At the `nth` call of a connection, counted from 1: `kind` "kill" or "lost", before the call took effect or after it."""

    nth: int = 0
    kind: str = "kill"
    after: bool = False
    calls: int = 0

    @property
    def was_met(self) -> bool:
        return 0 < self.nth <= self.calls

    def around(self, call: Callable[[], Any], close: Callable[[], None]) -> Any:
        self.calls += 1
        if self.calls != self.nth:
            return call()
        found = call() if self.after else None
        # What is not committed is rolled back by the database.
        close()
        del found
        raise KilledError if self.kind == "kill" else SqlError(LOST)


class FaultySession:
    """See `Session`."""

    def __init__(self, session: Session, fault: Fault) -> None:
        self._session = session
        self._fault = fault

    def _do(self, call: Callable[[], Any]) -> Any:
        return self._fault.around(call, self._session.close)

    def execute(self, statement: str, values: Row = ()) -> list[Row]:
        found: list[Row] = self._do(lambda: self._session.execute(statement, values))
        return found

    def stream(self, statement: str, values: Row = ()) -> Iterator[Row]:
        yield from self._do(lambda: self._session.stream(statement, values))

    def insert(self, insert: Insert, rows: Rows, shared: Row = ()) -> None:
        self._do(lambda: self._session.insert(insert, rows, shared))

    def settle(self) -> None:
        self._do(self._session.settle)

    def begin(self) -> None:
        self._do(self._session.begin)

    def begin_snapshot(self) -> None:
        self._do(self._session.begin_snapshot)

    def commit(self) -> None:
        self._do(self._session.commit)

    def rollback(self) -> None:
        self._session.rollback()

    @property
    def is_in_transaction(self) -> bool:
        return self._session.is_in_transaction

    def close(self) -> None:
        self._session.close()

    def interrupt(self) -> None:
        self._session.interrupt()


@dataclass
class FaultyDialect:
    """A dialect whose connections fail. `prepared` is called with each new one."""

    dialect: Dialect
    fault: Fault = field(default_factory=Fault)
    prepared: Callable[[Session], object] = lambda _: None

    @property
    def mark(self) -> str:
        return self.dialect.mark

    @property
    def writers(self) -> Mapping[ColumnType, Callable[[Value], Value]]:
        return self.dialect.writers

    def connect(self, url: str, *, may_create: bool, only_look: bool = False) -> Session | None:
        session = self.dialect.connect(url, may_create=may_create, only_look=only_look)
        if session is None:
            return None
        self.prepared(session)
        return FaultySession(session, self.fault)

    def type_of(self, column: ColumnType) -> str:
        return self.dialect.type_of(column)

    def read_as(self, column: ColumnType, name: str) -> str:
        return self.dialect.read_as(column, name)

    def unequal(self, session: Session, column: ColumnType, pairs: Sequence[tuple[Value, Value]]) -> list[bool]:
        return self.dialect.unequal(session, column, pairs)

    def table_suffix(self) -> str:
        return self.dialect.table_suffix()

    def hold_tables(self, session: Session) -> None:
        self.dialect.hold_tables(session)

    def found_table(self, session: Session, name: str) -> FoundTable | None:
        return self.dialect.found_table(session, name)

    def has_view(self, session: Session, name: str) -> bool:
        return self.dialect.has_view(session, name)


class SqlWorld(Protocol):
    """A database that tests can look into, copy and lose. Its table is called `results`."""

    def options(self, **keys: object) -> SqlSinkOptions:
        """The options of a sink that writes there, with `COLUMNS`, and `keys` instead."""
        ...

    def dialect(self) -> Dialect: ...

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a statement, and commits it."""
        ...

    def copy(self, name: str) -> None:
        """Keeps a copy, as a backup does."""
        ...

    def restore(self, name: str) -> None:
        """Puts a copy in place of the database."""
        ...

    def lose(self) -> None:
        """The database is gone, with its server's data."""
        ...

    def written(self, type_: str, value: str, expected: Any) -> Any:
        """What `query` gives for a value of JSON in a column, if it is `expected` in SQLite; None if it does not fit."""
        ...


class SqliteWorld:
    """See `SqlWorld`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "out" / "results.db"
        self._folder = folder

    def options(self, **keys: object) -> SqlSinkOptions:
        return SqlSinkOptions.model_validate(
            {"type": "sql", "url": f"sqlite:///{self.path}", "table": "results", "columns": COLUMNS, **keys}
        )

    def dialect(self) -> Dialect:
        return SqliteDialect(OperatingSystem(), 0.05)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(statement).fetchall()

    def copy(self, name: str) -> None:
        with closing(sqlite3.connect(self.path)) as ours, closing(sqlite3.connect(self._folder / name)) as theirs:
            ours.backup(theirs)

    def restore(self, name: str) -> None:
        self.lose()
        shutil.copy(self._folder / name, self.path)

    def written(self, type_: str, value: str, expected: Any) -> Any:
        return expected

    def lose(self) -> None:
        for path in self.path.parent.glob("results.db*"):
            path.unlink()


class Inline:
    """A worker without a thread."""

    def run(self, job: Callable[[], Any]) -> Awaitable[Any]:
        async def done() -> Any:
            return job()

        return done()

    def close(self) -> None: ...


_WRITERS = iter(range(10**9))


def transactions_of(dialect: Dialect, options: SqlSinkOptions) -> Callable[[], LaneTransactions]:
    """What makes transactions, each as of a process of its own."""
    return lambda: LaneTransactions(
        options,
        lambda _url: dialect,
        read_url=lambda: str(options.url),
        zone="UTC",
        sources={"events": "log/events.jsonl"},
        wall_ns=lambda: 1_767_225_600_000_000_000,
        software="event-processor test",
        writer=f"host:1:{next(_WRITERS)}",
    )


def receiver_of(dialect: Dialect, options: SqlSinkOptions) -> Callable[[], BlockingReceiver]:
    """What makes receivers of one process, without a thread."""
    made = transactions_of(dialect, options)
    return lambda: BlockingReceiver(made(), Inline(), 60.0)


def deliver(
    world: SqlWorld, state: Path, outbox: MemoryOutbox, *, dialect: Dialect | None = None, options: Any = None, **bench: Any
) -> LaneReport:
    """One process that ends when nothing is pending, or when its lane failed. Raises `KilledError` if it was killed."""
    made = receiver_of(dialect or world.dialect(), options or world.options())
    bench.setdefault("request_events_max", 7)

    async def main() -> LaneReport:
        process = Bench(str(state), outbox, made, **bench)
        try:
            await process.idle()
            return await process.close()
        except KilledError:
            await process.kill()
            raise

    return run_in_virtual_time(main())


def require_true(world: SqlWorld, state: Path, report: LaneReport, lane: str = "remote") -> None:
    """The cursor in the database, its mirror, the report and the tables say the same."""
    counted = "sequence, chain, delivered, failed, skipped, started_after"
    ((sequence, chain, *counts, started_after),) = world.query(
        f"SELECT {counted} FROM event_processor_cursor WHERE sink = '{lane}'"
    )
    mirror = read_cursor(OperatingSystem(), str(state), lane)
    assert mirror is not None
    assert (mirror.sequence, mirror.chain, mirror.answered) == (sequence, chain, ())
    assert [mirror.counts.delivered, mirror.counts.failed, mirror.counts.skipped] == counts
    assert [report.delivered, report.failed, report.skipped] == counts
    assert report.released - started_after == sum(counts) + report.pending
    rows = world.query(f"SELECT count(*), count(DISTINCT _sequence) FROM results WHERE _sink = '{lane}'")
    assert rows == [(counts[0], counts[0])]
    failed = world.query(f"SELECT count(*) FROM event_processor_failed WHERE sink = '{lane}'")
    assert failed == [(counts[1] + counts[2],)]
