"""The options of an HTTP sink.

Owns: the keys of `[sinks.NAME]` with `type = "http"`, and the rules between them.
Always: no key holds a secret.
Never: connects, or builds a body.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Final, Literal, Self
from urllib.parse import parse_qsl

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.transforms import plain_table
from event_processor.model.event import Json
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["CONSTANT", "OF_THE_RECORD", "HttpSinkOptions"]

OF_THE_RECORD: Final = ("@now", "@now_s", "@elapsed_ms", "@key", "@sequence")
"""What a body may hold besides fields of the event."""
CONSTANT: Final = "="
"""A text that begins with it is a constant."""
_PATH: Final = re.compile(r"/[!-~]*")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"[!-~]([ -~]*[!-~])?")
_SECRET_NAME: Final = re.compile(r"(?i)auth|cookie|token|passw|secret|credential|api[-_]?key|signature|^key$|^sig$")
_OUR_HEADERS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "event-processor-attempt",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class HttpSinkOptions(RemoteSinkOptions):
    """Records sent to a service in HTTP requests; at least once, each try with the same key."""

    needs_address: ClassVar[bool] = True
    fields_key: ClassVar[str] = "fields"
    type: Literal["http"]
    """The kind of sink: requests to an HTTP service."""
    path: str = "/"
    """Where to send, after the service's base_url. It may have a "?", but no secret."""
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    """The method of the requests."""
    body: Literal["object", "array", "ndjson"] = "object"
    """What a request holds: "object", one record; "array", a JSON array of records; "ndjson", one record a line."""
    body_fields: Annotated[Mapping[str, object], BeforeValidator(plain_table)] = Field(
        default={}, alias="fields", examples=[{"id": "id", "origin": "=shop"}]
    )
    """What is sent of each record: name in the body = field. A dotted field reaches inside; a missing one is null. "@now",
    "@now_s", "@elapsed_ms", "@key" and "@sequence" are the record's own. A text that begins with "=" is a constant, and so are numbers, true and false. A
    table is an object inside. Empty: the whole record."""
    headers: Annotated[Mapping[str, str], BeforeValidator(plain_table)] = Field(default={}, examples=[{"X-Origin": "shop"}])
    """Headers that every request has, besides ours. No secrets: those come from the service's token_env or token_file."""

    @field_validator("path")
    @classmethod
    def _path_is_plain(cls, path: str) -> str:
        if not _PATH.fullmatch(path) or "#" in path:
            raise PydanticCustomError("path", 'a path such as "/records", in ASCII, without spaces and "#"')
        names = [name for name, _ in parse_qsl(path.partition("?")[2], keep_blank_values=True)]
        if any(_SECRET_NAME.search(name) for name in names):
            raise PydanticCustomError("path", "a path without a secret: the service's token_env or token_file holds it")
        return path

    @field_validator("body_fields")
    @classmethod
    def _fields_can_be_sent(cls, fields: Mapping[str, object]) -> Mapping[str, object]:
        for name, value in _leaves(fields):
            if isinstance(value, str) and (not value or (value.startswith("@") and value not in OF_THE_RECORD)):
                wanted = 'a field, "=text", or one of {known}, for "{name}"'
                raise PydanticCustomError("field", wanted, {"known": ", ".join(OF_THE_RECORD), "name": name})
            if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
                raise PydanticCustomError("field", 'a field, a constant or a table for "{name}"', {"name": name})
        return fields

    @field_validator("headers")
    @classmethod
    def _headers_are_ours_to_add(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
                raise PydanticCustomError("header", 'a name and a text in ASCII for "{name}"', {"name": name})
            if name.lower() in _OUR_HEADERS:
                raise PydanticCustomError("header", 'other headers: "{name}" is set for each request', {"name": name})
            if _SECRET_NAME.search(name):
                wanted = 'no secrets: instead of "{name}", set token_file or token_env of the service'
                raise PydanticCustomError("header", wanted, {"name": name})
        if len({name.lower() for name in headers}) < len(headers):
            raise PydanticCustomError("header", "each header only once")
        return headers

    @model_validator(mode="after")
    def _an_object_is_one_record(self) -> Self:
        if self.body == "object" and self.request_events_max > 1:
            raise ValueError('body must be "array" or "ndjson" if request_events_max is above 1')
        return self

    def target(self) -> Mapping[str, Json]:
        """The service, the method and the path."""
        return {"type": self.type, "service": self.service, "method": self.method, "path": self.path}

    def fields(self) -> Sequence[str]:
        texts = [value for _, value in _leaves(self.body_fields) if isinstance(value, str)]
        return list(dict.fromkeys(text for text in texts if text not in OF_THE_RECORD and not text.startswith(CONSTANT)))


def _leaves(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Every value that is not a table, with its name."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name, value
