"""The enricher over HTTP: one request with an array of records, one answer with an array of rows.

Owns: `HttpEnricher`, and how rows are joined to records and set in them.
Always: a record that was not answered is not passed on: the request is *bad*, and the lane finds the record. An answer that is no
array of objects, or that lacks a field that is set, is a *stop*: no other record would fare better.
Never: tries again. Its words never repeat a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from event_processor.columns.field_paths import Absent, FieldPath, field_path, reach
from event_processor.connectors.http.body import BodyWriter, UnencodableError
from event_processor.connectors.http.client import HttpClient
from event_processor.connectors.http.receiver import header_key
from event_processor.model.answers import Answer, Verdict
from event_processor.model.delivery import Request
from event_processor.model.enriching import EnricherOptions
from event_processor.model.field_names import name_keys

__all__ = ["ANSWER_BYTES_MAX", "HttpEnricher"]

ANSWER_BYTES_MAX: Final = 16 * 1_048_576
_Object = dict[str, Any]
_ROWS: Final = msgspec.json.Decoder(list[_Object])
_OBJECT: Final = msgspec.json.Decoder(_Object)
_ENCODE: Final = msgspec.json.Encoder().encode
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Their own words may repeat a part of the content, so only their names are shown."""
_TO_DO: Final = "correct join or set of the enricher, or the service"


class _UnjoinedError(Exception):
    """An answer cannot be used. `is_record`: one of the records is at fault, not the answer as a whole."""

    def __init__(self, words: str, *, is_record: bool = False) -> None:
        super().__init__(words)
        self.is_record = is_record


class HttpEnricher:
    """See `Enricher`."""

    def __init__(self, options: EnricherOptions, client: HttpClient) -> None:
        self._path: Final = options.path
        self._client: Final = client
        self._writer: Final = BodyWriter("array", options.body_fields)
        self._sets: Final = [(name_keys(name), field_path(value), value) for name, value in options.set_fields.items()]
        join = options.join
        self._join: Final = None if join == "position" else (field_path(join.answer), field_path(join.event))

    async def open(self) -> None:
        await self._client.open()

    async def enrich(self, request: Request) -> tuple[Answer, Sequence[msgspec.Raw]]:
        try:
            body = self._writer.body(request.records, request.keys)
            objects = [_object(bytes(record.object), record.sequence) for record in request.records]
        except UnencodableError as error:
            return Answer(Verdict.BAD, str(error)), []
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Idempotency-Key": header_key(request.key),
            "Event-Processor-Attempt": str(request.tries + 1),
        }
        answer, answered = await self._client.exchange("POST", self._path, body, headers)
        if answer.verdict is not Verdict.DELIVERED:
            return answer, []
        try:
            rows = self._joined(objects, _rows(answered))
            return answer, [self._set(object_, row) for object_, row in zip(objects, rows, strict=True)]
        except _UnjoinedError as error:
            return Answer(Verdict.BAD if error.is_record else Verdict.STOP, str(error), answer.status), []

    async def refresh(self) -> None:
        await self._client.refresh()

    async def close(self) -> None:
        await self._client.close()

    def _joined(self, objects: Sequence[_Object], rows: Sequence[_Object]) -> Sequence[_Object]:
        """The row of each record."""
        if self._join is None:
            if len(rows) != len(objects):
                raise _UnjoinedError(f"the answer has {len(rows)} rows for {len(objects)} records; {_TO_DO}")
            return rows
        answer_path, event_path = self._join
        by_value: dict[bytes, _Object] = {}
        for row in rows:
            if (value := _value(row, answer_path)) is None:
                raise _UnjoinedError(f"a row of the answer lacks the field that joins it; {_TO_DO}")
            by_value[value] = row
        found = []
        for object_ in objects:
            value = _value(object_, event_path)
            row_of = None if value is None else by_value.get(value)
            if row_of is None:
                raise _UnjoinedError("the answer has no row for this record", is_record=True)
            found.append(row_of)
        return found

    def _set(self, object_: _Object, row: _Object) -> msgspec.Raw:
        """The object with the fields of its row."""
        for keys, path, name in self._sets:
            value = reach(row, path)
            if isinstance(value, Absent) and not _is_null(row, path):
                raise _UnjoinedError(f'a row of the answer has no "{name}"; {_TO_DO}')
            here = object_
            for key in keys[:-1]:
                inner = here.get(key)
                here[key] = here = dict(inner) if isinstance(inner, Mapping) else {}
            here[keys[-1]] = None if isinstance(value, Absent) else value
        return msgspec.Raw(_ENCODE(object_))


def _is_null(row: _Object, path: FieldPath) -> bool:
    """Whether the field is there, and null."""
    keys = path[-1]
    here: object = row
    for key in keys[:-1]:
        here = here.get(key) if isinstance(here, Mapping) else None
    return isinstance(here, Mapping) and keys[-1] in here


def _value(object_: _Object, path: FieldPath) -> bytes | None:
    """The value at `path`, as something that can be compared; None if there is none. 1 and "1" differ."""
    value = reach(object_, path)
    return None if isinstance(value, Absent) else _ENCODE(value)


def _object(content: bytes, sequence: int) -> _Object:
    try:
        return _OBJECT.decode(content)
    except _UNREADABLE as error:
        raise UnencodableError(f"record {sequence} cannot be read ({type(error).__name__})") from error


def _rows(content: bytes) -> list[_Object]:
    try:
        return _ROWS.decode(content)
    except _UNREADABLE as error:
        raise _UnjoinedError(f"the answer is no array of JSON objects ({type(error).__name__}); {_TO_DO}") from error
