"""Several exporters as one: each is told everything, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from event_processor.model.telemetry import Telemetry

__all__ = ["SeveralTelemetry"]


class SeveralTelemetry(Telemetry):
    """Passes every report on."""

    def __init__(self, exporters: Sequence[Telemetry]) -> None:
        for name in vars(Telemetry):
            if not name.startswith("_"):
                setattr(self, name, _passed_on([getattr(exporter, name) for exporter in exporters]))


def _passed_on(reports: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def report(**facts: object) -> None:
        for each in reports:
            each(**facts)

    return report
