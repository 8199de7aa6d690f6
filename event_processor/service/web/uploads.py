"""Uploads over HTTP: announced, sent in pieces, and resumed by their offset.

Owns: `/v1/uploads`: the length that is announced, and how a piece goes from the connection to the disk.
Always: an offset that was answered is durable. What came before a client left counts as well. A piece in memory is bounded.
Never: reads a byte of an upload that was refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from event_processor.configuration.jobs_options import UPLOAD_BYTES_MAX
from event_processor.service.jobs.uploads import Piece, Upload
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.jobs import JobCalls, body_of
from event_processor.service.web.operation import Parameter
from event_processor.service.web.site import Site

__all__ = ["OFFSET", "Uploads"]

Query = Mapping[str, Any]
OFFSET: Final = Parameter(
    "Upload-Offset", "Where the piece begins.", {"type": "integer", "minimum": 0, "maximum": UPLOAD_BYTES_MAX}
)
WRITTEN_BYTES: Final = 262_144
"""So much of a piece is kept in memory before it is written."""


class _Announced(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request for an upload: its length in bytes."""

    length: int


class Uploads:
    """The answers about uploads. Used by the loop of the server."""

    def __init__(self, site: Site) -> None:
        self._calls: Final = JobCalls(site)

    async def create(self, request: Request, _query: Query) -> Response:
        """201 with the upload, to which nothing was sent yet."""
        asked = await body_of(request, _Announced, 'send {"length": BYTES}')
        if asked.length < 0:
            raise ProblemError(400, "the length is negative", hint='send {"length": BYTES}')
        upload = await self._calls.call(lambda jobs: jobs.jobs.uploads.create(asked.length, jobs.options))
        return json_answer(upload, 201, {"Location": f"/v1/uploads/{upload.id}", **_offset(upload)})

    async def upload(self, request: Request, _query: Query) -> Response:
        """How far an upload is."""
        upload_id = request.path_params["id"]
        upload = await self._calls.call(lambda jobs: jobs.jobs.uploads.get(upload_id))
        return json_answer(upload, headers=_offset(upload))

    async def append(self, request: Request, query: Query) -> Response:
        """204: the piece is durable, and `Upload-Offset` says where the next one begins."""
        upload_id, offset = request.path_params["id"], int(query["Upload-Offset"])
        piece = await self._opened(upload_id, offset)
        try:
            await self._received(request, piece)
        except BaseException:
            # What came is kept: the client asks for the offset, and goes on there.
            await _closed(piece)
            raise
        upload = await _closed(piece)
        return Response(status_code=204, headers=_offset(upload))

    async def delete(self, request: Request, _query: Query) -> Response:
        """204: the upload is gone."""
        upload_id = request.path_params["id"]
        await self._calls.call(lambda jobs: jobs.jobs.uploads.remove(upload_id, jobs.jobs.store.uploads_in_use()))
        return Response(status_code=204)

    async def _opened(self, upload_id: str, offset: int) -> Piece:
        opening = asyncio.ensure_future(self._calls.call(lambda jobs: jobs.jobs.uploads.begin(upload_id, offset, jobs.options)))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread may have opened it all the same. Without its close, the upload would stay in use.
            opening.add_done_callback(_close_opened)
            raise

    async def _received(self, request: Request, piece: Piece) -> None:
        waiting = bytearray()
        try:
            async for part in request.stream():
                waiting += part
                if len(waiting) >= WRITTEN_BYTES:
                    content = bytes(waiting)
                    waiting.clear()
                    await self._calls.call(lambda _jobs, content=content: piece.add(content))  # type: ignore[misc]
        except ClientDisconnect as error:
            raise ProblemError(400, "the client left before its body was complete") from error
        finally:
            if waiting:
                content = bytes(waiting)
                await self._calls.call(lambda _jobs: piece.add(content))


def _offset(upload: Upload) -> Mapping[str, str]:
    return {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length)}


async def _closed(piece: Piece) -> Upload:
    """Closes in a thread of its own, whatever happens to this request: a close that is dropped would leave the upload in use."""
    return await asyncio.shield(asyncio.to_thread(piece.close))


def _close_opened(opening: asyncio.Future[Piece]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, opening.result().close)
