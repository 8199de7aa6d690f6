"""The rows of a lane against its records, in every database: what differs is named, and nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from event_processor.connectors.sql.committed_rows import SqlRows
from event_processor.connectors.sql.dialect import Dialect, Session
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.model.committed_rows import LaneOfRows, ReleasedRecord, RowsCompared
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import ConfigurationError, NotAnsweredError
from event_processor.model.transactions import CursorOwner, RemoteCursor
from support.lanes import STATE_ID, MemoryOutbox, chain_after, records
from support.postgres_server import PostgresServer
from support.postgres_world import PostgresWorld
from support.sql_world import SqliteWorld, SqlWorld, deliver

LANE = LaneOfRows(CursorOwner("pipeline", "remote", "remote", STATE_ID, "events"), 0, "")
TYPES = {
    "t": "text",
    "i": "integer",
    "d": "double",
    "b": "boolean",
    "at": "timestamp",
    "j": "json",
    "x": "numeric",
    "p": "numeric(12,3)",
    "u": "uuid",
}
VALUES: list[dict[str, str]] = [
    {"t": '"a\\"b\\n ü 😀"', "i": "-9223372036854775808", "d": "5e-324", "b": "true", "at": '"2026-01-01 01:02:03.5+01:00"'},
    {"t": '""', "i": "9007199254740993", "d": "1.7976931348623157e308", "b": "false", "at": '"2026-01-01T00:00:00.123456789Z"'},
    {"d": "-0.0", "at": '"1969-12-31T23:59:59.999999Z"', "j": ' {"b":1e2, "a": [true, 1.50, null], "a": 2} ', "x": "1e30"},
    {"d": "3", "at": "1767225600", "j": '"text"', "x": "-0.000100", "p": "123456789.1", "u": '"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"'},
    {"t": "null", "j": "null", "x": "null"},
    {"j": "123456789012345678901234567890.10", "x": "123456789012345678901234567890.10", "p": "-0"},
]  # fmt: skip
"""What fits the columns of `TYPES`."""
CHANGES = [
    ("t", "'a'", 1),
    ("i", "9007199254740992", 2),
    ("d", "1.7976931348623155e308", 2),
    ("b", "NULL", 1),
    ("x", "'-0.0001001'", 4),
    ("p", "'123456789.101'", 4),
    ("u", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12'", 4),
    ("j", """'{"b": 100, "a": 3}'""", 3),
    ("at", "'2026-01-01T00:02:03.500001Z'", 1),
]


@pytest.fixture
def postgres(server: PostgresServer) -> PostgresWorld:
    return PostgresWorld(server)


def made(objects: Sequence[str]) -> list[OutboxRecord]:
    """Records with these objects."""
    found: list[OutboxRecord] = []
    for record, content in zip(records(len(objects)), objects, strict=True):
        changed = msgspec.structs.replace(record, object=msgspec.Raw(content.encode()), chain="")
        found.append(msgspec.structs.replace(changed, chain=chain_after(found[-1].chain if found else "", changed)))
    return found


def opened(world: SqlWorld, options: SqlSinkOptions | None = None) -> SqlRows:
    """The committed rows, in a snapshot of now."""
    chosen = options or world.options()

    def connect() -> tuple[Session | None, Dialect]:
        dialect = world.dialect()
        return dialect.connect(str(chosen.url), may_create=False, only_look=True), dialect

    return SqlRows(chosen, connect, sink="remote", zone="UTC")


def compared(
    rows: SqlRows,
    released: Sequence[OutboxRecord],
    lane: LaneOfRows = LANE,
    step: int = 7,
    end: Callable[[], object] = lambda: None,
) -> RowsCompared:
    """Compares, in portions of `step` records. `end`: called before the last one."""
    cursor = rows.cursor(lane)
    assert cursor is not None
    assert not rows.obstacle(lane)
    comparison = rows.comparison(lane, cursor, 1000)
    shown = [ReleasedRecord(each.sequence, msgspec.json.encode(each.place), each.chain, bytes(each.object)) for each in released]
    for start in range(0, len(shown), step):
        if start + step >= len(shown):
            end()
        comparison.compare(shown[start : start + step])
    return comparison.finish()


def once(world: SqlWorld, released: Sequence[OutboxRecord], options: SqlSinkOptions | None = None, **lane: Any) -> RowsCompared:
    rows = opened(world, options)
    try:
        return compared(rows, released, dataclasses.replace(LANE, **lane))
    finally:
        rows.close()


def typed() -> list[OutboxRecord]:
    return made(["{" + ", ".join(f'"{name}": {value}' for name, value in each.items()) + "}" for each in VALUES])


def test_every_value_that_fits_its_column_is_found_as_it_was_written(world: SqlWorld, tmp_path: Path) -> None:
    options = world.options(columns=TYPES)
    report = deliver(world, tmp_path, MemoryOutbox(typed()), options=options)
    assert report.delivered == len(VALUES)
    found = once(world, typed(), options)
    assert (found.differences, found.rows, found.through) == ((), len(VALUES), len(VALUES))


def test_another_value_in_a_column_of_any_type_is_named(world: SqlWorld, tmp_path: Path) -> None:
    options = world.options(columns=TYPES)
    deliver(world, tmp_path, MemoryOutbox(typed()), options=options)
    for column, value, sequence in CHANGES:
        world.query(f"UPDATE results SET {column} = {value} WHERE _sequence = {sequence}")
    found = once(world, typed(), options).differences
    assert [(each.column, each.sequence) for each in found] == sorted(
        ((column, sequence) for column, _, sequence in CHANGES), key=lambda change: (change[1], list(TYPES).index(change[0]))
    )
    assert all(each.committed != each.recomputed for each in found)
    json.dumps([(each.committed, each.recomputed) for each in found])


def test_another_form_of_the_same_value_is_no_difference(postgres: PostgresWorld, tmp_path: Path) -> None:
    released = made(['{"j": {"a": 1.50, "b": [1]}, "x": 1.50, "at": "2026-01-01T00:00:00Z"}'])
    options = postgres.options(columns={"j": "json", "x": "numeric", "at": "timestamp"})
    deliver(postgres, tmp_path, MemoryOutbox(released), options=options)
    postgres.query("""UPDATE results SET j = '{"b":[1.0],"a":1.5}', x = 1.500, at = '2026-01-01T05:00:00+05'""")
    postgres.query(f"ALTER DATABASE {postgres.database} SET timezone = 'Asia/Karachi'")
    assert once(postgres, released, options).differences == ()


def test_values_that_no_record_can_have_are_shown(postgres: PostgresWorld, tmp_path: Path) -> None:
    released = made(['{"d": 1, "x": 1, "at": "2026-01-01T00:00:00Z"}'])
    options = postgres.options(columns={"d": "double", "x": "numeric", "at": "timestamp"})
    deliver(postgres, tmp_path, MemoryOutbox(released), options=options)
    postgres.query("UPDATE results SET d = 'NaN', x = 'NaN', at = 'infinity'")
    found = once(postgres, released, options).differences
    assert {each.column: each.committed for each in found} == {"d": "nan", "x": "NaN", "at": "infinity"}


def test_what_an_enricher_sets_is_not_compared(world: SqlWorld, tmp_path: Path) -> None:
    released = records(10)
    deliver(world, tmp_path, MemoryOutbox(released))
    world.query("UPDATE results SET mark = 'answer'")
    assert len(once(world, released).differences) == 10
    found = once(world, released, enriched=("mark.score",))
    assert (found.differences, found.columns_not_compared) == ((), ("mark",))
    world.query("UPDATE results SET n = 50 WHERE n = 5")
    assert [each.sequence for each in once(world, released, enriched=("mark",)).differences] == [5]
    with_key = opened(world, world.options(upsert=("mark",)))
    assert "comes from an enricher" in with_key.obstacle(dataclasses.replace(LANE, enriched=("mark",)))
    with_key.close()


@pytest.mark.parametrize("step", [7, 1000])
def test_a_snapshot_stays_as_it_is_while_the_lane_writes(world: SqlWorld, tmp_path: Path, step: int) -> None:
    """The lane writes after the cursor was read: while the rows are read, or before."""
    released = records(60)
    deliver(world, tmp_path, MemoryOutbox(released[:40]))
    fence = world.query("SELECT fence FROM event_processor_cursor")
    rows = opened(world)
    assert world.query("SELECT fence FROM event_processor_cursor") == fence
    # The lane is not delayed.
    report = []
    found = compared(rows, released, step=step, end=lambda: report.append(deliver(world, tmp_path, MemoryOutbox(released))))
    rows.close()
    assert (found.differences, found.through, found.rows) == ((), 40, 40)
    assert report[0].delivered == 60
    assert once(world, released).through == 60


def test_records_in_any_portions_give_the_same_result(world: SqlWorld, tmp_path: Path) -> None:
    released = records(30)
    deliver(world, tmp_path, MemoryOutbox(released))
    world.query("DELETE FROM results WHERE n IN (3, 30)")
    results = []
    for step in (1, 4, 30, 1000):
        rows = opened(world)
        results.append(compared(rows, released, step=step))
        rows.close()
    assert [each.sequence for each in results[0].differences] == [3, 30]
    assert all(each == results[0] for each in results)


def tampered(world: SqlWorld, numbers: Random, total: int, bad: frozenset[int]) -> set[int]:
    """Changes rows and failed rows at random. Returns the records that must be named."""
    changed = set()
    for sequence in range(1, total + 1):
        if numbers.random() > 0.2:
            continue
        changed.add(sequence)
        where = f"WHERE _sequence = {sequence}"
        if sequence in bad:
            world.query(f"DELETE FROM event_processor_failed WHERE sequence = {sequence}")
            continue
        match numbers.randrange(4):
            case 0:
                world.query(f"DELETE FROM results {where}")
            case 1:
                world.query(f"INSERT INTO results SELECT * FROM results {where}")
            case 2:
                world.query(f"UPDATE results SET n = -1 {where}")
            case _:
                world.query(f"UPDATE results SET _line = NULL {where}")
    return changed


def test_exactly_the_records_that_were_tampered_with_are_named(world: SqlWorld, tmp_path: Path) -> None:
    """Against the list of what was done, for several random schedules."""
    trials = 12 if isinstance(world, SqliteWorld) else 4
    for seed in range(trials):
        numbers = Random(seed)
        total = numbers.randrange(1, 40)
        bad = frozenset(n for n in range(1, total + 1) if numbers.random() < 0.1)
        released = made(
            [f'{{"n": {"null" if n not in bad else chr(34) + "x" + chr(34)}, "mark": "{n}"}}' for n in range(1, total + 1)]
        )
        deliver(world, tmp_path / str(seed), MemoryOutbox(released))
        expected = tampered(world, numbers, total, bad)
        found = once(world, released)
        assert {each.sequence for each in found.differences} == expected, seed
        assert found.differing == len(found.differences) == len(expected)
        world.lose()


def test_exactly_the_records_that_a_table_with_a_key_lost_are_named(world: SqlWorld, tmp_path: Path) -> None:
    """Against a model: the last record of each key must be there, so all after the one that is there are named; all, if none is."""
    options = world.options(upsert=("n",))
    for seed in range(12 if isinstance(world, SqliteWorld) else 4):
        numbers = Random(seed)
        keys = [numbers.randrange(6) for _ in range(numbers.randrange(1, 50))]
        released = made([f'{{"n": {key}, "mark": "{place}"}}' for place, key in enumerate(keys, start=1)])
        deliver(world, tmp_path / str(seed), MemoryOutbox(released), options=options)
        expected = set()
        for key in set(keys):
            of_key = [place for place, each in enumerate(keys, start=1) if each == key]
            there = numbers.choice([0, *of_key, of_key[-1], of_key[-1]])
            expected |= {place for place in of_key if place > there}
            if not there:
                world.query(f"DELETE FROM results WHERE n = {key}")
            else:
                values = f"mark = '{there}', _sequence = {there}, _line = {there}, _offset = {10 * there}"
                world.query(f"UPDATE results SET {values} WHERE n = {key}")
        found = once(world, released, options)
        assert {each.sequence for each in found.differences} == expected, seed
        assert found.replaced == len(keys) - found.rows - len(expected)
        world.lose()


def test_a_cursor_of_an_older_start_or_of_another_input_is_none_of_ours(world: SqlWorld, tmp_path: Path) -> None:
    deliver(world, tmp_path, MemoryOutbox(records(5)))
    rows = opened(world)
    assert rows.cursor(LANE) == RemoteCursor(0, 5, records(5)[-1].chain, 5)
    other = dataclasses.replace(LANE.owner, input="dead_letters")
    assert rows.cursor(dataclasses.replace(LANE, owner=other)) is None
    rows.close()


def test_a_database_that_does_not_answer_is_a_wait_and_one_that_refuses_is_not(postgres: PostgresWorld, tmp_path: Path) -> None:
    deliver(postgres, tmp_path, MemoryOutbox(records(5)))
    with pytest.raises(NotAnsweredError) as waiting:
        opened(postgres, postgres.options(url=postgres.server.url(postgres.database, port=1)))
    assert "sinks.remote: " in str(waiting.value)
    with pytest.raises(ConfigurationError, match='database "nowhere" does not exist'):
        opened(postgres, postgres.options(url=postgres.server.url("nowhere")))


def test_a_connection_that_is_lost_in_a_comparison_is_a_wait(postgres: PostgresWorld, tmp_path: Path) -> None:
    released = records(3000)
    deliver(postgres, tmp_path, MemoryOutbox(released), request_events_max=3000)
    rows = opened(postgres)
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{postgres.database}' AND pid <> pg_backend_pid()"
    with pytest.raises(NotAnsweredError):
        compared(rows, released, step=1500, end=lambda: postgres.server.execute("postgres", ended))
    rows.close()
