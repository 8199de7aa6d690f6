"""Any objects through any tables, against a plain model; and any lines at all through a transform that changes nothing that counts."""

from __future__ import annotations

import json
import uuid
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from event_processor.configuration.transforms import UUID5_NAMESPACE, TransformOptions
from event_processor.model.contracts import Refusal
from event_processor.records.objects import LineReader, ObjectFormat, TransformedReader
from event_processor.records.transforms.tables import transform_factories
from support.json_lines_cases import SHAPES, chunk, contents, options, seen, typed
from support.json_lines_model import outcomes

KEYS = ["a", "b", "c", 'é "']
names = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(".".join)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.sampled_from(["", "7", "x\n", "1.5", "true", "é"]))
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)), max_leaves=8
)  # fmt: skip
objects = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
tables = st.fixed_dictionaries(
    {},
    optional={
        "rename": st.dictionaries(names, names, max_size=3),
        "null_if_empty": st.lists(names, max_size=2, unique=True).map(tuple),
        "join": st.dictionaries(names, st.lists(names, min_size=2, max_size=3, unique=True).map(tuple), max_size=2),
        "convert": st.dictionaries(names, st.sampled_from(["string", "boolean"]), max_size=2),
        "uuid5": st.dictionaries(names, names, max_size=2),
        "set": st.dictionaries(names, st.sampled_from(["x", 1, True, ["y"]]), max_size=2),
        "drop": st.lists(names, max_size=2, unique=True).map(tuple),
        "keep": st.lists(names, max_size=3, unique=True).map(tuple),
    },
)


class RefusedError(Exception):
    """The model's word for a record that is not transformed."""


def reached(document: dict[str, Any], keys: list[str], *, make: bool = False) -> dict[str, Any] | None:
    """The object at the end of the keys."""
    for key in keys:
        if document.get(key) is None:
            if not make:
                return None
            document[key] = {}
        if not isinstance(document[key], dict):
            raise RefusedError
        document = document[key]
    return document


def got(document: dict[str, Any], name: str) -> Any:
    *above, key = name.split(".")
    return (reached(document, above) or {}).get(key)


def put(document: dict[str, Any], name: str, value: Any) -> None:
    *above, key = name.split(".")
    holder = reached(document, above, make=True)
    assert holder is not None
    holder[key] = value


def popped(document: dict[str, Any], name: str) -> bool:
    *above, key = name.split(".")
    holder = reached(document, above)
    return holder is not None and holder.pop(key, holder) is not holder


def copied(value: Any) -> Any:
    return json.loads(json.dumps(value))


def converted(value: Any, kind: str) -> Any:
    if isinstance(value, (dict, list)):
        raise RefusedError
    if kind == "string":
        return value if isinstance(value, str) else json.dumps(value)
    said = value if isinstance(value, str) else json.dumps(value)
    if said.lower() not in {"true", "false", "1", "0"}:
        raise RefusedError
    return said.lower() in {"true", "1"}


def modelled(document: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """The table's keys, one after the other."""
    renamed = table.get("rename", {})
    present = {}
    for old in dict.fromkeys(renamed.values()):
        value = got(document, old)
        if popped(document, old):
            present[old] = value
    for new, old in renamed.items():
        if old in present:
            put(document, new, copied(present[old]))
    for name in table.get("null_if_empty", ()):
        if got(document, name) == "":
            put(document, name, None)
    for name, sources in table.get("join", {}).items():
        parts = [got(document, source) for source in sources]
        if None not in parts:
            if any(isinstance(part, bool) or not isinstance(part, (str, int)) for part in parts):
                raise RefusedError
            put(document, name, " ".join(map(str, parts)))
    for name, kind in table.get("convert", {}).items():
        if got(document, name) is not None:
            put(document, name, converted(got(document, name), kind))
    for name, source in table.get("uuid5", {}).items():
        value = got(document, source)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                raise RefusedError
            put(document, name, str(uuid.uuid5(uuid.UUID(UUID5_NAMESPACE), str(value))))
    for name, constant in table.get("set", {}).items():
        put(document, name, constant)
    for name in table.get("drop", ()):
        try:
            popped(document, name)
        except RefusedError:
            continue
    return kept(document, table["keep"]) if table.get("keep") else document


def kept(document: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in fields:
        first, inside, _ = name.partition(".")
        if inside and document.get(first) is None:
            result[first] = None
        else:
            put(result, name, got(document, name))
    return result


@given(st.lists(objects, max_size=6), st.lists(tables, min_size=1, max_size=3))
def test_objects_become_what_the_plain_model_makes_of_them(records: list[dict[str, Any]], said: list[dict[str, Any]]) -> None:
    try:
        checked = [TransformOptions.model_validate(table) for table in said]
    except ValidationError:
        return  # names inside one another
    (factory,) = transform_factories(checked, "UTC")
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() for record in records]
    for line, answer in zip(lines, factory().apply(lines), strict=True):
        document = json.loads(line)
        try:
            for table in said:
                document = modelled(document, table)
        except RefusedError:
            assert isinstance(answer, Refusal)
            assert answer.reason
            continue
        assert isinstance(answer, bytes)
        assert answer == json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("name", ["plain", "may miss", "position"])
@given(content=contents(), offset=st.sampled_from([0, 7]))
def test_lines_of_every_sort_keep_their_outcomes_where_nothing_that_counts_is_changed(
    name: str, content: bytes, offset: int
) -> None:
    shape = SHAPES[name]
    make_reader = partial(LineReader, record_bytes_max=shape.record_bytes_max)
    for factory in transform_factories([TransformOptions.model_validate({"set": {"zzz": 1}})], "UTC"):
        made = partial(TransformedReader, make_reader, factory)
    format_ = ObjectFormat(made, options(shape), record_bytes_max=shape.record_bytes_max, timestamps_used=False)
    columns = format_.decode(chunk(content, offset))
    assert typed(seen(columns)) == typed(outcomes(content, shape, offset=offset))
