"""SQLite as a dialect.

Owns: how a connection is opened (WAL, `synchronous=FULL`), its errors, and its types.
Always: a commit is on the disk when it returns. Tables are STRICT, so a value of another type is refused.
Never: knows what is written. The only file that imports sqlite3.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Final
from urllib.parse import quote

from event_processor.connectors.sql.dialect import FoundTable, Insert, Row, Rows, Session, SqlError, Value
from event_processor.connectors.sql.options import SQLITE, ColumnType
from event_processor.model.answers import Answer, Verdict, verdict_of_sqlite
from event_processor.model.errors import ConfigurationError, StorageError
from event_processor.model.file_system import FileSystem
from event_processor.model.messages import readable_path
from event_processor.storage.durable import prepare_directory

__all__ = ["SqliteDialect", "memory_session", "sqlite_path"]

VERSION_MIN: Final = (3, 37, 0)
"""The first with STRICT tables."""
ROWS_AT_ONCE: Final = 50
"""The rows of one statement."""
VALUES_MAX: Final = 32_766
"""A statement has at most so many values."""
_TYPES: Final[Mapping[ColumnType, str]] = {
    "text": "TEXT",
    "integer": "INTEGER",
    "double": "REAL",
    "boolean": "INTEGER",
    "timestamp": "TEXT",
    "json": "TEXT",
    "numeric": "TEXT",
    "uuid": "TEXT",
}
_PRIMARY: Final[Mapping[int, str]] = {
    getattr(sqlite3, name): name
    for name in (
        "SQLITE_BUSY",
        "SQLITE_LOCKED",
        "SQLITE_FULL",
        "SQLITE_IOERR",
        "SQLITE_CONSTRAINT",
        "SQLITE_TOOBIG",
        "SQLITE_MISMATCH",
        "SQLITE_CORRUPT",
        "SQLITE_NOTADB",
        "SQLITE_READONLY",
        "SQLITE_CANTOPEN",
        "SQLITE_PERM",
    )
}
"""The names that decide, by primary code: the low byte of an extended one."""
_REMEDIES: Final[Mapping[str, str]] = {
    "SQLITE_CANTOPEN": "make it possible for this user to open the file and to write into its folder, or correct the sink's url",
    "SQLITE_READONLY": "make the file and its folder writable for this user",
    "SQLITE_PERM": "make the file and its folder writable for this user",
    "SQLITE_NOTADB": "restore the database, or correct the sink's url",
    "SQLITE_CORRUPT": "restore the database from a backup; the sink then goes on where the backup is",
}


def sqlite_path(url: str) -> str:
    """The path of the database."""
    return url.removeprefix(SQLITE)


class SqliteDialect:
    """See `Dialect`."""

    mark = "?"
    writers: Final[Mapping[ColumnType, Callable[[Value], Value]]] = {"boolean": int}  # type: ignore[dict-item]  # of a bool

    def __init__(self, fs: FileSystem, timeout_s: float) -> None:
        """`timeout_s`: how long another writer is waited for. Raises `ConfigurationError` if this SQLite is too old."""
        if sqlite3.sqlite_version_info < VERSION_MIN:
            raise ConfigurationError(
                f"SQLite {sqlite3.sqlite_version} of this Python is older than {'.'.join(map(str, VERSION_MIN))}",
                hint="use a Python with a newer SQLite",
            )
        self._fs: Final = fs
        self._timeout_s: Final = timeout_s

    def connect(self, url: str, *, may_create: bool, only_look: bool = False) -> Session | None:
        """See `Dialect`."""
        path = sqlite_path(url)
        try:
            if self._fs.status(path) is None:
                if not may_create:
                    return None
                prepare_directory(self._fs, os.path.dirname(path) or ".")
        except (OSError, StorageError, ConfigurationError) as error:
            words = readable_path(f"{path}: {error.message if isinstance(error, (StorageError, ConfigurationError)) else error}")
            raise SqlError(Answer(Verdict.STOP, words, "SQLITE_CANTOPEN"), _REMEDIES["SQLITE_CANTOPEN"]) from error
        mode = "rwc" if may_create else "rw"
        with _errors():
            connection = sqlite3.connect(
                f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode={mode}",
                timeout=self._timeout_s,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
        session = SqliteSession(connection)
        if only_look:
            return session
        try:
            session.execute("PRAGMA journal_mode = WAL")
            # In WAL mode, anything less loses the last commits in a power cut.
            session.execute("PRAGMA synchronous = FULL")
            session.follow_file(lambda: self._identity(path))
        except BaseException:
            session.close()
            raise
        return session

    def _identity(self, path: str) -> tuple[int, int] | None:
        """Device and inode of the file; None if there is none."""
        try:
            status = self._fs.status(path)
        except OSError as error:
            raise SqlError(Answer(Verdict.WAIT, readable_path(f"{path}: {error}"), "SQLITE_IOERR")) from error
        return None if status is None else (status.device, status.inode)

    def type_of(self, column: ColumnType) -> str:
        """See `Dialect`."""
        # There are no fixed digits in SQLite: numbers with a precision are texts too, so that none is rounded.
        return _TYPES[column.partition("(")[0]]

    def read_as(self, column: ColumnType, name: str) -> str:  # noqa: ARG002 - every value is read as it is
        """See `Dialect`."""
        return name

    def unequal(self, session: Session, column: ColumnType, pairs: Sequence[tuple[Value, Value]]) -> list[bool]:  # noqa: ARG002
        """See `Dialect`. A value is kept as it was written."""
        return [found != written for found, written in pairs]

    def table_suffix(self) -> str:
        """See `Dialect`."""
        return " STRICT"

    def hold_tables(self, session: Session) -> None:
        """See `Dialect`. Does nothing: a transaction that writes is alone."""

    def found_table(self, session: Session, name: str) -> FoundTable | None:
        """See `Dialect`."""
        found = session.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,))
        if not found or self.has_view(session, name):
            return None
        keys = sorted((place, str(column)) for column, _, place in found if isinstance(place, int) and place)
        return FoundTable({str(column).lower(): str(kind).upper() for column, kind, _ in found}, tuple(name for _, name in keys))

    def has_view(self, session: Session, name: str) -> bool:
        """See `Dialect`."""
        return bool(session.execute("SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?", (name,)))


class SqliteSession:
    """See `Session`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: Final = connection
        self._texts: Final[dict[tuple[str, int], str]] = {}
        self._file: Callable[[], tuple[int, int] | None] = lambda: None
        self._opened: tuple[int, int] | None = None

    def follow_file(self, file: Callable[[], tuple[int, int] | None]) -> None:
        """From now on, no transaction begins in a file that is not the one that its path leads to. `file`: which one that is."""
        self._file, self._opened = file, file()

    def execute(self, statement: str, values: Row = ()) -> list[Row]:
        with _errors():
            return self._connection.execute(statement, values).fetchall()

    def stream(self, statement: str, values: Row = ()) -> Iterator[Row]:
        with _errors():
            # The connection reads on while its rows are taken. What must be sorted is sorted in a file.
            yield from self._connection.execute(statement, values)

    def insert(self, insert: Insert, rows: Rows, shared: Row = ()) -> None:
        own = len(insert.columns) - len(shared)
        at_once = max(1, min(ROWS_AT_ONCE, (VALUES_MAX - len(shared)) // own))
        alike = len(rows) - len(rows) % at_once
        with _errors():
            if alike:
                # A statement for several rows binds what they share once, and lets other threads run while it works.
                text = self._several(insert, at_once, own)
                for begin in range(0, alike, at_once):
                    self._connection.execute(text, [*shared, *chain.from_iterable(rows.part(begin, begin + at_once))])
            self._connection.executemany(insert.text, [(*row, *shared) for row in rows.part(alike, len(rows))])

    def _several(self, insert: Insert, count: int, own: int) -> str:
        """The statement for so many rows, each with `own` values. Its values are the shared ones, then those of row after row."""
        key = (insert.before, own)
        if key not in self._texts:
            several = len(insert.columns) - own
            shared = [f"?{number + 1}" for number in range(several)]
            begins = range(several + 1, several + 1 + own * count, own)
            rows = [", ".join([*(f"?{begin + place}" for place in range(own)), *shared]) for begin in begins]
            self._texts[key] = f"{insert.before} {', '.join(f'({row})' for row in rows)}{insert.after}"
        return self._texts[key]

    def settle(self) -> None:
        """Does nothing. A deferred foreign key is checked by the commit, which then has no effect."""

    def begin(self) -> None:
        self.execute("BEGIN IMMEDIATE")
        if self._file() != self._opened:
            # What is written to a file without a name is lost. An operator who restores a backup replaces the file.
            self.rollback()
            raise SqlError(Answer(Verdict.WAIT, "the file of the database was replaced or removed", "SQLITE_IOERR"))

    def begin_snapshot(self) -> None:
        self.execute("PRAGMA query_only = ON")
        # A text that others wrote need not be UTF-8.
        self._connection.text_factory = lambda content: content.decode(errors="backslashreplace")
        self.execute("BEGIN")
        # The snapshot is taken by the first read.
        self.execute("SELECT count(*) FROM sqlite_master")

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @property
    def is_in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def interrupt(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.interrupt()


def memory_session() -> Session:
    """A database without tables, to see what would be made."""
    return SqliteSession(sqlite3.connect(":memory:", isolation_level=None))


def _name_of(error: sqlite3.Error) -> str:
    """The name of an error; empty if it does not come from SQLite. Python does not know every extended name of a newer SQLite."""
    name, code = getattr(error, "sqlite_errorname", ""), getattr(error, "sqlite_errorcode", 0)
    return _PRIMARY.get(code & 0xFF, "SQLITE_ERROR") if name == "unknown" else str(name)


@contextmanager
def _errors() -> Iterator[None]:
    """Turns the driver's errors into `SqlError`."""
    try:
        yield
    except sqlite3.Error as error:
        name = _name_of(error)
        verdict = verdict_of_sqlite(name) if name else Verdict.STOP
        primary = "_".join(name.split("_")[:2])
        raise SqlError(Answer(verdict, f"{error}", name), _REMEDIES.get(primary, "")) from error
    except (OverflowError, UnicodeError) as error:
        # A value that the driver cannot write. Its own words may repeat it.
        raise SqlError(Answer(Verdict.BAD, f"a value cannot be written ({type(error).__name__})")) from error
