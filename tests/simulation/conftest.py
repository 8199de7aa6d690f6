"""The databases that a contract of SQL sinks is held against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres_server import PostgresServer, server_of_tests
from support.postgres_world import PostgresWorld
from support.sql_world import SqliteWorld, SqlWorld


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    # The server is not killed here, so nothing depends on its disk.
    with server_of_tests("fsync=off", "full_page_writes=off") as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> SqlWorld:
    if request.param == "postgres":
        return PostgresWorld(request.getfixturevalue("server"))
    return SqliteWorld(tmp_path)
