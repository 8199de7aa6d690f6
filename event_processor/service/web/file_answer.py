"""A file, or a range of it, as an answer.

Owns: `FileAnswer`.
Always: no byte after the length that counts is sent, even if the file is longer. A file that was removed is 404, before anything is sent.
Never: decides which file (`jobs.py` does).
"""

from __future__ import annotations

from typing import Final

from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from event_processor.service.jobs.jobs import JobFile
from event_processor.service.web.answers import ProblemError

__all__ = ["FileAnswer"]


class FileAnswer(FileResponse):
    """A file of a job as JSON lines. It answers `Range`."""

    def __init__(self, file: JobFile, name: str) -> None:
        """`name`: under which a browser keeps it."""
        super().__init__(file.path, media_type="application/x-ndjson", filename=name, stat_result=file.status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI. Raises `ProblemError` if there is no such file any more."""
        cut = _Cut(send)
        try:
            # Without the extensions, with which the server could send the file by itself, whole.
            await super().__call__({**scope, "extensions": {}}, receive, cut.send)
        except FileNotFoundError as error:
            if cut.has_started:
                raise
            raise ProblemError(404, "the file was removed", hint="GET /v1/jobs lists the jobs") from error


class _Cut:
    """Sends an answer up to its announced length. The start waits for the first bytes: only then is the file known to be there."""

    def __init__(self, send: Send) -> None:
        self._send: Final = send
        self._start: Message | None = None
        self._left_bytes = 0
        self._is_over = False

    @property
    def has_started(self) -> bool:
        """Whether anything was sent."""
        return self._start is None

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if message["type"] == "http.response.start":
            self._start = message
            self._left_bytes = int(dict(message["headers"]).get(b"content-length", 0))
            return
        if self._is_over:
            return
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)
        body = message.get("body", b"")[: self._left_bytes]
        self._left_bytes -= len(body)
        self._is_over = not message.get("more_body", False) or not self._left_bytes
        await self._send({**message, "body": body, "more_body": not self._is_over})
