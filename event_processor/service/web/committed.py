"""What is committed, by parts: categories, aggregates, sources and sinks.

Owns: `/v1/categories`, `/v1/aggregates`, `/v1/sources` and `/v1/sinks`: sorting, filtering and pages.
Always: an answer is of one checkpoint and names it. A page has at most `LIMIT_MAX` rows.
Never: computes a total.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from event_processor.aggregation.categories.totals import CategoryTotal
from event_processor.aggregation.groups import GroupTotal, GroupTotalsDocument
from event_processor.operations.inspection import Inspection
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.operation import integer_of, text_of
from event_processor.service.web.site import Site

__all__ = ["CATEGORY_PAGE", "GROUP_PAGE", "Committed"]

LIMIT_MAX: Final = 1000
Row = TypeVar("Row")
Query = Mapping[str, Any]
_PAGE: Final = (
    text_of("order", "asc or desc; rows without a value come last.", default="asc", choices=("asc", "desc")),
    text_of("filter", "Only rows with this text, in any case.", default="", length_max=256),
    integer_of("offset", "The number of rows to pass over.", default=0, least=0, most=10_000_000),
    integer_of("limit", "The maximum number of rows.", default=100, least=1, most=LIMIT_MAX),
)
CATEGORY_PAGE: Final = (
    text_of(
        "sort",
        "What the rows are sorted by.",
        default="category",
        choices=("category", "count", "sum", "min", "max", "mean", "last_timestamp"),
    ),
    *_PAGE,
)
GROUP_PAGE: Final = (
    text_of("sort", "The field or the measure that the rows are sorted by; empty: the fields.", default="", length_max=256),
    *_PAGE,
)


class Committed:
    """The answers about parts of the state."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site

    async def categories(self, _request: Request, query: Query) -> Response:
        """Categories as a table."""
        return await self._answer(lambda inspection: _categories(inspection, query))

    async def aggregates(self, _request: Request, _query: Query) -> Response:
        """The aggregates, without their rows."""
        return await self._answer(lambda inspection: {"aggregates": list(_aggregates(inspection))})

    async def aggregate(self, request: Request, query: Query) -> Response:
        """One aggregate with its groups; of windows the summary, because their rows are in sinks."""
        name = str(request.path_params["name"])
        return await self._answer(lambda inspection: _aggregate(inspection, name, query))

    async def sources(self, _request: Request, _query: Query) -> Response:
        """The sources with their files."""
        return await self._answer(lambda inspection: {"sources": inspection.sources})

    async def sinks(self, _request: Request, _query: Query) -> Response:
        """The same as `sinks list --json`."""
        return json_answer(await self._site.threads.call(self._site.readings.sinks))

    async def _answer(self, make: Callable[[Inspection], dict[str, object]]) -> Response:
        def read() -> dict[str, object]:
            inspection = self._site.readings.inspection()
            return {"state_id": inspection.state_id, "written_at": inspection.written_at, **make(inspection)}

        return json_answer(await self._site.threads.call(read))


def _categories(inspection: Inspection, query: Query) -> dict[str, object]:
    wanted = query["filter"].casefold()
    rows = [(name, total) for name, total in inspection.categories.items() if wanted in name.casefold()]

    def value(row: tuple[str, CategoryTotal]) -> Any:
        return row[0] if query["sort"] == "category" else getattr(row[1], query["sort"])

    page = _page(rows, value, query)
    return {
        **_position(query, len(rows)),
        "categories": [{"category": name, **msgspec.to_builtins(total)} for name, total in page],
    }


def _aggregates(inspection: Inspection) -> Iterable[dict[str, object]]:
    for name, document in inspection.aggregates.items():
        kind = "groups" if isinstance(document, GroupTotalsDocument) else "windows"
        yield {"name": name, "kind": kind, "rows": document.rows, "counts": document.counts}


def _aggregate(inspection: Inspection, name: str, query: Query) -> dict[str, object]:
    document = inspection.aggregates.get(name)
    if document is None:
        known = ", ".join(inspection.aggregates) or "none"
        raise ProblemError(404, "no such aggregate is committed", hint=f"committed aggregates: {known}")
    about: dict[str, object] = {"name": name, "counts": document.counts, "left_out": document.left_out}
    if not isinstance(document, GroupTotalsDocument):
        summary = {key: getattr(document, key) for key in ("rows", "highest_ns", "next_row", "latest_cell", "held")}
        return {**about, "kind": "windows", "windows": summary, **_position(query, 0), "groups": []}
    wanted = query["filter"].casefold()
    rows = [
        each for each in document.groups if not wanted or any(wanted in str(value).casefold() for value in each.group.values())
    ]
    page = _page(rows, _value_of(document, query["sort"]), query)
    groups = [{"group": each.group, "measures": each.measures} for each in page]
    return {**about, "kind": "groups", "windows": None, **_position(query, len(rows)), "groups": groups}


def _value_of(document: GroupTotalsDocument, name: str) -> Callable[[GroupTotal], Any]:
    """What a group is sorted by. Raises `ProblemError` if there is no such column."""
    first = document.groups[0] if document.groups else None
    if not name:
        return lambda each: [str(value) for value in each.group.values()]
    if first is not None and name in first.group:
        return lambda each: each.group[name]
    if first is not None and name in first.measures:
        return lambda each: each.measures[name]
    known = ", ".join([*first.group, *first.measures]) if first else "none yet"
    raise ProblemError(400, "there is no such column to sort by", hint=f"columns: {known}")


def _position(query: Query, total: int) -> dict[str, object]:
    return {"total": total, "offset": query["offset"], "limit": query["limit"]}


def _page(rows: Sequence[Row], value: Callable[[Row], Any], query: Query) -> Sequence[Row]:
    """The rows of a page, sorted. Rows without a value come last in both orders. Equal rows stay in the order of their names."""
    with_value = [row for row in rows if value(row) is not None]
    without = [row for row in rows if value(row) is None]
    ordered = sorted(with_value, key=lambda row: _sortable(value(row)), reverse=query["order"] == "desc")
    return [*ordered, *without][query["offset"] : query["offset"] + query["limit"]]


def _sortable(value: Any) -> tuple[int, Any]:
    """A key that orders numbers before texts before everything else, so that a column of several kinds can be sorted."""
    if isinstance(value, int | float):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, str(value))
