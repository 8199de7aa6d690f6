"""Several exporters as one: each gets every report, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from event_processor.model.telemetry import Telemetry

__all__ = ["SeveralTelemetry"]


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
