"""A lane: the records of one outbox series on their way to one remote sink.

Owns: the order of the stages, what an operator asks, failed records, and when the cursor is saved.
Always: a record is answered once. It is answered only if the receiver took it, refused it for good, or an operator skipped it.
Whatever else happens, it is sent again, under the same key. The cursor on disk never passes a record that was not answered.
Never: waits inside a commit; knows a technology; uses another thread's data.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from event_processor.engine.delivery.blocks import groups_of
from event_processor.engine.delivery.cursor import CursorDocument, Result
from event_processor.engine.delivery.figures import LaneFigures
from event_processor.engine.delivery.health import Health
from event_processor.engine.delivery.lane_waits import LaneWaits
from event_processor.engine.delivery.orders import SKIPPED, Ordered
from event_processor.engine.delivery.parts import LaneParts, LanePlace
from event_processor.engine.delivery.queue import Attempt, Waiting
from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.delivery.stage import DELIVER, AnyStage, Stage, StageParts
from event_processor.engine.delivery.window import Released, Window, WindowLimits
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.delivery import Request
from event_processor.model.errors import StateError
from event_processor.model.transactions import SKIPPED_STAGE, FailedRecord, Refusal, TransactionalReceiver

__all__ = ["Lane", "enricher_stages"]

CANCEL_S: Final = 5.0
"""What was cancelled gets this long to end, and so does each receiver."""
LOOK_S: Final = 1.0
"""A lane looks this often at what operators ask."""
SAVE_S: Final = 0.2
"""While a lane sends, its cursor is saved this often."""


class Lane:
    """One lane. Everything runs in the delivery loop, also `__init__`."""

    def __init__(self, parts: LaneParts, released: Released) -> None:
        """Continues at the cursor of `parts.progress`. `released`: as far as the last checkpoint covers the series, and it is for this lane."""
        self.name: Final = parts.identity.name
        self.health: Final = Health(self.name, parts.telemetry)
        self._parts: Final = parts
        options = parts.options
        self.figures: Final = LaneFigures(options.figures_by, parts.times.wall_ns, parts.times.now)
        self._waits: Final = LaneWaits()
        self.stages: Final[Sequence[AnyStage]] = self._made_stages()
        self._window = self._made_window(parts.progress.document, released)
        self._tell_detached()
        self._dirty: Final = asyncio.Event()
        self._saving: Final = asyncio.Lock()
        self._save_failure: Exception | None = None
        self._failed: list[FailedRecord] = []
        self._ordered = Ordered()
        self._is_ready = False
        self._is_closing = False
        self.gave_up = False
        """Whether `close` gave requests up that may still arrive."""
        self._state, self._since_ns = "", 0
        self._ended: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()

    def _made_stages(self) -> Sequence[AnyStage]:
        """The enrichers in their order, then the receiver."""
        is_strict = self._parts.options.order == "strict"
        parts = [*enricher_stages(self._parts, is_strict=is_strict), _last_stage(self._parts, is_strict=is_strict)]
        return [Stage(each, self) for each in parts]

    def _made_window(self, document: CursorDocument, released: Released) -> Window:
        """The window of a lane that goes on after `document`."""
        return Window(
            self._parts.identity,
            document,
            released,
            reader=self._parts.reader(released, min(document.sequence, released.sequence)),
            queue=self.stages[0].queue,
            chain_after=self._parts.chain_after,
            figures=self.figures,
            limits=WindowLimits.of(self._parts.options),
        )

    # The life of a lane.

    async def run(self) -> None:
        """Sends until `close`, or until the lane fails (`report` says why). Raises `StorageError`, and what is a bug."""
        tasks: list[asyncio.Task[None]] = []
        try:
            self._parts.progress.require()
            self._window.require_chain()
            for enricher in self._parts.enrichers:
                await enricher.enricher.open()
            await self._open_receiver()
            for stage in self.stages:
                stage.service.watch(stage.changed.set)
            # Before the first request: the sink may be paused.
            await self._look()
            self._is_ready = True
            self.health.check(is_sending=not self.pending)
            pumps = [stage.pump() for stage in self.stages]
            tasks += [asyncio.create_task(each) for each in (*pumps, self._save_often(), self._look_often())]
            for task in tasks:
                task.add_done_callback(self._task_ended)
            await self._ended
        except StateError as error:
            self.health.fail(error)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            async with self._saving:
                pass  # A save that runs needs the files, which are closed next.

    async def _open_receiver(self) -> None:
        receiver = self._parts.receiver
        assert not isinstance(receiver, TransactionalReceiver), "it has a lane of its own kind"
        await receiver.open()

    async def close(self, drain_s: float) -> None:
        """Ends `run`: sends nothing more, waits for running requests at most `drain_s` seconds, and saves the cursor.

        A request that is given up may still arrive; it is sent again at the next start, under the same key.
        """
        self._is_closing = True
        self._wake()
        if running := self.running:
            await asyncio.wait(running, timeout=drain_s)
        self.gave_up = bool(self.running)
        for task in self.running:
            task.cancel()
        if running := self.running:
            # A class of the user's may hold on.
            await asyncio.wait(running, timeout=CANCEL_S)
        if not self._ended.done():
            self._ended.set_result(None)
        if self.health.failure is None:
            await self._save()
        for closing in (self._parts.receiver.close, *(each.enricher.close for each in self._parts.enrichers)):
            with suppress(TimeoutError):
                async with asyncio.timeout(CANCEL_S):
                    await closing()

    @property
    def running(self) -> list[asyncio.Task[None]]:
        """The requests that run."""
        return [task for stage in self.stages for task in stage.running]

    def _wake(self) -> None:
        """Something changed that a stage may wait for."""
        for stage in self.stages:
            stage.changed.set()

    def release(self) -> None:
        """Closes the files. No other method may be called after it."""
        self._window.close()
        self._parts.progress.close()

    def follow(self, released: Released) -> None:
        """A durable checkpoint covers the series this far."""
        self._window.follow(released.for_lane(self.name))
        self._tell_detached()
        self._wake()

    def _tell_detached(self) -> None:
        """A checkpoint says that the lane is detached: an operator must know. Only another start attaches it."""
        if self._window.released.total is not None:
            self.health.detach(self._window.released.sequence)

    def skip(self, sequences: frozenset[int]) -> int:
        """An operator gives up the records with these sequences. Returns how many of them were waiting here."""
        found = [entry for stage in self.stages for entry in stage.queue.drop(sequences)]
        for each, tries in found:
            self._give_up(each, Refusal(SKIPPED_STAGE, Answer(Verdict.BAD, SKIPPED), tries))
        if found:
            self._wake()
        return len(found)

    @property
    def pending(self) -> int:
        """The released records that were not answered, counted where they are."""
        return self._window.unread + sum(stage.pending for stage in self.stages)

    @property
    def place(self) -> LanePlace:
        """How far the lane is, for the outbox."""
        return LanePlace(self._window.passed, self._window.pending_bytes, self._window.released)

    @property
    def outstanding(self) -> int:
        """The records that this lane can still answer without an operator.

        1 if there are none, but its cursor is not durable yet, or it has not yet looked for what there is, or at what was answered before.
        """
        if self.health.failure is not None:
            return 0
        pending = sum(stage.in_requests for stage in self.stages) if self.health.is_paused else self.pending
        return max(pending, not self._is_ready, self._dirty.is_set() or self._saving.locked(), self._window.is_uncompared)

    @property
    def has_retries(self) -> bool:
        """Whether an operator sent repaired records to this sink."""
        return self._ordered.has_retries

    # What the stages ask and tell.

    @property
    def sink(self) -> str:
        """See `StageLane`."""
        return self._parts.identity.sink

    @property
    def may_send(self) -> bool:
        """See `StageLane`."""
        return not self._is_closing and not self.health.is_paused

    def prepare(self) -> None:
        """See `StageLane`."""
        self._window.refill()
        self._skip_ordered()

    def answered(self, stage: AnyStage, attempt: Attempt, answer: Answer, took_s: float) -> None:
        """See `StageLane`."""
        if stage is self.stages[-1]:
            self.figures.answered(answer, took_s, groups_of(attempt.waiting))
        self._parts.tried(stage.tried(attempt, answer, took_s))

    def passed(self, stage: AnyStage, waiting: Waiting) -> None:
        """See `StageLane`."""
        if stage is self.stages[-1]:
            self._finished(waiting, "delivered")
            return
        following = self.stages[self.stages.index(stage) + 1]
        following.queue.add(waiting)
        following.changed.set()

    def refused(self, waiting: Waiting, refusal: Refusal) -> None:
        """See `StageLane`."""
        self._give_up(waiting, refusal)
        self._parts.telemetry.delivery_failed(
            sink=self.name,
            sequence=waiting.record.sequence,
            status=refusal.answer.status,
            reason=refusal.answer.words,
        )

    def ended(self, error: BaseException | None) -> None:
        """See `StageLane`."""
        if error is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _give_up(self, waiting: Waiting, refusal: Refusal) -> None:
        """The record is not sent any more: keeps it, to be repaired and retried. The next save makes that durable."""
        wall_ns = self._parts.times.wall_ns()
        self._failed.append(FailedRecord.of(self.sink, waiting.record, waiting.key, refusal, wall_ns))
        self._finished(waiting, "skipped" if refusal.stage == SKIPPED_STAGE else "failed")

    def _finished(self, waiting: Waiting, result: Result) -> None:
        """The record was answered."""
        self._window.finished(waiting, result)
        self._dirty.set()
        if result == "delivered" or not self.pending:
            self.health.check(is_sending=True)
        # The first stage may read on.
        self.stages[0].changed.set()
        if result == "skipped":
            self.figures.skipped(waiting.groups)
        else:
            self.figures.record(waiting.record, waiting.groups, is_delivered=result == "delivered")

    def tick(self) -> None:
        """Looks at how fast it is, and at what it waits for. Call it about once a second."""
        now_s = self._parts.times.now()
        self.figures.tick(now_s)
        self._waits.look(self.health.described(is_pending=bool(self.pending)).state, self.stages, now_s)

    def report(self) -> LaneReport:
        """The lane at this moment."""
        pending = self.pending
        described = self.health.described(is_pending=bool(pending))
        if described.state != self._state:
            self._state, self._since_ns = described.state, self._parts.times.wall_ns()
        failure, identity, figures = self.health.failure, self._parts.identity, self.figures
        delivered, failed, skipped = self._window.counts
        return LaneReport(
            sink=identity.name,
            input=identity.input,
            state=described.state,
            words=described.words,
            since=utc_text(self._since_ns),
            exit_code=int(failure.exit_code) if failure else 0,
            remedy=described.remedy,
            released=self._window.known,
            started_after=identity.started_after,
            delivered=delivered,
            failed=failed,
            skipped=skipped,
            pending=pending,
            pending_bytes=self._window.pending_bytes,
            processed=figures.all.processed,
            requests=figures.all.tries,
            waits=figures.waits,
            limit_hits=figures.all.limit_hits,
            rate_per_s=figures.all.rate_per_s,
            run_rate_per_s=figures.run_rate_per_s,
            mean_request_ms=figures.all.mean_request_ms,
            mean_elapsed_ms=figures.all.mean_elapsed_ms,
            error_rate_before=figures.all.error_rate_before,
            error_rate=figures.all.error_rate,
            by_source=figures.by_source(),
            by_field=figures.by_field(),
            detached_after=self.health.detached_after,
            waits_for=self._waits.shares(),
            limit=self._waits.limit,
        )

    # What operators ask.

    async def _look_often(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Learns what operators ask, and removes what was carried out."""
        seen: list[Ordered] = []
        await self._parts.offload(lambda: seen.append(self._parts.orders.look()))
        (ordered,) = seen
        if ordered != self._ordered:
            self._ordered = ordered
            self.health.pause(ordered.is_paused)
            if ordered.released is not None:
                self.follow(ordered.released)
            self._skip_ordered()
            self._wake()
        done = [each for each in ordered.skips if self._window.were_answered(each.sequences)]
        if done:
            await self._save()
            # If we die here, the next start finds them again, and nothing of them is left to skip.
            await self._parts.offload(lambda: self._parts.orders.remove(done))

    def _skip_ordered(self) -> None:
        """Skips what an operator gave up, as soon as it is read, and no request with it runs."""
        if self._ordered.skips:
            sequences = frozenset(each for each in self._ordered.sequences if not self._window.are_answered([each]))
            if sequences:
                self.skip(sequences)

    # Saving.

    async def _save_often(self) -> None:
        while True:
            await self._dirty.wait()
            await self._save()
            await asyncio.sleep(SAVE_S)

    async def _save(self) -> None:
        """Makes what was answered so far durable. If we die before, it is sent again under the same keys. Raises `StorageError`."""
        # A save that began is finished even if its caller is cancelled: a thread cannot be stopped, and an older cursor that is
        # written after a newer one would count failed records twice.
        await asyncio.shield(asyncio.ensure_future(self._save_in_turn()))
        if self._save_failure is not None:
            raise self._save_failure

    async def _save_in_turn(self) -> None:
        async with self._saving:
            if self._save_failure is not None or not self._dirty.is_set():
                return
            failed, self._failed = self._failed, []
            document = self._window.document()
            self._dirty.clear()
            try:
                await self._parts.offload(lambda: self._parts.progress.save(document, failed))
            except Exception as error:  # noqa: BLE001 - `_save` raises it
                # Perhaps the failed records are not durable, so no later cursor may count them: nothing is saved any more.
                self._save_failure = error
                return
            self._window.note_saved(document)
            self._parts.saved()

    # Supervision.

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self.ended(None if task.cancelled() else task.exception())


def enricher_stages(parts: LaneParts, *, is_strict: bool) -> Iterator[StageParts]:
    """The enrichers in their order."""
    for each in parts.enrichers:
        yield StageParts(
            name=each.name,
            send=each.enricher.enrich,
            refresh=each.enricher.refresh,
            service=each.service,
            retries_max=each.retries_max,
            events_max=each.options.request_events_max,
            bytes_max=each.options.request_bytes_max,
            is_strict=is_strict,
            times=parts.times,
            backoff=parts.backoff,
        )


def _last_stage(parts: LaneParts, *, is_strict: bool) -> StageParts:
    """The receiver."""
    options, receiver = parts.options, parts.receiver
    assert not isinstance(receiver, TransactionalReceiver), "it has a lane of its own kind"

    async def deliver(request: Request) -> tuple[Answer, Sequence[msgspec.Raw]]:
        return await receiver.deliver(request), ()

    return StageParts(
        name=DELIVER,
        send=deliver,
        refresh=receiver.refresh,
        service=parts.service,
        retries_max=parts.retries_max,
        events_max=options.request_events_max,
        bytes_max=options.request_bytes_max,
        is_strict=is_strict,
        times=parts.times,
        backoff=parts.backoff,
    )
