"""Whether a run reached its targets.

Owns: `RunFigures`, which figures of a run are compared, and the words for a miss.
Always: each remote sink must reach every target. Without remote sinks, what was committed counts.
Never: reads a clock or a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from event_processor.configuration.targets import TargetsOptions
from event_processor.engine.delivery.reports import LaneReport
from event_processor.model.contracts import Clock
from event_processor.model.telemetry import Telemetry

__all__ = ["CommittedFigures", "RunFigures", "figures_of_lanes", "missed_targets"]


@dataclass(frozen=True, slots=True)
class RunFigures:
    """What is compared with the targets. `sink`: empty for what was committed. `rate_per_s`: over the run. `backlog`: in records."""

    sink: str
    processed: int
    rate_per_s: float
    error_rate: float
    backlog: int


class CommittedFigures(Telemetry):
    """Counts what one process commits, over its reloads."""

    def __init__(self) -> None:
        self._clock: Clock | None = None
        self._began_s = 0.0
        self._last_s = 0.0
        self._records = 0
        self._rejected = 0
        self._content_bytes = 0

    def begin(self, clock: Clock) -> None:
        """The run begins."""
        self._clock = clock
        self._began_s = self._last_s = clock.monotonic_s()

    def batch_committed(self, *, records: int, rejected: int, content_bytes: int, **_facts: object) -> None:
        self._records += records
        self._rejected += rejected
        self._content_bytes += content_bytes
        if self._clock is not None and records:
            self._last_s = self._clock.monotonic_s()

    def figures(self, lag_bytes: int) -> RunFigures:
        """The figures of the run. `lag_bytes` were not read: the backlog is as many records of the mean size as they hold."""
        elapsed_s = self._last_s - self._began_s
        rate_per_s = self._records / elapsed_s if elapsed_s > 0 else 0.0
        error_rate = self._rejected / self._records if self._records else 0.0
        mean_bytes = self._content_bytes / self._records if self._records else 0.0
        backlog = math.ceil(lag_bytes / mean_bytes) if mean_bytes else min(1, lag_bytes)
        return RunFigures("", self._records, rate_per_s, error_rate, backlog)


def figures_of_lanes(lanes: Sequence[LaneReport]) -> list[RunFigures]:
    """The figures of each remote sink."""
    return [RunFigures(each.sink, each.processed, each.run_rate_per_s, each.error_rate, each.pending) for each in lanes]


def missed_targets(targets: TargetsOptions, figures: Sequence[RunFigures]) -> list[str]:
    """The targets that were missed, each with its figure, as text; empty if all were met."""
    several = len(figures) > 1
    return [f"{each.sink}: {miss}" if several else miss for each in figures for miss in _missed(targets, each)]


def _missed(targets: TargetsOptions, figures: RunFigures) -> Iterator[str]:
    # A run with nothing to do has no rate.
    had_work = bool(figures.processed or figures.backlog)
    if targets.rate_min is not None and had_work and figures.rate_per_s < targets.rate_min:
        yield f"rate {_number(figures.rate_per_s)}/s, at least {targets.rate_min:g}/s"
    if targets.error_rate_max is not None and figures.error_rate > targets.error_rate_max:
        yield f"error rate {_number(100 * figures.error_rate)} %, at most {100 * targets.error_rate_max:g} %"
    if targets.backlog_max is not None and figures.backlog > targets.backlog_max:
        yield f"backlog {figures.backlog:,}, at most {targets.backlog_max:,}"


def _number(value: float) -> str:
    """With one decimal, or, if it is small, with two digits."""
    return f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2g}"
