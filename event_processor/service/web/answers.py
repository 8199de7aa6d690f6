"""Answers: JSON, and what went wrong as JSON.

Owns: how a value becomes bytes, and the form of a problem (RFC 9457: `title`, `status`, `detail`, and `hint`, which says what to do).
Always: an answer says that it must not be stored or guessed at. A problem holds no secret and no traceback.
Never: decides which answer is due.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.responses import Response

__all__ = ["PROBLEM_TYPE", "ProblemError", "json_answer", "json_bytes", "problem_answer"]

PROBLEM_TYPE: Final = "application/problem+json"


class ProblemError(Exception):
    """An answer that is not the one that was asked for."""

    def __init__(self, status: int, detail: str, *, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.detail: Final = detail
        self.hint: Final = hint
        self.headers: Final = dict(headers or {})


def json_bytes(value: object) -> bytes:
    """`value` as JSON. A byte of a file name that is no character is escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with `value` as its content."""
    return Response(json_bytes(value), status, headers=dict(headers or {}), media_type="application/json")


def problem_answer(error: ProblemError) -> Response:
    """An answer that says what went wrong and what to do."""
    title = HTTPStatus(error.status).phrase
    content = {"title": title, "status": error.status, "detail": error.detail, "hint": error.hint}
    return Response(json_bytes(content), error.status, headers=error.headers, media_type=PROBLEM_TYPE)
