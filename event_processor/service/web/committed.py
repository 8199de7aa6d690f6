"""What is committed, by parts: categories, aggregates, sources and sinks.

Owns: `/v1/categories`, `/v1/aggregates`, `/v1/sources`, `/v1/sinks` and `/v1/pipeline`.
Always: an answer is of one checkpoint and names it. A page has at most `LIMIT_MAX` rows.
Never: computes a total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from event_processor.operations.committed_pages import (
    CATEGORY_COLUMNS,
    LIMIT_MAX,
    Wanted,
    aggregate_document,
    aggregates_document,
    categories_document,
)
from event_processor.operations.inspection import Inspection, inspection_of
from event_processor.operations.pipeline import pipeline_document
from event_processor.operations.window_rows import newest_rows
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.operation import integer_of, text_of
from event_processor.service.web.site import Site

__all__ = ["CATEGORY_PAGE", "GROUP_PAGE", "ROW_LIMIT", "Committed"]

Query = Mapping[str, Any]
_PAGE: Final = (
    text_of("order", "asc or desc; rows without a value come last.", default="asc", choices=("asc", "desc")),
    text_of("filter", "Only rows with this text, in any case.", default="", length_max=256),
    integer_of("offset", "The number of rows to pass over.", default=0, least=0, most=10_000_000),
    integer_of("limit", "The maximum number of rows.", default=100, least=1, most=LIMIT_MAX),
)
CATEGORY_PAGE: Final = (
    text_of("sort", "What the rows are sorted by.", default="category", choices=CATEGORY_COLUMNS),
    *_PAGE,
)
GROUP_PAGE: Final = (
    text_of("sort", "The field or the measure that the rows are sorted by; empty: the fields.", default="", length_max=256),
    *_PAGE,
)
ROW_LIMIT: Final = (integer_of("limit", "The maximum number of rows.", default=100, least=1, most=LIMIT_MAX),)


class Committed:
    """The answers about parts of the state."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site

    async def categories(self, _request: Request, query: Query) -> Response:
        """Categories as a table."""
        return await self._answer(lambda inspection: categories_document(inspection, Wanted(**query)))

    async def aggregates(self, _request: Request, _query: Query) -> Response:
        """The aggregates, without their rows."""
        return await self._answer(lambda inspection: {"aggregates": list(aggregates_document(inspection))})

    async def aggregate(self, request: Request, query: Query) -> Response:
        """One aggregate with its groups; of windows the summary, because their rows are in sinks."""
        name = str(request.path_params["name"])

        def read(inspection: Inspection) -> dict[str, object]:
            return aggregate_document(inspection, name, Wanted(**query)) or _unknown(inspection)

        return await self._answer(read)

    async def rows(self, request: Request, query: Query) -> Response:
        """The newest rows of windows, if a sink has them in a file of JSON lines."""
        name, readings = str(request.path_params["name"]), self._site.readings

        def read() -> dict[str, object]:
            checkpoint = readings.checkpoint()
            found = newest_rows(readings.configuration, readings.environment, checkpoint, name, query["limit"])
            inspection = inspection_of(checkpoint, readings.configuration)
            return {**_as_of(inspection), "name": name, **(msgspec.to_builtins(found) if found else _unknown(inspection))}

        return json_answer(await self._site.threads.call(read))

    async def sources(self, _request: Request, _query: Query) -> Response:
        """The sources with their files, and how much of each is unread."""
        return json_answer(await self._site.threads.call(self._site.readings.sources))

    async def sinks(self, _request: Request, _query: Query) -> Response:
        """The same as `sinks list --json`."""
        return json_answer(await self._site.threads.call(self._site.readings.sinks))

    async def pipeline(self, _request: Request, _query: Query) -> Response:
        """What the pipeline is called and consists of."""
        configuration = self._site.readings.configuration
        return json_answer(await self._site.threads.call(lambda: pipeline_document(configuration)))

    async def _answer(self, make: Callable[[Inspection], dict[str, object]]) -> Response:
        def read() -> dict[str, object]:
            inspection = self._site.readings.inspection()
            return {**_as_of(inspection), **make(inspection)}

        return json_answer(await self._site.threads.call(read))


def _as_of(inspection: Inspection) -> dict[str, object]:
    return {"state_id": inspection.state_id, "written_at": inspection.written_at}


def _unknown(inspection: Inspection) -> NoReturn:
    known = ", ".join(inspection.aggregates) or "none"
    raise ProblemError(404, "no such aggregate is committed", hint=f"committed aggregates: {known}")
