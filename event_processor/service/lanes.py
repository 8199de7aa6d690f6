"""The lanes of a running daemon: started after its pipeline, waited for at the end of `--once`, stopped before it is closed.

Owns: the order of these, and the passing on of what lanes report.
Always: a failure of the delivery ends the daemon with its error. A stop takes a bounded time.
Never: sends (`engine/delivery/` does, in a thread of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from event_processor.assembly import Environment, OpenPipeline, this_process
from event_processor.engine.delivery.reports import LaneReport, SnapshotReport
from event_processor.model.contracts import Clock
from event_processor.model.telemetry import Telemetry

__all__ = ["Lanes"]

if TYPE_CHECKING:
    from event_processor.assembly.delivery import PipelineDelivery, Sending

LOOK_S: Final = 0.1


class Lanes(Telemetry):
    """The lanes of one daemon over all its reloads. Used by the loop's thread."""

    def __init__(self) -> None:
        self._sending: Sending | None = None
        self._delivery: PipelineDelivery | None = None
        self._telemetry = Telemetry()
        self._pause: _Pause | None = None
        self._last: Sequence[LaneReport] = ()
        self._last_snapshots: Sequence[SnapshotReport] = ()

    def start(self, pipeline: OpenPipeline, environment: Environment, cleanup: ExitStack, *, is_once: bool) -> None:
        """Starts the lanes of a pipeline, if it has any; `cleanup` stops them. Raises as `PipelineDelivery` does.

        `is_once`: the run ends at the end of the log, so it must not wait without end for a full outbox.
        """
        self._last, self._last_snapshots = (), ()
        if not pipeline.has_delivery:
            environment.telemetry.lanes_opened(sinks=())
            return
        # Imported only with a remote sink: a service without one starts faster.
        from event_processor.assembly.delivery import PipelineDelivery, Sending  # noqa: PLC0415

        self._sending = self._sending or Sending()
        delivery = PipelineDelivery(pipeline, environment, self._sending, this_process())
        pauses = is_once and pipeline.configuration.outbox.when_full == "pause"
        self._pause = _Pause(pipeline, environment.clock) if pauses else None
        self._telemetry = environment.telemetry
        cleanup.callback(self._stop, delivery, environment.telemetry)
        delivery.start()
        self._delivery = delivery

    def progressed(self) -> None:
        """Passes on what the lanes reported. See `Telemetry`."""
        if self._delivery is not None:
            self._delivery.tell(self._telemetry)
        if self._pause is not None:
            self._pause.look()

    def require(self) -> None:
        """Raises what ended the delivery, if something did."""
        if self._delivery is not None:
            self._delivery.require()

    def wait(self, environment: Environment, wait_s: float, is_stopped: Callable[[], bool]) -> None:
        """Waits until every lane and snapshot that can go on has nothing left to send, at most `wait_s` seconds."""
        deadline_s = environment.clock.monotonic_s() + wait_s
        if self._delivery is not None:
            self._delivery.hurry()
        while self._delivery is not None and self._delivery.pending() and not is_stopped():
            if environment.clock.monotonic_s() >= deadline_s:
                return
            environment.telemetry.progressed()
            environment.wakeup.clear()
            environment.clock.wait(environment.wakeup, LOOK_S)

    def reports(self) -> Sequence[LaneReport]:
        """All lanes of the last pipeline: at this moment, or when they ended."""
        return self._delivery.reports() if self._delivery is not None else self._last

    def published(self) -> Sequence[LaneReport]:
        """The lanes as they were published last, about a second ago. Returns at once."""
        return self._delivery.published if self._delivery is not None else self._last

    def snapshots(self) -> Sequence[SnapshotReport]:
        """All snapshots of the last pipeline: at this moment, or when they ended."""
        return self._delivery.snapshots() if self._delivery is not None else self._last_snapshots

    def end(self) -> None:
        """The process ends cleanly. Raises `StorageError`."""
        if self._sending is not None:
            self._sending.end()

    def _stop(self, delivery: PipelineDelivery, telemetry: Telemetry) -> None:
        self._delivery, self._pause = None, None
        # The wait has a deadline, so the watchdog is fed: a service that holds its answers is no stalled loop.
        delivery.stop(telemetry.progressed)
        self._last, self._last_snapshots = delivery.reports(), delivery.snapshots()
        delivery.tell(telemetry)
        delivery.require()


class _Pause:
    """Ends a run to the end of the log if its sources are paused for too long: records wait that no lane can send."""

    def __init__(self, pipeline: OpenPipeline, clock: Clock) -> None:
        self._pipeline: Final = pipeline
        self._clock: Final = clock
        self._since_s: float | None = None

    def look(self) -> None:
        """Call it once in each round of the loop."""
        options = self._pipeline.configuration.outbox
        waiting_bytes = sum(series.undelivered_bytes for series in self._pipeline.series.values())
        now_s = self._clock.monotonic_s()
        if waiting_bytes < options.bytes_max:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = now_s
        elif now_s - self._since_s >= options.once_wait_s:
            self._pipeline.processor.stop()
