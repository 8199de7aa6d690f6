"""What is committed, as documents: pages of categories and of groups, the aggregates, the sources.

Owns: sorting, filtering and pages.
Always: pure. Rows without a value come last in both orders. Equal rows stay in the order of their names.
Never: computes a total.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from event_processor.aggregation.categories.totals import CategoryTotal
from event_processor.aggregation.groups import GroupTotal, GroupTotalsDocument
from event_processor.model.errors import UsageError
from event_processor.operations.inspection import Inspection
from event_processor.operations.status import CommittedStatus

__all__ = [
    "CATEGORY_COLUMNS",
    "LIMIT_MAX",
    "Wanted",
    "aggregate_document",
    "aggregates_document",
    "categories_document",
    "sources_document",
]

LIMIT_MAX: Final = 1000
CATEGORY_COLUMNS: Final = ("category", "count", "sum", "min", "max", "mean", "last_timestamp")
"""What categories can be sorted by."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: sorted by the column `sort`, only those with the text `filter` in any case, at most `limit` after the first `offset`."""

    sort: str = ""
    order: str = "asc"
    filter: str = ""
    offset: int = 0
    limit: int = 100

    def position(self, total: int) -> dict[str, object]:
        """The part of a document that says which rows it has, of `total` that pass the filter."""
        return {"total": total, "offset": self.offset, "limit": self.limit}

    def page(self, rows: Sequence[Row], value: Callable[[Row], Any]) -> Sequence[Row]:
        """The wanted ones of the rows that pass the filter."""
        with_value = [row for row in rows if value(row) is not None]
        without = [row for row in rows if value(row) is None]
        ordered = sorted(with_value, key=lambda row: _sortable(value(row)), reverse=self.order == "desc")
        return [*ordered, *without][self.offset : self.offset + self.limit]


def categories_document(inspection: Inspection, wanted: Wanted) -> dict[str, object]:
    """Categories as a table. `wanted.sort` is one of `CATEGORY_COLUMNS`; empty: the category."""
    text = wanted.filter.casefold()
    rows = [(name, total) for name, total in inspection.categories.items() if text in name.casefold()]

    def value(row: tuple[str, CategoryTotal]) -> Any:
        return row[0] if wanted.sort in ("", "category") else getattr(row[1], wanted.sort)

    page = wanted.page(rows, value)
    return {
        **wanted.position(len(rows)),
        "categories": [{"category": name, **msgspec.to_builtins(total)} for name, total in page],
    }


def aggregates_document(inspection: Inspection) -> Iterable[dict[str, object]]:
    """The aggregates, without their rows."""
    for name, document in inspection.aggregates.items():
        kind = "groups" if isinstance(document, GroupTotalsDocument) else "windows"
        yield {"name": name, "kind": kind, "rows": document.rows, "counts": document.counts}


def aggregate_document(inspection: Inspection, name: str, wanted: Wanted) -> dict[str, object] | None:
    """One aggregate with its groups; of windows the summary, because their rows are in sinks. None if there is none with this name.

    `wanted.sort`: a field or a measure; empty: the fields. Raises `UsageError` if there is no such column.
    """
    document = inspection.aggregates.get(name)
    if document is None:
        return None
    about: dict[str, object] = {"name": name, "counts": document.counts, "left_out": document.left_out}
    if not isinstance(document, GroupTotalsDocument):
        summary = {key: getattr(document, key) for key in ("rows", "highest_ns", "next_row", "latest_cell", "held")}
        return {**about, "kind": "windows", "windows": summary, **wanted.position(0), "groups": []}
    text = wanted.filter.casefold()
    rows = [each for each in document.groups if not text or any(text in str(value).casefold() for value in each.group.values())]
    page = wanted.page(rows, _value_of(document, wanted.sort))
    groups = [{"group": each.group, "measures": each.measures} for each in page]
    return {**about, "kind": "groups", "windows": None, **wanted.position(len(rows)), "groups": groups}


def _value_of(document: GroupTotalsDocument, name: str) -> Callable[[GroupTotal], Any]:
    """What a group is sorted by. Raises `UsageError` if there is no such column."""
    first = document.groups[0] if document.groups else None
    if not name:
        return lambda each: [str(value) for value in each.group.values()]
    if first is not None and name in first.group:
        return lambda each: each.group[name]
    if first is not None and name in first.measures:
        return lambda each: each.measures[name]
    known = ", ".join([*first.group, *first.measures]) if first else "none yet"
    raise UsageError("there is no such column to sort by", hint=f"columns: {known}")


def _sortable(value: Any) -> tuple[int, Any]:
    """A key that orders numbers before texts before everything else, so that a column of several kinds can be sorted."""
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, str(value))


def sources_document(
    inspection: Inspection, committed: CommittedStatus, seconds: Mapping[str, float | None]
) -> dict[str, object]:
    """The sources with their files, and how much of each is unread. `seconds`: how long the oldest byte of a source waits, if that is known."""
    lags = {}
    for name, lag in committed.lag_by_source.items():
        all_is_read = not (lag.bytes or lag.records or lag.unknown)
        waits_s = 0.0 if all_is_read else seconds.get(name)
        lags[name] = {"bytes": lag.bytes, "records": lag.records, "unknown": lag.unknown, "seconds": waits_s}
    return {"state_id": inspection.state_id, "written_at": inspection.written_at, "sources": inspection.sources, "lags": lags}
