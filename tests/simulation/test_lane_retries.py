"""Retried records in virtual time: delivered once under their own key, beside a main series that they do not disturb."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from event_processor.engine.delivery.orders import pause, resume
from event_processor.engine.delivery.retries import Retry, append_retries
from event_processor.model.delivery import OutboxRecord, Request
from event_processor.storage.durable import OperatingSystem
from support.lanes import BAD, DELIVERED, WAIT, Bench, MemoryOutbox, ScriptedReceiver, key_of, records
from support.virtual_time import run_in_virtual_time as run

FS = OperatingSystem()


def retry(directory: Path, *sequences: int) -> list[OutboxRecord]:
    """What `dead-letters retry` adds: each record under the number after its last."""

    def choose(last: Mapping[str, int]) -> list[Retry]:
        return [
            Retry(key_of(each), last.get(key_of(each), 0) + 1, {"source": "events", "offset": each}, msgspec.Raw(b'{"n":0}'))
            for each in sequences
        ]

    return append_retries(FS, str(directory), "remote", choose, "2026-01-01T00:00:00Z")


def test_what_is_retried_while_the_lane_runs_is_delivered_and_counted_apart(tmp_path: Path) -> None:
    async def main() -> None:
        receiver = ScriptedReceiver(lambda request: BAD if key_of(3) in request.keys else DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(10)), receiver)
        await bench.idle()
        assert bench.delivery.reports()[0].retried is None
        retry(tmp_path, 3)
        await asyncio.sleep(5)
        retry(tmp_path, 3, 4)
        await asyncio.sleep(5)
        report = await bench.close()
        assert (report.delivered, report.failed, report.pending) == (9, 1, 0)
        assert report.retried is not None
        assert (report.retried.delivered, report.retried.failed, report.retried.pending) == (3, 0, 0)
        assert receiver.delivered == Counter(
            [*(key_of(each) for each in range(1, 11) if each != 3), f"{key_of(3)}:r1", f"{key_of(3)}:r2", f"{key_of(4)}:r1"]
        )
        assert receiver.closed

    run(main())


def test_a_retry_that_waits_does_not_delay_the_main_series_nor_a_strict_one(tmp_path: Path) -> None:
    retry(tmp_path, 900)

    async def main() -> None:
        stuck = f"{key_of(900)}:r1"
        receiver = ScriptedReceiver(lambda request: WAIT if stuck in request.keys else DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(50)), receiver, order="strict", retries_max=10_000)
        await asyncio.sleep(30)
        report = bench.delivery.reports()[0]
        assert (report.delivered, report.pending) == (50, 0)
        assert report.retried is not None
        assert report.retried.pending == 1
        assert bench.delivery.pending == 1
        await bench.close()

    run(main())


def test_a_retry_that_is_refused_again_is_kept_under_its_own_key(tmp_path: Path) -> None:
    retry(tmp_path, 3)

    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(5)), ScriptedReceiver(lambda r: BAD if "r1" in r.key else DELIVERED))
        await bench.idle()
        report = await bench.close()
        assert (report.delivered, report.failed) == (5, 0)
        assert report.retried is not None
        assert (report.retried.delivered, report.retried.failed) == (0, 1)

    run(main())
    (letter,) = map(json.loads, (tmp_path / "delivery" / "remote.retry.failed.jsonl").read_text().splitlines())
    assert (letter["sink"], letter["key"], letter["place"]["key"]) == ("remote", f"{key_of(3)}:r1", key_of(3))


def test_a_pause_holds_retries_too(tmp_path: Path) -> None:
    retry(tmp_path, 3)
    pause(FS, str(tmp_path), "remote")

    async def main() -> None:
        receiver = ScriptedReceiver(lambda _: DELIVERED)
        bench = Bench(str(tmp_path), MemoryOutbox(records(2)), receiver)
        await asyncio.sleep(10)
        assert receiver.requests == []
        resume(FS, str(tmp_path), "remote")
        await asyncio.sleep(10)
        await bench.close()
        assert receiver.delivered == {key_of(1): 1, key_of(2): 1, f"{key_of(3)}:r1": 1}

    run(main())


@pytest.mark.parametrize("seed", range(6))
def test_every_retry_is_delivered_whatever_is_killed_and_once_after_clean_ends(tmp_path: Path, seed: int) -> None:
    outbox = MemoryOutbox(records(20))
    arrived: Counter[str] = Counter()

    def script(request: Request) -> object:
        arrived.update(request.keys)
        return DELIVERED

    async def life(lasts_s: float | None) -> None:
        bench = Bench(str(tmp_path), outbox, ScriptedReceiver(script), seed=seed)  # type: ignore[arg-type]  # every answer is one
        if lasts_s is None:
            await bench.idle()
            report = await bench.close()
            assert report.retried is not None
            assert (report.retried.delivered, report.retried.pending, report.pending) == (5, 0, 0)
            return
        await asyncio.sleep(lasts_s)
        await bench.kill()

    retry(tmp_path, 1, 2, 3)
    for number in range(6):
        run(life(0.013 * (number + 1) * (seed + 1)))
    retry(tmp_path, 4, 5)
    run(life(None))
    assert all(arrived[f"{key_of(each)}:r1"] for each in range(1, 6))
    before = dict(arrived)
    run(life(None))
    assert arrived == before


def test_a_line_that_was_torn_by_a_death_is_never_sent_and_is_written_again(tmp_path: Path) -> None:
    retry(tmp_path, 1)
    path = tmp_path / "delivery" / "remote.retry.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    receiver = ScriptedReceiver(lambda _: DELIVERED)

    async def main() -> None:
        bench = Bench(str(tmp_path), MemoryOutbox(records(1)), receiver)
        await asyncio.sleep(5)
        retry(tmp_path, 2)
        await asyncio.sleep(5)
        await bench.close()

    run(main())
    assert receiver.delivered == {key_of(1): 1, f"{key_of(1)}:r1": 1, f"{key_of(2)}:r1": 1}
