"""A sink that keeps a table as a checkpoint is: the totals, or the groups of an aggregate.

Owns: when a snapshot is written, which rows it has, and what an answer means.
Always: only what a durable checkpoint says is written, and never something older than what is there. Checkpoints in between are passed
over: the last one counts. An outage, a pause or a stop delays it, and no commit waits for it.
Never: keeps anything on disk: the receiver has the only place. Knows a technology.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from event_processor.engine.committed import CommittedTotals
from event_processor.engine.delivery.gate import Ticket
from event_processor.engine.delivery.health import Described, Health, remedy_of
from event_processor.engine.delivery.reports import SnapshotReport
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.snapshot_rows import RowSource
from event_processor.engine.delivery.stage import LaneTimes, wait_for
from event_processor.model.answers import Answer, Verdict
from event_processor.model.backoff import Backoff
from event_processor.model.clock import utc_text
from event_processor.model.errors import EventProcessorError, StateError
from event_processor.model.messages import cut
from event_processor.model.snapshots import Snapshot, SnapshotReceiver
from event_processor.model.telemetry import Telemetry
from event_processor.model.transactions import DELIVER, CursorOwner, TransactionError

__all__ = ["SnapshotParts", "SnapshotSink"]

LOOK_S: Final = 1.0
"""How often it looks for what operators ask."""
CANCEL_S: Final = 5.0
"""How long a receiver may take to close."""


@dataclass(frozen=True, slots=True)
class SnapshotParts:
    """What a snapshot works with. `owner.sink` is its name. Two snapshots begin at least `interval_s` apart.

    `is_paused` looks for what an operator asked; it blocks, so `offload` runs it, in another thread or at once.
    """

    owner: CursorOwner
    interval_s: float
    source: RowSource
    receiver: SnapshotReceiver
    service: Service
    times: LaneTimes
    backoff: Backoff
    telemetry: Telemetry
    is_paused: Callable[[], bool]
    offload: Callable[[Callable[[], None]], Awaitable[None]]


class SnapshotSink:
    """One snapshot. Everything runs in the delivery loop."""

    def __init__(self, parts: SnapshotParts) -> None:
        """Sends nothing yet. `follow` says what is committed."""
        self._parts: Final = parts
        self.name: Final = parts.owner.sink
        self.health: Final = Health(self.name, parts.telemetry)
        self._latest: CommittedTotals | None = None
        self._written: CommittedTotals | None = None
        """What the table has, if that is known: then only the rows that changed since are written."""
        self._as_of: int | None = None
        """How many records the table covers; None if it was not asked yet."""
        self._left_out: dict[str, str] = {}
        self._is_begun = False
        self._is_ready = False
        self._hurries = False
        self.gave_up = False
        """Whether `close` gave a transaction up that may still be committed."""
        self._snapshots = 0
        self._tries = 0
        self._next_s = 0.0
        self._running: asyncio.Task[None] | None = None
        self._changed: Final = asyncio.Event()
        self._tried: Final = asyncio.Event()
        self._state, self._since_ns = "", 0
        self._ended: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()

    # The life of a snapshot.

    async def run(self) -> None:
        """Writes until `close`, or until it fails (`report` says why). Raises `StorageError`, and what is a bug."""
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._parts.receiver.open(self._parts.owner)
            self._parts.service.watch(self._changed.set)
            # Before the first transaction: the sink may be paused.
            await self._look()
            self._is_ready = True
            self.health.check(is_sending=False)
            tasks += [asyncio.create_task(each) for each in (self._pump(), self._look_often())]
            for task in tasks:
                task.add_done_callback(self._task_ended)
            await self._ended
        except StateError as error:
            self.health.fail(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self, drain_s: float) -> None:
        """Ends `run`. First writes the last checkpoint, at most for `drain_s` seconds, unless something holds that up."""
        self.hurry()
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self._may_finish or self._running is not None:
                    self._tried.clear()
                    await self._tried.wait()
        self.gave_up = self._running is not None
        if not self._ended.done():
            self._ended.set_result(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                await self._parts.receiver.close()

    @property
    def _may_finish(self) -> bool:
        """Whether there is something to write that can be written soon, as far as this process knows."""
        is_held_up = self.health.is_paused or bool(self._tries) or self._ended.done()
        return self._is_ready and self.is_behind and not is_held_up

    def follow(self, totals: CommittedTotals) -> None:
        """A durable checkpoint has these totals."""
        self._latest = totals
        self._changed.set()

    def hurry(self) -> None:
        """The input is at its end: the last checkpoint is written at once."""
        self._hurries = True
        self._changed.set()

    @property
    def behind(self) -> int:
        """How many records the table does not cover yet. Negative if it covers more than this state."""
        return (self._latest.records if self._latest else 0) - (self._as_of or 0)

    @property
    def is_behind(self) -> bool:
        """Whether there is something to write. After a start, the table is written once, even if it covers all records."""
        if self._latest is None or self._as_of is None:
            return self._latest is not None
        return self.behind > 0 or (self.behind == 0 and self._written is None)

    @property
    def outstanding(self) -> int:
        """1 if a run to the end of the log has to wait for it."""
        if self.health.failure is not None or self.health.is_paused:
            return 0
        return int(not self._is_ready or self._running is not None or self.is_behind)

    # Writing.

    async def _pump(self) -> None:
        """Writes whatever is due. Ends only if it is cancelled."""
        while True:
            self._changed.clear()
            self._note_outage()
            wait_s = self._wait_s()
            if wait_s is None or wait_s > 0:
                await wait_for(self._changed, wait_s)
                continue
            if self.health.is_stopped(DELIVER):
                await self._parts.receiver.refresh()
            ticket = await self._parts.service.turn()
            if self._wait_s() is None:
                self._parts.service.done(ticket, None)
                continue
            # A task of its own, so that the end can wait for it.
            task = self._running = asyncio.create_task(self._attempt(ticket))
            try:
                await task
            finally:
                task.cancel()  # nothing, if it is done
                self._running = None
                self._tried.set()

    def _wait_s(self) -> float | None:
        """Seconds until the next try; 0 if now; None if only a change can bring one."""
        if self.health.is_paused or not self.is_behind:
            return None
        # Only the interval is cut short at the end, not the wait after a failure.
        due_s = self._next_s if self._tries or not self._hurries else 0.0
        return max(0.0, max(due_s, self.health.next_probe_s(DELIVER)) - self._parts.times.now())

    async def _attempt(self, ticket: Ticket) -> None:
        """One try: takes the place in the receiver if need be, then writes one snapshot."""
        service, failure = self._parts.service, None
        try:
            if not self._is_begun:
                self._take(await self._parts.receiver.begin())
            await self._write()
        except TransactionError as error:
            failure = error
        except EventProcessorError:
            service.done(ticket, None)
            raise
        except asyncio.CancelledError:
            service.give_up(ticket)
            raise
        except Exception as error:  # noqa: BLE001 - a receiver's fault must not end the other sinks
            failure = TransactionError(Answer(Verdict.WAIT, f"{type(error).__name__}: {error}"))
        service.done(ticket, failure.answer if failure else Answer(Verdict.DELIVERED))
        self._note_outage()
        if failure is None:
            self._went_well()
        else:
            self._failed(failure)
        self._changed.set()

    def _take(self, found: int) -> None:
        """The table is as of `found`. If this is not what was written last, all rows are written again."""
        self._is_begun = True
        self._as_of = found
        telemetry, latest = self._parts.telemetry, self._latest
        if self._written is not None and self._written.records > found:
            telemetry.lane_rewound(sink=self.name, records=self._written.records - found)
        if latest is not None and latest.records < found:
            telemetry.snapshot_ahead(sink=self.name, as_of=found, records=latest.records)
        if self._written is not None and self._written.records != found:
            self._written = None

    async def _write(self) -> None:
        """Writes the last checkpoint, unless the table has a later one: then an older state was restored, and catches up first."""
        totals, before = self._latest, self._as_of
        assert totals is not None, "something was committed"
        assert before is not None, "the place is known"
        if totals.records < before:
            return
        times, is_whole = self._parts.times, self._written is None
        self._next_s = times.now() + self._parts.interval_s
        rows = self._parts.source.rows(totals, self._written)
        result = await self._parts.receiver.write(before, Snapshot(totals.records, rows, is_whole, times.wall_ns()))
        self._as_of, self._written = totals.records, totals
        kept = {} if is_whole else {key: words for key, words in self._left_out.items() if key not in result.keys}
        self._left_out = {**kept, **result.left_out}
        self._snapshots += 1

    def _went_well(self) -> None:
        self._tries = 0
        if self.health.is_stopped(DELIVER):
            self.health.go_on(DELIVER)
        self.health.check(is_sending=True)

    def _failed(self, failure: TransactionError) -> None:
        """Nothing was committed, or perhaps everything: the receiver is asked before anything else."""
        answer, now_s = failure.answer, self._parts.times.now()
        self._is_begun = False
        self._tries += 1
        if answer.verdict is Verdict.WAIT:
            self.health.last_words = answer.words
            self._next_s = now_s + self._parts.backoff.wait_s(self._tries, answer.wait_s)
        elif answer.verdict is Verdict.BAD:
            remedy = "look at the words and at the sink's columns, correct them, then: event-processor reload"
            self.health.stop(DELIVER, f"most of its rows do not fit: {answer.words}", remedy, now_s)
        else:
            self.health.stop(DELIVER, answer.words, failure.remedy or remedy_of(answer), now_s)

    def _note_outage(self) -> None:
        """After the end of an outage nothing waits longer for its sake."""
        gate = self._parts.service.gate
        is_in_outage = gate.outage_since_s is not None or gate.is_held_long(self._parts.times.now())
        if self.health.note_outage(DELIVER, is_in_outage):
            self._next_s = 0.0

    def report(self) -> SnapshotReport:
        """The snapshot at this moment."""
        described = self._described()
        if described.state != self._state:
            self._state, self._since_ns = described.state, self._parts.times.wall_ns()
        failure, latest = self.health.failure, self._latest
        return SnapshotReport(
            sink=self.name,
            input=self._parts.owner.input,
            state=described.state,
            words=described.words,
            since=utc_text(self._since_ns),
            exit_code=int(failure.exit_code) if failure else 0,
            remedy=described.remedy,
            as_of=self._as_of,
            committed=latest.records if latest else 0,
            rows=self._parts.source.count(self._written) - len(self._left_out) if self._written else None,
            left_out=len(self._left_out),
            snapshots=self._snapshots,
        )

    def _described(self) -> Described:
        present = self.health.described(is_pending=self.is_behind)
        if present.state == "paused":
            return Described("paused", "an operator paused it; the table stays as it is", present.remedy)
        if present.state == "idle" and self._latest is not None and self.behind < 0:
            words = f"its table is as of record {self._as_of:,}, and this state is at {self._latest.records:,}"
            remedy = "an older state was restored: the table is written again when this state has read as far; or restore the newest state"
            return Described("ahead", words, remedy)
        if present.state in ("idle", "sending") and self._left_out:
            key, words = next(iter(self._left_out.items()))
            words = f"{len(self._left_out):,} rows do not fit and are left out, such as {cut(key)}: {words}"
            return Described(present.state, words, "correct the sink's columns, then: event-processor reload")
        return present

    # What operators ask.

    async def _look_often(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Learns whether an operator paused it."""
        seen: list[bool] = []
        await self._parts.offload(lambda: seen.append(self._parts.is_paused()))
        self.health.pause(seen[0])
        self._changed.set()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self._ended.done():
            self._ended.set_exception(task.exception())  # type: ignore[arg-type]  # there is one
        self._tried.set()
