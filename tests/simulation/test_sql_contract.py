"""The contract of SQL sinks, for every database: each record is written once, whatever is killed, lost, restored or copied."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from event_processor.connectors.sql.connector import SqlConnector
from event_processor.engine.delivery.cursor_file import read_cursor, write_cursor
from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.delivery.retries import Retry, append_retries
from event_processor.model.clock import utc_text
from event_processor.model.delivery import OutboxRecord, ReceiverContext
from event_processor.storage.durable import OperatingSystem
from support.delivery_requests import ReceiverWorld
from support.lanes import STATE_ID, Bench, MemoryOutbox, chain_after, records
from support.sql_world import Fault, FaultyDialect, KilledError, SqliteWorld, SqlWorld, deliver, receiver_of, require_true
from support.virtual_time import run_in_virtual_time as run

SOFTWARE = "event-processor test"


def made(objects: list[str]) -> list[OutboxRecord]:
    """Records with these objects."""
    found: list[OutboxRecord] = []
    for record, content in zip(records(len(objects)), objects, strict=True):
        before = found[-1].chain if found else ""
        changed = msgspec.structs.replace(record, object=msgspec.Raw(content.encode()), chain="")
        found.append(msgspec.structs.replace(changed, chain=chain_after(before, changed)))
    return found


def with_bad(total: int = 24) -> list[OutboxRecord]:
    """Records of which one does not fit its column, and one is refused by the database (see `refusing`)."""
    objects = [f'{{"n":{n},"mark":""}}' for n in range(1, total + 1)]
    objects[4] = '{"n":"five","mark":""}'
    objects[16] = '{"n":16,"mark":""}'  # as the one before
    return made(objects)


def refusing(world: SqlWorld, state: Path) -> None:
    """Makes the tables, and the database refuse a second row with the same `n`."""
    deliver(world, state, MemoryOutbox([]))
    world.query("CREATE UNIQUE INDEX once ON results (n)")


def numbers(world: SqlWorld) -> list[int]:
    """What was written, in order."""
    return [n for (n,) in world.query("SELECT n FROM results ORDER BY _sequence")]


def step_of(world: SqlWorld) -> int:
    """SQLite dies at every call; a server, which is slower, at every third. `SQL_FAULTS=every`: that too."""
    return 1 if isinstance(world, SqliteWorld) or os.environ.get("SQL_FAULTS") == "every" else 3


GOOD = [n for n in range(1, 25) if n not in (5, 17)]


def test_rows_have_their_values_and_their_lineage(world: SqlWorld, tmp_path: Path) -> None:
    report = deliver(world, tmp_path, MemoryOutbox(records(20)))
    assert (report.state, report.delivered, report.failed) == ("idle", 20, 0)
    require_true(world, tmp_path, report)
    delivered_at = utc_text(int(1000.0 * 1e9))[:19]
    names = "n, mark, _pipeline, _sink, _source, _generation, _offset, _line, _sequence, _software"
    rows = world.query(f"SELECT {names} FROM results ORDER BY n")
    assert rows == [(n, "", "pipeline", "remote", "events", 1, 10 * n, n, n, SOFTWARE) for n in range(1, 21)]
    assert {when[:19] for (when,) in world.query("SELECT DISTINCT _delivered_at FROM results")} == {delivered_at}
    whence = world.query("SELECT file, line, byte_offset FROM event_processor_whence WHERE table_name = 'results' AND id = '7'")
    assert whence == [("log/events.jsonl", 7, 70)]


def test_one_bad_row_among_500_is_one_failed_row(world: SqlWorld, tmp_path: Path) -> None:
    refusing(world, tmp_path)
    objects = [f'{{"n":{n},"mark":""}}' for n in range(1, 501)]
    objects[376] = '{"n":376,"mark":""}'
    fault = Fault()
    dialect = FaultyDialect(world.dialect(), fault)
    report = deliver(world, tmp_path, MemoryOutbox(made(objects)), dialect=dialect, request_events_max=500)
    require_true(world, tmp_path, report)
    assert numbers(world) == [n for n in range(1, 501) if n != 377]
    assert fault.calls < 150, "it is found by halves"
    failed = world.query("SELECT sequence, key, place, stage, object FROM event_processor_failed")
    place = {"source": "events", "generation": 1, "offset": 3770, "line": 377}
    ((sequence, key, found_place, stage, content),) = failed
    assert (sequence, key, stage) == (377, f"{STATE_ID}:remote:events:1:3770", "deliver")
    assert (json.loads(found_place), json.loads(content)) == (place, {"n": 376, "mark": ""})
    (line,) = (tmp_path / "delivery" / "remote.failed.jsonl").read_text().splitlines()
    assert json.loads(line)["sequence"] == 377


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["kill", "lost"])
def test_a_fault_at_any_call_neither_loses_nor_repeats_a_record(world: SqlWorld, tmp_path: Path, kind: str, after: bool) -> None:
    refusing(world, tmp_path / "begun")
    world.copy("begun.db")
    for nth in count(1, step_of(world)):
        state = tmp_path / f"state-{nth}"
        shutil.copytree(tmp_path / "begun", state)
        world.restore("begun.db")
        fault = Fault(nth, kind, after)
        try:
            report = deliver(world, state, MemoryOutbox(with_bad()), dialect=FaultyDialect(world.dialect(), fault))
        except KilledError:
            report = deliver(world, state, MemoryOutbox(with_bad()))
        assert numbers(world) == GOOD, fault
        require_true(world, state, report)
        failed = [json.loads(line)["sequence"] for line in (state / "delivery" / "remote.failed.jsonl").read_text().splitlines()]
        assert failed == [5, 17], fault
        shutil.rmtree(state)
        if not fault.was_met:
            assert nth > 30
            return


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["kill", "lost"])
def test_a_fault_at_any_call_of_the_first_start_is_none(world: SqlWorld, tmp_path: Path, kind: str, after: bool) -> None:
    for nth in count(1, step_of(world)):
        state = tmp_path / f"state-{nth}"
        world.lose() if nth > 1 else None
        fault = Fault(nth, kind, after)
        try:
            report = deliver(world, state, MemoryOutbox(records(3)), dialect=FaultyDialect(world.dialect(), fault))
        except KilledError:
            report = deliver(world, state, MemoryOutbox(records(3)))
        assert numbers(world) == [1, 2, 3], fault
        require_true(world, state, report)
        if not fault.was_met:
            assert nth > 15
            return


def test_of_two_copies_of_a_state_the_later_one_writes(world: SqlWorld, tmp_path: Path) -> None:
    entries = records(60)
    deliver(world, tmp_path / "a", MemoryOutbox(entries[:10]))
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    async def main() -> LaneReport:
        def process(name: str) -> Bench:
            made_by = receiver_of(world.dialect(), world.options())
            return Bench(str(tmp_path / name), MemoryOutbox(entries[:10]), made_by, request_events_max=7)

        first = process("a")
        await first.idle()
        second = process("b")
        await second.idle()
        first.append(entries[10:40])
        await asyncio.sleep(200)
        stopped = first.lane.report()
        assert stopped.state == "stopped"
        assert "another process (host:1) has taken the place of remote" in stopped.words
        second.append(entries[10:60])
        await second.idle()
        report = await second.close()
        await first.close()
        return report

    report = run(main())
    assert numbers(world) == list(range(1, 61))
    require_true(world, tmp_path / "b", report)


def test_a_database_that_is_restored_from_a_backup_is_filled_again(world: SqlWorld, tmp_path: Path) -> None:
    refusing(world, tmp_path)
    entries = with_bad(60)
    deliver(world, tmp_path, MemoryOutbox(entries[:20]))
    world.copy("backup")
    deliver(world, tmp_path, MemoryOutbox(entries[:50]))
    world.restore("backup")
    report = deliver(world, tmp_path, MemoryOutbox(entries))
    assert numbers(world) == [n for n in range(1, 61) if n not in (5, 17)]
    require_true(world, tmp_path, report)


def test_a_cursor_that_is_set_back_under_a_running_process_is_followed(world: SqlWorld, tmp_path: Path) -> None:
    entries = records(40)

    async def main() -> LaneReport:
        made_by = receiver_of(world.dialect(), world.options())
        bench = Bench(str(tmp_path), MemoryOutbox(entries[:20]), made_by, request_events_max=7)
        await bench.idle()
        # As if the server had failed over to an older replica, with the same fence.
        world.query("DELETE FROM results WHERE _sequence > 10")
        world.query(f"UPDATE event_processor_cursor SET sequence = 10, delivered = 10, chain = '{entries[9].chain}'")
        bench.append(entries[20:])
        await bench.idle()
        return await bench.close()

    report = run(main())
    assert numbers(world) == list(range(1, 41))
    require_true(world, tmp_path, report)


def test_a_state_that_is_restored_from_a_backup_passes_over_what_the_database_has(world: SqlWorld, tmp_path: Path) -> None:
    entries = records(60)
    deliver(world, tmp_path / "state", MemoryOutbox(entries[:20]))
    shutil.copytree(tmp_path / "state", tmp_path / "older")
    deliver(world, tmp_path / "state", MemoryOutbox(entries[:50]))
    report = deliver(world, tmp_path / "older", MemoryOutbox(entries))
    assert numbers(world) == list(range(1, 61))
    require_true(world, tmp_path / "older", report)


def test_a_state_with_other_records_stops_with_65(world: SqlWorld, tmp_path: Path) -> None:
    deliver(world, tmp_path / "state", MemoryOutbox(records(20)))
    report = deliver(world, tmp_path / "other", MemoryOutbox(records(30, mark="other")))
    assert (report.state, report.exit_code) == ("failed", 65)
    assert numbers(world) == list(range(1, 21))


def test_a_lost_database_stops_with_65_and_is_not_made_anew(world: SqlWorld, tmp_path: Path) -> None:
    deliver(world, tmp_path, MemoryOutbox(records(20)))
    world.lose()
    report = deliver(world, tmp_path, MemoryOutbox(records(30)))
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "lost or replaced" in report.words
    assert "event-processor sinks drop remote" in report.remedy
    # The way out: without its cursor, the lane begins after what was released, and makes its tables.
    (tmp_path / "delivery" / "remote.json").unlink()
    report = deliver(world, tmp_path, MemoryOutbox(records(40)), started=(30, records(30)[-1].chain))
    assert numbers(world) == list(range(31, 41))
    require_true(world, tmp_path, report)


def test_the_database_of_another_state_stops_with_65(world: SqlWorld, tmp_path: Path) -> None:
    deliver(world, tmp_path / "state", MemoryOutbox(records(20)))
    report = deliver(world, tmp_path / "lost", MemoryOutbox(records(20)), state_id="another")
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "belongs to another state of the pipeline pipeline" in report.words
    # The state that it belongs to was not fenced off.
    report = deliver(world, tmp_path / "state", MemoryOutbox(records(30)))
    assert numbers(world) == list(range(1, 31))


def test_a_dropped_lane_begins_anew(world: SqlWorld, tmp_path: Path) -> None:
    deliver(world, tmp_path, MemoryOutbox(records(20)))
    (tmp_path / "delivery" / "remote.json").unlink()
    report = deliver(world, tmp_path, MemoryOutbox(records(40)), started=(30, records(30)[-1].chain))
    assert numbers(world) == [*range(1, 21), *range(31, 41)]
    assert (report.delivered, report.pending) == (10, 0)


def test_a_renamed_lane_goes_on(world: SqlWorld, tmp_path: Path) -> None:
    refusing(world, tmp_path)
    deliver(world, tmp_path, MemoryOutbox(with_bad()))
    fs = OperatingSystem()
    cursor = read_cursor(fs, str(tmp_path), "remote")
    assert cursor is not None
    for ending in ("json", "failed.jsonl"):
        (tmp_path / "delivery" / f"remote.{ending}").rename(tmp_path / "delivery" / f"new.{ending}")
    write_cursor(fs, str(tmp_path), "new", msgspec.structs.replace(cursor, earlier_names=(("remote", 24),)))
    report = deliver(world, tmp_path, MemoryOutbox(with_bad(30)), name="new")
    assert numbers(world) == [*GOOD, *range(25, 31)]
    assert (report.delivered, report.failed) == (28, 2)
    assert world.query("SELECT sink, sequence FROM event_processor_cursor") == [("new", 30)]
    assert world.query("SELECT DISTINCT sink FROM event_processor_failed") == [("new",)]


def test_a_sink_with_a_key_replaces_rows(world: SqlWorld, tmp_path: Path) -> None:
    objects = [f'{{"n":{n % 5},"mark":"{n}"}}' for n in range(1, 23)] + ['{"mark":"without"}', '{"n":null,"mark":"null"}']
    report = deliver(world, tmp_path, MemoryOutbox(made(objects)), options=world.options(upsert=("n",)))
    rows = world.query("SELECT n, mark, _line FROM results ORDER BY n")
    assert rows == [(0, "20", 20), (1, "21", 21), (2, "22", 22), (3, "18", 18), (4, "19", 19)]
    assert (report.delivered, report.failed) == (22, 2)
    reasons = world.query("SELECT reason FROM event_processor_failed ORDER BY sequence")
    assert reasons == [('"n" is missing, and identifies the row',)] * 2


def test_a_trigger_that_ends_the_transaction_makes_one_failed_row(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    deliver(world, tmp_path, MemoryOutbox([]))
    world.query("CREATE TRIGGER no_nine BEFORE INSERT ON results WHEN NEW.n = 9 BEGIN SELECT RAISE(ROLLBACK, 'no nine'); END")
    report = deliver(world, tmp_path, MemoryOutbox(records(20)))
    require_true(world, tmp_path, report)
    assert numbers(world) == [n for n in range(1, 21) if n != 9]
    assert world.query("SELECT sequence, reason FROM event_processor_failed") == [(9, "no nine")]


def test_rows_of_an_aggregate_have_its_name_as_their_source(world: SqlWorld, tmp_path: Path) -> None:
    place = {"aggregate": "hourly", "end": "2026-01-01T00:00:00Z", "group": ["a"]}
    record = msgspec.structs.replace(records(1)[0], place=place, chain="")
    record = msgspec.structs.replace(record, chain=chain_after("", record))
    deliver(world, tmp_path, MemoryOutbox([record]))
    assert world.query("SELECT _source, _generation, _offset, _line FROM results") == [("hourly", None, None, None)]


def test_retried_records_are_a_series_of_their_own(world: SqlWorld, tmp_path: Path) -> None:
    refusing(world, tmp_path)
    deliver(world, tmp_path, MemoryOutbox(with_bad()))
    place = {"source": "events", "generation": 1, "offset": 170, "line": 17}
    retry = Retry(f"{STATE_ID}:remote:events:1:170", 1, place, msgspec.Raw(b'{"n":17,"mark":"repaired"}'))
    append_retries(OperatingSystem(), str(tmp_path), "remote", lambda last: [] if last else [retry], "2026-01-01T00:00:00Z")
    for _ in range(2):
        report = deliver(world, tmp_path, MemoryOutbox(with_bad()))
        assert report.retried is not None
        assert (report.retried.delivered, report.retried.pending, report.failed) == (1, 0, 2)
        rows = world.query("SELECT n, mark, _line, _sequence FROM results WHERE _sink = 'remote.retry'")
        assert rows == [(17, "repaired", 17, 1)]
    require_true(world, tmp_path, report)


TYPED: list[tuple[str, str, Any]] = [
    ("text", '"a\\u0000ü"', "a\0ü"),
    ("text", "5", None),
    ("integer", "-9223372036854775808", -(2**63)),
    ("integer", "9223372036854775808", None),
    ("integer", "5.0", None),
    ("integer", '"5"', None),
    ("integer", "true", None),
    ("double", "0.1", 0.1),
    ("double", "3", 3.0),
    ("double", '"0.1"', None),
    ("double", f"1{'0' * 400}", None),
    ("boolean", "true", 1),
    ("boolean", "1", None),
    ("timestamp", '"2026-01-01 01:02:03.5+01:00"', "2026-01-01T00:02:03.5Z"),
    ("timestamp", "1767225600", "2026-01-01T00:00:00Z"),
    ("timestamp", '"yesterday"', None),
    ("json", '{"a": [1.50]}', '{"a": [1.50]}'),
    ("json", '"text"', '"text"'),
    ("numeric", "123456789012345678901234567890.10", "123456789012345678901234567890.10"),
    ("numeric", '"1"', None),
    ("numeric(30,10)", "12345678901234567890.1234567890", "12345678901234567890.1234567890"),
    ("numeric(10,2)", "-0.1e1", "-1.00"),
    ("numeric(10,2)", "12345678.9", "12345678.90"),
    ("numeric(10,2)", "123456789", None),
    ("numeric(10,2)", "0.125", None),
    ("numeric(10,2)", '"1"', None),
    ("uuid", '"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"', "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("uuid", '"a0eebc99"', None),
]


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_value_fits_its_column_or_its_record_fails(world: SqlWorld, tmp_path: Path, is_nested: bool) -> None:
    for number, (type_, value, expected) in enumerate(TYPED):
        world.lose()
        written = world.written(type_, value, expected)
        column: Any = {"type": type_, "field": "a.b"} if is_nested else type_
        name = '{"a":{"b":%s},"n":1}' if is_nested else '{"v":%s,"n":1}'
        objects = [name % value, '{"n":2}', name % "null"]
        options = world.options(columns={"v": column, "n": "integer"})
        report = deliver(world, tmp_path / str(number), MemoryOutbox(made(objects)), options=options)
        rows = [v for (v,) in world.query("SELECT v FROM results ORDER BY _sequence")]
        assert rows == ([] if written is None else [written]) + [None, None], (type_, value)
        assert report.failed == (written is None), (type_, value)


def test_a_record_that_is_no_object_fails(world: SqlWorld, tmp_path: Path) -> None:
    report = deliver(world, tmp_path, MemoryOutbox(made(['{"n":1}', "[1]", '{"n":"\\ud800"}', '{"n":2}'])))
    assert (report.delivered, report.failed) == (2, 2)
    require_true(world, tmp_path, report)


def test_a_table_that_is_gone_or_differs_stops_the_lane_until_it_is_as_it_should_be(world: SqlWorld, tmp_path: Path) -> None:
    context = ReceiverContext("remote", ReceiverWorld())
    deliver(world, tmp_path, MemoryOutbox(records(10)))
    wider = world.options(columns={"n": "integer", "mark": "text", "more": "json"})

    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(20)), receiver_of(world.dialect(), wider), request_events_max=7)
        await asyncio.sleep(5)
        report = bench.lane.report()
        assert report.state == "stopped"
        assert report.words == "the table results is missing, or is not as the sink needs it"
        assert "event-processor sql plan" in report.remedy
        plan = SqlConnector().table_changes(wider, context, is_done=False)
        assert [each.split()[0] for each in plan.statements] == ["ALTER"]
        assert SqlConnector().table_changes(wider, context, is_done=True) == plan
        assert not SqlConnector().table_changes(wider, context, is_done=False).statements
        await bench.idle()
        report = await bench.close()
        require_true(world, tmp_path, report)

    run(main())
    assert numbers(world) == list(range(1, 21))
    other = world.options(columns={"n": "text", "mark": "text"})
    changes = SqlConnector().table_changes(other, context, is_done=True)
    integer, text = (world.dialect().type_of(each) for each in ("integer", "text"))
    assert changes.conflicts == (f"results: n is {integer}, but the sink writes {text} (text)",)
    with_key = SqlConnector().table_changes(world.options(upsert=("n",)), context, is_done=True)
    assert with_key.conflicts == ("results: its primary key is none, but the sink wants n",)


def test_a_second_sink_makes_its_table_and_the_view_shows_both(world: SqlWorld, tmp_path: Path) -> None:
    deliver(world, tmp_path, MemoryOutbox(records(3)))
    second = world.options(table="more", columns={"mark": "text", "n": "integer"})
    deliver(world, tmp_path, MemoryOutbox(records(3, mark="x")), options=second, name="second")
    rows = world.query("SELECT table_name, id, sink, line FROM event_processor_whence ORDER BY table_name, line")
    assert rows == [("more", "x", "second", n) for n in (1, 2, 3)] + [("results", str(n), "remote", n) for n in (1, 2, 3)]
    report = deliver(world, tmp_path, MemoryOutbox(records(6)))
    assert (report.delivered, report.state) == (6, "idle")


def test_if_nearly_nothing_fits_the_lane_stops_and_nothing_fails(world: SqlWorld, tmp_path: Path) -> None:
    options = world.options(columns={"n": "text"})

    async def main() -> LaneReport:
        bench = Bench(str(tmp_path), MemoryOutbox(records(200)), receiver_of(world.dialect(), options), request_events_max=100)
        await asyncio.sleep(10)
        report = bench.lane.report()
        await bench.close()
        return report

    report = run(main())
    assert (report.state, report.delivered, report.failed, report.pending) == ("stopped", 0, 0, 200)
    assert report.words == 'the receiver refuses nearly every record: "n" is not a text'
    assert numbers(world) == []
