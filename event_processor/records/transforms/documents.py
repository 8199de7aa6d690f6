"""A record's object during a transform: names in order, each with the JSON text of its value.

An object is parsed if a name reaches inside.

Owns: how a document is read and written, `Field` (a dotted name in a document), `UnfitError`, and records that cannot be read.
Always: a value that no step names keeps its JSON text, byte for byte. If a key is given twice, the last one wins. A record that
was not transformed never becomes an event: if it is not JSON, the judge rejects it; otherwise it is refused here.
Never: no value is parsed without need.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NoReturn, TypeAlias, Union

import msgspec

from event_processor.columns.field_paths import Keys, field_path
from event_processor.model.contracts import Refusal
from event_processor.model.messages import cut, printable

__all__ = ["NULL", "Document", "Field", "UnfitError", "Value", "read_document", "shown_value", "unreadable", "written"]


def unreadable(record: bytes, error: Exception) -> bytes | Refusal:
    """For a record that a transform could not read: a `Refusal` with the error if it is a JSON object, or else the record itself.

    The judge then rejects the record.
    """
    try:
        document = _NUMBERS_AS_TEXT.decode(record.decode())
        is_object = isinstance(document, dict)
        json.dumps(document, ensure_ascii=False).encode()  # raises for half a surrogate pair; the judge rejects that
    except (ValueError, RecursionError):
        is_object = False
    return Refusal(f"cannot be parsed for a transform: {error}", "") if is_object else record


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
    """A record cannot be transformed. Has the reason, and the dotted name of the bad field."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason
        self.field: Final = field


def read_document(text: bytes | msgspec.Raw) -> Document:
    """Parses an object, one level deep. Raises `msgspec.MsgspecError` if it is not an object."""
    return _READER.decode(text)  # type: ignore[return-value]  # it may hold parsed objects later


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
    """The object of this name, parsed; None if it is missing or null. Raises `UnfitError` if it is something else."""
    if value is None or value == NULL:
        return None
    if isinstance(value, dict):
        return value
    try:
        return read_document(value)
    except msgspec.MsgspecError as error:
        raise UnfitError(f'"{name}" is not an object: {shown_value(value)}', name) from error


class Field:
    """A dotted name. Its value is at `key` in the object named `parent`. An empty `parent` means the document itself.

    If a document has a key that is written with the dots of the name, its value is there instead. That is rare: so
    `is_written_with_dots` says whether a document of a block needs `place` and `made_place`; else `holders` are enough.
    """

    __slots__ = ("_above", "_others", "key", "keys", "name", "parent")

    def __init__(self, name: str) -> None:
        self.name: Final = name
        *others, self.keys = field_path(name)
        *above, self.key = self.keys
        self.parent: Final = ".".join(above)
        self._others: Final = [(other[:-1], other[-1]) for other in others]
        self._above: Final = [(key, ".".join(above[:depth])) for depth, key in enumerate(above, start=1)]

    def is_written_with_dots(self, documents: Sequence[Document]) -> bool:
        """Whether a document has a key that is written with the dots of the name."""
        return bool(self._others) and any(self._with_dots(document) is not None for document in documents)

    def keys_in(self, document: Document) -> Keys:
        """The keys to the field in this document."""
        with_dots = ((*above, key) for above, key in self._others if self._at(document, above, key) is not None)
        return next(with_dots, self.keys)

    def place(self, document: Document) -> tuple[Document, str] | None:
        """The object with the field, and its key there; None if the object is missing or null.

        Raises `UnfitError` if it is something else.
        """
        if (found := self._with_dots(document)) is not None:
            return found
        holder = self.holder(document)
        return None if holder is None else (holder, self.key)

    def made_place(self, document: Document) -> tuple[Document, str]:
        """`place`; creates the object if it is missing or null."""
        return self._with_dots(document) or (self.made_holder(document), self.key)

    def _with_dots(self, document: Document) -> tuple[Document, str] | None:
        """The object with a key that is written with the dots of the name, and this key; None if there is none."""
        for above, key in self._others:
            if (holder := self._at(document, above, key)) is not None:
                return holder, key
        return None

    @staticmethod
    def _at(document: Document, above: Keys, key: str) -> Document | None:
        """The object below the keys `above` that has this key; None if there is none."""
        here = document
        for name in above:
            value = here.get(name)
            if isinstance(value, msgspec.Raw) and bytes(value).startswith(b"{"):
                value = here[name] = read_document(value)
            if not isinstance(value, dict):
                return None
            here = value
        return here if key in here else None

    def holders(self, documents: list[Document]) -> Sequence[Document | None]:
        """For each document, the parent object of the field; None if it is missing or null.

        Raises `UnfitError` if it is something else.
        """
        return [self.holder(document) for document in documents] if self.parent else documents

    def holder(self, document: Document) -> Document | None:
        """`holders` for one document."""
        here = document
        for key, name in self._above:
            inner = opened(here.get(key), name)
            if inner is None:
                return None
            here[key] = inner
            here = inner
        return here

    def made_holder(self, document: Document) -> Document:
        """The parent object of the field. Creates it if it is missing or null. Raises `UnfitError` if it is something else."""
        here = document
        for key, name in self._above:
            inner = opened(here.get(key), name)
            if inner is None:
                inner = {}
            here[key] = inner
            here = inner
        return here
