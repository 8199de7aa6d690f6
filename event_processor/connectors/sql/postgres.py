"""PostgreSQL as a dialect.

Owns: how a connection is opened, its time-outs, its errors, and its types.
Always: a commit is on the server's disk when it returns, also if the server's default is less. Transactions are READ COMMITTED, so that
the fence's row lock waits for an earlier transaction and then sees what it did.
Never: knows what is written. The only file that imports psycopg.
"""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, cast

from event_processor.connectors.sql.copy_text import copy_text
from event_processor.connectors.sql.dialect import FoundTable, Insert, Row, Rows, Session, SqlError, Value
from event_processor.connectors.sql.options import ColumnType
from event_processor.model.answers import Answer, Verdict, verdict_of_sqlstate
from event_processor.model.errors import ConfigurationError

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import TransactionStatus
except ImportError as error:
    raise ConfigurationError(
        "psycopg is not installed, so no sink can write to PostgreSQL", hint='pip install "event-processor[postgres]"'
    ) from error

__all__ = ["PostgresDialect"]

TABLES_LOCK: Final = 0x6576_7072_6F63
"""The advisory lock of all who make or change our tables in a database."""
_TYPES: Final[Mapping[ColumnType, str]] = {
    "text": "text",
    "integer": "bigint",
    "double": "double precision",
    "boolean": "boolean",
    "timestamp": "timestamp with time zone",
    "json": "jsonb",
    "numeric": "numeric",
    "uuid": "uuid",
}
_STOPPED: Final = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|role \"[^\"]*\" (does not exist|is not permitted)"
    r"|database \"[^\"]*\" does not exist|permission denied|certificate|invalid (connection option|URI|port|integer)",
    re.IGNORECASE,
)
"""Failures of a connection that only an operator ends. Their messages have no code."""
CONNECTING: Final = "correct the sink's address, or what the server allows this user; the address is read again at each try"
_REMEDIES: Final[Mapping[str, str]] = {
    "28": "correct the user, the password or pg_hba.conf; the address is read again at each try",
    "3D": "create the database, or correct the sink's address",
    "42501": "grant this user what it needs: CREATE in the schema, or the tables made by event-processor sql plan",
}
_READ_AS_TEXT: Final = ("timestamp", "json", "numeric", "uuid")
"""Of these the driver cannot read every value, or the database writes one value in several ways."""
ROWS_AT_ONCE: Final = 2_000
PAIRS_MAX: Final = 5_000
"""How many pairs of values one statement compares; at most 65,535 parameters."""
_SNAPSHOT_SETTINGS: Final[Mapping[str, str]] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "extra_float_digits": "1",
    "idle_in_transaction_session_timeout": "0",
}
"""How values are shown in a snapshot, which also waits while a log is read."""
_FOUND: Final = (
    "SELECT a.attname, format_type(a.atttypid, a.atttypmod), "
    "coalesce(array_position(i.indkey::int2[], a.attnum) + 1, 0) "  # an index vector counts from 0
    "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary "
    "WHERE c.oid = to_regclass(quote_ident(%s)) AND c.relkind IN ('r', 'p') ORDER BY a.attnum"
)
_VIEW: Final = "SELECT 1 FROM pg_class WHERE oid = to_regclass(quote_ident(%s)) AND relkind IN ('v', 'm')"


class PostgresDialect:
    """See `Dialect`."""

    mark = "%s"
    writers: Final[Mapping[ColumnType, Callable[[Value], Value]]] = {}

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s`: how long a connection, and the lock of another process, is waited for."""
        self._timeout_s: Final = timeout_s

    def connect(self, url: str, *, may_create: bool, only_look: bool = False) -> Session | None:  # noqa: ARG002 - a database is made by its owner
        """See `Dialect`. A database is never made: without one, it is a *stop*."""
        milliseconds = math.ceil(self._timeout_s * 1000)
        _require_address(url)
        with _errors():
            connection = psycopg.connect(
                url,
                autocommit=True,
                # libpq waits at least two seconds.
                connect_timeout=max(2, math.ceil(self._timeout_s)),
                tcp_user_timeout=milliseconds,
                keepalives=1,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
            )
        session = PostgresSession(connection)
        try:
            session.execute("SELECT set_config('lock_timeout', %s, false)", (f"{milliseconds}ms",))
            session.execute(
                "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
            )
        except BaseException:
            session.close()
            raise
        return session

    def type_of(self, column: ColumnType) -> str:
        """See `Dialect`."""
        return _TYPES.get(column, column)  # a type with a precision has the same name here

    def read_as(self, column: ColumnType, name: str) -> str:
        """See `Dialect`."""
        return f"{name}::text" if _plain_type(column) in _READ_AS_TEXT else name

    def unequal(self, session: Session, column: ColumnType, pairs: Sequence[tuple[Value, Value]]) -> list[bool]:
        """See `Dialect`. The server compares what is not written alike: it knows how it rounds and what it normalises."""
        answers = [found != written for found, written in pairs]
        type_ = _plain_type(column)
        if type_ not in _READ_AS_TEXT:
            return answers
        asked = [
            place
            for place, (found, written) in enumerate(pairs)
            if answers[place] and found is not None and written is not None and _as_iso(found) != written
        ]
        for place, (found, written) in enumerate(pairs):
            answers[place] = answers[place] and (found is None or written is None)
        for start in range(0, len(asked), PAIRS_MAX):
            for place in _unequal_at_the_server(session, _TYPES[type_], pairs, asked[start : start + PAIRS_MAX]):
                answers[place] = True
        return answers

    def table_suffix(self) -> str:
        """See `Dialect`."""
        return ""

    def hold_tables(self, session: Session) -> None:
        """See `Dialect`."""
        session.execute("SELECT 1 FROM (SELECT pg_advisory_xact_lock(%s)) AS held", (TABLES_LOCK,))

    def found_table(self, session: Session, name: str) -> FoundTable | None:
        """See `Dialect`."""
        found = session.execute(_FOUND, (name,))
        if not found:
            return None
        keys = sorted((cast("int", place), str(column)) for column, _, place in found if place)
        return FoundTable({str(column).lower(): str(kind) for column, kind, _ in found}, tuple(column for _, column in keys))

    def has_view(self, session: Session, name: str) -> bool:
        """See `Dialect`."""
        return bool(session.execute(_VIEW, (name,)))


class PostgresSession:
    """See `Session`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection: Final = connection
        self._streams = 0

    def execute(self, statement: str, values: Row = ()) -> list[Row]:
        with _errors():
            # Without values nothing is replaced, so a percent sign is one.
            cursor = self._connection.execute(statement.encode(), values or None)
            return [tuple(map(_plain, row)) for row in cursor.fetchall()] if cursor.description else []

    def stream(self, statement: str, values: Row = ()) -> Iterator[Row]:
        self._streams += 1
        # A cursor at the server: the rows come in portions.
        with _errors(), self._connection.cursor(name=f"event_processor_{self._streams}") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            cursor.execute(statement.encode(), values)
            for row in cursor:
                yield tuple(map(_plain, row))

    def insert(self, insert: Insert, rows: Rows, shared: Row = ()) -> None:
        with _errors(), self._connection.cursor() as cursor:
            if insert.replaces:
                # Two rows of one batch may have the same key: only one after the other the last one wins.
                cursor.executemany(insert.text.encode(), [(*row, *shared) for row in rows])
                return
            names = ", ".join(f'"{name}"' for name in insert.columns)
            with cursor.copy(f'COPY "{insert.table}" ({names}) FROM STDIN'.encode()) as copy:
                text = copy_text(rows, shared)
                if text is not None:
                    copy.write(text)
                    return
                for row in rows:
                    copy.write_row((*row, *shared))

    def settle(self) -> None:
        self.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def begin(self) -> None:
        self.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")

    def begin_snapshot(self) -> None:
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # The snapshot is taken by the first query.
        for name, setting in _SNAPSHOT_SETTINGS.items():
            self.execute("SELECT set_config(%s, %s, true)", (name, setting))

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        with suppress(psycopg.Error):
            if self.is_in_transaction:
                self._connection.execute("ROLLBACK")

    @property
    def is_in_transaction(self) -> bool:
        status = self._connection.info.transaction_status
        return status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._connection.close()

    def interrupt(self) -> None:
        """The thread that waits for the server gets an error at once; the server ends the transaction when it notices."""
        with suppress(psycopg.Error, OSError):
            descriptor = self._connection.fileno()
            # A socket of its own for the same connection, so that no descriptor is closed that another thread uses.
            with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as opened:
                opened.shutdown(socket.SHUT_RDWR)


def _plain_type(column: ColumnType) -> str:
    """A type without its precision."""
    return column.partition("(")[0]


def _as_iso(shown: Value) -> Value:
    """A moment as it is written, if the server showed one in UTC."""
    return f"{str(shown)[:-3].replace(' ', 'T')}Z" if str(shown).endswith("+00") else shown


def _unequal_at_the_server(
    session: Session, type_: str, pairs: Sequence[tuple[Value, Value]], places: Sequence[int]
) -> Iterator[int]:
    """Yields the places of the pairs that are two values of the type. A text that is no value of it is not equal to one."""
    marks = ", ".join(["(%s, %s, %s)"] * len(places))
    statement = f"SELECT v.n FROM (VALUES {marks}) AS v (n, a, b) WHERE v.a::{type_} IS DISTINCT FROM v.b::{type_}"  # noqa: S608
    values = [each for place in places for each in (place, *pairs[place])]
    session.execute("SAVEPOINT event_processor_pairs")
    try:
        found = session.execute(statement, tuple(values))
    except SqlError as error:
        if error.answer.verdict is not Verdict.BAD:
            raise
        session.execute("ROLLBACK TO SAVEPOINT event_processor_pairs")
        if len(places) == 1:
            yield places[0]
            return
        middle = len(places) // 2
        yield from _unequal_at_the_server(session, type_, pairs, places[:middle])
        yield from _unequal_at_the_server(session, type_, pairs, places[middle:])
    else:
        session.execute("RELEASE SAVEPOINT event_processor_pairs")
        yield from (cast("int", place) for (place,) in found)


def _require_address(url: str) -> None:
    """Raises `SqlError` if the address is not one. The driver's own words would repeat a part of it, perhaps of a password."""
    try:
        port = conninfo_to_dict(url).get("port", "")
    except psycopg.Error:
        port = None
    if port is None or not all(each.isdigit() for each in str(port).split(",") if each):
        words = "the address of the database cannot be read; a / @ : ? or # in a user or a password is written as %2F %40 %3A %3F or %23"
        raise SqlError(Answer(Verdict.STOP, words), CONNECTING)


def _plain(value: object) -> Value:
    """A value as it was written: moments as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return cast("Value", value)


@contextmanager
def _errors() -> Iterator[None]:
    """Turns the driver's errors into `SqlError`."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        words = error.diag.message_primary or str(error).strip().partition("\n")[0] or type(error).__name__
        verdict = _verdict(error, state, words)
        raise SqlError(
            Answer(verdict, words, state), _remedy(state) if state or verdict is not Verdict.STOP else CONNECTING
        ) from error
    except (OverflowError, UnicodeError, ValueError) as error:
        # A value that the driver cannot write. Its own words may repeat it.
        raise SqlError(Answer(Verdict.BAD, f"a value cannot be written ({type(error).__name__})")) from error


def _verdict(error: psycopg.Error, state: str, words: str) -> Verdict:
    if state:
        return verdict_of_sqlstate(state)
    if isinstance(error, psycopg.DataError):
        # The driver's own: a text with a NUL.
        return Verdict.BAD
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return Verdict.STOP if _STOPPED.search(words) else Verdict.WAIT
    return Verdict.STOP


def _remedy(state: str) -> str:
    return _REMEDIES.get(state) or _REMEDIES.get(state[:2], "")
