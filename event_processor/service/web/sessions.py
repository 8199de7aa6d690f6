"""Sessions of browsers: the token is exchanged once for a cookie.

Owns: `POST /session` and `DELETE /session`.
Always: a script cannot read the cookie, and a page of another site cannot send it.
Never: keeps a session (`gate.py` signs them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from event_processor.service.web.answers import ProblemError
from event_processor.service.web.gate import SESSION_COOKIE, SESSION_S, Gate

__all__ = ["Sessions"]

Query = Mapping[str, Any]


class _TokenGiven(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a session, if the token is not in its header."""

    token: str


class Sessions:
    """Begins sessions and ends them."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def begin(self, request: Request, _query: Query) -> Response:
        """204 with a cookie."""
        gate, answer = self._gate, Response(status_code=204)
        body = await request.body()
        token = _token_of(body) if body else ""
        if gate.is_open:
            return answer
        if not gate.admits(request.headers.get("authorization", ""), "") and not gate.knows_token(token):
            hint = "it is in the file http.token_file"
            raise ProblemError(401, "this is not the token", hint=hint, headers={"WWW-Authenticate": "Bearer"})
        answer.set_cookie(SESSION_COOKIE, gate.session(), max_age=SESSION_S, httponly=True, samesite="strict")
        return answer

    async def end(self, _request: Request, _query: Query) -> Response:
        """204 that removes the cookie."""
        answer = Response(status_code=204)
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return answer


def _token_of(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_TokenGiven).token
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProblemError(
            400, 'the body is not {"token": "…"}', hint="or send the token as 'Authorization: Bearer …'"
        ) from error
