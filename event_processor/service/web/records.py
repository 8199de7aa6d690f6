"""Single records: what happened to an id, and what was rejected.

Owns: `/v1/records`, `/v1/dead-letters` and `/v1/dead-letters/export`.
Always: one search of the log runs at a time, and it ends when its client leaves. An export is read as fast as its client takes it.
Never: changes anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from threading import Event
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from event_processor.model.errors import UsageError
from event_processor.model.event import Json
from event_processor.operations.dead_letters import read_dead_letters
from event_processor.operations.explanation import Explanation, explain, explanation_document
from event_processor.operations.failed_deliveries import read_failed
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.operation import integer_of, name_of, text_of
from event_processor.service.web.site import Site

__all__ = ["ID", "LETTER_PAGE", "SINK", "Records"]

PIECE_BYTES: Final = 262_144
OFFSET_MAX: Final = 10_000_000
ID: Final = text_of("id", "The id: a text, the digits of an integer, or a JSON array of several fields.", length_max=4096)
SINK: Final = name_of("sink", "The failed records of this remote sink instead.")
LETTER_PAGE: Final = (
    integer_of("offset", "The number of newer dead letters to pass over.", default=0, least=0, most=OFFSET_MAX),
    integer_of("limit", "The maximum number of dead letters.", default=50, least=1, most=1000),
    SINK,
)
Query = Mapping[str, Any]


class _ClientLeftError(Exception):
    """The client of a search has left."""


class Records:
    """The answers about single records."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site
        self._is_searching = False

    async def explain(self, request: Request, query: Query) -> Response:
        """The same as `explain --json`. Reads the log."""
        if self._is_searching:
            raise ProblemError(503, "another id is being searched for", hint="ask again", headers={"Retry-After": "2"})
        self._is_searching = True
        try:
            return await self._explained(request, query["id"])
        finally:
            self._is_searching = False

    async def _explained(self, request: Request, text: str) -> Response:
        is_over = Event()
        readings = self._site.readings

        def look(_done_bytes: int, _size_bytes: int) -> None:
            if is_over.is_set():
                raise _ClientLeftError

        def search() -> Explanation:
            return explain(readings.configuration, readings.environment, text, progress=look)

        searching = asyncio.ensure_future(self._site.threads.call(search))
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait((searching, leaving), return_when=asyncio.FIRST_COMPLETED)
            is_over.set()
            return json_answer(explanation_document(await searching))
        except _ClientLeftError:
            return Response(status_code=204)  # to a client that is gone
        finally:
            is_over.set()
            leaving.cancel()
            searching.cancel()

    async def dead_letters(self, _request: Request, query: Query) -> Response:
        """Dead letters, or with `sink` its failed records, the newest first."""
        readings, sink, page = self._site.readings, query["sink"], {"offset": query["offset"], "limit": query["limit"]}
        try:
            return json_answer(
                await self._site.threads.call(
                    lambda: readings.failed_deliveries(sink, **page) if sink else readings.dead_letters(**page)
                )
            )
        except UsageError as error:
            raise ProblemError(404, error.message, hint=error.hint) from error

    async def export(self, _request: Request, query: Query) -> Response:
        """The same as `dead-letters export`: JSON lines, the oldest first."""
        readings, sink = self._site.readings, query["sink"]
        around = (readings.configuration, readings.environment)

        def begin() -> tuple[Iterator[bytes], bytes]:
            """The first piece, so that an error is an answer and not the end of one."""
            pieces = _pieces(read_failed(*around, sink) if sink else read_dead_letters(*around))
            return pieces, next(pieces, b"")

        try:
            pieces, first = await self._site.threads.call(begin)
        except UsageError as error:
            raise ProblemError(404, error.message, hint=error.hint) from error
        return StreamingResponse(self._streamed(first, pieces), media_type="application/x-ndjson")

    async def _streamed(self, first: bytes, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        piece = first
        while piece:
            yield piece
            piece = await self._site.threads.call(lambda: next(pieces, b""))


def _pieces(letters: Iterator[dict[str, Json]]) -> Iterator[bytes]:
    """Joins lines until they are worth sending."""
    piece = bytearray()
    for letter in letters:
        # A failed record has its object as it is in the file.
        piece += msgspec.json.encode(letter) + b"\n"
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


async def _left(request: Request) -> None:
    """Returns when the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
