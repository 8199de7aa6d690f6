"""The compiled steps of `[[transforms]]`. Each step works on a whole block of documents, and does as much as possible in advance.

Owns: rename, null_if_empty, join, convert, uuid5, set, drop and keep.
Always: the keys of a table work in the order of `TransformOptions`. A step changes the documents in place.
Never: a step does not read one document to change another.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias

import msgspec

from event_processor.columns.field_paths import Keys
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.transforms import TransformOptions
from event_processor.records.transforms.conversions import RIGHT_ALREADY, Convert, conversion, uuid5_strings
from event_processor.records.transforms.documents import NULL, Document, Field, UnfitError, Value, opened, shown_value, written

__all__ = ["Step", "compiled_steps"]

Step: TypeAlias = Callable[[list[Document]], None]
"""Changes documents. Raises `UnfitError` at the first document that it cannot change; the documents before it may be changed
already."""
_Shape: TypeAlias = "dict[str, _Shape | None]"
"""The names to keep, in order. The value of a name is None, or the names to keep inside its object."""

_EMPTY_STRING: Final = msgspec.Raw(b'""')
_TEXTS_READER: Final[msgspec.json.Decoder[list[str | int]]] = msgspec.json.Decoder(list[str | int])


def compiled_steps(options: TransformOptions, timestamps: TimestampReader) -> Iterator[Step]:
    """The steps of one table, in order."""
    if options.rename:
        yield _renaming(options.rename)
    if options.null_if_empty:
        yield _emptying([Field(name) for name in options.null_if_empty])
    for name, sources in options.join.items():
        yield _joining(Field(name), [Field(source) for source in sources])
    for name, kind in options.convert.items():
        yield _converting(Field(name), conversion(kind, timestamps), RIGHT_ALREADY.get(kind))
    for name, source in options.uuid5.items():
        yield _naming(Field(name), Field(source), uuid.UUID(options.uuid5_namespace).bytes)
    for name, constant in options.set.items():
        yield _setting(Field(name), msgspec.Raw(msgspec.json.encode(constant)))
    if options.drop:
        yield _dropping([Field(name) for name in options.drop])
    if options.keep:
        yield _keeping(options.keep)


def _renaming(table: Mapping[str, str]) -> Step:
    """Renames all at once: first takes out every value, then puts each at its new place.

    So two names can be swapped, and one value can get several new names.
    """
    olds = {old: Field(old) for old in table.values()}
    news = [(Field(new), old) for new, old in table.items()]
    is_copied = len(olds) < len(news)

    def step(documents: list[Document]) -> None:
        taken = _taken(documents, olds)
        if is_copied:  # a parsed object must not be shared, or a change of one copy would change the other
            taken = {name: _copies(values) for name, values in taken.items()}
        holders: dict[str, list[Document | None]] = {}
        for new, old in news:
            made = holders.setdefault(new.parent, [None] * len(documents))
            _put(documents, new, taken[old], made)

    return step


def _taken(documents: list[Document], fields: Mapping[str, Field]) -> dict[str, list[Value | None]]:
    """Takes the fields out of each document. None for a field that is missing."""
    holders: dict[str, Sequence[Document | None]] = {"": documents}
    taken = {}
    for name, field in fields.items():
        if field.is_written_with_dots(documents):
            places = map(field.place, documents)
            taken[name] = [None if place is None else place[0].pop(place[1], None) for place in places]
            continue
        if field.parent not in holders:
            holders[field.parent] = field.holders(documents)
        key = field.key
        taken[name] = [None if holder is None else holder.pop(key, None) for holder in holders[field.parent]]
    return taken


def _copies(values: Sequence[Value | None]) -> list[Value | None]:
    return [None if value is None else msgspec.Raw(written(value)) for value in values]


def _put(
    documents: list[Document], field: Field, values: Sequence[Value | None], made: list[Document | None] | None = None
) -> None:
    """Sets the field of each document to its value.

    None leaves the document unchanged. `made`: the known parent objects; it is updated.
    """
    key = field.key
    if not field.parent:
        for document, value in zip(documents, values, strict=True):
            if value is not None:
                document[key] = value
        return
    if field.is_written_with_dots(documents):
        for document, value in zip(documents, values, strict=True):
            if value is not None:
                parent, at = field.made_place(document)
                parent[at] = value
        return
    made = [None] * len(documents) if made is None else made
    for place, value in enumerate(values):
        if value is not None:
            holder = made[place]
            if holder is None:
                made[place] = holder = field.made_holder(documents[place])
            holder[key] = value


def _emptying(fields: Sequence[Field]) -> Step:
    def step(documents: list[Document]) -> None:
        for field in fields:
            if field.is_written_with_dots(documents):
                for parent, at in filter(None, map(field.place, documents)):
                    if parent.get(at) == _EMPTY_STRING:
                        parent[at] = NULL
                continue
            key = field.key
            for holder in field.holders(documents):
                if holder is not None and holder.get(key) == _EMPTY_STRING:
                    holder[key] = NULL

    return step


def _converting(field: Field, convert: Convert, right: msgspec.json.Decoder[object] | None) -> Step:
    name, key = field.name, field.key

    def step(documents: list[Document]) -> None:
        if field.is_written_with_dots(documents):
            for parent, at in filter(None, map(field.place, documents)):
                if (value := parent.get(at, NULL)) != NULL:
                    parent[at] = convert(name, value)
            return
        holders = [holder for holder in field.holders(documents) if holder is not None and key in holder]
        if right is not None and _all_are(right, [holder[key] for holder in holders]):
            return
        for holder in holders:
            if (value := holder[key]) != NULL:
                holder[key] = convert(name, value)

    return step


def _all_are(right: msgspec.json.Decoder[Any], values: Sequence[Value]) -> bool:
    """Whether the decoder accepts an array of all values."""
    try:
        right.decode(b"[%b]" % b",".join(values))  # type: ignore[arg-type]  # a value that is not bytes raises
    except (msgspec.MsgspecError, TypeError):
        return False
    return True


def _joining(field: Field, sources: Sequence[Field]) -> Step:
    def step(documents: list[Document]) -> None:
        columns = [_values(documents, source) for source in sources]
        whole = [place for place, values in enumerate(zip(*columns, strict=True)) if None not in values and NULL not in values]
        texts = [_texts(source.name, [values[place] for place in whole]) for source, values in zip(sources, columns, strict=True)]
        made: list[Value | None] = [None] * len(documents)
        for place, parts in zip(whole, zip(*texts, strict=True), strict=True):
            made[place] = msgspec.Raw(msgspec.json.encode(b" ".join(parts).decode()))
        _put(documents, field, made)

    return step


def _values(documents: list[Document], source: Field) -> list[Value | None]:
    """The value of the field in each document; None if it is missing."""
    if source.is_written_with_dots(documents):
        return [None if place is None else place[0].get(place[1]) for place in map(source.place, documents)]
    return [None if holder is None else holder.get(source.key) for holder in source.holders(documents)]


def _naming(field: Field, source: Field, namespace: bytes) -> Step:
    def step(documents: list[Document]) -> None:
        values = _values(documents, source)
        named = [place for place, value in enumerate(values) if value is not None and value != NULL]
        made: list[Value | None] = [None] * len(documents)
        strings = uuid5_strings(namespace, _texts(source.name, [values[place] for place in named]))
        for place, string in zip(named, strings, strict=True):
            made[place] = msgspec.Raw(string)
        _put(documents, field, made)

    return step


def _texts(name: str, values: Sequence[Value | None]) -> list[bytes]:
    """The texts of a column, to join or to make UUIDs from: the content of a string, or the digits of an integer.

    Raises `UnfitError` for other values.
    """
    try:
        said = _TEXTS_READER.decode(b"[%b]" % b",".join(values))  # type: ignore[arg-type]  # a value that is not bytes raises
    except (msgspec.MsgspecError, TypeError) as error:
        culprit = next((value for value in values if value is not None and not _all_are(_TEXTS_READER, [value])), None)
        raise UnfitError(f'"{name}" is not a string or an integer: {shown_value(culprit)}', name) from error
    return [each.encode() if isinstance(each, str) else b"%d" % each for each in said]


def _setting(field: Field, constant: msgspec.Raw) -> Step:
    return lambda documents: _put(documents, field, [constant] * len(documents))


def _dropping(fields: Sequence[Field]) -> Step:
    def step(documents: list[Document]) -> None:
        for document in documents:
            for field in fields:
                with suppress(UnfitError):  # if there is no object, there is nothing to drop
                    if (place := field.place(document)) is not None:
                        place[0].pop(place[1], None)

    return step


def _keeping(names: Sequence[str]) -> Step:
    fields = [Field(name) for name in names]
    shape = _shape_of([field.keys for field in fields])

    def step(documents: list[Document]) -> None:
        if not any(field.is_written_with_dots(documents) for field in fields):
            documents[:] = _kept(shape, documents, "")
            return
        for place, document in enumerate(documents):
            own = _shape_of([field.keys_in(document) for field in fields])
            documents[place] = _kept(own, [document], "")[0]

    return step


def _shape_of(ways: Sequence[Keys]) -> _Shape:
    """The shape of these keys, in order."""
    shape: _Shape = {}
    for *above, last in ways:
        here = shape
        for key in above:
            inner = here.setdefault(key, {})
            assert inner is not None, "no name lies inside another"
            here = inner
        here[last] = None
    return shape


def _kept(shape: _Shape, documents: Sequence[Document], above: str) -> list[Document]:
    """The fields of the shape, for each document or inner object.

    Inside a present object, a missing object is created with nulls.
    """
    kept: list[Document] = [{key: document.get(key, NULL) for key in shape} for document in documents]
    for key, inner in shape.items():
        if inner is not None:
            there = kept if above else [document for document in kept if document[key] != NULL]
            objects = [_object(document[key], f"{above}{key}") for document in there]
            for document, value in zip(there, _kept(inner, objects, f"{above}{key}."), strict=True):
                document[key] = value
    return kept


def _object(value: Value, name: str) -> Document:
    """The value as an object; null counts as an empty one. Raises `UnfitError` if it is something else."""
    return opened(value, name) or {}
