"""The loop: reads, steps, commits. The only place that sequences commits.

Owns: when to read, step, commit, flush the order buffer, drain and stop.
Always: in a backlog at most one commit runs in the background, while the loop reads and steps the next batch on a state that is
not committed yet. A commit is reported only after it is durable, and only by the loop's own thread. Any failure ends the loop:
the last commit is still the committed one, and nothing is written after the failed commit.
Never: decides about a record (`step.py` does) or about bytes on disk (`commit.py`, `durable.py`, `checkpoint.py` do).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Final

from event_processor.engine.attention import Attention
from event_processor.engine.batch import Batch
from event_processor.engine.batch_limits import BatchLimits
from event_processor.engine.commit import CommitExecutor, CommitWriter
from event_processor.engine.following import Following
from event_processor.engine.journal import (
    IdleRelease,
    InputFinished,
    JournalEntry,
    LossesAcknowledged,
    LossFound,
    OrderEnded,
    OrderStarted,
)
from event_processor.engine.loop_options import WAIT_S_MAX, InFlight, LoopOptions, StartedState, StopReason
from event_processor.engine.loss_keeper import LossKeeper
from event_processor.engine.losses import LossRequests
from event_processor.engine.pace import Pace
from event_processor.engine.reading import Reading
from event_processor.engine.source_turns import SourceTurns
from event_processor.engine.stages import DECODING, READING, TOTALS, WAITING, StageClock, TimedCommit
from event_processor.engine.state import State
from event_processor.engine.step import Memory, StepOptions, advance, begin_order, end_order, finish, release_held, release_sorted
from event_processor.model.contracts import Clock, Decoding, Notices, Source, Wakeup
from event_processor.model.errors import StorageError
from event_processor.model.event import Chunk
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import storage_boundary

__all__ = ["LoopOptions", "Processor", "StartedState", "StopReason"]


class Processor:
    """A running pipeline. One thread uses it; any thread and any signal handler may call `stop` and `reload`."""

    def __init__(
        self,
        *,
        sources: Sequence[Source],
        decoding: Decoding,
        directory: str,
        writer: CommitWriter,
        executor: CommitExecutor,
        memory: Memory,
        state: State,
        started: StartedState | None = None,
        following: Following | None = None,
        step_options: StepOptions,
        options: LoopOptions,
        requests: LossRequests,
        stages: StageClock,
        clock: Clock,
        wakeup: Wakeup,
        telemetry: Telemetry,
    ) -> None:
        """An error names `directory` if the failed call names no file. `memory` belongs to the last committed state.

        `started`: the change of the state at this start; the first commit makes it durable. `following`: what is read first.
        """
        self._sources: Final = SourceTurns(sources, options.may_read)
        self._losses: Final = LossKeeper(sources, requests)
        self._decoding: Final = decoding
        self._directory: Final = directory
        self._writer: Final = writer
        self._executor: Final = executor
        self._memory: Final = memory
        self._state = state
        self._started = started
        self._following = following
        self._step_options: Final = step_options
        self._options: Final = options
        self._limits: Final = BatchLimits(options.batch_bytes_max)
        self._reading: Final = Reading(self._sources, decoding, losses=self._losses, limits=self._limits, clock=clock)
        self.stages: Final = stages
        self._clock: Final = clock
        self._wakeup: Final = wakeup
        self._telemetry: Final = telemetry
        self._attention: Final = Attention(clock, wakeup)
        self._pace: Final = Pace(0.0 if options.once else options.pace_s)
        self._in_flight: InFlight | None = None
        self._checkpoint_bytes = 0
        self._failed = False
        self._stop_reason: StopReason | None = None

    @property
    def state(self) -> State:
        """The last committed state."""
        return self._state

    def lag_bytes(self) -> int:
        """How many unread bytes the sources are known to hold."""
        return self._sources.lag_bytes()

    def uncommitted_bytes(self) -> int:
        """How many bytes no commit covers yet, as far as known, while no batch is gathered."""
        return self.lag_bytes() + (self._in_flight.batch.content_bytes if self._in_flight else 0)

    def rely_on(self, notices: Notices) -> None:
        """From now on `notices` set the wakeup; they pause while the log is busy."""
        self._attention.rely_on(notices)

    def stop(self) -> None:
        """Ends the loop after the running commit and the current batch are committed."""
        self._stop_reason = StopReason.SIGNAL
        self._wakeup.set()

    def reload(self) -> None:
        """Ends the loop like `stop`, so that it can be rebuilt with another configuration."""
        self._stop_reason = self._stop_reason or StopReason.RELOAD
        self._wakeup.set()

    def run(self) -> StopReason:
        """Reads and commits until the end of the input (`once`) or until stopped. Raises as `feed`; then only `close` may be called."""
        with self._one_go():
            self._follow()
            was_stopped = self._stop_reason is not None  # perhaps within the tail, which says what comes next
            reason = self._run()
            if not was_stopped and self._pace.was_held:
                # The stop ended the hold. What came meanwhile would otherwise be counted only after the next start.
                self._commit_unless_empty(self._gather(is_last=True))
            return reason

    @contextmanager
    def _one_go(self) -> Iterator[None]:
        """Stops the processor after a failure: the index remembers ids, and the sources gave bytes, that no commit covers."""
        if self._failed:
            raise StorageError("run", self._directory, 0, "an earlier failure ended this processor; it cannot continue")
        self._failed = True
        with storage_boundary(self._directory):
            yield
        self._failed = False

    def _follow(self) -> None:
        """Reads first what the reading journal says. If we die or stop within, the next start goes on after the last commit."""
        following, self._following = self._following, None
        for script in following.scripts(lambda: self._state, lambda: self._stop_reason is not None) if following else ():
            self._feed(script)

    def _run(self) -> StopReason:
        while self._stop_reason is None:
            self._telemetry.progressed()
            self._wakeup.clear()
            self._acknowledge_if_asked()
            if self._in_flight is None:
                self._writer.look(self._clock.monotonic_s())
                if self._is_held():
                    continue
            batch = self._gather()
            if self._stop_reason is StopReason.LATE:
                break
            if batch.steps or batch.has_news:
                self._commit(batch, behind=self._is_full(batch))
                self._attention.found()
            elif self._stop_reason is not None:
                break
            elif self._options.once and not self._sources.waits_s():
                self._drain()
                return self._stop_reason or StopReason.END
            elif self._silent_in_s() == 0:
                self._release_held()
            elif self._writer.has_spare_files():
                self._commit(self._new_batch(), behind=False)
            else:
                self._attention.wait(self._wait_s())
                self.stages.lap(WAITING)
        self._settle()
        return self._stop_reason

    def _is_held(self) -> bool:
        """Waits if the next commit is not due, at most `WAIT_S_MAX`. Returns whether it is still not due, or a stop is asked for.

        Meanwhile nothing is read: what is appended is found by one look when the commit is due.
        """
        held_s = self._pace.held_s(self._clock.monotonic_s())
        if held_s:
            self._attention.hold(min(held_s, WAIT_S_MAX), lambda: self._stop_reason is not None)
            self.stages.lap(WAITING)
        return held_s > WAIT_S_MAX or self._stop_reason is not None

    def feed(self, script: Iterable[Chunk | JournalEntry]) -> None:
        """Replays a script from a reading journal as if it came now, and commits it. Raises `StorageError`, `StateError`."""
        with self._one_go():
            self._feed(script)

    def _feed(self, script: Iterable[Chunk | JournalEntry]) -> None:
        batch = self._new_batch()
        for each in script:
            self._settle_if_done()
            if isinstance(each, LossFound | LossesAcknowledged):
                batch.add_loss(each)
                continue
            if isinstance(each, Chunk):
                self._reading.hand_in(each)
                self._step(batch)
                if not self._is_full(batch):
                    continue
            if batch.steps or batch.has_news:
                self._commit(batch, behind=isinstance(each, Chunk))
            if isinstance(each, IdleRelease):
                self._release_held()
            elif isinstance(each, OrderStarted | OrderEnded):
                self._switch_order(begins=isinstance(each, OrderStarted))
            elif isinstance(each, InputFinished):
                self._finish(closes_parts=False)
            batch = self._new_batch()
        self._commit_unless_empty(batch)
        self._settle()

    def _commit_unless_empty(self, batch: Batch) -> None:
        if batch.steps or batch.has_news:
            self._commit(batch, behind=False)

    def acknowledge(self, seen: LossesAcknowledged) -> None:
        """Forgets the losses that a person has seen, and commits that. Raises `StorageError`."""
        with self._one_go():
            self._acknowledge(seen)

    def close(self) -> None:
        """Closes everything after the running commit. Raises `StorageError` if that, or background work, failed.

        What was read but not committed is read again at the next start.
        """
        with ExitStack() as cleanup:
            cleanup.callback(self._writer.close)
            cleanup.callback(self._decoding.close)
            cleanup.callback(self._sources.close)
            cleanup.callback(self._executor.close)
            # The commit uses the files until it is done. If we closed them before, their descriptors could become other files'.
            self._settle()

    def _gather(self, *, is_last: bool = False) -> Batch:
        """Reads available input up to the commit's limit, fair among the sources. Reads more while a commit is under way.

        A stop ends it, unless it `is_last`.
        """
        batch = self._new_batch()
        while (is_last or self._stop_reason is None) and (not self._is_full(batch) or self._may_grow(batch)):
            if self._settle_if_done():
                continue
            if not is_last and self._holds_what_was_there(batch):
                break
            self._reading.read_on(batch)
            self.stages.lap(READING)
            if self._reading.pending:
                self._step(batch)
                continue
            if self._in_flight is not None:
                # No backlog any more. What comes until that commit is done still belongs to this batch.
                self._settle()
                continue
            break
        return batch

    def _holds_what_was_there(self, batch: Batch) -> bool:
        """Whether only another poll could find more, and no running commit makes the batch wait. Polls would delay it without end."""
        if self._options.once or not batch.steps or self._in_flight is not None or self._reading.pending:
            return False
        return not self._sources.have_more()

    def _new_batch(self) -> Batch:
        """An empty batch after everything that was handed to a commit, durable or not."""
        started, begun_s = self._started, self._clock.monotonic_s()
        if started is None:
            return Batch.behind(self._in_flight.batch.state if self._in_flight else self._state, begun_s)
        # If we die before its commit, the next start makes the same change.
        return Batch(started.state, started.state.counts.read, journal=list(started.entries), begun_s=begun_s)

    def _is_full(self, batch: Batch) -> bool:
        """Whether a commit should cover no more than this batch: then there is a backlog."""
        return self._limits.is_full(batch.content_bytes, self._checkpoint_bytes, is_ahead=bool(self._reading.pending))

    def _may_grow(self, batch: Batch) -> bool:
        """Whether a full batch grows on while a commit runs: the next commit then costs more, but covers more."""
        is_running = self._in_flight is not None and not self._in_flight.checkpoint_bytes.done()
        return is_running and self._limits.may_grow(batch.content_bytes)

    def _commit(self, batch: Batch, *, behind: bool) -> None:
        """Commits the batch after the running commit, or (`behind`) beside the loop. Raises `StorageError`, perhaps of the one before."""
        self._settle()
        self._started = None
        job = self.stages.timed(self._writer.prepare(batch))
        self._reading.begin_commit()
        if not behind:
            # The shortest way to a durable checkpoint: without a backlog, the log waits for no other thread.
            self._committed(batch, job(), job)
            # A source that waits for something, such as the next object of a bucket, is not at its end: it is catching up.
            is_backlog = self._limits.is_backlog(batch.content_bytes + self._sources.lag_bytes()) or bool(self._sources.waits_s())
            self._pace.committed(now_s := self._clock.monotonic_s(), now_s - batch.begun_s, is_backlog=is_backlog)
            return
        # If we die from here on, whatever the loop does meanwhile: the batch is durable or not as `commit.py` says, and what is
        # read after it is in none of our files until this commit is done.
        self._in_flight = InFlight(batch, job, self._executor.submit(job))
        self._pace.has_backlog()
        self._settle_if_done()

    def _settle_if_done(self) -> bool:
        """Finishes the running commit if it is done. Returns whether there was one that was done. Raises its failure."""
        is_done = self._in_flight is not None and self._in_flight.checkpoint_bytes.done()
        if is_done:
            self._settle()
        return is_done

    def _settle(self) -> None:
        """Waits for the running commit, if any, and reports it. Raises its failure."""
        if (in_flight := self._in_flight) is None:
            return
        try:
            checkpoint_bytes = in_flight.checkpoint_bytes.result()
        finally:
            self._in_flight = None
        self._committed(in_flight.batch, checkpoint_bytes, in_flight.commit)

    def _committed(self, batch: Batch, checkpoint_bytes: int, commit: TimedCommit) -> None:
        """Makes the durable batch the state and reports it. If we die here, sources and exporters learn of it at the next start."""
        self.stages.committed(commit)
        before, self._state = self._state, batch.state
        self._checkpoint_bytes = checkpoint_bytes
        self._reading.acknowledge()
        batch.report(self._telemetry, before, commit.seconds)

    def _acknowledge_if_asked(self) -> None:
        """Carries out a request of another process."""
        if (seen := self._losses.asked(self._state.lost)) is not None:
            self._acknowledge(seen)
            self._losses.done()

    def _acknowledge(self, seen: LossesAcknowledged) -> None:
        self._settle()
        batch = self._new_batch()
        batch.add_loss(seen)
        self._commit_unless_empty(batch)

    def _step(self, batch: Batch) -> None:
        """Advances the batch's state over the oldest submitted chunk."""
        chunk, columns = self._reading.take()
        self.stages.lap(DECODING)
        step = advance(batch.state, chunk, columns, self._memory, self._step_options)
        if step.counts.late and self._options.ends_if_late:
            self._stop_reason = StopReason.LATE
        batch.add(step, len(chunk.content) or min(chunk.oversized_bytes, self._options.batch_bytes_max))
        self.stages.lap(TOTALS)

    def _drain(self) -> None:
        """At the end of finished input: flushes the order buffer, closes the windows, and closes the open parts of sinks."""
        if not self._options.drain:
            return
        self._settle()
        if self._state.order.held:
            self._release_held()
        if has_runs := self._state.order.waiting > 0:
            self._release_sorted()
        if self._stop_reason is not None:
            return
        # If we die before this, or within, the next drain finds the same windows and parts open, and closes them.
        if self._writer.has_open_parts or not self._memory.aggregates.is_finished:
            self._finish(closes_parts=True)
        elif has_runs:
            # The predecessor still names the runs, which are as large as the input. Now neither checkpoint does.
            self._commit(self._new_batch(), behind=False)

    def _finish(self, *, closes_parts: bool) -> None:
        """Closes the windows and the sinks' open parts, and commits that."""
        self._settle()
        batch = self._new_batch()
        batch.finishes = closes_parts
        if not self._memory.aggregates.is_finished:
            batch.add(finish(batch.state, self._memory.aggregates), 0)
        self._commit(batch, behind=False)

    def _switch_order(self, *, begins: bool) -> None:
        """Starts or ends the use of the order stage, as a reading journal says, and commits that."""
        self._settle()
        batch = self._new_batch()
        batch.state, entries = (begin_order if begins else end_order)(batch.state)
        batch.journal.extend(entries)
        self._commit(batch, behind=False)

    def _release_held(self) -> None:
        """Flushes the order buffer, and commits that."""
        self._settle()
        held_count, batch = len(self._state.order.held), self._new_batch()
        batch.add(release_held(batch.state, self._memory.aggregates), 0)
        self._commit(batch, behind=False)
        self._telemetry.order_idle_released(events=held_count)

    def _release_sorted(self) -> None:
        """Merges the sorted runs, and releases their events in commits of bounded size. The next drain continues if we die or stop."""
        batch = self._new_batch()
        with closing(self._writer.sorted_events(batch.state.order)) as tables:
            for table in tables:
                self._telemetry.progressed()
                batch.add(release_sorted(batch.state, table, self._memory.aggregates), table.size_bytes)
                if self._is_full(batch):
                    self._commit(batch, behind=True)
                    batch = self._new_batch()
                    self._telemetry.sorted_released(events=batch.state.order.released_count, waiting=batch.state.order.waiting)
                    if self._stop_reason is not None:
                        break
                self._settle_if_done()
        if batch.steps:
            self._commit(batch, behind=False)
        self._settle()

    def _silent_in_s(self) -> float | None:
        """Seconds until a live log was idle for so long that the order buffer is flushed; None if it is not idle, or never flushed."""
        options = self._options
        if options.once or not options.idle_release_s or not self._state.order.held:
            return None
        return self._reading.silent_in_s(options.idle_release_s)

    def _wait_s(self) -> float:
        """Seconds until the next thing that can happen without a wakeup; 0 if the log has just become idle."""
        silent_in_s = self._silent_in_s()
        waits = [WAIT_S_MAX, self._options.poll_interval_s, *self._sources.waits_s()]
        return max(0.0, min(waits if silent_in_s is None else [*waits, silent_in_s]))
