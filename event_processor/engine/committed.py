"""What the last durable checkpoint says of totals and groups, for those that read it beside the commits.

Owns: `CommittedTotals`, and the feed that hands it on.
Always: it is handed on after its checkpoint is durable, in the order of the checkpoints. It never changes afterwards.
Never: holds up a commit: handing on takes no longer than a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from event_processor.aggregation.aggregates import AggregateDocument
from event_processor.aggregation.categories.totals import CategoryTotal

__all__ = ["CommittedTotals", "TotalsFeed"]


@dataclass(frozen=True, slots=True)
class CommittedTotals:
    """Totals and aggregates of one checkpoint. `records`: how many it covers, with those of other shards."""

    records: int
    categories: Mapping[str, CategoryTotal]
    aggregates: Mapping[str, AggregateDocument]


class TotalsFeed:
    """Hands on what is committed. One thread at a time publishes."""

    def __init__(self) -> None:
        self._last: CommittedTotals | None = None
        self._callbacks: Final[list[Callable[[CommittedTotals], None]]] = []

    def on_publish(self, callback: Callable[[CommittedTotals], None]) -> None:
        """From now on, `callback` gets each durable checkpoint's totals, in the thread of the commit. It gets the present ones at once.

        It must return fast.
        """
        self._callbacks.append(callback)
        if self._last is not None:
            callback(self._last)

    def end(self) -> None:
        """Hands on nothing more."""
        self._callbacks.clear()

    def publish(self, totals: CommittedTotals) -> None:
        """A checkpoint with these totals is durable."""
        self._last = totals
        for callback in self._callbacks:
            callback(totals)
