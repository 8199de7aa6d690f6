"""A record's object while it is transformed: its names in order, each with its value as it is written, or opened where a name reaches inside.

Always: what no step names keeps its spelling to the byte. Of a key given twice the last counts.
Never: nothing is opened that need not be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias, Union

import msgspec

from event_processor.columns.field_paths import field_path
from event_processor.model.contracts import Refusal
from event_processor.model.messages import cut, printable

__all__ = ["NULL", "Document", "Field", "UnfitError", "Value", "read_document", "shown_value", "unreadable", "written"]


def unreadable(record: bytes, error: Exception) -> bytes | Refusal:
    """The record as it is, where it is no JSON object: then it is rejected as such. Else what kept it from being transformed."""
    try:
        document = _NUMBERS_AS_TEXT.decode(record.decode())
        is_object = isinstance(document, dict)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no character, and the judge says so
    except (ValueError, RecursionError):
        is_object = False
    return Refusal(f"cannot be read to be transformed: {error}", "") if is_object else record


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


_NUMBERS_AS_TEXT: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


Value: TypeAlias = Union[msgspec.Raw, "Document"]
Document: TypeAlias = dict[str, Value]

NULL: Final = msgspec.Raw(b"null")
_READER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_WRITER: Final = msgspec.json.Encoder()
_SHOWN_BYTES_MAX: Final = 256


class UnfitError(Exception):
    """A record that cannot be transformed: why, and the dotted name of the field at fault."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason
        self.field: Final = field


def read_document(text: bytes | msgspec.Raw) -> Document:
    """An object, opened one level deep. Raises `msgspec.MsgspecError` where it is none."""
    return _READER.decode(text)  # type: ignore[return-value]  # it may hold opened objects later


def written(value: Value | Document) -> bytes:
    """The value as JSON."""
    return bytes(value) if type(value) is msgspec.Raw else _WRITER.encode(value)


def shown_value(value: Value | None) -> str:
    """A value for a message: cut short, and safe on a terminal."""
    if value is None or isinstance(value, dict):
        return "an object"
    text = bytes(memoryview(value)[:_SHOWN_BYTES_MAX])
    named = {b"{": "an object", b"[": "an array"}.get(text[:1])
    return named or cut(printable(text.decode(errors="replace")))


def opened(value: Value | None, name: str) -> Document | None:
    """The object of this name, opened; None where it is missing or null. Raises `UnfitError` where it is something else."""
    if value is None or value == NULL:
        return None
    if isinstance(value, dict):
        return value
    try:
        return read_document(value)
    except msgspec.MsgspecError as error:
        raise UnfitError(f'"{name}" is not an object: {shown_value(value)}', name) from error


class Field:
    """A dotted name, and where its value stands in a document: under `key` in the object `parent`, which is the document where that is empty."""

    __slots__ = ("_above", "key", "name", "parent")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        *above, self.key = field_path(name)
        self.parent: Final = ".".join(above)
        self._above: Final = [(key, ".".join(above[:depth])) for depth, key in enumerate(above, start=1)]

    def holders(self, documents: list[Document]) -> Sequence[Document | None]:
        """The object of each that holds the field, if it has it; None where that is missing or null. Raises `UnfitError` where it is something else."""
        return [self.holder(document) for document in documents] if self.parent else documents

    def holder(self, document: Document) -> Document | None:
        """The same of one document."""
        here = document
        for key, name in self._above:
            inner = opened(here.get(key), name)
            if inner is None:
                return None
            here[key] = inner
            here = inner
        return here

    def made_holder(self, document: Document) -> Document:
        """The object that shall hold the field, made where it is missing or null. Raises `UnfitError` where something else stands there."""
        here = document
        for key, name in self._above:
            inner = opened(here.get(key), name)
            if inner is None:
                inner = {}
            here[key] = inner
            here = inner
        return here
