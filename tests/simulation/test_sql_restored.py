"""SQL sinks whose database or state was restored, lost or copied, for every database: the rows are there once, in the right order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from event_processor.engine.delivery.reports import LaneReport
from support.lanes import Bench, MemoryOutbox, records
from support.postgres_server import PostgresServer, server_of_tests
from support.postgres_world import PostgresWorld
from support.sql_world import SqliteWorld, SqlWorld, receiver_of, require_true
from support.virtual_time import run_in_virtual_time as run


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


def process(world: SqlWorld, state: Path, outbox: MemoryOutbox, started: tuple[int, str] = (0, "")) -> Bench:
    """A process with this state, which is to be made inside the loop."""
    made_by = receiver_of(world.dialect(), world.options())
    return Bench(str(state), outbox, made_by, started=started, request_events_max=7)


def numbers(world: SqlWorld) -> list[int]:
    """What was written, in order."""
    return [n for (n,) in world.query("SELECT n FROM results ORDER BY _sequence")]


def test_a_backup_that_is_restored_under_a_running_process_is_filled_again(world: SqlWorld, tmp_path: Path) -> None:
    entries = records(60)

    async def main() -> LaneReport:
        bench = process(world, tmp_path, MemoryOutbox(entries[:20]))
        await bench.idle()
        world.copy("backup")
        bench.append(entries[20:40])
        await bench.idle()
        world.restore("backup")
        bench.append(entries[40:])
        await bench.idle()
        return await bench.close()

    report = run(main())
    assert numbers(world) == list(range(1, 61))
    require_true(world, tmp_path, report)


def test_a_database_that_is_lost_under_a_running_process_stops_with_65(world: SqlWorld, tmp_path: Path) -> None:
    entries = records(60)

    async def main() -> LaneReport:
        bench = process(world, tmp_path, MemoryOutbox(entries[:20]))
        await bench.idle()
        world.lose()
        bench.append(entries[20:])
        await asyncio.sleep(60)
        return await bench.close()

    report = run(main())
    assert (report.state, report.exit_code, report.delivered) == ("failed", 65, 20)
    assert "lost or replaced" in report.words
