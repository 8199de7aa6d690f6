"""What operators ask of a lane, in virtual time: it pauses, goes on, and skips, and no record is answered twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.orders import pause, request_skip, resume
from event_processor.model.delivery import Request
from event_processor.storage.durable import OperatingSystem
from support.lanes import DELIVERED, STOP, WAIT, Bench, MemoryOutbox, ScriptedReceiver, key_of, records
from support.virtual_time import run_in_virtual_time as run

FS = OperatingSystem()


def failed_of(directory: Path) -> list[tuple[int, str, str]]:
    lines = (directory / "delivery" / "remote.failed.jsonl").read_text().splitlines()
    return [(each["sequence"], each["stage"], each["key"]) for each in map(json.loads, lines)]


def is_there(path: str) -> bool:
    return Path(path).exists()


def test_a_lane_that_is_paused_at_its_start_sends_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    pause(FS, str(tmp_path), "remote")

    async def main() -> None:
        receiver = ScriptedReceiver(lambda _: DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(20)), receiver)
        await asyncio.sleep(600)
        report = bench.lane.report()
        assert receiver.requests == []
        assert (report.state, report.pending, report.remedy) == ("paused", 20, "event-processor sinks resume remote")
        assert bench.delivery.pending == 0
        resume(FS, str(tmp_path), "remote")
        await asyncio.sleep(5)
        report = await bench.close()
        assert (report.state, report.delivered, report.pending) == ("idle", 20, 0)
        assert bench.told.said == [("paused", "event-processor sinks resume remote"), ("resumed", "")]

    run(main())


def test_a_pause_lets_running_requests_finish_and_counts_them(tmp_path: Path) -> None:
    async def main() -> None:
        receiver = ScriptedReceiver(lambda _: DELIVERED, delay_s=10.0)
        bench = Bench(str(tmp_path), MemoryOutbox(records(20)), receiver, concurrency=3)
        await asyncio.sleep(2)
        pause(FS, str(tmp_path), "remote")
        await asyncio.sleep(60)
        report = bench.lane.report()
        assert (report.state, report.delivered, report.pending) == ("paused", 3, 17)
        await bench.close()

    run(main())


def test_records_that_wait_are_skipped_and_kept_as_failed(tmp_path: Path) -> None:
    async def main() -> None:
        blocked = {key_of(3), key_of(5)}
        receiver = ScriptedReceiver(lambda request: WAIT if blocked & set(request.keys) else DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(20)), receiver, retries_max=1000)
        await asyncio.sleep(30)
        request = request_skip(FS, str(tmp_path), "remote", frozenset({3}), "a")
        await asyncio.sleep(30)
        assert not is_there(request)
        report = bench.lane.report()
        assert (report.delivered, report.skipped, report.pending) == (18, 1, 1)
        cursor = read_cursor(FS, str(tmp_path), "remote")
        assert cursor is not None
        assert (cursor.sequence, cursor.counts.skipped) == (4, 1)
        assert failed_of(tmp_path) == [(3, "skipped", key_of(3))]
        await bench.close()
        assert receiver.delivered == {key_of(each): 1 for each in range(1, 21) if each not in (3, 5)}

    run(main())


def test_a_skip_at_a_lane_that_is_stopped_or_paused_is_carried_out(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(20)), ScriptedReceiver(lambda _: STOP))
        await asyncio.sleep(10)
        first = request_skip(FS, str(tmp_path), "remote", frozenset({1, 2}), "a")
        await asyncio.sleep(200)
        pause(FS, str(tmp_path), "remote")
        await asyncio.sleep(5)
        second = request_skip(FS, str(tmp_path), "remote", frozenset({7}), "b")
        await asyncio.sleep(5)
        report = bench.lane.report()
        assert (report.state, report.skipped, report.pending) == ("paused", 3, 17)
        assert not is_there(first)
        assert not is_there(second)
        await bench.close()

    run(main())


def test_what_was_answered_meanwhile_is_not_skipped_and_the_request_ends(tmp_path: Path) -> None:
    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(5)), ScriptedReceiver(lambda _: DELIVERED))
        await bench.idle()
        requests = [request_skip(FS, str(tmp_path), "remote", frozenset(each), "".join(map(str, each))) for each in ([2], [99])]
        (tmp_path / "delivery" / "remote.skip.torn.json").write_bytes(b'{"seq')
        await asyncio.sleep(5)
        assert not any(is_there(each) for each in [requests[0], str(tmp_path / "delivery" / "remote.skip.torn.json")])
        # The state may have fallen back: what it has not released yet is skipped when it is.
        assert is_there(requests[1])
        report = await bench.close()
        assert (report.delivered, report.skipped) == (5, 0)

    run(main())


@pytest.mark.parametrize("seed", range(6))
def test_a_skip_survives_any_kill_and_each_record_has_one_answer(tmp_path: Path, seed: int) -> None:
    asked = frozenset({4, 9, 10})
    outbox = MemoryOutbox(records(30))
    answered: list[str] = []

    def script(request: Request) -> object:
        if any(key_of(each) in request.keys for each in asked):
            return WAIT
        answered.extend(request.keys)
        return DELIVERED

    async def life(lasts_s: float | None) -> None:
        receiver = ScriptedReceiver(script)  # type: ignore[arg-type]  # every answer is one
        bench = Bench(str(tmp_path), outbox, receiver, retries_max=1000, seed=seed)
        if lasts_s is not None:
            await asyncio.sleep(lasts_s)
            await bench.kill()
            return
        await asyncio.sleep(60)
        report = await bench.close()
        assert (report.delivered, report.skipped, report.pending, report.failed) == (27, 3, 0, 0)

    run(life(0.1))
    request_skip(FS, str(tmp_path), "remote", asked, "a")
    for number in range(8):
        run(life(0.021 * (number + 1) * (seed + 1)))
    run(life(None))
    assert set(answered) == {key_of(each) for each in range(1, 31) if each not in asked}
    assert sorted(each for each, *_ in failed_of(tmp_path)) == sorted(asked)
    assert not list(tmp_path.glob("delivery/*.skip.*"))
