"""The server and the proxy that tests of PostgreSQL stand on: a kill keeps what was committed, a cut at COMMIT loses the answer alone."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from support.postgres_server import PostgresServer, server_of_tests
from support.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with server_of_tests() as server:
        yield server


def rows(server: PostgresServer, database: str) -> list[int]:
    return sorted(value for (value,) in server.execute(database, "SELECT value FROM kept"))


def test_a_kill_keeps_what_was_committed_and_a_restore_brings_back_what_was(server: PostgresServer) -> None:
    database = server.new_database()
    server.execute(database, "CREATE TABLE kept (value int)")
    server.execute(database, "INSERT INTO kept VALUES (1)")
    server.copy_to("copy")
    server.execute(database, "INSERT INTO kept VALUES (2)")
    server.kill()
    server.start()
    assert rows(server, database) == [1, 2]
    server.restore("copy")
    assert rows(server, database) == [1]


@pytest.mark.parametrize(("when", "expected"), [("before", []), ("after", [1])])
def test_a_connection_that_is_cut_at_commit(server: PostgresServer, when: str, expected: list[int]) -> None:
    database = server.new_database()
    server.execute(database, "CREATE TABLE kept (value int)")
    with TcpProxy(server.port) as proxy, psycopg.connect(server.url(database, port=proxy.port)) as connection:
        connection.execute("INSERT INTO kept VALUES (1)")
        proxy.cut_at(b"COMMIT", when)  # type: ignore[arg-type]  # one of the two
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
        assert proxy.cuts == 1
        connection.close()
    assert rows(server, database) == expected


def test_a_proxy_refuses_resets_and_freezes(server: PostgresServer) -> None:
    database = server.new_database()
    with TcpProxy(server.port) as proxy:
        address = server.url(database, port=proxy.port)
        with psycopg.connect(address) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            proxy.reset()
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
            connection.close()
        proxy.refuses = True
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(address, connect_timeout=5)
        proxy.refuses = False
        with psycopg.connect(address) as connection:
            proxy.freeze()
            proxy.thaw()
            assert connection.execute("SELECT 2").fetchone() == (2,)
