"""Several exporters as one, and reports that come from another thread.

Owns: `SeveralTelemetry`, and `RelayedTelemetry`, which takes reports in any thread and passes them on in the loop's.
Always: each exporter gets every report, in order.
Never: drops a report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

from event_processor.model.telemetry import Telemetry

__all__ = ["RelayedTelemetry", "SeveralTelemetry"]


class SeveralTelemetry(Telemetry):
    """Forwards every report."""

    def __init__(self, exporters: Sequence[Telemetry]) -> None:
        for name in vars(Telemetry):
            if not name.startswith("_"):
                setattr(self, name, _forwarded([getattr(exporter, name) for exporter in exporters]))


def _forwarded(reports: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def report(**facts: object) -> None:
        for each in reports:
            each(**facts)

    return report


class RelayedTelemetry(Telemetry):
    """Keeps every report until `drain` passes it on. Any thread may report; one thread drains."""

    def __init__(self) -> None:
        self._reports: Final[SimpleQueue[Callable[[Telemetry], None]]] = SimpleQueue()
        for name in vars(Telemetry):
            if not name.startswith("_"):
                setattr(self, name, partial(self._keep, name))

    def _keep(self, name: str, **facts: object) -> None:
        self._reports.put(lambda telemetry: getattr(telemetry, name)(**facts))

    def drain(self, telemetry: Telemetry) -> None:
        """Passes on what was reported since the last call."""
        while True:
            try:
                report = self._reports.get_nowait()
            except Empty:
                return
            report(telemetry)
