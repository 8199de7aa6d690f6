"""`verify --sink` of the real program, while its daemon writes into a real PostgreSQL server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.postgres_server import PostgresServer, server_of_tests
from support.processes import DEADLINE_S, Pipeline, wait_until

CONFIGURATION = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[batch]
bytes_max = 16384
[sinks.rows]
type = "sql"
url = "{url}"
table = "results"
columns = {{ id = "integer", amount = "numeric", at = "timestamp", more = "json" }}
request_events_max = 50
[sinks.latest]
type = "sql"
url = "{url}"
table = "latest"
columns = {{ category = "text", id = "integer" }}
upsert = ["category"]
request_events_max = 50
"""
PROGRAM = (sys.executable, "-m", "event_processor")
PORTION = 600
PORTIONS = 3


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with server_of_tests("fsync=off", "full_page_writes=off") as server:
        yield server


def portion(first: int) -> bytes:
    """Events; an amount of each hundredth does not fit its column."""
    lines = []
    for number in range(first, first + PORTION):
        amount = '"much"' if number % 100 == 0 else f"{number}.50"
        at = f"2026-01-01T00:00:00.{number:09}Z"
        more = f'{{"n": [{number}, 1.0]}}'
        lines.append(f'{{"id":{number},"category":"c{number % 7}","value":1,"amount":{amount},"at":"{at}","more":{more}}}\n')
    return "".join(lines).encode()


def called(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "--config", str(folder / "pipeline.toml"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)


def answered(server: PostgresServer, database: str) -> int:
    """How far the slower of both sinks is; 0 before there are cursors."""
    if not server.execute(database, "SELECT 1 WHERE to_regclass('event_processor_cursor') IS NOT NULL"):
        return 0
    found = server.execute(database, "SELECT min(sequence) FROM event_processor_cursor HAVING count(*) = 2")
    return int(found[0][0]) if found else 0


@pytest.fixture
def database(server: PostgresServer, tmp_path: Path) -> str:
    """A database, and beside the log a configuration that writes into it."""
    made = server.new_database()
    (tmp_path / "events.jsonl").write_bytes(portion(1))
    (tmp_path / "pipeline.toml").write_text(CONFIGURATION.format(url=server.url(made)))
    return made


def test_tables_are_compared_while_a_daemon_writes_into_them(server: PostgresServer, database: str, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path, PROGRAM)
    daemon = pipeline.start()
    try:
        seen = []
        for number in range(1, PORTIONS + 1):
            least = PORTION * (number - 1)
            wait_until(lambda least=least: answered(server, database) > least or not daemon.alive, "rows")  # type: ignore[misc]
            if number < PORTIONS:
                with pipeline.log.open("ab") as log:
                    log.write(portion(PORTION * number + 1))
            found = called(tmp_path, "verify", "--sink", "rows", "--sink", "latest", "--json")
            assert found.returncode == 0, found
            tables = json.loads(found.stdout)["tables"]
            for table in tables:
                assert table["through"] == table["delivered"] + table["failed"] == table["released"] - table["pending"]
                assert (table["differing"], table["others"]) == (0, 0)
            assert tables[0]["failed"] == tables[0]["through"] // 100
            seen.append(min(table["through"] for table in tables))
            assert seen[-1] > least
        assert sorted(seen) == seen
        wait_until(lambda: answered(server, database) == PORTION * PORTIONS or not daemon.alive, "all rows")
        assert daemon.alive
        # The fence was never taken: the daemon took each sink's cursor once.
        assert server.execute(database, "SELECT fence FROM event_processor_cursor") == [(1,), (1,)]
        server.execute(database, "UPDATE results SET amount = amount + 0.001 WHERE id = 777")
        server.execute(database, "DELETE FROM latest WHERE category = 'c3'")
        found = called(tmp_path, "verify", "--sink", "rows", "--sink", "latest")
        assert found.returncode == 65, found
        assert f"record 777 ({pipeline.log}:777, byte " in found.stdout
        assert 'column amount: committed "777.501", from the log "777.50"' in found.stdout
        assert 'from the log {"category":"c3","id":3}' in found.stdout
    finally:
        daemon.kill()


def test_a_server_that_is_gone_is_69_with_its_words(server: PostgresServer, database: str, tmp_path: Path) -> None:
    assert called(tmp_path, "run", "--once").returncode == 0
    url = server.url(database)
    (tmp_path / "pipeline.toml").write_text(CONFIGURATION.format(url=url.replace(f":{server.port}/", ":1/")))
    found = called(tmp_path, "verify", "--sink", "rows")
    assert (found.returncode, "Traceback" in found.stderr) == (69, False), found
    assert "sinks.rows: " in found.stderr
    assert "refused" in found.stderr
