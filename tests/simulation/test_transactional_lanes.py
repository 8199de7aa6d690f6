"""Lanes whose receiver holds the cursor, in virtual time: what is written once, and what is taken from the receiver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from event_processor.engine.delivery.cursor import LaneCounts
from event_processor.engine.delivery.cursor_file import read_cursor, write_cursor
from event_processor.engine.delivery.orders import LaneOrders, pause, request_skip, resume
from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.delivery.retries import Retry, append_retries
from event_processor.model.delivery import OutboxRecord
from event_processor.model.transactions import ReceiverTraits
from event_processor.storage.durable import OperatingSystem
from support.lanes import BAD, DELIVERED, WAIT, Bench, MemoryOutbox, ScriptedEnricher, key_of, records
from support.transactional import MemoryDatabase, MemoryReceiver
from support.virtual_time import run_in_virtual_time as run


def receiving(database: MemoryDatabase, **how: Any) -> Callable[[], MemoryReceiver]:
    return lambda: MemoryReceiver(database, **how)


def failed_of(directory: Path, name: str = "remote") -> list[dict[str, Any]]:
    path = directory / "delivery" / f"{name}.failed.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def require_true(directory: Path, report: LaneReport, database: MemoryDatabase, started_after: int = 0) -> None:
    """The mirror has the counts of the database, and its failed rows as failed records."""
    place = database.places["remote"].cursor
    assert report.released - started_after == report.delivered + report.failed + report.skipped + report.pending
    assert (report.delivered, report.failed, report.skipped) == (place.delivered, place.failed, place.skipped)
    mirror = read_cursor(OperatingSystem(), str(directory), "remote")
    assert mirror is not None
    assert (mirror.sequence, mirror.chain, mirror.answered) == (place.sequence, place.chain, ())
    assert (mirror.counts.delivered, mirror.counts.failed, mirror.counts.skipped) == (
        place.delivered,
        place.failed,
        place.skipped,
    )
    kept = [json.loads(json.dumps(each)) for each in failed_of(directory)]
    ours = sorted(sequence for name, sequence in database.failed if name == "remote")
    assert [each["sequence"] for each in kept] == ours
    assert place.delivered == len(database.sequences())
    assert not database.gaps


def deliver_all(directory: Path, outbox: MemoryOutbox, database: MemoryDatabase, **how: Any) -> LaneReport:
    """One process that ends when nothing is pending, or when the lane failed."""
    options = {name: how.pop(name) for name in list(how) if name in ("enrichers", "state_id", "started", "request_events_max")}
    options.setdefault("request_events_max", 50)

    async def main() -> LaneReport:
        bench = Bench(str(directory), outbox, receiving(database, **how), **options)
        await bench.idle()
        return await bench.close()

    return run(main())


def test_every_record_is_written_once_in_order(tmp_path: Path) -> None:
    database = MemoryDatabase()
    report = deliver_all(tmp_path, MemoryOutbox(records(500)), database)
    assert database.sequences() == list(range(1, 501))
    assert database.transactions == [50] * 10
    assert (report.state, report.delivered, report.pending) == ("idle", 500, 0)
    require_true(tmp_path, report, database)


@pytest.mark.parametrize("coarse", [False, True])
def test_bad_records_are_failed_rows_and_failed_records(tmp_path: Path, coarse: bool) -> None:
    database = MemoryDatabase()
    bad = {1, 250, 500}
    report = deliver_all(tmp_path, MemoryOutbox(records(500)), database, is_bad=bad.__contains__, coarse=coarse)
    assert database.sequences() == [each for each in range(1, 501) if each not in bad]
    assert (report.delivered, report.failed, report.pending) == (497, 3, 0)
    require_true(tmp_path, report, database)
    assert [(each["sequence"], each["key"], each["status"]) for each in failed_of(tmp_path)] == [
        (each, key_of(each), "22001") for each in sorted(bad)
    ]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["begin", "take", "deliver"])
def test_a_lost_answer_writes_nothing_twice_and_asks_no_enricher_again(tmp_path: Path, what: str, when: str) -> None:
    database = MemoryDatabase()
    calls = {"begin": 0, "take": 0, "deliver": 0}

    def script(call: str) -> str | None:
        calls[call] += 1
        return when if call == what and calls[call] % 3 == 2 else None

    enricher = ScriptedEnricher("ml", lambda _: DELIVERED)
    report = deliver_all(
        tmp_path, MemoryOutbox(records(300)), database, script=script, is_bad={7, 120}.__contains__, enrichers={"ml": enricher}
    )
    assert database.sequences() == [each for each in range(1, 301) if each not in (7, 120)]
    require_true(tmp_path, report, database)
    asked = [record.sequence for request in enricher.requests for record in request.records]
    assert sorted(asked) == list(range(1, 301))


def test_what_an_enricher_adds_is_written_and_what_it_refuses_is_a_failed_row(tmp_path: Path) -> None:
    database = MemoryDatabase()
    waits = iter([True, False] * 30)
    enricher = ScriptedEnricher(
        "ml", lambda request: BAD if key_of(33) in request.keys else WAIT if next(waits, False) else DELIVERED, events_max=7
    )
    report = deliver_all(tmp_path, MemoryOutbox(records(100)), database, enrichers={"ml": enricher}, is_bad={70}.__contains__)
    assert database.sequences() == [each for each in range(1, 101) if each not in (33, 70)]
    assert all(json.loads(content)["ml"] == sequence for sequence, content in database.objects.items())
    require_true(tmp_path, report, database)
    # Both as they were released: a retry is enriched again.
    assert [(each["sequence"], each["stage"], each["object"]) for each in failed_of(tmp_path)] == [
        (33, "ml", {"n": 33, "mark": ""}),
        (70, "deliver", {"n": 70, "mark": ""}),
    ]


def lives(directory: Path, outbox: MemoryOutbox, database: MemoryDatabase, seed: int) -> LaneReport:
    """Processes that are killed at any moment, with answers that are lost and, at times, older copies restored; then one to the end."""
    numbers = Random(seed)
    copies = [database.copy()]

    def script(_: str) -> str | None:
        return numbers.choice(["before", "after", "after"]) if numbers.random() < 0.2 else None

    async def one(*, is_last: bool) -> LaneReport | None:
        enrichers = {"ml": ScriptedEnricher("ml", lambda _: WAIT if numbers.random() < 0.1 else DELIVERED)}
        receiver = receiving(database, script=(lambda _: None) if is_last else script, is_bad=lambda sequence: sequence % 17 == 5)
        bench = Bench(
            str(directory), outbox, receiver, enrichers=enrichers if seed % 2 else None, request_events_max=9, seed=seed
        )
        if is_last:
            await bench.idle()
            return await bench.close()
        for _ in range(numbers.randint(1, 4)):
            await asyncio.sleep(numbers.random() * 0.5)
            if numbers.random() < 0.3 and database.places:
                copies.append(database.copy())
            if numbers.random() < 0.15 and database.places:
                # A copy of an earlier moment; the connection is lost by that, which the fence notices.
                older = numbers.choice([each for each in copies if each.places] or [database])
                await bench.kill()
                database.restore(older)
                return None
        await (bench.kill() if numbers.random() < 0.7 else bench.close(0.0))
        return None

    for _ in range(6):
        run(one(is_last=False))
    report = run(one(is_last=True))
    assert report is not None
    return report


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_killed_lost_or_restored_everything_is_there_once(tmp_path: Path, seed: int) -> None:
    database = MemoryDatabase()
    report = lives(tmp_path, MemoryOutbox(records(200)), database, seed)
    bad = [each for each in range(1, 201) if each % 17 == 5]
    assert database.sequences() == [each for each in range(1, 201) if each not in bad]
    assert sorted(sequence for _, sequence in database.failed) == bad
    require_true(tmp_path, report, database)


def test_a_database_restored_from_an_older_copy_rewinds_and_says_so(tmp_path: Path) -> None:
    database, outbox = MemoryDatabase(), MemoryOutbox(records(100))
    deliver_all(tmp_path, outbox, database, is_bad={20, 90}.__contains__)
    older = database.copy()
    outbox.entries += records(100, 101, outbox.chain)
    deliver_all(tmp_path, outbox, database, is_bad={20, 90, 150}.__contains__)
    database.restore(older)

    async def main() -> LaneReport:
        # What was bad once may be good now.
        bench = Bench(str(tmp_path), outbox, receiving(database, is_bad={20}.__contains__), request_events_max=50)
        await bench.idle()
        report = await bench.close()
        assert ("rewound", "100") in bench.told.said
        return report

    report = run(main())
    assert database.sequences() == [each for each in range(1, 201) if each not in (20, 90)]
    require_true(tmp_path, report, database)


def test_a_lost_mirror_is_repaired_from_the_database(tmp_path: Path) -> None:
    database, outbox = MemoryDatabase(), MemoryOutbox(records(100))
    deliver_all(tmp_path, outbox, database, is_bad={20, 90}.__contains__)
    (tmp_path / "delivery" / "remote.json").unlink()
    outbox.entries += records(50, 101, outbox.chain)
    report = deliver_all(tmp_path, outbox, database)
    assert database.sequences() == [each for each in range(1, 151) if each not in (20, 90)]
    require_true(tmp_path, report, database)


def test_an_older_state_passes_over_what_the_database_has(tmp_path: Path) -> None:
    database, all_records = MemoryDatabase(), records(100)
    deliver_all(tmp_path / "new", MemoryOutbox(list(all_records)), database)
    (tmp_path / "old" / "delivery").mkdir(parents=True)
    outbox = MemoryOutbox(all_records[:40])

    async def main() -> LaneReport:
        bench = Bench(str(tmp_path / "old"), outbox, receiving(database), request_events_max=50)
        await asyncio.sleep(1)
        assert (bench.lane.pending, bench.lane.report().state) == (0, "idle")
        bench.append([*all_records[40:], *records(20, 101, all_records[-1].chain)])
        await bench.idle()
        return await bench.close()

    report = run(main())
    assert database.sequences() == list(range(1, 121))
    require_true(tmp_path / "old", report, database)


def test_another_record_at_the_sequence_of_the_database_stops_the_lane_with_65(tmp_path: Path) -> None:
    database = MemoryDatabase()
    deliver_all(tmp_path / "first", MemoryOutbox(records(100)), database)

    async def grows_past_it() -> LaneReport:
        outbox = MemoryOutbox(records(40, mark="other"))
        bench = Bench(str(tmp_path / "before"), outbox, receiving(database))
        await asyncio.sleep(1)
        bench.append(records(80, 41, outbox.chain, "other"))
        await asyncio.sleep(1)
        return await bench.close()

    at = deliver_all(tmp_path / "at", MemoryOutbox(records(100, mark="other")), database)
    after = deliver_all(tmp_path / "after", MemoryOutbox(records(101, mark="other")), database)
    for report in (at, after, run(grows_past_it())):
        assert (report.state, report.exit_code) == ("failed", 65)
    assert database.sequences() == list(range(1, 101))


def test_records_that_are_released_while_a_lane_follows_the_database_are_compared(tmp_path: Path) -> None:
    database, others = MemoryDatabase(), records(100, mark="other")
    deliver_all(tmp_path / "first", MemoryOutbox(records(100)), database)
    fence = database.places["remote"].fence

    async def main() -> LaneReport:
        bench = Bench(str(tmp_path / "copy"), MemoryOutbox(others[:40]), receiving(database))
        slowness_s = chain([0.0, 5.0], repeat(0.0))  # the lane's first look for orders, then the new mirror
        bench.slow_saves(lambda: next(slowness_s))
        await asyncio.sleep(1)
        bench.append(others[40:])
        await bench.idle()
        return await bench.close()

    report = run(main())
    assert (report.state, report.exit_code) == ("failed", 65)
    assert database.places["remote"].fence == fence


def test_the_mirror_stays_as_it_was_if_the_database_has_another_record_there(tmp_path: Path) -> None:
    first, second = MemoryDatabase(), MemoryDatabase()
    deliver_all(tmp_path / "first", MemoryOutbox(records(100)), first)
    outbox = MemoryOutbox(records(100, mark="other"))
    deliver_all(tmp_path / "second", outbox, second)
    mirror = (tmp_path / "second" / "delivery" / "remote.json").read_bytes()
    report = deliver_all(tmp_path / "second", outbox, first)
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "its database has another record at sequence 100" in report.words
    assert (tmp_path / "second" / "delivery" / "remote.json").read_bytes() == mirror
    # With its own database, it goes on.
    assert deliver_all(tmp_path / "second", outbox, second).state == "idle"


def test_a_lost_database_stops_the_lane_with_65_and_the_way_out(tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(10))
    deliver_all(tmp_path, outbox, MemoryDatabase())
    empty = MemoryDatabase()
    report = deliver_all(tmp_path, outbox, empty)
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "was lost or replaced" in report.words
    assert "sinks drop remote" in report.remedy
    assert not empty.rows
    # The way out: the lane is dropped, and begins anew after what was released.
    (tmp_path / "delivery" / "remote.json").unlink()
    outbox.entries += records(5, 11, outbox.chain)
    report = deliver_all(tmp_path, outbox, empty, started=(10, records(10)[-1].chain))
    assert empty.sequences() == [11, 12, 13, 14, 15]
    require_true(tmp_path, report, empty, started_after=10)


TOPIC = ReceiverTraits("cursor topic", goes_back=False)


def put_back(directory: Path, entries: list[OutboxRecord], after: int, **counts: int) -> None:
    """As `deliver --from` the record after `after` does."""
    cursor = read_cursor(OperatingSystem(), str(directory), "remote")
    assert cursor is not None
    chain = entries[after - 1].chain if after else ""
    write_cursor(
        OperatingSystem(), str(directory), "remote", replace(cursor, sequence=after, chain=chain, counts=LaneCounts(**counts))
    )


def test_an_earlier_cursor_of_a_receiver_that_never_goes_back_stops_the_lane_with_65_and_the_way_out(tmp_path: Path) -> None:
    """What was written after it may be there: only a person can say where to go on."""
    database, outbox = MemoryDatabase(), MemoryOutbox(records(10))
    deliver_all(tmp_path, outbox, database, traits=TOPIC)
    kept = database.copy()
    outbox.entries += records(10, 11, outbox.chain)
    deliver_all(tmp_path, outbox, database, traits=TOPIC)
    database.restore(kept)
    report = deliver_all(tmp_path, outbox, database, traits=TOPIC)
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "its cursor topic is at record 10, but 20 were answered" in report.words
    assert "deliver --from 11 --sink remote" in report.remedy
    assert database.sequences() == list(range(1, 11))
    put_back(tmp_path, outbox.entries, 10, delivered=10)
    report = deliver_all(tmp_path, outbox, database, traits=TOPIC)
    assert database.sequences() == list(range(1, 21))
    require_true(tmp_path, report, database)


def test_a_lost_cursor_may_be_followed_by_everything_again(tmp_path: Path) -> None:
    outbox, empty = MemoryOutbox(records(10)), MemoryDatabase()
    deliver_all(tmp_path, outbox, MemoryDatabase(), traits=TOPIC)
    report = deliver_all(tmp_path, outbox, empty, traits=TOPIC)
    assert (report.state, report.exit_code, empty.rows) == ("failed", 65, [])
    assert "its cursor topic does not know this pipeline, but 10 records were answered" in report.words
    assert "deliver --from 1 --sink remote" in report.remedy
    put_back(tmp_path, outbox.entries, 0)
    report = deliver_all(tmp_path, outbox, empty, traits=TOPIC)
    assert empty.sequences() == list(range(1, 11))
    require_true(tmp_path, report, empty)


def test_a_dropped_lane_begins_anew_at_a_database_that_knows_the_earlier_one(tmp_path: Path) -> None:
    database, outbox = MemoryDatabase(), MemoryOutbox(records(10))
    deliver_all(tmp_path, outbox, database, is_bad={3}.__contains__)
    outbox.entries += records(10, 11, outbox.chain)
    (tmp_path / "delivery" / "remote.json").unlink()
    deliver_all(tmp_path, outbox, database, started=(15, outbox.entries[14].chain))
    assert database.sequences() == [1, 2, *range(4, 11), *range(16, 21)]
    assert database.places["remote"].cursor.delivered == 5
    # A state from before the drop is an older copy.
    (tmp_path / "delivery" / "remote.json").unlink()
    report = deliver_all(tmp_path, outbox, database)
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "an older copy" in report.words


def test_the_cursor_of_another_state_stops_the_lane_with_65(tmp_path: Path) -> None:
    database = MemoryDatabase()
    deliver_all(tmp_path / "a", MemoryOutbox(records(10)), database)
    report = deliver_all(tmp_path / "b", MemoryOutbox(records(10)), database, state_id="another")
    assert (report.state, report.exit_code) == ("failed", 65)
    assert database.sequences() == list(range(1, 11))


def test_of_two_processes_with_one_state_the_later_writes_and_the_other_stops(tmp_path: Path) -> None:
    database, entries = MemoryDatabase(), records(200)

    async def main() -> None:
        first = Bench(str(tmp_path / "a"), MemoryOutbox(list(entries[:50])), receiving(database), request_events_max=10)
        await first.idle()
        second = Bench(str(tmp_path / "b"), MemoryOutbox(list(entries[:100])), receiving(database), request_events_max=10)
        await second.idle()
        first.append(entries[50:200])
        await asyncio.sleep(200)
        assert first.lane.report().state == "stopped"
        assert "another process" in first.lane.report().words
        second.append(entries[100:200])
        await second.idle()
        report = await second.close()
        await first.close()
        require_true(tmp_path / "b", report, database)

    run(main())
    assert database.sequences() == list(range(1, 201))


def test_if_nearly_every_record_is_refused_the_lane_stops_and_keeps_them(tmp_path: Path) -> None:
    database, outbox = MemoryDatabase(), MemoryOutbox(records(300))
    broken = [True]

    async def main() -> LaneReport:
        receiver = receiving(database, is_bad=lambda sequence: broken[0] and sequence > 100)
        bench = Bench(str(tmp_path), outbox, receiver, request_events_max=100)
        await asyncio.sleep(150)
        report = bench.lane.report()
        assert (report.state, report.failed, report.delivered) == ("stopped", 0, 100)
        assert "nearly every record" in report.words
        broken[0] = False
        await bench.idle()
        return await bench.close()

    report = run(main())
    assert (report.delivered, report.failed) == (300, 0)
    require_true(tmp_path, report, database)


def test_skipping_the_record_that_stops_a_lane_lets_it_go_on(tmp_path: Path) -> None:
    fs, database, outbox = OperatingSystem(), MemoryDatabase(), MemoryOutbox(records(100))

    async def main() -> LaneReport:
        receiver = receiving(database, is_bad=lambda sequence: sequence <= 60)
        bench = Bench(str(tmp_path), outbox, receiver, request_events_max=100)
        await asyncio.sleep(100)
        assert bench.lane.report().state == "stopped"
        for sequence in range(1, 61):
            request_skip(fs, str(tmp_path), "remote", frozenset({sequence}), f"token{sequence}")
        await asyncio.sleep(5)
        assert bench.lane.pending == 0, "it does not wait for the next probe"
        assert not LaneOrders(fs, str(tmp_path), "remote", "remote").look().skips
        return await bench.close()

    report = run(main())
    assert (report.delivered, report.failed, report.skipped) == (40, 0, 60)
    require_true(tmp_path, report, database)
    assert {each["stage"] for each in failed_of(tmp_path)} == {"skipped"}


def test_records_wait_for_a_full_transaction_for_a_while_but_not_at_the_end_of_the_input(tmp_path: Path) -> None:
    outbox, database = MemoryOutbox(records(25)), MemoryDatabase()

    async def main() -> LaneReport:
        bench = Bench(str(tmp_path), outbox, receiving(database), request_events_max=10, age_s_max=30.0)
        await asyncio.sleep(25)
        assert database.transactions == [10, 10]
        assert bench.delivery.pending == 5
        await asyncio.sleep(10)
        assert database.transactions == [10, 10, 5]
        bench.append(records(7, 26, outbox.chain))
        await asyncio.sleep(1)
        assert database.transactions == [10, 10, 5]
        bench.append(records(4, 33, outbox.chain))
        await asyncio.sleep(1)
        assert database.transactions == [10, 10, 5, 10]
        bench.delivery.hurry()
        await asyncio.sleep(1)
        assert database.transactions == [10, 10, 5, 10, 1]
        return await bench.close()

    require_true(tmp_path, run(main()), database)


def test_what_fills_half_of_the_outbox_waits_for_no_full_transaction(tmp_path: Path) -> None:
    outbox, database = MemoryOutbox(records(40)), MemoryDatabase()

    async def main() -> LaneReport:
        how: dict[str, Any] = {"request_events_max": 1000, "age_s_max": 300.0}
        bench = Bench(str(tmp_path), outbox, receiving(database), held_bytes_max=1_000, **how)
        await asyncio.sleep(1)
        assert bench.delivery.pending == 0
        bench.append(records(2, 41, outbox.chain))
        await asyncio.sleep(200)
        assert bench.delivery.pending == 2
        return await bench.close()

    require_true(tmp_path, run(main()), database)


def test_bytes_make_a_transaction_full_and_an_outage_does_not_make_small_ones(tmp_path: Path) -> None:
    outbox, database = MemoryOutbox(records(40)), MemoryDatabase()
    fails = chain(["before", "stop", "before"], repeat(None))

    async def main() -> LaneReport:
        how: dict[str, Any] = {"request_events_max": 1000, "request_bytes_max": 3_000, "age_s_max": 300.0}
        bench = Bench(
            str(tmp_path), outbox, receiving(database, script=lambda what: next(fails) if what == "deliver" else None), **how
        )
        await asyncio.sleep(200)
        assert 1 < max(database.transactions) < 40
        assert min(database.transactions) > 1
        assert bench.delivery.pending == 40 - sum(database.transactions) > 0
        await asyncio.sleep(301)
        assert bench.delivery.pending == 0
        return await bench.close()

    require_true(tmp_path, run(main()), database)


def test_a_paused_lane_is_not_waited_for_and_goes_on_when_it_is_resumed(tmp_path: Path) -> None:
    fs, database = OperatingSystem(), MemoryDatabase()
    (tmp_path / "delivery").mkdir()
    pause(fs, str(tmp_path), "remote")

    async def main() -> LaneReport:
        bench = Bench(str(tmp_path), MemoryOutbox(records(20)), receiving(database))
        await bench.idle()
        assert (bench.lane.pending, database.places) == (20, {})
        resume(fs, str(tmp_path), "remote")
        await asyncio.sleep(3)
        await bench.idle()
        return await bench.close()

    require_true(tmp_path, run(main()), database)
    assert database.sequences() == list(range(1, 21))


def test_an_outage_makes_no_failed_record(tmp_path: Path) -> None:
    database = MemoryDatabase()

    async def main() -> LaneReport:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        receiver = receiving(database, script=lambda _: "before" if begin_s + 0.1 < loop.time() < begin_s + 3600 else None)
        bench = Bench(str(tmp_path), MemoryOutbox(records(200)), receiver, request_events_max=10)
        await asyncio.sleep(1800)
        assert bench.lane.report().state == "waiting"
        await bench.idle()
        return await bench.close()

    report = run(main())
    assert (report.delivered, report.failed) == (200, 0)
    require_true(tmp_path, report, database)


def test_retried_records_have_a_cursor_of_their_own(tmp_path: Path) -> None:
    fs, database = OperatingSystem(), MemoryDatabase()
    deliver_all(tmp_path, MemoryOutbox(records(10)), database, is_bad={4}.__contains__)
    (failed,) = failed_of(tmp_path)
    retry = Retry(failed["key"], 1, failed["place"], msgspec.Raw(b'{"n":4,"repaired":true}'))
    append_retries(fs, str(tmp_path), "remote", lambda last: [] if last else [retry], "2026-01-01T00:00:00Z")
    report = deliver_all(tmp_path, MemoryOutbox(records(10)), database)
    assert database.sequences("remote.retry") == [1]
    assert report.retried is not None
    assert (report.retried.delivered, report.failed) == (1, 1)
    # The database is restored from before: both go back.
    deliver_all(tmp_path, MemoryOutbox(records(10)), database)
    assert database.sequences("remote.retry") == [1]
