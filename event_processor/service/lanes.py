"""The lanes of a running daemon: started after its pipeline, waited for at the end of `--once`, stopped before it is closed.

Owns: the order of these, and the passing on of what lanes report.
Always: a failure of the delivery ends the daemon with its error. A stop takes a bounded time.
Never: sends (`engine/delivery/` does, in a thread of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

from event_processor.assembly import Environment, OpenPipeline, PipelineDelivery, Sending, this_process
from event_processor.engine.delivery.reports import LaneReport
from event_processor.model.telemetry import Telemetry

__all__ = ["Lanes"]

LOOK_S: Final = 0.1


class Lanes(Telemetry):
    """The lanes of one daemon over all its reloads. Used by the loop's thread."""

    def __init__(self) -> None:
        self._sending: Final = Sending()
        self._delivery: PipelineDelivery | None = None
        self._telemetry = Telemetry()

    def start(self, pipeline: OpenPipeline, environment: Environment, cleanup: ExitStack) -> None:
        """Starts the lanes of a pipeline, if it has any; `cleanup` stops them. Raises as `PipelineDelivery` does."""
        if not pipeline.lanes:
            return
        delivery = PipelineDelivery(pipeline, environment, self._sending, this_process())
        self._telemetry = environment.telemetry
        cleanup.callback(self._stop, delivery, environment.telemetry)
        delivery.start()
        self._delivery = delivery

    def progressed(self) -> None:
        """Passes on what the lanes reported. See `Telemetry`."""
        if self._delivery is not None:
            self._delivery.tell(self._telemetry)

    def require(self) -> None:
        """Raises what ended the delivery, if something did."""
        if self._delivery is not None:
            self._delivery.require()

    def wait(self, environment: Environment, wait_s: float, is_stopped: Callable[[], bool]) -> None:
        """Waits until every lane that can go on has delivered or failed everything released, at most `wait_s` seconds."""
        deadline_s = environment.clock.monotonic_s() + wait_s
        while self._delivery is not None and self._delivery.pending() and not is_stopped():
            if environment.clock.monotonic_s() >= deadline_s:
                return
            environment.telemetry.progressed()
            environment.wakeup.clear()
            environment.clock.wait(environment.wakeup, LOOK_S)

    def reports(self) -> Sequence[LaneReport]:
        """All lanes at this moment."""
        return self._delivery.reports() if self._delivery is not None else ()

    def end(self) -> None:
        """The process ends cleanly. Raises `StorageError`."""
        self._sending.end()

    def _stop(self, delivery: PipelineDelivery, telemetry: Telemetry) -> None:
        self._delivery = None
        # The wait has a deadline, so the watchdog is fed: a service that holds its answers is no stalled loop.
        delivery.stop(telemetry.progressed)
        delivery.tell(telemetry)
        delivery.require()
