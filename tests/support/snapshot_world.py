"""A snapshot in a database as tests see it: what was committed by an independent model, and one process that writes it in virtual time.

Owns: `Commits`, the model; `SnapshotBench`, one process; and the comparison of a table with what was committed.
Always: what a table must be comes from the model, which knows nothing of the package.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from event_processor.aggregation.categories.totals import CategoryTotal, Totals
from event_processor.connectors.sql.dialect import Dialect
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.connectors.sql.snapshot_receiver import SqlSnapshotReceiver
from event_processor.connectors.sql.snapshot_transactions import SnapshotTransactions
from event_processor.engine.committed import CommittedTotals
from event_processor.engine.delivery.delivery import Delivery
from event_processor.engine.delivery.gate import Gate
from event_processor.engine.delivery.orders import is_paused
from event_processor.engine.delivery.reports import SnapshotReport
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.snapshot_rows import RowSource, TotalsRows
from event_processor.engine.delivery.snapshot_sink import SnapshotParts, SnapshotSink
from event_processor.engine.delivery.stage import LaneTimes
from event_processor.model.backoff import Backoff
from event_processor.model.transactions import CursorOwner
from event_processor.storage.durable import OperatingSystem
from support.lanes import STATE_ID, Told
from support.sql_world import Inline, KilledError, SqlWorld

__all__ = ["COLUMNS", "Commits", "SnapshotBench", "as_of", "lived", "require_committed", "snapshot_receiver", "table"]

COLUMNS: dict[str, str] = {"category": "text", "count": "integer", "sum": "double", "last_id": "integer"}
_WRITERS = iter(range(10**9))


@dataclass
class Commits:
    """Events and the checkpoints after them, by the number of records. Categories keep the order in which they came."""

    records: int = 0
    present: dict[str, tuple[int, float, int]] = field(default_factory=dict)
    at: dict[int, dict[str, tuple[int, float, int]]] = field(default_factory=lambda: {0: {}})
    last: CommittedTotals = field(default_factory=lambda: CommittedTotals(0, Totals.of({}), {}))

    def commit(self, *categories: str) -> CommittedTotals:
        """A checkpoint after one more event of each of these categories; the value of each is half its id."""
        for name in categories:
            self.records += 1
            count, total, _ = self.present.get(name, (0, 0.0, 0))
            self.present[name] = (count + 1, total + self.records / 2, self.records)
        self.at[self.records] = dict(self.present)
        self.last = committed(self.records, self.present)
        return self.last


def committed(records: int, present: Mapping[str, tuple[int, float, int]]) -> CommittedTotals:
    """What a checkpoint says."""
    totals = {
        name: CategoryTotal(count, total, (total,), 0.0, total, total / count, 1, last, "2026-01-01T00:00:00Z", count)
        for name, (count, total, last) in present.items()
    }
    return CommittedTotals(records, Totals.of(totals), {})


def snapshot_receiver(dialect: Dialect, options: SqlSinkOptions) -> SqlSnapshotReceiver:
    """A receiver as of a process of its own, without a thread."""
    transactions = SnapshotTransactions(
        options,
        lambda _url: dialect,
        read_url=lambda: str(options.url),
        zone="UTC",
        sources={},
        wall_ns=lambda: 1_767_225_600_000_000_000,
        software="event-processor test",
        writer=f"host:1:{next(_WRITERS)}",
    )
    return SqlSnapshotReceiver(transactions, Inline(), 60.0)


class SnapshotBench:
    """One process: a delivery loop with one snapshot, which is to be made inside the loop."""

    def __init__(
        self,
        world: SqlWorld,
        directory: Path,
        *,
        dialect: Dialect | None = None,
        options: SqlSinkOptions | None = None,
        source: RowSource | None = None,
        state_id: str = STATE_ID,
        interval_s: float = 1.0,
        seed: int = 0,
        input_name: str = "totals",
        shard: str = "",
    ) -> None:
        loop, numbers = asyncio.get_running_loop(), random.Random(seed)
        self.told = Told()

        async def offload(job: Callable[[], None]) -> None:
            job()

        parts = SnapshotParts(
            owner=CursorOwner("pipeline", "totals", "totals", state_id, input_name, shard=shard),
            interval_s=interval_s,
            source=source or TotalsRows(),
            receiver=snapshot_receiver(dialect or world.dialect(), options or world.options(columns=COLUMNS)),
            service=Service(Gate(4, None, numbers.random), loop.time),
            times=LaneTimes(loop.time, lambda: round(loop.time() * 1e9)),
            backoff=Backoff(numbers.random),
            telemetry=self.told,
            is_paused=lambda: is_paused(OperatingSystem(), str(directory), "totals"),
            offload=offload,
        )
        self.sink = SnapshotSink(parts)
        self.delivery = Delivery(
            {},
            loop.time,
            publish=lambda _reports, _outbox: None,
            passed=lambda _input, _places: None,
            make_retries=lambda _sink: None,
            snapshots=[self.sink],
        )
        self.task = loop.create_task(self.delivery.run())

    def follow(self, totals: CommittedTotals) -> None:
        """A commit."""
        self.delivery.follow_totals(totals)

    async def settled(self) -> SnapshotReport:
        """Waits until nothing is outstanding, as at the end of the log."""
        self.delivery.hurry()
        while self.delivery.pending and not self.task.done():  # noqa: ASYNC110 - the time is virtual
            await asyncio.sleep(0.05)
        return self.sink.report()

    async def close(self, drain_s: float = 10.0) -> SnapshotReport:
        """Ends the process cleanly."""
        await self.delivery.close(drain_s)
        await self.task
        return self.sink.report()

    async def kill(self) -> None:
        """Ends the process without another write."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def lived(bench: SnapshotBench, commits: Sequence[CommittedTotals]) -> SnapshotReport:
    """A process that sees these commits, a bit apart, and ends. Raises `KilledError` if it was killed."""
    try:
        for totals in commits:
            bench.follow(totals)
            await asyncio.sleep(0.3)
        await bench.settled()
        return await bench.close()
    except KilledError:
        await bench.kill()
        raise


def as_of(world: SqlWorld) -> int | None:
    """What the table is as of; None if the database has no place of it."""
    found = world.query("SELECT sequence FROM event_processor_cursor WHERE sink = 'totals'")
    return int(found[0][0]) if found else None


def table(world: SqlWorld) -> dict[str, tuple[Any, ...]]:
    """The rows, by category."""
    return {name: tuple(rest) for name, *rest in world.query("SELECT category, count, sum, last_id FROM results")}


def require_committed(world: SqlWorld, commits: Commits) -> int:
    """The table is what one checkpoint says, whole, and says which. Returns it."""
    number = as_of(world)
    assert number in commits.at
    assert table(world) == commits.at[number]
    newest = world.query("SELECT max(as_of) FROM results")[0][0]
    assert newest is None or newest <= number
    return number
