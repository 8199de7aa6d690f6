"""Retries of dead letters: `POST /v1/dead-letters/retry`.

Owns: what a request for a retry is, and its answer.
Always: a retry does what the commands do, with the same locks, and is durable when it is answered.
Never: decides which letter can be retried (`operations/retried_letters.py` does).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from event_processor.model.errors import LockedError, UsageError
from event_processor.operations.retried_letters import RETRIED_MAX, ChosenLetter, retry_letters
from event_processor.service.web.answers import ProblemError, json_answer
from event_processor.service.web.site import Site

__all__ = ["Retries"]

HINT: Final = (
    'send {"records": [{"source": …, "generation": …, "offset": …, "record": "repaired"}], "sink": null, "dry_run": false}; '
    'with a sink, a record may be named by {"key": …} instead'
)


class _Retry(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    records: Annotated[list[ChosenLetter], msgspec.Meta(max_length=RETRIED_MAX)]
    sink: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] | None = None
    dry_run: bool = False


class Retries:
    """Retries what a request names."""

    def __init__(self, site: Site) -> None:
        self._site: Final = site

    async def retry(self, request: Request, _query: Mapping[str, Any]) -> Response:
        """200 with what was retried, and what was not, each with its reason."""
        try:
            asked = msgspec.json.decode(await request.body(), type=_Retry)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProblemError(400, f"the body cannot be read: {error}", hint=HINT) from error
        except ClientDisconnect as error:
            raise ProblemError(400, "the client left before its body was complete") from error
        readings = self._site.readings
        around = (readings.configuration, readings.environment)
        try:
            done = await self._site.threads.call(lambda: retry_letters(*around, asked.records, asked.sink, dry_run=asked.dry_run))
        except UsageError as error:
            raise ProblemError(404, error.message, hint=error.hint) from error
        except LockedError as error:
            raise ProblemError(503, error.message, hint="send it again", headers={"Retry-After": "1"}) from error
        return json_answer(done)
