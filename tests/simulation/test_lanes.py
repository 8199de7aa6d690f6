"""Lanes in virtual time: what is sent, how often, under which key, and what an answer does."""

from __future__ import annotations

import asyncio
import json
import random
from bisect import bisect_left
from collections.abc import Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from event_processor.engine.delivery import delivery, lane
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.gate import Gate
from event_processor.engine.delivery.reports import LaneReport
from event_processor.model.answers import Answer, Verdict
from event_processor.model.delivery import OutboxRecord, Request
from event_processor.storage.durable import OperatingSystem
from support.lanes import (
    BAD,
    DELIVERED,
    STOP,
    WAIT,
    Bench,
    MemoryOutbox,
    ScriptedEnricher,
    ScriptedReceiver,
    key_of,
    records,
)
from support.virtual_time import run_in_virtual_time as run

DAY_S = 86_400


def most_within(times: list[float], per_s: float = 1.0) -> int:
    ordered = sorted(times)
    return max(bisect_left(ordered, time + per_s - 1e-6) - place for place, time in enumerate(ordered))


def refusing(sequence: int) -> Callable[[Request], Answer]:
    """The script of a receiver that refuses one record."""
    return lambda request: BAD if key_of(sequence) in request.keys else DELIVERED


def failed_of(directory: Path) -> list[dict[str, Any]]:
    path = directory / "delivery" / "remote.failed.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def deliver_all(directory: Path, count: int, receiver: ScriptedReceiver, **options: object) -> LaneReport:
    """One process that ends when nothing is pending."""

    async def main() -> LaneReport:
        bench = Bench(str(directory), MemoryOutbox(records(count)), receiver, **options)  # type: ignore[arg-type]
        await bench.idle()
        report = await bench.close()
        assert report.released == report.delivered + report.failed + report.skipped + report.pending
        return report

    return run(main())


def test_every_record_is_delivered_once_under_its_own_key(tmp_path: Path) -> None:
    receiver = ScriptedReceiver(lambda _: DELIVERED)
    report = deliver_all(tmp_path, 500, receiver)
    assert receiver.delivered == {key_of(sequence): 1 for sequence in range(1, 501)}
    assert (report.state, report.delivered, report.pending, report.pending_bytes) == ("idle", 500, 0, 0)
    cursor = read_cursor(OperatingSystem(), str(tmp_path), "remote")
    assert cursor is not None
    assert (cursor.sequence, cursor.chain, cursor.answered) == (500, records(500)[-1].chain, ())
    assert receiver.closed


def test_the_figures_by_the_value_of_a_field_add_up_to_those_in_all(tmp_path: Path) -> None:
    receiver = ScriptedReceiver(lambda request: BAD if key_of(9) in request.keys else DELIVERED)
    report = deliver_all(tmp_path, 120, receiver, figures_by=("n", "mark"))
    assert (report.processed, report.delivered, report.failed) == (120, 119, 1)
    assert {name: group.processed for name, group in report.by_source.items()} == {"events": 120}
    assert {name: group.delivered for name, group in report.by_field["mark"].items()} == {"": 119}
    numbers = report.by_field["n"]
    assert {name: group.processed for name, group in numbers.items()} == {
        **{str(number): 1 for number in range(1, 101)},
        "(other)": 20,
    }
    assert (numbers["9"].failed, numbers["9"].error_rate, numbers["9"].pending) == (1, 1.0, 0)
    assert report.requests == 120
    assert report.error_rate_before == 1 / 120


def test_a_rate_holds_at_the_service_and_is_used(tmp_path: Path) -> None:
    failing = iter(range(10**9))
    receiver = ScriptedReceiver(lambda _: WAIT if next(failing) % 7 == 0 else DELIVERED, delay_s=0.03)
    report = deliver_all(tmp_path, 900, receiver, rate=15, concurrency=15)
    assert most_within(receiver.arrivals_s) <= 15
    took_s = receiver.arrivals_s[-1] - receiver.arrivals_s[0]
    assert len(receiver.arrivals_s) / took_s >= 0.95 * 15 / 1.03
    assert (report.delivered, report.failed) == (900, 0)
    assert set(receiver.delivered.values()) == {1}


def test_a_request_of_500_with_one_bad_row_costs_19_requests(tmp_path: Path) -> None:
    for bad in (1, 250, 251, 500, 377):
        directory = tmp_path / str(bad)
        receiver = ScriptedReceiver(refusing(bad))
        report = deliver_all(directory, 500, receiver, request_events_max=500)
        assert len(receiver.requests) <= 19
        assert (report.delivered, report.failed) == (499, 1)
        (failed,) = failed_of(directory)
        assert (failed["sequence"], failed["key"], failed["status"], failed["reason"]) == (bad, key_of(bad), "422", "not so")
        assert failed["object"] == {"n": bad, "mark": ""}
    assert len(receiver.requests) >= 15


def test_a_request_that_is_too_large_is_halved_and_later_ones_are_smaller(tmp_path: Path) -> None:
    too_large = Answer(Verdict.BAD, "too large", "413", is_too_large=True)
    receiver = ScriptedReceiver(lambda request: too_large if len(request.records) > 10 else DELIVERED)
    report = deliver_all(tmp_path, 400, receiver, request_events_max=100, concurrency=1)
    assert (report.delivered, report.failed) == (400, 0)
    refused = [request for request in receiver.requests if len(request.records) > 10]
    assert len(refused) < 60


def test_one_record_that_is_too_large_alone_is_bad(tmp_path: Path) -> None:
    too_large = Answer(Verdict.BAD, "too large", "413", is_too_large=True)
    receiver = ScriptedReceiver(lambda request: too_large if key_of(7) in request.keys else DELIVERED)
    report = deliver_all(tmp_path, 40, receiver, request_events_max=8)
    assert (report.delivered, report.failed) == (39, 1)
    assert [failed["sequence"] for failed in failed_of(tmp_path)] == [7]


def test_what_the_receiver_asks_for_is_waited_for(tmp_path: Path) -> None:
    asked = [Answer(Verdict.WAIT, "later", "429", wait_s=3.0)]
    receiver = ScriptedReceiver(lambda _: asked.pop() if asked else DELIVERED)
    report = deliver_all(tmp_path, 5, receiver, concurrency=1)
    assert report.limit_hits == 1
    assert receiver.arrivals_s[1] - receiver.arrivals_s[0] >= 3.0


def test_an_outage_of_days_makes_no_failed_record_and_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a lane does each second, it does 172,800 times in two days.
    monkeypatch.setattr(lane, "LOOK_S", 600.0)
    monkeypatch.setattr(delivery, "TICK_S", 600.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        receiver = ScriptedReceiver(lambda _: WAIT if begin_s + 10 < loop.time() < begin_s + 2 * DAY_S else DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(300)), receiver, rate=15)
        await asyncio.sleep(60)
        report = bench.lane.report()
        assert (report.state, report.words) == ("waiting", "not now")
        await asyncio.sleep(2 * DAY_S - 61)
        before = len(receiver.requests)
        # At most one probe at a time, and about one in half a minute.
        assert before < 300 + 2 * DAY_S / 15 + 200
        await bench.idle()
        report = await bench.close()
        assert (report.delivered, report.failed, report.pending) == (300, 0, 0)
        assert [what for what, _ in bench.told.said] == ["waiting", "flowing"]

    run(main())


def test_an_outage_costs_at_most_a_tenth_of_its_length_more(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        receiver = ScriptedReceiver(lambda _: WAIT if begin_s + 10 < loop.time() < begin_s + 20 else DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(600)), receiver, rate=15)
        await bench.idle()
        await bench.close()
        first_s = next(time for time in receiver.arrivals_s if time > begin_s + 20)
        assert first_s - begin_s - 20 < 1.5
        assert most_within(receiver.arrivals_s) <= 15

    run(main())


def test_a_record_that_alone_keeps_failing_is_bad_after_its_retries(tmp_path: Path) -> None:
    receiver = ScriptedReceiver(lambda request: WAIT if key_of(3) in request.keys else DELIVERED)
    report = deliver_all(tmp_path, 4000, receiver, retries_max=4, rate=15)
    assert (report.delivered, report.failed) == (3999, 1)
    assert sum(key_of(3) in request.keys for request in receiver.requests) == 5
    assert [failed["sequence"] for failed in failed_of(tmp_path)] == [3]


@pytest.mark.parametrize("share", [0.15, 0.6, 0.9])
def test_a_service_that_fails_often_makes_no_failed_record(tmp_path: Path, share: float) -> None:
    numbers = random.Random(7)
    receiver = ScriptedReceiver(lambda _: WAIT if numbers.random() < share else DELIVERED)
    report = deliver_all(tmp_path, 300, receiver)
    assert (report.delivered, report.failed) == (300, 0)


def test_a_stopped_lane_probes_once_a_minute_and_goes_on_when_it_can(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        receiver = ScriptedReceiver(lambda _: STOP if loop.time() < begin_s + 3600 else DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(50)), receiver)
        await asyncio.sleep(3590)
        report = bench.lane.report()
        assert (report.state, report.words) == ("stopped", "who are you")
        assert "token" in report.remedy
        assert 55 <= len(receiver.requests) <= 65
        assert 1 <= len(receiver.requests) - receiver.refreshed <= 5
        await bench.idle()
        report = await bench.close()
        assert (report.delivered, report.failed) == (50, 0)
        assert [what for what, _ in bench.told.said] == ["stopped", "flowing"]

    run(main())


def test_a_receiver_that_refuses_nearly_everything_stops_the_lane(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        receiver = ScriptedReceiver(lambda _: BAD if loop.time() < begin_s + 600 else DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(500)), receiver)
        await asyncio.sleep(300)
        report = bench.lane.report()
        assert (report.state, report.failed) == ("stopped", 50)
        assert "refuses nearly every record" in report.words
        await bench.idle()
        report = await bench.close()
        assert (report.delivered, report.failed) == (450, 50)

    run(main())


def test_a_strict_lane_sends_one_after_the_other_in_order(tmp_path: Path) -> None:
    failing = iter(range(10**9))
    receiver = ScriptedReceiver(lambda _: WAIT if next(failing) % 3 == 0 else DELIVERED)
    report = deliver_all(tmp_path, 60, receiver, order="strict")
    assert report.delivered == 60
    assert list(receiver.delivered) == [key_of(sequence) for sequence in range(1, 61)]
    sequences = [request.records[0].sequence for request in receiver.requests]
    assert sequences == sorted(sequences)


def test_a_strict_lane_finds_a_bad_record_in_order_too(tmp_path: Path) -> None:
    receiver = ScriptedReceiver(lambda request: BAD if key_of(33) in request.keys else DELIVERED)
    report = deliver_all(tmp_path, 200, receiver, order="strict", request_events_max=50)
    assert (report.delivered, report.failed) == (199, 1)
    assert list(receiver.delivered) == [key_of(sequence) for sequence in range(1, 201) if sequence != 33]


def test_a_lane_reads_only_what_a_checkpoint_covers(tmp_path: Path) -> None:
    async def main() -> None:
        receiver = ScriptedReceiver(lambda _: DELIVERED)
        outbox = MemoryOutbox(records(10))
        bench = Bench(str(tmp_path), outbox, receiver)
        more = records(5, 11, outbox.chain)
        await bench.idle()
        assert len(receiver.delivered) == 10
        bench.append(more)
        await bench.idle()
        report = await bench.close()
        assert (len(receiver.delivered), report.delivered) == (15, 15)

    run(main())


def test_a_raising_receiver_is_a_wait(tmp_path: Path) -> None:
    raised: list[int] = []

    def script(_: Request) -> Answer:
        if len(raised) < 2:
            raised.append(1)
            raise ValueError("a bug")
        return DELIVERED

    report = deliver_all(tmp_path, 3, ScriptedReceiver(script))
    assert (report.delivered, report.waits) == (3, 2)


def test_another_record_under_a_sequence_that_was_sent_fails_the_lane_alone(tmp_path: Path) -> None:
    deliver_all(tmp_path, 20, ScriptedReceiver(lambda _: DELIVERED))

    async def main(outbox: MemoryOutbox, more: Callable[[MemoryOutbox], list[OutboxRecord]] | None) -> None:
        receiver = ScriptedReceiver(lambda _: DELIVERED)
        bench = Bench(str(tmp_path), outbox, receiver)
        await asyncio.sleep(5)
        if more is not None:
            bench.append(more(outbox))
        await asyncio.sleep(5)
        report = await bench.close()
        assert (report.state, report.exit_code, receiver.requests) == ("failed", 65, [])
        assert read_cursor(OperatingSystem(), str(tmp_path), "remote").sequence == 20  # type: ignore[union-attr]

    # The outbox ends at the cursor; it goes on beyond it; it fell behind it, and catches up with other records.
    run(main(MemoryOutbox(records(20, mark="other")), None))
    run(main(MemoryOutbox(records(25, mark="other")), None))
    run(main(MemoryOutbox(records(15)), lambda outbox: records(10, 16, outbox.chain, mark="other")))


def test_an_outbox_that_fell_behind_and_has_the_same_records_again_is_passed_over(tmp_path: Path) -> None:
    deliver_all(tmp_path, 20, ScriptedReceiver(lambda _: DELIVERED))

    async def main() -> None:
        receiver = ScriptedReceiver(lambda _: DELIVERED)
        outbox = MemoryOutbox(records(15))
        bench = Bench(str(tmp_path), outbox, receiver)
        await asyncio.sleep(5)
        bench.append(records(10, 16, outbox.chain))
        await bench.idle()
        report = await bench.close()
        assert sorted(receiver.delivered) == sorted(key_of(sequence) for sequence in range(21, 26))
        assert (report.delivered, report.pending) == (25, 0)

    run(main())


def test_a_run_does_not_end_before_the_records_up_to_the_cursor_are_compared(tmp_path: Path) -> None:
    deliver_all(tmp_path, 20, ScriptedReceiver(lambda _: DELIVERED))

    async def main() -> None:
        outbox = MemoryOutbox(records(15))
        bench = Bench(str(tmp_path), outbox, ScriptedReceiver(lambda _: DELIVERED))
        await bench.idle()
        bench.append(records(5, 16, outbox.chain, mark="other"))
        await bench.idle()
        report = await bench.close()
        assert (report.state, report.exit_code) == ("failed", 65)

    run(main())


def test_a_request_that_is_given_up_at_the_end_still_waits(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(5)), ScriptedReceiver(lambda _: DELIVERED, delay_s=30.0))
        await asyncio.sleep(1)
        report = await bench.close(drain_s=2.0)
        assert (report.delivered, report.pending) == (0, 5)

    run(main())


def test_a_save_that_is_slow_is_not_overtaken_by_the_last_one(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(40)), ScriptedReceiver(lambda _: DELIVERED))
        slowness_s = chain([5.0], repeat(0.0))
        bench.slow_saves(lambda: next(slowness_s))
        await bench.idle(pending_only=True)
        await bench.close()
        await asyncio.sleep(10)
        assert read_cursor(OperatingSystem(), str(tmp_path), "remote").sequence == 40  # type: ignore[union-attr]

    run(main())


@pytest.mark.parametrize("seed", range(60))
def test_whenever_it_is_killed_each_record_is_delivered_under_its_key_and_never_again_after_its_cursor(
    tmp_path: Path, seed: int
) -> None:
    numbers = random.Random(seed)
    bad = set(numbers.sample(range(1, 121), 3))

    def script(request: Request) -> Answer:
        if any(record.sequence in bad for record in request.records):
            return BAD
        return WAIT if numbers.random() < 0.2 else DELIVERED

    receiver = ScriptedReceiver(script)
    outbox = MemoryOutbox(records(120))

    async def life(lasts_s: float | None) -> LaneReport | None:
        bench = Bench(str(tmp_path), outbox, receiver, request_events_max=numbers.choice([1, 4, 50]), seed=seed)
        first = bench.progress.document.sequence
        sent = len(receiver.requests)
        if lasts_s is None:
            await bench.idle()
            report = await bench.close()
        else:
            await asyncio.sleep(lasts_s)
            await bench.kill()
            report = None
        assert all(record.sequence > first for request in receiver.requests[sent:] for record in request.records)
        return report

    for _ in range(5):
        run(life(numbers.random() * 0.5))
    report = run(life(None))
    assert report is not None
    assert (report.delivered, report.failed, report.pending) == (117, 3, 0)
    assert set(receiver.delivered) == {key_of(sequence) for sequence in range(1, 121) if sequence not in bad}
    assert sorted(failed["sequence"] for failed in failed_of(tmp_path)) == sorted(bad)


def test_records_are_enriched_before_they_are_sent_and_once(tmp_path: Path) -> None:
    asked = ScriptedEnricher("first", lambda _: DELIVERED), ScriptedEnricher("second", lambda _: DELIVERED, events_max=3)
    receiver = ScriptedReceiver(lambda _: DELIVERED)
    report = deliver_all(tmp_path, 60, receiver, enrichers={"first": asked[0], "second": asked[1]})
    assert (report.delivered, report.requests) == (60, 60)
    for request in receiver.requests:
        sent = json.loads(bytes(request.records[0].object))
        assert sent == {"n": sent["n"], "mark": "", "first": sent["n"], "second": sent["n"]}
    assert set(receiver.delivered.values()) == {1}
    for each, most in zip(asked, (10, 3), strict=True):
        assert sorted(record.sequence for request in each.requests for record in request.records) == list(range(1, 61))
        assert max(len(request.records) for request in each.requests) == most
        assert each.closed


def test_a_record_that_an_enricher_refuses_is_found_by_halves_and_fails_at_its_stage(tmp_path: Path) -> None:
    predict = ScriptedEnricher("predict", refusing(123), events_max=500)
    receiver = ScriptedReceiver(lambda _: DELIVERED)
    report = deliver_all(tmp_path, 500, receiver, enrichers={"predict": predict})
    assert (report.delivered, report.failed) == (499, 1)
    assert len(predict.requests) <= 19 + 2
    (failed,) = failed_of(tmp_path)
    assert (failed["sequence"], failed["stage"], failed["reason"]) == (123, "predict", "not so")
    assert key_of(123) not in receiver.delivered


def test_an_enricher_that_is_stopped_holds_its_records_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        predict = ScriptedEnricher("predict", lambda _: STOP if 1 < loop.time() - begin_s < 600 else DELIVERED, events_max=1)
        receiver = ScriptedReceiver(lambda _: DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(400)), receiver, enrichers={"predict": predict}, rate=15)
        await asyncio.sleep(300)
        report = bench.lane.report()
        assert (report.state, report.words) == ("stopped", "who are you")
        assert 100 < report.delivered < 400
        assert predict.refreshed
        await bench.idle()
        report = await bench.close()
        assert (report.delivered, report.failed, report.pending) == (400, 0, 0)
        assert [what for what, _ in bench.told.said] == ["stopped", "flowing"]

    run(main())


def test_a_strict_lane_with_an_enricher_keeps_the_order(tmp_path: Path) -> None:
    failing = iter(range(10**9))
    predict = ScriptedEnricher("predict", lambda _: WAIT if next(failing) % 4 == 0 else DELIVERED, events_max=7)
    receiver = ScriptedReceiver(lambda _: WAIT if next(failing) % 3 == 0 else DELIVERED)
    report = deliver_all(tmp_path, 90, receiver, enrichers={"predict": predict}, order="strict")
    assert report.delivered == 90
    assert list(receiver.delivered) == [key_of(sequence) for sequence in range(1, 91)]


def test_every_request_is_remembered_as_a_try(tmp_path: Path) -> None:
    async def main() -> None:
        answers = iter([WAIT, DELIVERED])
        bench = Bench(str(tmp_path), MemoryOutbox(records(1)), ScriptedReceiver(lambda _: next(answers)))
        await bench.idle()
        await bench.close()
        told = [(each.sink, each.stage, each.sequences, each.number, each.status, each.words) for each in bench.tries]
        assert told == [("remote", "deliver", (1,), 1, "503", "not now"), ("remote", "deliver", (1,), 2, "200", "")]

    run(main())


def test_a_request_that_is_given_up_keeps_its_place_until_it_can_no_longer_arrive(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        bench = Bench(str(tmp_path), MemoryOutbox(records(5)), ScriptedReceiver(lambda _: DELIVERED, delay_s=30.0), rate=1)
        await asyncio.sleep(3)
        await bench.close(drain_s=2.0)
        assert bench.lane.gave_up
        # The next delivery loop of this process has the same gate: the timeout and a period pass before its first request.
        assert bench.gate.running == 0
        assert bench.gate.wait_s(loop.time()) == pytest.approx(bench.gate.timeout_s + 1.0)

    run(main())


def test_a_clean_end_gives_nothing_up(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(5)), ScriptedReceiver(lambda _: DELIVERED))
        await bench.idle()
        await bench.close()
        assert not bench.lane.gave_up
        assert bench.gate.running == 0

    run(main())


def test_a_lane_that_fails_while_it_has_a_turn_gives_it_back(tmp_path: Path) -> None:
    async def main() -> None:
        outbox = MemoryOutbox(records(3))
        gate = Gate(1, None, lambda: 0.5)
        bench = Bench(str(tmp_path), outbox, ScriptedReceiver(lambda _: DELIVERED, delay_s=5.0), gate=gate)
        await asyncio.sleep(1)
        # While the lane waits for its next turn, the outbox becomes another one.
        bench.append(records(3, 4, "another chain"))
        await asyncio.sleep(60)
        assert bench.lane.report().state == "failed"
        assert gate.running == 0
        await bench.close()

    run(main())


def test_after_a_schema_stop_the_next_probe_is_another_record(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        outbox = MemoryOutbox(records(60))

        def script(request: Request) -> Answer:
            is_bad = request.records[0].sequence == 51 or loop.time() < begin_s + 60
            return BAD if is_bad else DELIVERED

        bench = Bench(str(tmp_path), outbox, ScriptedReceiver(script), concurrency=1)
        await bench.idle()
        report = await bench.close()
        assert (report.delivered, report.failed) == (9, 51)

    run(main())


def test_a_long_wait_that_a_service_asked_for_is_seen(tmp_path: Path) -> None:
    async def main() -> None:
        answers = chain([Answer(Verdict.WAIT, "back next week", "503", wait_s=7 * DAY_S)], repeat(DELIVERED))
        bench = Bench(str(tmp_path), MemoryOutbox(records(3)), ScriptedReceiver(lambda _: next(answers)), concurrency=1)
        await asyncio.sleep(10)
        report = bench.lane.report()
        assert (report.state, report.words) == ("waiting", "back next week")
        await bench.close()
        # A reload asks again.
        bench.gate.change(1, None, 10.0)
        bench = Bench(str(tmp_path), bench.outbox, ScriptedReceiver(lambda _: DELIVERED), gate=bench.gate)
        await bench.idle()
        report = await bench.close()
        assert (report.delivered, report.pending) == (3, 0)

    run(main())
