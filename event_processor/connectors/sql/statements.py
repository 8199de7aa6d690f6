"""The statements of a lane or of a snapshot, for one dialect.

Owns: their text.
Always: values are never in the text. Names are, and were checked by the options.
Never: runs one.
"""

# ruff: noqa: S608 - only names that were checked are put together

from __future__ import annotations

from typing import Final

from event_processor.connectors.sql.dialect import Dialect, Insert, Table
from event_processor.connectors.sql.tables import CURSOR, FAILED, SHARED, SOURCES, quoted

__all__ = ["Statements", "dropped"]

_NUMBERS: Final = ("started_after", "sequence", "chain", "delivered", "failed", "skipped")
_NAME: Final = ("pipeline", "shard", "sink")


class Statements:
    """Each takes its values in the order of its text."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        """`table`: the sink's."""
        mark = dialect.mark

        def where(*columns: str) -> str:
            return " AND ".join(f"{column} = {mark}" for column in columns)

        def assigned(*columns: str) -> str:
            return ", ".join(f"{column} = {mark}" for column in columns)

        numbers = ", ".join(_NUMBERS)
        as_found = f"WHERE {where(*_NAME, 'state_id', 'fence', 'sequence', 'chain')} RETURNING 1"
        self.look: Final = f"SELECT state_id, writer, fence, input, {numbers} FROM {CURSOR.name} WHERE {where(*_NAME)}"
        self.take: Final = f"UPDATE {CURSOR.name} SET {assigned('sink', 'fence', 'writer', 'changed_at', 'software')} {as_found}"
        self.rename_failed: Final = f"UPDATE {FAILED.name} SET sink = {mark} WHERE {where(*_NAME, 'state_id')}"
        self.sources: Final = f"SELECT source, path FROM {SOURCES.name} WHERE pipeline = {mark}"
        self.note_source: Final = _insert(SOURCES, mark, SOURCES.key).text
        whole = ("state_id", "input", *_NUMBERS, "changed_at", "software")
        self.make: Final = (
            f"INSERT INTO {CURSOR.name} ({', '.join((*_NAME, *whole, 'fence', 'writer'))}) "
            f"VALUES ({', '.join([mark] * (len(_NAME) + len(whole) + 2))})"
        )
        self.restart: Final = f"UPDATE {CURSOR.name} SET {assigned('sink', 'fence', 'writer', *whole)} {as_found}"
        self.move: Final = (
            f"UPDATE {CURSOR.name} SET {assigned(*_NUMBERS, 'changed_at', 'software')} "
            f"WHERE {where(*_NAME, 'state_id', 'fence', 'sequence')} RETURNING 1"
        )
        self.fail: Final = _insert(FAILED, mark)
        told = ", ".join(FAILED.names[5:])
        self.failed: Final = (
            f"SELECT {told} FROM {FAILED.name} WHERE {where(*_NAME, 'state_id', 'input')} AND sequence > {mark} ORDER BY sequence"
        )
        # A snapshot's rows have no place in a log.
        last = SHARED if set(SHARED) <= set(table.names) else ()
        self.insert: Final = _insert(table, mark, table.key, last=last)
        self.forget: Final = f"UPDATE {quoted(table.name)} SET as_of = -1 WHERE {where('_pipeline', '_shard', 'as_of')}"
        self.remove_others: Final = f"DELETE FROM {quoted(table.name)} WHERE {where('_pipeline', '_shard')} AND as_of <> {mark}"
        self.remove: Final = f"DELETE FROM {quoted(table.name)} WHERE {where('_pipeline', '_shard', '_key')}"


def dropped(dialect: Dialect) -> str:
    """What removes a cursor, whatever state it is of. It takes its name."""
    where = " AND ".join(f"{column} = {dialect.mark}" for column in _NAME)
    return f"DELETE FROM {CURSOR.name} WHERE {where} RETURNING 1"


def _insert(table: Table, mark: str, key: tuple[str, ...] = (), *, last: tuple[str, ...] = ()) -> Insert:
    """An INSERT; with a key, one that replaces the row with the same key. `last`: the columns whose values come last."""
    columns = (*(name for name in table.names if name not in last), *last)
    before = f"INSERT INTO {quoted(table.name)} ({', '.join(map(quoted, columns))}) VALUES"
    set_ = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in columns if name not in key)
    after = f" ON CONFLICT ({', '.join(map(quoted, key))}) DO UPDATE SET {set_}" if key else ""
    return Insert(before, after, table.name, columns, mark)
