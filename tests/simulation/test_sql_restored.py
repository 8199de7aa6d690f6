"""SQL sinks whose database or state was restored, lost or copied, for every database: the rows are there once, in the right order."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from event_processor.engine.delivery.reports import LaneReport
from support.lanes import Bench, MemoryOutbox, records
from support.sql_world import SqliteWorld, SqlWorld, deliver, receiver_of, require_true
from support.virtual_time import run_in_virtual_time as run


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


@pytest.mark.parametrize("case", ["at", "ahead", "behind", "late", "dropped"])
def test_a_copy_with_other_records_leaves_the_cursor_to_the_process_that_writes(
    world: SqlWorld, tmp_path: Path, case: str
) -> None:
    """The database is at record 20. `at`: so is the copy. `ahead`, `behind`: the copy is. `late`: it has fewer records at first.

    `dropped`: it has the lane from before a drop.
    """
    entries, others = records(60), records(60, mark="other")
    started = (5, entries[4].chain) if case == "dropped" else (0, "")
    known = {"at": 20, "ahead": 40, "behind": 10, "late": 10, "dropped": 20}[case]
    other = tmp_path / "other"
    deliver(SqliteWorld(tmp_path / "elsewhere"), other, MemoryOutbox(others[:known]))
    mirror = (other / "delivery" / "remote.json").read_bytes()
    cursor = "SELECT fence, writer, sequence, chain, started_after FROM event_processor_cursor"

    async def main() -> None:
        first = process(world, tmp_path / "state", MemoryOutbox(entries[:20]), started)
        await first.idle()
        before = world.query(cursor)
        copied = MemoryOutbox(others[: {"behind": 30, "late": 15}.get(case, known)])
        second = process(world, other, copied)
        if case == "late":
            await second.idle()
            report = second.lane.report()
            assert (report.state, report.pending, report.delivered) == ("idle", 0, 20), "it passes over what the database has"
            assert world.query(cursor) == before
            second.append(others[15:20])
        await second.idle()
        report = second.lane.report()
        assert (report.state, report.exit_code) == ("failed", 65)
        await second.close()
        assert world.query(cursor) == before
        first.append(entries[20:])
        await first.idle()
        report = await first.close()
        require_true(world, tmp_path / "state", report)

    run(main())
    assert numbers(world) == list(range(started[0] + 1, 61))
    if case != "late":
        assert (other / "delivery" / "remote.json").read_bytes() == mirror, "with its own database it goes on"


def test_a_copy_that_is_behind_takes_the_cursor_when_it_has_the_same_record(world: SqlWorld, tmp_path: Path) -> None:
    entries = records(60)
    deliver(world, tmp_path / "a", MemoryOutbox(entries[:10]))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    fence = "SELECT fence, sequence FROM event_processor_cursor"

    async def main() -> LaneReport:
        first = process(world, tmp_path / "a", MemoryOutbox(entries[:30]))
        await first.idle()
        before = world.query(fence)
        second = process(world, tmp_path / "b", MemoryOutbox(entries[:20]))
        await second.idle()
        second.append(entries[20:29])
        await asyncio.sleep(5)
        assert world.query(fence) == before == [(2, 30)]
        second.append(entries[29:40])
        await second.idle()
        assert world.query(fence) == [(3, 40)]
        first.append(entries[30:40])
        await asyncio.sleep(5)
        assert first.lane.report().state == "stopped"
        await first.close()
        return await second.close()

    report = run(main())
    assert numbers(world) == list(range(1, 41))
    require_true(world, tmp_path / "b", report)


def test_a_backup_from_before_the_start_of_the_process_that_runs_is_filled_again(world: SqlWorld, tmp_path: Path) -> None:
    entries = records(60)
    deliver(world, tmp_path, MemoryOutbox(entries[:20]))
    world.copy("backup")

    async def main() -> LaneReport:
        bench = process(world, tmp_path, MemoryOutbox(entries[:40]))
        await bench.idle()
        world.restore("backup")  # its cursor names the process before this one
        bench.append(entries[40:])
        await bench.idle()
        return await bench.close()

    report = run(main())
    assert numbers(world) == list(range(1, 61))
    require_true(world, tmp_path, report)
