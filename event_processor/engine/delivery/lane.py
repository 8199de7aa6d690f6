"""A lane: the records of one outbox series on their way to one remote sink.

Owns: what is sent next, what an answer means for each record, bisection, stops, and when the cursor is saved.
Always: a record is answered once. It is answered only if the receiver took it, refused it for good, or an operator skipped it.
Whatever else happens, it is sent again, under the same key. The cursor on disk never passes a record that was not answered.
Never: waits inside a commit; knows a technology; uses another thread's data.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from event_processor.engine.delivery.cursor import Result
from event_processor.engine.delivery.failed_records import FailedRecord
from event_processor.engine.delivery.figures import LaneFigures
from event_processor.engine.delivery.gate import Ticket
from event_processor.engine.delivery.health import Health, remedy_of
from event_processor.engine.delivery.orders import SKIPPED, Ordered
from event_processor.engine.delivery.parts import LaneParts, LanePlace
from event_processor.engine.delivery.queue import Attempt, Queue, Waiting, request_key
from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.delivery.window import Released, Window
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.delivery import Request
from event_processor.model.errors import StateError

__all__ = ["Lane"]

LOOK_S: Final = 1.0
"""A lane looks this often at what operators ask."""
SAVE_S: Final = 0.2
"""While a lane sends, its cursor is saved this often."""
RECENT: Final = 100
PASS_SHARE: Final = 0.8
BAD_MAX: Final = 50
"""If this many of the last `RECENT` records are bad already, it is not the records' fault."""


class Lane:
    """One lane. Everything runs in the delivery loop, also `__init__`."""

    def __init__(self, parts: LaneParts, released: Released) -> None:
        """Continues at the cursor of `parts.progress`. `released`: as far as the last checkpoint covers the series."""
        self.name: Final = parts.identity.name
        self.health: Final = Health(self.name, parts.telemetry)
        self._parts: Final = parts
        options = parts.options
        self.figures: Final = LaneFigures(options.figures_by, parts.times.wall_ns, parts.times.now)
        self._is_strict: Final = options.order == "strict"
        self._queue: Final = Queue(options.request_events_max, options.request_bytes_max, strict=self._is_strict)
        self._window: Final = Window(
            parts.identity,
            parts.progress.document,
            released,
            reader=parts.reader,
            queue=self._queue,
            chain_after=parts.chain_after,
            taken=self.figures.taken,
        )
        self._running: Final[dict[asyncio.Task[None], Attempt]] = {}
        self._changed: Final = asyncio.Event()
        self._dirty: Final = asyncio.Event()
        self._saving: Final = asyncio.Lock()
        self._save_failure: Exception | None = None
        self._failed: list[FailedRecord] = []
        self._ordered = Ordered()
        self._is_closing = False
        self._passes = 0
        self._recent: Final[deque[tuple[int, bool]]] = deque(maxlen=RECENT)
        self._bad: Final[deque[bool]] = deque(maxlen=RECENT)
        self._state, self._since_ns = "", 0
        self._ended: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()

    # The life of a lane.

    async def run(self) -> None:
        """Sends until `close`, or until the lane fails (`report` says why). Raises `StorageError`, and what is a bug."""
        tasks: list[asyncio.Task[None]] = []
        try:
            self._window.require_chain()
            await self._parts.receiver.open()
            self._parts.service.watch(self._changed.set)
            # Before the first request: the sink may be paused.
            await self._look()
            tasks += [asyncio.create_task(each) for each in (self._pump(), self._save_often(), self._look_often())]
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

    async def close(self, drain_s: float) -> None:
        """Ends `run`: sends nothing more, waits for running requests at most `drain_s` seconds, and saves the cursor.

        A request that is given up may still arrive; it is sent again at the next start, under the same key.
        """
        self._is_closing = True
        self._changed.set()
        if self._running:
            await asyncio.wait(self._running, timeout=drain_s)
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if not self._ended.done():
            self._ended.set_result(None)
        if self.health.failure is None:
            await self._save()
        await self._parts.receiver.close()

    def release(self) -> None:
        """Closes the files. No other method may be called after it."""
        self._window.close()
        self._parts.progress.close()

    def follow(self, released: Released) -> None:
        """A durable checkpoint covers the series this far."""
        self._window.follow(released)
        self._changed.set()

    def skip(self, sequences: frozenset[int]) -> int:
        """An operator gives up the records with these sequences. Returns how many of them were waiting here."""
        found = self._queue.drop(sequences)
        for each, tries in found:
            self._keep_failed(each, "skipped", Answer(Verdict.BAD, SKIPPED), tries)
            self._finished(each, "skipped")
        if found:
            self._changed.set()
        return len(found)

    @property
    def pending(self) -> int:
        """The released records that were not answered, counted where they are."""
        return self._window.unread + len(self._queue) + self._in_requests

    @property
    def place(self) -> LanePlace:
        """How far the lane is, for the outbox."""
        return LanePlace(self._window.saved, self._window.pending_bytes, self._window.released)

    @property
    def outstanding(self) -> int:
        """The records that this lane can still answer without an operator; 1 if there are none, but its cursor is not durable yet."""
        if self.health.failure is not None:
            return 0
        pending = self._in_requests if self.health.is_paused else self.pending
        return max(pending, self._dirty.is_set() or self._saving.locked())

    @property
    def has_retries(self) -> bool:
        """Whether an operator sent repaired records to this sink."""
        return self._ordered.has_retries

    @property
    def _in_requests(self) -> int:
        return sum(len(attempt.waiting) for attempt in self._running.values())

    # Sending.

    async def _pump(self) -> None:
        """Sends whatever is due, one request after the other in order of turns; several may run."""
        while not self._is_closing:
            self._changed.clear()
            self._window.refill()
            self._skip_ordered()
            self._note_outage()
            wait_s = self._wait_s()
            if wait_s is None or wait_s > 0:
                await self._wait(wait_s)
                continue
            if self.health.is_stopped:
                await self._parts.receiver.refresh()
            ticket = await self._parts.service.turn()
            self._note_outage()
            self._skip_ordered()
            attempt = (
                None
                if self._is_closing or self.health.is_paused
                else self._queue.take(self._parts.times.now(), alone=self.health.is_stopped)
            )
            if attempt is None:
                self._parts.service.done(ticket, None)
                continue
            task = asyncio.create_task(self._send(attempt, ticket))
            self._running[task] = attempt
            task.add_done_callback(self._send_ended)

    def _wait_s(self) -> float | None:
        """Seconds until a request may be asked for; 0 if now; None if only a change can bring one."""
        if self.health.is_paused:
            return None
        if self._running and (self._is_strict or self.health.is_stopped):
            return None
        due_s = self._queue.due_s()
        if due_s is None:
            return None
        return max(0.0, max(due_s, self.health.next_probe_s) - self._parts.times.now())

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _send(self, attempt: Attempt, ticket: Ticket) -> None:
        """Sends one request, once, and does with its records what the answer means."""
        began_s = self._parts.times.now()
        answer: Answer | None = None
        keys = [each.key for each in attempt.waiting]
        records = [each.record for each in attempt.waiting]
        try:
            try:
                answer = await self._parts.receiver.deliver(Request(records, keys, request_key(keys), attempt.tries))
            except Exception as error:  # noqa: BLE001 - a receiver's fault must not end the other lanes
                answer = Answer(Verdict.WAIT, f"{type(error).__name__}: {error}")
        finally:
            self._parts.service.done(ticket, answer)
        if (task := asyncio.current_task()) is not None:
            self._running.pop(task, None)
        attempt.tries += 1
        self.figures.answered(answer, self._parts.times.now() - began_s, [each.groups for each in attempt.waiting])
        self._answered(attempt, answer)

    def _answered(self, attempt: Attempt, answer: Answer) -> None:
        """The one place where an answer becomes the fate of records."""
        self._note_outage()
        is_delivered = answer.verdict is Verdict.DELIVERED
        if self.health.is_stopped and (is_delivered if self.health.is_schema else answer.verdict is not Verdict.STOP):
            self._bad.clear()
            self.health.go_on()
        if is_delivered:
            self._passes += 1
            self._recent.append((attempt.first, True))
            self._queue.passed()
            for each in attempt.waiting:
                self._bad.append(False)
                self._finished(each, "delivered")
        elif answer.verdict is Verdict.WAIT:
            self._waited(attempt, answer)
        elif answer.verdict is Verdict.STOP:
            self._stop(attempt, answer.words, remedy_of(answer))
        else:
            self._refused(attempt, answer)
        self._changed.set()

    def _waited(self, attempt: Attempt, answer: Answer) -> None:
        """The request could not be taken now. It is bad if it alone keeps failing."""
        self.health.last_words = answer.words
        others = [passed for first, passed in self._recent if first != attempt.first]
        self._recent.append((attempt.first, False))
        mostly_pass = bool(others) and sum(others) >= PASS_SHARE * len(others)
        if mostly_pass and self._passes > attempt.passes_seen:
            attempt.lonely_waits += 1
        attempt.passes_seen = self._passes
        if attempt.lonely_waits > self._parts.retries_max:
            self._refused(attempt, answer)
            return
        self._queue.again(attempt, self._parts.times.now() + self._parts.backoff.wait_s(attempt.tries, answer.wait_s))

    def _refused(self, attempt: Attempt, answer: Answer) -> None:
        """A record of the request is bad. If there are several, finds out which by halves."""
        now_s = self._parts.times.now()
        if len(attempt.waiting) > 1:
            if answer.is_too_large:
                self._queue.was_too_large(attempt)
            for half in attempt.halves():
                self._queue.again(half, now_s)
            return
        if self.health.is_stopped or sum(self._bad) >= BAD_MAX:
            words = f"the receiver refuses nearly every record: {answer.words}"
            remedy = f"look at what is refused: event-processor dead-letters list --sink {self._parts.identity.sink}; then correct the sink or the receiver"
            self._stop(attempt, words, remedy, is_schema=True)
            return
        self._bad.append(True)
        (waiting,) = attempt.waiting
        self._keep_failed(waiting, "deliver", answer, attempt.tries)
        self._parts.telemetry.delivery_failed(
            sink=self.name, sequence=waiting.record.sequence, status=answer.status, reason=answer.words
        )
        self._finished(waiting, "failed")

    def _keep_failed(self, waiting: Waiting, stage: str, answer: Answer, tries: int) -> None:
        """Keeps a record that is not sent any more, to be repaired and retried. The next save makes it durable."""
        identity, wall_ns = self._parts.identity, self._parts.times.wall_ns()
        self._failed.append(FailedRecord.of(identity.sink, waiting, stage, answer, tries=tries, wall_ns=wall_ns))

    def _finished(self, waiting: Waiting, result: Result) -> None:
        """The record was answered."""
        self._window.finished(waiting, result)
        self._dirty.set()
        if result == "skipped":
            self.figures.skipped(waiting.groups)
        else:
            self.figures.record(waiting.record, waiting.groups, is_delivered=result == "delivered")

    def _stop(self, attempt: Attempt, words: str, remedy: str, *, is_schema: bool = False) -> None:
        """Keeps the records, and only probes until an operator changes something."""
        self.health.stop(words, remedy, self._parts.times.now(), is_schema=is_schema)
        self._queue.again(attempt, 0.0)

    def _note_outage(self) -> None:
        """After the end of an outage nothing waits longer for its sake."""
        if self.health.note_outage(self._parts.service.gate.outage_since_s is not None):
            self._queue.hurry()

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
            self._changed.set()
        done = [each for each in ordered.skips if self._window.are_answered(each.sequences)]
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
        self._end_with(None if task.cancelled() else task.exception())

    def _send_ended(self, task: asyncio.Task[None]) -> None:
        attempt = self._running.pop(task, None)
        if attempt is not None:
            # It was given up without an answer: its records still wait.
            self._queue.again(attempt, 0.0)
        self._end_with(None if task.cancelled() else task.exception())
        self._changed.set()

    def _end_with(self, error: BaseException | None) -> None:
        if error is not None and not self._ended.done():
            self._ended.set_exception(error)
