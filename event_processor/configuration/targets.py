"""The targets of a run, which its summary is compared with.

Owns: `TargetsOptions`, the keys of `[targets]`.
Never: judges a run (`operations/targets.py` does).
"""

from __future__ import annotations

from pydantic import Field

from event_processor.model.options import Section

__all__ = ["TargetsOptions"]


class TargetsOptions(Section):
    """What a run should reach. Its summary says whether it did; with `run --check-targets`, a miss is 69."""

    rate_min: float | None = Field(default=None, ge=0, examples=[5])
    """Records a second over the run, at each remote sink; without remote sinks, committed records."""
    error_rate_max: float | None = Field(default=None, ge=0, le=1, examples=[0.01])
    """The share of records (0 to 1) that failed for good, after retries; without remote sinks, of rejected records."""
    backlog_max: int | None = Field(default=None, ge=0, examples=[100])
    """Records that still wait at the end; without remote sinks, those that were not read, estimated from their bytes."""

    @property
    def is_set(self) -> bool:
        """Whether there is any target."""
        return any(each is not None for each in (self.rate_min, self.error_rate_max, self.backlog_max))
