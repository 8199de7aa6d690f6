"""The pipeline as a process: its lock, its signals, its reloads, and its messages to the service manager.

Owns: the life of one process from the lock to the exit, and `SignalHandlers`, which other commands use too.
Always: the lock is held from before the state is read until everything is closed. TERM and INT end the loop after a commit. A
second signal ends the process at once, which loses nothing. HUP reloads the configuration if it is valid and does not change the
meaning of the state. Otherwise the reload is refused and the present configuration stays. After `SignalHandlers`, the earlier
handlers are active again.
Never: no record is read here, and no signal is handled in another thread.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Final

from event_processor import __version__
from event_processor.assembly import (
    Environment,
    Mode,
    OpenPipeline,
    lock_state,
    open_pipeline,
    shared_intake,
    this_process,
    watch_sources,
)
from event_processor.assembly.several_telemetries import SeveralTelemetry
from event_processor.configuration.configuration import Configuration
from event_processor.configuration.parts import changed_keys, changed_parts, config_parts
from event_processor.configuration.targets import TargetsOptions
from event_processor.engine.delivery.reports import LaneReport, SnapshotReport
from event_processor.engine.loop import Processor, StopReason
from event_processor.engine.state import Counts
from event_processor.model.errors import ConfigurationError, EventProcessorError, RejectionLimitError
from event_processor.model.losses import Loss
from event_processor.model.messages import in_one_line
from event_processor.model.telemetry import Telemetry
from event_processor.operations.conditions import Condition, ReloadAnswer
from event_processor.operations.omissions import AbsentColumns, Omission, omissions
from event_processor.operations.targets import CommittedFigures
from event_processor.service.conditions import Conditions
from event_processor.service.history import History
from event_processor.service.intake_files import IntakeFiles
from event_processor.service.lanes import Lanes
from event_processor.service.listener import Listener
from event_processor.service.rejections import RejectionReports
from event_processor.service.systemd import ServiceNotifier
from event_processor.storage.shared_log import SharedLog

__all__ = ["Daemon", "Finished", "SignalHandlers"]


class SignalHandlers:
    """A context manager: inside it, each signal calls its function with the signal's number. For the main thread only."""

    def __init__(self, answers: Mapping[signal.Signals, Callable[[int], None]]) -> None:
        self._answers: Final = answers
        self._earlier: dict[int, object] = {}

    def __enter__(self) -> None:
        for number, answer in self._answers.items():
            self._earlier[number] = signal.signal(number, _handler(answer))

    def __exit__(self, *_: object) -> None:
        for number, earlier in self._earlier.items():
            signal.signal(number, earlier)  # type: ignore[arg-type]  # the value that signal.signal returned


def _handler(answer: Callable[[int], None]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, _frame: FrameType | None) -> None:
        answer(number)

    return handle


OPENING_S_MAX: Final = 300.0
"""The time that the service manager is asked to wait while the state is opened. It is asked again for each opening."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Why a run ended, its counts, and how many events are still in the order buffer.

    `omissions`: what its results leave out. `not_read`: input that could not be read. `lost`: what this run found to be lost.
    `lanes`, `snapshots`: the remote sinks when the run ended. `committed`: what the process has committed. `targets`: those of its last
    configuration.
    """

    reason: StopReason
    counts: Counts
    held_events: int
    omissions: Sequence[Omission]
    not_read: tuple[Condition, ...] = ()
    lost: tuple[Loss, ...] = ()
    lanes: tuple[LaneReport, ...] = ()
    snapshots: tuple[SnapshotReport, ...] = ()
    committed: CommittedFigures = field(default_factory=CommittedFigures)
    targets: TargetsOptions = field(default_factory=TargetsOptions)


class Daemon:
    """One process, one configuration at a time, one state directory."""

    def __init__(
        self,
        load: Callable[[], Configuration],
        environment_of: Callable[[Configuration], Environment],
        mode: Mode,
        notifier: ServiceNotifier,
    ) -> None:
        """`load` reads the configuration. It raises `ConfigurationError` with all faults.

        `environment_of` returns the environment for a configuration, such as its log. It is called again after a reload.
        """
        self._load: Final = load
        self._environment_of: Final = environment_of
        self._mode: Final = mode
        self._notifier: Final = notifier
        self._processor: Processor | None = None
        self._listener: Final = Listener()
        self._stopping = False
        self._absent: Final = AbsentColumns()
        self._lanes: Final = Lanes()
        self._history: Final = History()
        self._intake_files: Final = IntakeFiles()
        self._committed: Final = CommittedFigures()
        self._is_asked_to_reload = False
        self._answer: ReloadAnswer | None = None
        self._before: Configuration | None = None
        """The configuration before the reload under way: it goes on if the new one cannot be opened."""

    def run(self) -> Finished:
        """Runs until the end of the input or until a signal. Raises `EventProcessorError`."""
        configuration = self._load()
        first = self._environment_of(configuration)
        self._committed.begin(first.clock)
        with ExitStack() as cleanup:
            lock = lock_state(configuration, first)
            cleanup.callback(lock.release)
            cleanup.callback(self._notifier.close)
            conditions = Conditions(first.fs, str(configuration.state.dir), this_process(), first.clock)
            cleanup.enter_context(_failure_published(conditions))
            if not self._mode.once:
                self._history.begin(first.fs, str(configuration.state.dir), this_process(), first.clock)
            cleanup.callback(self._listener.stop)
            intake = shared_intake(first.fs, str(configuration.state.dir), first.clock)
            self._listener.share(intake)
            cleanup.enter_context(
                SignalHandlers({signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop, signal.SIGHUP: self._on_reload})
            )
            environment = first
            while True:
                conditions.begin()
                try:
                    finished, configuration = self._run_once(configuration, environment, conditions, intake=intake)
                except ConfigurationError as error:
                    if self._before is None or self._answer is None:
                        raise
                    # A start that a reload wanted, and that cannot be: what ran before it goes on.
                    self._answer = self._refused(environment.telemetry, self._answer.started_s, str(error))
                    configuration, self._before = self._before, None
                    environment = self._environment_of(configuration)
                    continue
                if finished.reason is not StopReason.RELOAD:
                    self._lanes.end()
                    left_out = [*finished.omissions, *self._absent.found]
                    # Now that the lanes have ended: their last answers count.
                    lanes = tuple(self._lanes.reports())
                    not_read = conditions.not_read
                    finished = replace(finished, lanes=lanes, snapshots=tuple(self._lanes.snapshots()))
                    return replace(finished, not_read=not_read, omissions=left_out, committed=self._committed)
                # The lanes and the application of the old pipeline refer to each other in circles, which Python frees in its own time:
                # after dozens of reloads, of which each leaves the buffers of a whole pipeline.
                gc.collect()
                self._before = configuration
                configuration = self._reloaded(configuration, environment.telemetry, conditions)
                environment = self._environment_of(configuration)

    def _run_once(
        self, configuration: Configuration, environment: Environment, conditions: Conditions, *, intake: SharedLog
    ) -> tuple[Finished, Configuration]:
        """Opens the pipeline once, and runs it to its end. Also returns the configuration that the state continues with."""
        self._notifier.extend(OPENING_S_MAX)
        # After a reload the watchdog runs already. The loop feeds it only when the pipeline is open, so it waits as long.
        self._notifier.progress()
        rejections = RejectionReports(environment.telemetry, environment.clock, configuration.dead_letters, self._end)
        notified = _NotifierTelemetry(self._notifier, conditions)
        exporters = [
            environment.telemetry,
            conditions,
            self._absent,
            self._lanes,
            self._committed,
            self._listener,
            notified,
            rejections,
            self._history,
            self._intake_files,
        ]
        for_threads = environment
        environment = replace(environment, telemetry=SeveralTelemetry(exporters))
        if not self._mode.once:
            # Before the pipeline: a long recovery is seen, and a configuration that cannot be served is refused.
            self._listener.follow(configuration, for_threads, environment.telemetry)
        intake.file_bytes_max = configuration.intake.file_bytes_max
        pipeline = open_pipeline(configuration, environment, self._mode, intake=intake)
        processor = pipeline.processor
        with ExitStack() as cleanup:
            cleanup.callback(rejections.flush)
            cleanup.callback(processor.close)
            if not self._mode.once:
                watcher = watch_sources(configuration, environment)
                cleanup.callback(watcher.stop)
                processor.rely_on(watcher)
            self._processor = processor
            cleanup.callback(self._leave)
            self._lanes.start(pipeline, environment, cleanup, is_once=self._mode.once)
            self._history.follow(processor, self._lanes, environment.telemetry)
            keep_days = configuration.intake.keep_days
            self._intake_files.follow(environment, intake.path, keep_days=keep_days, state=lambda: processor.state)
            if self._stopping:
                processor.stop()
            elif self._is_asked_to_reload:
                processor.reload()
            self._tell_started(configuration, environment.telemetry, pipeline)
            # Not before the pipeline is open: only now the new configuration is known to work.
            self._answer_reload(environment.telemetry, conditions)
            known = processor.state.lost.entries
            self._listener.opened(pipeline, environment, processor.stop)
            cleanup.callback(self._listener.closed)
            intake.require()
            reason = processor.run()
            intake.require()
            self._lanes.require()
            rejections.flush()
            if rejections.excess:
                raise _too_many(rejections.excess, configuration)
            if reason is StopReason.END:
                self._lanes.wait(environment, configuration.outbox.once_wait_s, lambda: self._stopping)
            state = processor.state
            lost = tuple(each for each in state.lost.entries if each not in known)
            left_out = omissions(configuration, state.counts, state.categories, pipeline.aggregates.documents())
            held_events, targets = len(state.order.held), pipeline.configuration.targets
            finished = Finished(reason, state.counts, held_events, left_out, lost=lost, targets=targets)
            self._tell_stopped(environment.telemetry, finished)
            return finished, pipeline.configuration

    def _leave(self) -> None:
        """The pipeline has ended. Nothing may keep its memory."""
        self._history.leave()
        self._processor = None
        self._intake_files.leave()

    def _answer_reload(self, telemetry: Telemetry, conditions: Conditions) -> None:
        """Says how a reload ended, if one was asked for."""
        if self._answer is None:
            return
        if self._answer.outcome != "refused":
            telemetry.reloaded(changed=", ".join(self._answer.changed))
        conditions.answer(self._answer)
        self._answer, self._before = None, None

    def _tell_started(self, configuration: Configuration, telemetry: Telemetry, pipeline: OpenPipeline) -> None:
        records = pipeline.processor.state.counts.records
        telemetry.started(
            version=__version__, state_directory=str(configuration.state.dir), resumed=pipeline.resumed, records=records
        )
        self._notifier.ready(f"{records} records committed")
        if lost := pipeline.processor.state.lost.count:
            telemetry.losses_committed(count=lost)

    def _tell_stopped(self, telemetry: Telemetry, finished: Finished) -> None:
        if finished.reason is not StopReason.RELOAD:
            self._notifier.stopping(f"{finished.counts.records} records committed")
            for omission in finished.omissions:
                telemetry.left_out(outcome=omission.outcome, count=omission.count, what=str(omission))
        telemetry.stopped(reason=finished.reason.value, records=finished.counts.records, held_events=finished.held_events)

    def _reloaded(self, present: Configuration, telemetry: Telemetry, conditions: Conditions) -> Configuration:
        """The configuration after HUP: the new one if the reload is allowed, or else the present one."""
        self._notifier.reloading()
        started_s = conditions.clock.monotonic_s()
        # A signal from here on asks for another reload: the configuration may change while we read it.
        self._is_asked_to_reload = False
        try:
            wanted = self._load()
        except EventProcessorError as error:
            reason = str(error)
        else:
            if wanted.order_is_implied:
                wanted = wanted.ordered_by(present.order.by)
            reason = _refusal(present, wanted)
        if reason:
            self._answer = self._refused(telemetry, started_s, reason)
            return present
        changed = changed_keys(present, wanted)
        self._answer = ReloadAnswer(started_s, "reloaded" if changed else "unchanged", changed=changed)
        return wanted

    def _refused(self, telemetry: Telemetry, started_s: float, reason: str) -> ReloadAnswer:
        telemetry.reload_refused(reason=reason)
        return ReloadAnswer(started_s, "refused", reason=in_one_line(reason))

    def _end(self) -> None:
        """Ends the loop after a commit."""
        if self._processor is not None:
            self._processor.stop()

    def _on_stop(self, number: int) -> None:
        if self._stopping:
            # If we die here, nothing is lost: committed records stay counted, all others are read again.
            os._exit(128 + number)
        self._stopping = True
        self._end()

    def _on_reload(self, _number: int) -> None:
        self._is_asked_to_reload = True
        if self._processor is not None:
            self._processor.reload()


def _too_many(excess: str, configuration: Configuration) -> RejectionLimitError:
    """The error for more rejected records than the configuration allows."""
    return RejectionLimitError(
        f"{excess}, limit dead_letters.stop_above = {configuration.dead_letters.stop_above!r}; everything that was read is committed",
        hint="see 'event-processor dead-letters list', repair the writer or the configuration, then start again: "
        "the start goes on after what was read, and counts from zero",
    )


def _refusal(present: Configuration, wanted: Configuration) -> str:
    """Why a running process cannot change to the `wanted` configuration; empty if it can."""
    if changes := changed_parts(config_parts(present), config_parts(wanted)):
        names = "; ".join(str(change) for change in changes)
        return f"the state depends on what changed: {names}; stop, then run 'event-processor replay'"
    return "a changed state.dir needs a restart" if str(wanted.state.dir) != str(present.state.dir) else ""


@contextmanager
def _failure_published(conditions: Conditions) -> Iterator[None]:
    """Publishes the error that ends the process, for `status`."""
    try:
        yield
    except Exception as error:
        conditions.failed(error)
        raise


class _NotifierTelemetry(Telemetry):
    """Tells the service manager that the loop is alive, how many records are committed, and what is wrong."""

    def __init__(self, notifier: ServiceNotifier, conditions: Conditions) -> None:
        self._notifier: Final = notifier
        self._conditions: Final = conditions
        self._changes_told = -1
        self._records = 0

    def started(self, *, version: str, state_directory: str, resumed: bool, records: int) -> None:  # noqa: ARG002
        self._records = records

    def reading(self) -> None:
        self._notifier.progress()

    def progressed(self) -> None:
        if self._conditions.changes != self._changes_told:
            self._tell()
        self._notifier.progress()

    def batch_committed(
        self,
        *,
        records: int,
        accepted: int,  # noqa: ARG002
        duplicate: int,  # noqa: ARG002
        rejected: int,  # noqa: ARG002
        released: int,  # noqa: ARG002
        content_bytes: int,  # noqa: ARG002
    ) -> None:
        self._records += records
        self._tell()

    def _tell(self) -> None:
        self._changes_told = self._conditions.changes
        failures = self._conditions.failures
        words = f"; {len(failures)} to look at (event-processor status): {failures[-1]}" if failures else ""
        self._notifier.status(f"{self._records} records committed{words}")
