"""What an aggregate leaves out, beside the counts: fields that no event has, and where the first event was left out.

Owns: `LeftOutTracker`, which keeps a `LeftOut`, its form in the checkpoint (`documents.py`).
Always: depends only on the sequence of events, not on their batches.
Never: counts (the counts of the aggregate do).
"""

from __future__ import annotations

from typing import Final

from event_processor.aggregation.documents import FirstLeftOut, LeftOut
from event_processor.aggregation.measures import Measured
from event_processor.columns.event_slices import Place

__all__ = ["FirstLeftOut", "LeftOut", "LeftOutTracker"]


class LeftOutTracker:
    """Keeps a `LeftOut` up to date. Used by one thread."""

    def __init__(self, document: LeftOut | None) -> None:
        """`document`: None if an earlier version did not keep it; then it stays unknown."""
        self._is_known: Final = document is not None
        known = document or LeftOut()
        self.fields_absent: tuple[str, ...] = known.fields_absent
        self._first_unfit = known.first_unfit
        self._first_over_limit = known.first_over_limit

    @property
    def wants_over_limit(self) -> bool:
        """Whether `over_limit` would keep an event."""
        return self._is_known and self._first_over_limit is None

    def note(self, measured: Measured) -> None:
        """Keeps which fields were seen, and the first unfit event."""
        if measured.seen:
            self.fields_absent = tuple(name for name in self.fields_absent if name not in measured.seen)
        if measured.first_unfit is not None and self._is_known and self._first_unfit is None:
            field, index = measured.first_unfit
            self._first_unfit = _at(field, measured.events.place_at(index))

    def over_limit(self, place: Place) -> None:
        """Keeps the first event of a group beyond the limit. Call it only if `wants_over_limit`."""
        self._first_over_limit = _at("", place)

    def document(self) -> LeftOut | None:
        """The form for the checkpoint; None if it is unknown."""
        if not self._is_known:
            return None
        return LeftOut(self.fields_absent, self._first_unfit, self._first_over_limit)


def _at(field: str, place: Place) -> FirstLeftOut:
    source, generation, offset, line = place
    return FirstLeftOut(field, source, generation, line, offset)
