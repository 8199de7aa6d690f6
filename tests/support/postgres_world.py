"""A database of a real PostgreSQL server for the contract of SQL sinks.

Owns: `PostgresWorld`.
Always: a copy is a schema of the same database, made by the server. What is found is read by a connection of its own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from event_processor.connectors.sql.dialect import Dialect
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.connectors.sql.postgres import PostgresDialect
from support.postgres_server import PostgresServer
from support.sql_world import COLUMNS

__all__ = ["PostgresWorld"]


class PostgresWorld:
    """See `SqlWorld`."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.database = server.new_database()
        self._views: dict[str, list[tuple[Any, ...]]] = {}

    def options(self, **keys: object) -> SqlSinkOptions:
        return SqlSinkOptions.model_validate(
            {"type": "sql", "url": self.server.url(self.database), "table": "results", "columns": COLUMNS, **keys}
        )

    def dialect(self) -> Dialect:
        return PostgresDialect(5.0)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(map(_plain, row)) for row in self.server.execute(self.database, statement)]

    def copy(self, name: str) -> None:
        kept = f"kept_{name.partition('.')[0]}"
        self._run(f"DROP SCHEMA IF EXISTS {kept} CASCADE; CREATE SCHEMA {kept}")
        self._fill("public", kept)
        views = self.server.execute(self.database, "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'")
        self._views[kept] = views

    def restore(self, name: str) -> None:
        kept = f"kept_{name.partition('.')[0]}"
        self.lose()
        self._fill(kept, "public")
        for view, definition in self._views[kept]:
            self._run(f'CREATE VIEW public."{view}" AS {definition}')

    def lose(self) -> None:
        # Much faster than a new database; a process that still has a connection finds nothing either.
        self._run("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    def written(self, type_: str, value: str, expected: Any) -> Any:
        if expected is None or "\\u0000" in value:
            return None  # PostgreSQL has no text with a NUL
        if type_ == "json":
            return json.loads(value)
        if type_ == "timestamp":
            return expected.replace(".5Z", ".500Z").replace("00:00Z", "00:00.000Z")
        return {"numeric": Decimal, "boolean": bool}.get(type_.partition("(")[0], lambda same: same)(expected)

    def _fill(self, source: str, target: str) -> None:
        """Makes the tables of one schema in another, with their rows."""
        tables = self.server.execute(self.database, f"SELECT tablename FROM pg_tables WHERE schemaname = '{source}'")
        self._run(
            "; ".join(
                f'CREATE TABLE {target}."{name}" (LIKE {source}."{name}" INCLUDING ALL); '
                f'INSERT INTO {target}."{name}" SELECT * FROM {source}."{name}"'
                for (name,) in tables
            )
        )

    def _run(self, statements: str) -> None:
        if statements:
            self.server.execute(self.database, statements)


def _plain(value: object) -> object:
    """As SQLite has it: moments and UUIDs as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value
