"""The rows of a snapshot: of the totals, or of an aggregate without a window.

Owns: `TotalsRows` and `GroupRows`: which rows differ between two checkpoints of one process, and their JSON.
Always: a row has the values that the checkpoint has. Which rows differ is found without making them.
Never: writes; may be used in any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec
import numpy as np
import orjson

from event_processor.aggregation.categories.columns import Totals
from event_processor.aggregation.categories.shown import ShownTotals
from event_processor.aggregation.groups import GroupTotal, GroupTotalsDocument
from event_processor.aggregation.measures import group_key
from event_processor.configuration.configuration import CATEGORY_FIELDS
from event_processor.engine.committed import CommittedTotals
from event_processor.model.columns import IntArray
from event_processor.model.snapshots import SnapshotRow

__all__ = ["GroupRows", "RowSource", "TotalsRows"]

DEPTH: Final = 2
"""As in a checkpoint. The objects do not depend on it."""


class RowSource(Protocol):
    """Where the rows of a snapshot come from."""

    def rows(self, totals: CommittedTotals, since: CommittedTotals | None) -> Iterable[SnapshotRow]:
        """The rows that differ from those of an earlier checkpoint of this process; all without one. They can be read more than once."""
        ...

    def count(self, totals: CommittedTotals) -> int:
        """How many rows there are."""
        ...


@dataclass(frozen=True, slots=True)
class _CategoryRows:
    totals: Totals
    since: Totals | None

    def __iter__(self) -> Iterator[SnapshotRow]:
        for name, shown in ShownTotals(DEPTH).of(self.totals.picked(self._changed())).items():
            row = {"category": name, **{field: shown[field] for field in CATEGORY_FIELDS[1:]}}
            yield SnapshotRow(name, orjson.dumps(row))

    def _changed(self) -> IntArray:
        """The rows that got events since. Categories keep their rows, and each event adds to the count."""
        counts = self.totals.columns.counts
        if self.since is None or len(self.since) > len(counts):
            return np.arange(len(counts))
        before = np.zeros(len(counts), np.int64)
        before[: len(self.since)] = self.since.columns.counts
        return np.flatnonzero(counts != before)


class TotalsRows:
    """A row per category. See `RowSource`."""

    def rows(self, totals: CommittedTotals, since: CommittedTotals | None) -> Iterable[SnapshotRow]:
        return _CategoryRows(Totals.of(totals.categories), None if since is None else Totals.of(since.categories))

    def count(self, totals: CommittedTotals) -> int:
        return len(totals.categories)


@dataclass(frozen=True, slots=True)
class _ChangedGroups:
    group_by: Sequence[str]
    groups: Sequence[GroupTotal]
    since: Sequence[GroupTotal]

    def __iter__(self) -> Iterator[SnapshotRow]:
        # A group that got no event is the same object as before.
        known = {id(each) for each in self.since}
        for each in self.groups:
            if id(each) not in known:
                content = msgspec.json.encode({**each.group, **each.measures})
                yield SnapshotRow(group_key([each.group[name] for name in self.group_by]), content)


class GroupRows:
    """A row per group of an aggregate without a window. See `RowSource`."""

    def __init__(self, name: str, group_by: Sequence[str]) -> None:
        """`name`: of the aggregate. `group_by`: its fields, in the order of the configuration."""
        self._name: Final = name
        self._group_by: Final = group_by

    def rows(self, totals: CommittedTotals, since: CommittedTotals | None) -> Iterable[SnapshotRow]:
        return _ChangedGroups(self._group_by, self._groups(totals), () if since is None else self._groups(since))

    def count(self, totals: CommittedTotals) -> int:
        return len(self._groups(totals))

    def _groups(self, totals: CommittedTotals) -> Sequence[GroupTotal]:
        document = totals.aggregates.get(self._name)
        return document.groups if isinstance(document, GroupTotalsDocument) else ()
