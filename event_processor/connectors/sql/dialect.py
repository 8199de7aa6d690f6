"""The contract of a dialect: one kind of database.

Owns: `Dialect`, `Session`, `SqlError`, and the tables as all other files of this room see them.
Always: an error of a driver leaves a dialect only as `SqlError`, with its verdict. Used by one thread at a time, which may block.
Never: contains a dialect (`sqlite.py` does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from event_processor.connectors.sql.options import ColumnType
from event_processor.model.answers import Answer

__all__ = ["Column", "Dialect", "FoundTable", "Insert", "Row", "Rows", "Session", "SqlError", "Table", "Value"]

Value: TypeAlias = "str | int | float | bytes | bool | None"
Row: TypeAlias = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by column: no row becomes an object. All columns have the same length; without a row there may be no column."""

    columns: Sequence[Sequence[Value]]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rows:
        """The same rows."""
        return cls(list(zip(*rows, strict=True)))

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def __iter__(self) -> Iterator[Row]:
        return zip(*self.columns, strict=True)

    def part(self, begin: int, end: int) -> Rows:
        """The rows from `begin` to `end` - 1."""
        return Rows([column[begin:end] for column in self.columns])


class SqlError(Exception):
    """The database, or its driver, refused a statement. `answer`: *wait*, *bad* or *stop*. `remedy`: what to do about a *stop*."""

    def __init__(self, answer: Answer, remedy: str = "") -> None:
        super().__init__(answer.words)
        self.answer: Final = answer
        self.remedy: Final = remedy


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it should be."""

    name: str
    type: ColumnType
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it should be. `key`: the columns of its primary key; may be empty."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of its columns."""
        return [column.name for column in self.columns]


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A table as it is: the database's type of each column, by its name in lower case, and the key's columns in order."""

    types: Mapping[str, str]
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Insert:
    """How rows get into a table: a statement is `before`, the values of a row in brackets (of several with a comma), and `after`.

    `columns`: in the order of a row's values.
    """

    before: str
    after: str
    table: str
    columns: tuple[str, ...]
    mark: str

    @property
    def replaces(self) -> bool:
        """Whether a row replaces the one with the same key."""
        return bool(self.after)

    @property
    def text(self) -> str:
        """As a statement for one row."""
        return f"{self.before} ({', '.join([self.mark] * len(self.columns))}){self.after}"


class Session(Protocol):
    """One connection. Every method but `close` and `interrupt` may raise `SqlError`."""

    def execute(self, statement: str, values: Row = ()) -> list[Row]:
        """Runs a statement. Returns its rows, all of them."""
        ...

    def stream(self, statement: str, values: Row = ()) -> Iterator[Row]:
        """Yields the rows of a statement, in bounded memory. Other statements may run in between. Call it in a snapshot."""
        ...

    def insert(self, insert: Insert, rows: Rows, shared: Row = ()) -> None:
        """Writes the rows, in order; all, or an error. `shared`: the values of the last columns, the same for all rows."""
        ...

    def settle(self) -> None:
        """Checks now what the database would only check at the commit."""
        ...

    def begin(self) -> None:
        """Begins a transaction that may write. Waits a bounded time for others."""
        ...

    def begin_snapshot(self) -> None:
        """Begins a transaction that only reads, sees one state of the database, and waits for no writer and delays none."""
        ...

    def commit(self) -> None:
        """Commits, durably. If it raises, the outcome is unknown."""
        ...

    def rollback(self) -> None:
        """Ends the transaction without effect. Raises nothing."""
        ...

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open. An error may have ended it."""
        ...

    def close(self) -> None:
        """Closes the connection; an open transaction has no effect."""
        ...

    def interrupt(self) -> None:
        """Ends a statement that runs. Any thread may call it."""
        ...


class Dialect(Protocol):
    """One kind of database."""

    @property
    def mark(self) -> str:
        """What stands for a value in a statement."""
        ...

    @property
    def writers(self) -> Mapping[ColumnType, Callable[[Value], Value]]:
        """How a value that fits its column is written, if not as it is."""
        ...

    def connect(self, url: str, *, may_create: bool, only_look: bool = False) -> Session | None:
        """A new connection; None if there is no database, and it may not be made. Raises `SqlError`.

        `only_look`: nothing will be committed, and nothing of the database may be changed.
        """
        ...

    def type_of(self, column: ColumnType) -> str:
        """The database's type of a column."""
        ...

    def read_as(self, column: ColumnType, name: str) -> str:
        """What selects a column of this type, so that every value of it can be read. `name` is quoted."""
        ...

    def unequal(self, session: Session, column: ColumnType, pairs: Sequence[tuple[Value, Value]]) -> list[bool]:
        """For each pair, whether the value that was selected (`read_as`) is another one than the value that is written. Raises `SqlError`."""
        ...

    def table_suffix(self) -> str:
        """What ends a CREATE TABLE."""
        ...

    def hold_tables(self, session: Session) -> None:
        """Until the end of the transaction, no other process of ours makes or changes tables. Raises `SqlError`."""
        ...

    def found_table(self, session: Session, name: str) -> FoundTable | None:
        """The table as it is; None if there is none. Raises `SqlError`."""
        ...

    def has_view(self, session: Session, name: str) -> bool:
        """Whether there is a view of this name. Raises `SqlError`."""
        ...
