"""An operation of the API: its path, its parameters and its answers, once for the router and once for the description.

Owns: `Parameter`, how a query is read, and `Operation`.
Always: a parameter that is not known, is given twice or has another form is a problem with its name. So the description is true.
Never: answers.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from event_processor.service.web.answers import ProblemError

__all__ = ["Content", "Endpoint", "Operation", "Parameter", "integer_of", "name_of", "text_of"]

Endpoint = Callable[[Request, Mapping[str, str | int]], Awaitable[Response]]
INTEGER_DIGITS_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query. `schema` is its JSON Schema, of type string or integer; without a default it is required."""

    name: str
    words: str
    schema: Mapping[str, Any]

    def read(self, text: str | None) -> str | int:
        """Its value. Raises `ProblemError`."""
        if text is None:
            if "default" not in self.schema:
                raise ProblemError(400, f"the parameter {self.name} is missing", hint=self.words)
            default: str | int = self.schema["default"]
            return default
        value: str | int = self._integer(text) if self.schema["type"] == "integer" else text
        if "enum" in self.schema and value not in self.schema["enum"]:
            raise self._wrong(f"one of {', '.join(self.schema['enum'])}")
        if isinstance(value, str) and not self.schema.get("minLength", 0) <= len(value) <= self.schema.get(
            "maxLength", len(value)
        ):
            raise self._wrong(f"{self.schema.get('minLength', 0)} to {self.schema['maxLength']} characters")
        if isinstance(value, str) and not re.fullmatch(self.schema.get("pattern", "(?s:.*)"), value):
            raise self._wrong("a name of letters, digits, - and _")
        return value

    def _integer(self, text: str) -> int:
        least, most = self.schema["minimum"], self.schema["maximum"]
        if not (text.isascii() and text.isdigit() and len(text) <= INTEGER_DIGITS_MAX and least <= int(text) <= most):
            raise self._wrong(f"a whole number from {least} to {most}")
        return int(text)

    def _wrong(self, wanted: str) -> ProblemError:
        return ProblemError(400, f"the parameter {self.name} must be {wanted}", hint=self.words)


def text_of(
    name: str, words: str, *, default: str | None = None, length_max: int = 1024, choices: Sequence[str] = ()
) -> Parameter:
    """A parameter with a text. Without a default it is required and not empty."""
    given = {} if default is None else {"default": default}
    limits: dict[str, Any] = {"enum": list(choices)} if choices else {"minLength": 0 if given else 1, "maxLength": length_max}
    return Parameter(name, words, {"type": "string", **limits, **given})


def name_of(name: str, words: str) -> Parameter:
    """A parameter with the name of a source, a sink or nothing. It becomes a part of a file's name, so nothing else passes."""
    return Parameter(name, words, {"type": "string", "pattern": "^([A-Za-z0-9_-]{1,64})?$", "maxLength": 64, "default": ""})


def integer_of(name: str, words: str, *, default: int, least: int, most: int) -> Parameter:
    """A parameter with a whole number."""
    return Parameter(name, words, {"type": "integer", "minimum": least, "maximum": most, "default": default})


@dataclass(frozen=True, slots=True)
class Content:
    """What an answer holds: its media type, and the schema of it; None for one without content."""

    words: str
    media_type: str | None = "application/json"
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})


@dataclass(frozen=True, slots=True)
class Operation:
    """A path with a method. `answers`: by status. The problems that any operation may answer with are not among them."""

    path: str
    endpoint: Endpoint
    words: str
    answers: Mapping[int, Content]
    parameters: Sequence[Parameter] = ()
    method: str = "GET"
    body: Mapping[str, Any] | None = None
    needs_body: bool = False
    is_open: bool = False
    path_parameter: str = ""
    headers: Sequence[Parameter] = ()
    """Header fields that the endpoint gets like parameters of the query."""
    body_type: str = "application/json"

    async def answer(self, request: Request) -> Response:
        """Reads the query and calls the endpoint."""
        if not self.parameters and not self.headers and not request.scope.get("query_string"):
            return await self.endpoint(request, {})
        headers = {each.name: each.read(request.headers.get(each.name)) for each in self.headers}
        return await self.endpoint(request, {**self._read(request.query_params), **headers})

    def _read(self, query: QueryParams) -> dict[str, str | int]:
        known = {each.name: each for each in self.parameters}
        names = [name for name, _ in query.multi_items()]
        for name in names:
            if name not in known:
                raise ProblemError(400, f"no such parameter: {name[:100]}", hint=f"known here: {', '.join(known) or 'none'}")
            if names.count(name) > 1:
                raise ProblemError(400, f"the parameter {name} is given twice", hint="give it once")
        return {name: each.read(query.get(name)) for name, each in known.items()}
