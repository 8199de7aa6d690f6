"""The tables of a sink: its own, and those in which every sink of a database keeps its place.

Owns: their columns, the lineage of a row, the view that leads from a row to its line, and what must be changed.
Always: what exists is only added to. What cannot be added is a conflict, in words, for a person.
Never: runs a statement that it was not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from event_processor.connectors.sql.dialect import Column, Dialect, FoundTable, Session, Table
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.model.connector import TableChanges

__all__ = ["CURSOR", "FAILED", "LINEAGE", "SHARED", "SOURCES", "VIEW", "apply_changes", "changes_of", "quoted", "table_of"]

LINEAGE: Final = (
    Column("_pipeline", "text", is_required=True),
    Column("_sink", "text", is_required=True),
    Column("_source", "text"),
    Column("_generation", "integer"),
    Column("_offset", "integer"),
    Column("_line", "integer"),
    Column("_sequence", "integer", is_required=True),
    Column("_delivered_at", "timestamp", is_required=True),
    Column("_software", "text", is_required=True),
)
SNAPSHOT: Final = (
    Column("_key", "text", is_required=True),
    Column("as_of", "integer", is_required=True),
    Column("_pipeline", "text", is_required=True),
    Column("_shard", "text", is_required=True),
    Column("_sink", "text", is_required=True),
    Column("_delivered_at", "timestamp", is_required=True),
    Column("_software", "text", is_required=True),
)
"""The columns of a snapshot that follow its own: what the row is of, how many records its checkpoint covered, and who wrote it."""
SHARED: Final = ("_source", "_generation", "_pipeline", "_sink", "_delivered_at", "_software")
"""The columns of the lineage that are the same in all rows of a transaction; the first two often are."""
CURSOR: Final = Table(
    "event_processor_cursor",
    (
        Column("pipeline", "text", is_required=True),
        Column("shard", "text", is_required=True),
        Column("sink", "text", is_required=True),
        Column("state_id", "text", is_required=True),
        Column("input", "text", is_required=True),
        Column("started_after", "integer", is_required=True),
        Column("fence", "integer", is_required=True),
        Column("writer", "text", is_required=True),
        Column("sequence", "integer", is_required=True),
        Column("chain", "text", is_required=True),
        Column("delivered", "integer", is_required=True),
        Column("failed", "integer", is_required=True),
        Column("skipped", "integer", is_required=True),
        Column("changed_at", "timestamp", is_required=True),
        Column("software", "text", is_required=True),
    ),
    ("pipeline", "shard", "sink"),
)
FAILED: Final = Table(
    "event_processor_failed",
    (
        Column("pipeline", "text", is_required=True),
        Column("shard", "text", is_required=True),
        Column("sink", "text", is_required=True),
        Column("state_id", "text", is_required=True),
        Column("input", "text", is_required=True),
        Column("sequence", "integer", is_required=True),
        Column("key", "text", is_required=True),
        Column("place", "text", is_required=True),
        Column("stage", "text", is_required=True),
        Column("status", "text", is_required=True),
        Column("reason", "text", is_required=True),
        Column("tries", "integer", is_required=True),
        Column("failed_at", "timestamp", is_required=True),
        Column("object", "text", is_required=True),
    ),
    ("pipeline", "shard", "sink", "state_id", "input", "sequence"),
)
SOURCES: Final = Table(
    "event_processor_sources",
    (
        Column("pipeline", "text", is_required=True),
        Column("source", "text", is_required=True),
        Column("path", "text", is_required=True),
    ),
    ("pipeline", "source"),
)
TABLES: Final = Table(
    "event_processor_tables",
    (Column("table_name", "text", is_required=True), Column("id_column", "text", is_required=True)),
    ("table_name",),
)
"""The tables of all sinks in this database, for the view."""
VIEW: Final = "event_processor_whence"
OURS: Final = (CURSOR, FAILED, SOURCES, TABLES)


def quoted(name: str) -> str:
    """A name in a statement. Names of tables and columns hold no quote."""
    return f'"{name}"'


def table_of(options: SqlSinkOptions, *, is_snapshot: bool = False) -> Table:
    """The table of a sink: its columns, then the lineage; of a snapshot, then the key and what it is as of."""
    own = tuple(Column(name, type_, is_required=name in options.upsert) for name, type_ in options.typed_columns().items())
    if is_snapshot:
        return Table(options.table, (*own, *SNAPSHOT), (*(options.upsert or ("_key",)), "_shard"))
    return Table(options.table, (*own, *LINEAGE), options.upsert)


def changes_of(session: Session, dialect: Dialect, options: SqlSinkOptions, *, is_snapshot: bool = False) -> TableChanges:
    """What must be done before the sink can write. Changes nothing. Raises `SqlError`."""
    wanted = table_of(options, is_snapshot=is_snapshot)
    statements: list[str] = []
    conflicts: list[str] = []
    for table in (*OURS, wanted):
        found = dialect.found_table(session, table.name)
        if found is None and dialect.has_view(session, table.name):
            conflicts.append(f"{table.name}: is a view")
        elif found is None:
            statements.append(_create(table, dialect))
        else:
            comparison = _compared(table, found, dialect)
            statements += comparison.statements
            conflicts += comparison.conflicts
    if not is_snapshot:
        # A row of a snapshot comes from no line.
        statements += _view(session, dialect, options)
    return TableChanges(options.table, tuple(statements), tuple(conflicts))


def apply_changes(session: Session, changes: TableChanges) -> None:
    """Runs the statements of a plan without conflicts, in the transaction that is open. Raises `SqlError`."""
    for statement in changes.statements:
        session.execute(statement)


def _create(table: Table, dialect: Dialect) -> str:
    columns = [
        f"{quoted(column.name)} {dialect.type_of(column.type)}{' NOT NULL' if column.is_required else ''}"
        for column in table.columns
    ]
    if table.key:
        columns.append(f"PRIMARY KEY ({', '.join(map(quoted, table.key))})")
    return f"CREATE TABLE {quoted(table.name)} ({', '.join(columns)}){dialect.table_suffix()}"


@dataclass(frozen=True, slots=True)
class _Comparison:
    statements: list[str]
    conflicts: list[str]


def _compared(table: Table, found: FoundTable, dialect: Dialect) -> _Comparison:
    """What a table lacks. Columns that only the database has are its owner's."""
    comparison = _Comparison([], [])
    name = quoted(table.name)
    if tuple(each.lower() for each in found.key) != tuple(each.lower() for each in table.key):
        has, wants = ", ".join(found.key) or "none", ", ".join(table.key) or "none"
        comparison.conflicts.append(f"{table.name}: its primary key is {has}, but the sink wants {wants}")
    for column in table.columns:
        type_ = dialect.type_of(column.type)
        present = found.types.get(column.name.lower())
        if present is None and column.is_required:
            comparison.conflicts.append(f"{table.name}: has rows without {column.name}")
        elif present is None:
            comparison.statements.append(f"ALTER TABLE {name} ADD COLUMN {quoted(column.name)} {type_}")
        elif present != type_:
            comparison.conflicts.append(f"{table.name}: {column.name} is {present}, but the sink writes {type_} ({column.type})")
    return comparison


def _view(session: Session, dialect: Dialect, options: SqlSinkOptions) -> Iterator[str]:
    """Yields what makes the view show this sink's table too."""
    has_tables = dialect.found_table(session, TABLES.name) is not None
    known: dict[str, str] = {}
    if has_tables:
        found = session.execute(f"SELECT table_name, id_column FROM {TABLES.name} ORDER BY table_name")  # noqa: S608 - constants
        known = {str(name): str(column) for name, column in found}
    id_column = next(iter(options.columns))
    if known.get(options.table) == id_column and dialect.has_view(session, VIEW):
        return
    if options.table in known:
        yield f"UPDATE {TABLES.name} SET id_column = '{id_column}' WHERE table_name = '{options.table}'"  # noqa: S608 - names were checked
    else:
        yield f"INSERT INTO {TABLES.name} (table_name, id_column) VALUES ('{options.table}', '{id_column}')"  # noqa: S608 - names were checked
    if dialect.has_view(session, VIEW):
        yield f"DROP VIEW {VIEW}"
    yield _created_view({**known, options.table: id_column})


def _created_view(tables: dict[str, str]) -> str:
    selects = [
        f"SELECT '{name}' AS table_name, CAST(r.{quoted(id_column)} AS TEXT) AS id, r._pipeline AS pipeline, r._sink AS sink, "  # noqa: S608
        "r._sequence AS sequence, r._source AS source, s.path AS file, r._generation AS generation, r._line AS line, "
        f"r._offset AS byte_offset, r._delivered_at AS delivered_at FROM {quoted(name)} r "
        f"LEFT JOIN {SOURCES.name} s ON s.pipeline = r._pipeline AND s.source = r._source"
        for name, id_column in sorted(tables.items())
    ]
    return f"CREATE VIEW {VIEW} AS {' UNION ALL '.join(selects)}"
