"""The contract of snapshots, for every database: the table is one checkpoint's totals, whatever is killed, lost, restored or copied."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import pytest

from event_processor.aggregation.groups import GroupTotal, GroupTotalsDocument
from event_processor.connectors.sql.connector import SqlConnector
from event_processor.connectors.sql.dialect import Session, SqlError
from event_processor.engine.committed import CommittedTotals
from event_processor.engine.delivery.orders import pause, resume
from event_processor.engine.delivery.reports import SnapshotReport
from event_processor.engine.delivery.snapshot_rows import GroupRows
from event_processor.model.delivery import ReceiverContext
from event_processor.storage.durable import OperatingSystem
from support.delivery_requests import ReceiverWorld
from support.snapshot_world import COLUMNS, Commits, SnapshotBench, as_of, lived, require_committed, table
from support.sql_world import LOST, Fault, FaultyDialect, KilledError, SqliteWorld, SqlWorld
from support.virtual_time import run_in_virtual_time as run


def written(world: SqlWorld, folder: Path, *commits: CommittedTotals, **how: object) -> SnapshotReport:
    """One process that sees these commits, and ends."""

    async def main() -> SnapshotReport:
        return await lived(SnapshotBench(world, folder, **how), commits)  # type: ignore[arg-type]

    return run(main())


def test_the_table_is_what_the_last_checkpoint_says_and_each_row_when_it_changed(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    seen = [commits.commit("a", "b"), commits.commit("a"), commits.commit("a", "c")]
    report = written(world, tmp_path, *seen, interval_s=0)
    assert require_committed(world, commits) == 5
    assert (report.state, report.as_of, report.committed, report.behind, report.rows) == ("idle", 5, 5, 0, 3)
    rows = world.query("SELECT _key, as_of, _pipeline, _sink, _software FROM results ORDER BY _key")
    assert rows == [(key, n, "pipeline", "totals", "event-processor test") for key, n in (("a", 5), ("b", 2), ("c", 5))]


def test_checkpoints_within_the_interval_are_passed_over_except_the_last(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()

    async def main() -> SnapshotReport:
        bench = SnapshotBench(world, tmp_path, interval_s=10.0)
        for _ in range(100):
            bench.follow(commits.commit("a", "b"))
            await asyncio.sleep(0.3)
        # Three in thirty seconds: at the start, and after ten and twenty.
        assert bench.sink.report().snapshots == 3
        assert require_committed(world, commits) < commits.records
        return await bench.close()

    report = run(main())
    assert require_committed(world, commits) == 200
    assert (report.snapshots, report.behind) == (4, 0)


def test_a_checkpoint_that_changes_no_category_moves_only_what_the_table_is_as_of(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    first = commits.commit("a")
    duplicates = CommittedTotals(9, first.categories, {})
    commits.at[9] = dict(commits.present)
    report = written(world, tmp_path, first, duplicates, interval_s=0)
    assert (require_committed(world, commits), report.as_of) == (9, 9)
    assert world.query("SELECT as_of FROM results") == [(1,)]


@pytest.mark.parametrize("kind", ["kill", "lost"])
def test_after_a_fault_at_any_call_the_table_is_some_checkpoint_and_then_the_last(
    world: SqlWorld, tmp_path: Path, kind: str
) -> None:
    # Every call of SQLite; of PostgreSQL, where each life takes a while, every third one, another one for each kind.
    places = count(1) if isinstance(world, SqliteWorld) else count(1 + (kind == "lost"), 3)
    for nth, after in ((nth, after) for nth in places for after in (False, True)):
        world.lose()
        commits = Commits()
        seen = [commits.commit("a", "b"), commits.commit("b", "c"), commits.commit("a")]
        fault = Fault(nth, kind, after)
        try:
            written(world, tmp_path, *seen, dialect=FaultyDialect(world.dialect(), fault), interval_s=0)
        except KilledError:
            assert kind == "kill"
        else:
            # A lost connection is no end: the same process goes on.
            assert kind == "lost" or not fault.was_met
            assert require_committed(world, commits) == 5
        if kind == "kill":
            written(world, tmp_path, commits.last)
            assert require_committed(world, commits) == 5
        if not fault.was_met:
            return


def test_of_two_processes_only_the_later_one_writes(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()

    async def main() -> None:
        first = SnapshotBench(world, tmp_path, interval_s=0)
        first.follow(commits.commit("a"))
        await first.settled()
        second = SnapshotBench(world, tmp_path, interval_s=0)
        second.follow(commits.commit("a", "b"))
        await second.settled()
        # The first one is an older copy, which now goes on by itself.
        first.follow(CommittedTotals(99, Commits().commit("x").categories, {}))
        await asyncio.sleep(5)
        report = first.sink.report()
        assert report.state == "stopped"
        assert "another process (host:1) has taken the place of totals in this database" in report.words
        second.follow(commits.commit("c"))
        await second.settled()
        assert require_committed(world, commits) == 4
        await first.close()
        await second.close()

    run(main())
    assert require_committed(world, commits) == 4


def test_an_older_state_writes_nothing_until_it_has_read_as_far(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    older = commits.commit("a")
    commits.commit("a", "lost")
    written(world, tmp_path, commits.last)
    other = Commits(records=1, present={"a": (1, 0.5, 1)})

    async def main() -> None:
        bench = SnapshotBench(world, tmp_path, interval_s=0)
        bench.follow(older)
        report = await bench.settled()
        assert (report.state, report.as_of, report.committed) == ("ahead", 3, 1)
        assert report.words == "its table is as of record 3, and this state is at 1"
        assert not report.is_current
        assert ("ahead", "3: 1") in bench.told.said
        assert require_committed(world, commits) == 3
        bench.follow(other.commit("a", "b"))
        report = await bench.settled()
        assert (report.state, report.as_of) == ("idle", 3)
        # What the restored state never saw is gone.
        assert require_committed(world, other) == 3
        await bench.close()

    run(main())


def test_a_database_of_another_state_is_not_touched(world: SqlWorld, tmp_path: Path) -> None:
    commits, others = Commits(), Commits()
    written(world, tmp_path, commits.commit("a"))
    report = written(world, tmp_path, others.commit("b", "c"), state_id="another")
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "belongs to another state" in report.words
    assert require_committed(world, commits) == 1


def test_a_database_that_was_restored_or_lost_is_written_whole_again(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    written(world, tmp_path, commits.commit("a", "b"))
    world.copy("older.db")
    written(world, tmp_path, commits.commit("a", "c"))
    world.restore("older.db")
    assert require_committed(world, commits) == 2
    written(world, tmp_path, commits.last)
    assert require_committed(world, commits) == 4
    world.lose()
    written(world, tmp_path, commits.last)
    assert require_committed(world, commits) == 4


def test_a_database_that_is_restored_or_emptied_under_a_process(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()

    async def main() -> None:
        bench = SnapshotBench(world, tmp_path, interval_s=0)
        for name in ("a", "b"):
            bench.follow(commits.commit(name))
            await bench.settled()
        # As it was before: nothing of the connection shows it.
        world.query("DELETE FROM results WHERE category = 'b'")
        world.query("UPDATE event_processor_cursor SET sequence = 1")
        bench.follow(commits.commit("c"))
        await asyncio.sleep(5)
        await bench.settled()
        assert require_committed(world, commits) == 3
        assert ("rewound", "1") in bench.told.said
        world.query("DELETE FROM event_processor_cursor")
        bench.follow(commits.commit("d"))
        await asyncio.sleep(5)
        report = bench.sink.report()
        assert (report.state, report.as_of) == ("stopped", 3)
        assert report.words == "the place of totals in this database is gone"
        await bench.close()

    run(main())
    written(world, tmp_path, commits.last)
    assert require_committed(world, commits) == 4


def test_rows_that_do_not_fit_are_left_out_and_counted_until_they_fit(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    narrow = world.options(columns={**COLUMNS, "sum": "numeric(3,1)"})

    async def main() -> None:
        bench = SnapshotBench(world, tmp_path, options=narrow, interval_s=0)
        bench.follow(commits.commit("a", "b", "c"))
        assert (await bench.settled()).left_out == 0
        bench.follow(commits.commit(*["b"] * 13))
        report = await bench.settled()
        # 1 + 13 values from 2 to 8: 71 and more do fit three digits, but no longer after the next ones.
        bench.follow(commits.commit(*["b"] * 9))
        report = await bench.settled()
        assert (report.left_out, report.rows, report.as_of) == (1, 2, 25)
        assert report.words == '1 rows do not fit and are left out, such as b: "sum" has more than 2 digits before the point'
        assert not report.is_current
        assert sorted(table(world)) == ["a", "c"]
        bench.follow(commits.commit("a"))
        assert (await bench.settled()).left_out == 1
        await bench.close()

    run(main())
    report = written(world, tmp_path, commits.last, options=narrow)
    assert (report.left_out, sorted(table(world))) == (1, ["a", "c"])


def test_a_row_that_the_database_refuses_is_found_by_halves(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    written(world, tmp_path, commits.commit("a"))
    other = "CREATE UNIQUE INDEX once ON results (count)"
    world.query(other)
    report = written(
        world, tmp_path, commits.commit("b", "b", "c", "c", "d", "d", "d", "e", "e", "e", "e", "f", "f", "f", "f", "f")
    )
    assert (report.left_out, report.rows, report.as_of) == (1, 5, 17)
    assert set(table(world)) == {"a", "b", "d", "e", "f"}


def test_if_most_rows_do_not_fit_nothing_is_written_and_the_sink_stops(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    wrong = world.options(columns={"category": "integer", "count": "integer"})

    async def main() -> SnapshotReport:
        bench = SnapshotBench(world, tmp_path, options=wrong)
        bench.follow(commits.commit("a", "b"))
        await asyncio.sleep(5)
        return await bench.close()

    report = run(main())
    assert (report.state, report.as_of) == ("stopped", 0)
    assert report.words == 'most of its rows do not fit: "category" is not a whole number'
    assert world.query("SELECT count(*) FROM results") == [(0,)]


def test_a_table_that_is_gone_or_differs_stops_the_sink_until_it_is_as_it_should_be(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    context = ReceiverContext("totals", ReceiverWorld(), is_snapshot=True)
    written(world, tmp_path, commits.commit("a"))
    wider = world.options(columns={**COLUMNS, "mean": "double"})

    async def main() -> None:
        bench = SnapshotBench(world, tmp_path, options=wider)
        bench.follow(commits.commit("b"))
        await asyncio.sleep(5)
        report = bench.sink.report()
        assert report.state == "stopped"
        assert report.words == "the table results is missing, or is not as the sink needs it"
        assert "event-processor sql plan" in report.remedy
        plan = SqlConnector().table_changes(wider, context, is_done=True)
        assert [each.split()[0] for each in plan.statements] == ["ALTER"]
        report = await bench.settled()
        assert report.state == "idle"
        await bench.close()

    run(main())
    assert require_committed(world, commits) == 2
    assert world.query("SELECT mean FROM results ORDER BY category") == [(0.5,), (1.0,)]
    keyed = SqlConnector().table_changes(world.options(columns=COLUMNS, upsert=("category",)), context, is_done=True)
    assert keyed.conflicts == ("results: its primary key is _key, _shard, but the sink wants category, _shard",)


def test_the_key_may_be_a_column_of_ones_own(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    options = world.options(columns=COLUMNS, upsert=("category",))
    for _ in range(2):
        written(world, tmp_path, commits.commit("a", "b"), options=options)
        require_committed(world, commits)
    found = world.dialect().connect(str(options.url), may_create=False)
    assert found is not None
    described = world.dialect().found_table(found, "results")
    found.close()
    assert described is not None
    assert described.key == ("category", "_shard")


def test_groups_are_rows_also_without_a_value_of_a_field(world: SqlWorld, tmp_path: Path) -> None:
    def totals(records: int, *groups: tuple[dict[str, object], dict[str, object]]) -> CommittedTotals:
        made = tuple(GroupTotal(group, measures, None) for group, measures in groups)  # type: ignore[arg-type]  # not read
        return CommittedTotals(records, {}, {"kinds": GroupTotalsDocument(groups=made, rows=len(made))})

    options = world.options(columns={"kind": "text", "events": "integer"})
    rows = GroupRows("kinds", ("kind",))
    first = totals(3, ({"kind": "a"}, {"events": 1}), ({"kind": None}, {"events": 2}))
    groups = first.aggregates["kinds"]
    assert isinstance(groups, GroupTotalsDocument)
    changed = GroupTotal({"kind": "a"}, {"events": 7}, None)  # type: ignore[arg-type]  # not read
    second = CommittedTotals(9, {}, {"kinds": msgspec.structs.replace(groups, groups=(changed, groups.groups[1]))})
    report = written(world, tmp_path, first, second, options=options, source=rows, interval_s=0, input_name="aggregates.kinds")
    assert (report.rows, report.as_of, report.left_out) == (2, 9, 0)
    found = world.query("SELECT kind, events, _key, as_of FROM results ORDER BY events")
    assert found == [(None, 2, "[null]", 3), ("a", 7, '["a"]', 9)]


def test_a_pause_holds_the_table_as_it_is(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()

    async def main() -> None:
        bench = SnapshotBench(world, tmp_path, interval_s=0)
        bench.follow(commits.commit("a"))
        await bench.settled()
        pause(OperatingSystem(), str(tmp_path), "totals")
        await asyncio.sleep(5)
        bench.follow(commits.commit("b"))
        report = await bench.settled()
        assert (report.state, report.as_of, report.behind) == ("paused", 1, 1)
        assert report.words == "an operator paused it; the table stays as it is"
        resume(OperatingSystem(), str(tmp_path), "totals")
        await asyncio.sleep(5)
        assert (await bench.settled()).as_of == 2
        await bench.close()

    run(main())
    assert require_committed(world, commits) == 2


def test_an_outage_delays_the_table_and_asks_seldom(world: SqlWorld, tmp_path: Path) -> None:
    commits, is_away, asked = Commits(), [True], []

    def prepared(session: Session) -> None:
        asked.append(session)
        if is_away[0]:
            session.close()
            raise SqlError(LOST)

    async def main() -> None:
        bench = SnapshotBench(world, tmp_path, dialect=FaultyDialect(world.dialect(), prepared=prepared))
        for _ in range(60):
            bench.follow(commits.commit("a", "b"))
            await asyncio.sleep(60)
        report = bench.sink.report()
        assert (report.state, report.as_of, report.words) == ("waiting", None, LOST.words)
        assert ("waiting", LOST.words) in bench.told.said
        # An hour: ten quick tries, then about one in half a minute at most.
        assert len(asked) < 200
        is_away[0] = False
        await asyncio.sleep(60)
        assert bench.sink.report().state == "idle"
        assert ("flowing", "") in bench.told.said
        await bench.close()

    written(world, tmp_path, commits.commit("a"))
    run(main())
    assert require_committed(world, commits) == commits.records


def test_a_stop_does_not_wait_for_a_database_that_is_away(world: SqlWorld, tmp_path: Path) -> None:
    def prepared(session: Session) -> None:
        session.close()
        raise SqlError(LOST)

    async def main() -> float:
        bench = SnapshotBench(world, tmp_path, dialect=FaultyDialect(world.dialect(), prepared=prepared))
        bench.follow(Commits().commit("a"))
        await asyncio.sleep(20)
        began_s = asyncio.get_running_loop().time()
        report = await bench.close(drain_s=1000)
        assert not report.is_current
        return asyncio.get_running_loop().time() - began_s

    assert run(main()) < 1


def test_a_sink_that_was_a_lane_becomes_a_snapshot_under_another_table(world: SqlWorld, tmp_path: Path) -> None:
    commits = Commits()
    written(world, tmp_path, commits.commit("a"), input_name="aggregates.other")
    report = written(world, tmp_path, commits.last)
    assert (report.state, report.as_of) == ("idle", 1)
    assert world.query("SELECT input, sequence FROM event_processor_cursor") == [("totals", 1)]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_table_is_some_checkpoint_and_in_the_end_the_last(
    world: SqlWorld, tmp_path: Path, seed: int
) -> None:
    """Lives that are killed or lose their connection at any call, databases that are restored, states that are older copies."""
    numbers, commits = Random(seed), Commits()
    older: list[CommittedTotals] = []
    is_copied = False
    for _ in range(8):
        seen = []
        if older and numbers.random() < 0.3:
            # An older copy of the state goes on: it reads the same log again.
            seen += numbers.sample(older, 1)
        for _ in range(numbers.randint(0, 4)):
            seen.append(commits.commit(*numbers.choices("abcdefgh", k=numbers.randint(0, 3))))
        older += seen
        fault = Fault(numbers.randint(1, 60), numbers.choice(["kill", "lost"]), numbers.random() < 0.5)
        with contextlib.suppress(KilledError):
            written(
                world,
                tmp_path,
                *sorted({each.records: each for each in seen}.values(), key=lambda each: each.records),
                dialect=FaultyDialect(world.dialect(), fault),
                interval_s=numbers.choice([0, 0.5, 5]),
                seed=seed,
            )
        if is_there(world):
            require_committed(world, commits)
            if is_copied and numbers.random() < 0.2:
                world.restore("copy.db")
                require_committed(world, commits)
            elif numbers.random() < 0.3:
                world.copy("copy.db")
                is_copied = True
    report = written(world, tmp_path, commits.last)
    assert require_committed(world, commits) == commits.records
    assert report.is_current


def is_there(world: SqlWorld) -> bool:
    """Whether the table and its place were made."""
    session = world.dialect().connect(str(world.options().url), may_create=False, only_look=True)
    if session is None:
        return False
    found = world.dialect().found_table(session, "event_processor_cursor")
    session.close()
    return found is not None and as_of(world) is not None


def test_shards_share_a_table_and_each_keeps_its_own_rows(world: SqlWorld, tmp_path: Path) -> None:
    first, second = Commits(), Commits()
    written(world, tmp_path, first.commit("a", "b"), shard="1/2")
    written(world, tmp_path, second.commit("a", "c", "c"), shard="2/2")
    # A whole snapshot of one shard removes no row of the other.
    written(world, tmp_path, committed_alone(4), shard="1/2")
    rows = world.query("SELECT _shard, category, count, as_of FROM results ORDER BY _shard, category")
    assert rows == [("1/2", "x", 1, 4), ("2/2", "a", 1, 3), ("2/2", "c", 2, 3)]
    assert world.query("SELECT shard, sequence FROM event_processor_cursor ORDER BY shard") == [("1/2", 4), ("2/2", 3)]


def committed_alone(records: int) -> CommittedTotals:
    """A checkpoint of these records with another category than before."""
    return CommittedTotals(records, Commits().commit("x").categories, {})
