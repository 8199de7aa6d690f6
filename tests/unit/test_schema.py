"""The compiled decoder: which fields it reads, and which models it can stand for."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import MsgspecError
from pydantic import BaseModel, ValidationError

from event_processor.columns.field_paths import Absent, BlockDecoder, field_path, reach
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.transforms import UUID5_NAMESPACE, TransformOptions
from event_processor.model.errors import ConfigurationError
from event_processor.model.field_names import is_quoted, name_keys
from event_processor.records.transforms.documents import read_document, written
from event_processor.records.transforms.steps import compiled_steps
from event_processor.records.user_model import UntranslatableModelError, compile_model, load_model
from event_processor.records.writing.rows import AS_IS, RowReader, TimestampSpelling, column_of
from support.record_models import TRANSLATABLE, UNTRANSLATABLE, Scalars

AS_IS_SPELLING = TimestampSpelling(AS_IS, TimestampReader("UTC"))


def columns(lines: bytes, *names: str) -> list[list[object]]:
    decoder = BlockDecoder([(field_path(name), Any) for name in names])
    return decoder.columns(decoder.decode(lines))


def test_columns_stand_in_the_order_of_the_fields_with_values_as_they_stand() -> None:
    lines = b'{"b":"x","a":1}\n{"a":1.0,"b":null}\n{"a":"1","b":[1]}'
    found = columns(lines, "a", "b")
    assert found == [[1, 1.0, "1"], ["x", None, [1]]]
    assert [type(value) for value in found[0]] == [int, float, str]


def test_a_dotted_name_reaches_inside_objects() -> None:
    lines = b'{"p":{"q":{"r":1}}}\n{"p":{"q":{"r":2},"q":{"r":3}}}'
    assert columns(lines, "p.q.r", "p.q.s") == [[1, 3], [Absent.MISSING, Absent.MISSING]]


def test_what_stands_in_the_place_of_an_object_decides_how_a_field_is_absent() -> None:
    parents = [b"{}", b"null", b"5", b'"x"', b"[]", b"true", b'{"q":null}', b'{"q":7}']
    lines = b"\n".join([b'{"p":%s}' % parent for parent in parents] + [b"{}"])
    missing, outside = Absent.MISSING, Absent.NOT_INSIDE
    assert columns(lines, "p.q") == [[missing, missing, outside, outside, outside, outside, None, 7, missing]]


def test_more_fields_than_are_written_out_are_read_too() -> None:
    names = [f"k{number}" for number in range(12)]
    record = b"{%s}" % b",".join(b'"k%d":%d' % (number, number) for number in range(12))
    assert columns(record, *names) == [[number] for number in range(12)]


@pytest.mark.parametrize("document", [{"p": {"q": 1}}, {"p": {}}, {}, {"p": None}, {"p": 3}, {"p": {"q": None}}])
def test_one_document_is_read_as_the_block_decoder_reads_it(document: dict[str, object]) -> None:
    text = str(document).replace("'", '"').replace("None", "null").encode()
    assert [reach(document, field_path("p.q"))] == columns(text, "p.q")[0]


@pytest.mark.parametrize("names", [("p", "p.q"), ("p.q", "p"), ("p.q.r", "p.q")])
def test_a_field_inside_another_that_is_read_as_a_value_is_a_fault_of_the_configuration(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="both as a value and as an object"):
        columns(b"", *names)


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb"])
def test_a_field_name_that_msgspec_cannot_bear_is_a_fault_of_the_configuration(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        columns(b"", name)


def test_a_model_is_loaded_by_its_import_string() -> None:
    assert load_model("support.record_models:Scalars") is Scalars


@pytest.mark.parametrize(
    ("import_string", "words"),
    [
        ("support.record_models", "does not name a class"),
        (":Scalars", "does not name a class"),
        ("support.record_models:", "does not name a class"),
        ("support.no_such_module:Model", "cannot import"),
        ("support.record_models:NoSuchModel", "not a pydantic model"),
        ("support.record_models:NOT_A_MODEL", "not a pydantic model"),
        ("..support:Model", "cannot import"),
    ],
)
def test_an_import_string_that_leads_to_no_model_is_a_fault_of_the_configuration(import_string: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_model(import_string)
    assert caught.value.hint


@pytest.mark.parametrize("model", UNTRANSLATABLE)
def test_a_model_without_an_exact_counterpart_is_left_to_pydantic(model: type[BaseModel]) -> None:
    with pytest.raises(UntranslatableModelError):
        compile_model(model)


JSON_VALUES = st.sampled_from(
    ["1", "0", "-1", "9", "10", "1.0", "0.5", "0.6", "1e300", "1.1e300", "1e999", "9" * 19, "9" * 30, "-" + "9" * 400, "9" * 4300, "true", "false", "null",
     '""', '"a"', '"ab"', '"abcd"', '"abcde"', '"1"', '"😀😀"', '"true"', "[]", "[1]", '["a"]', '["abc"]', '["a","b","c"]', "[1.5,2]", "{}", '{"size":1}',
     '{"size":"1"}', '{"size":1.0,"name":"x"}', '{"size":1,"name":null}', '[{"size":1},{"size":2}]', '{"x":{"size":1},"y":null}', '[[{"size":1}]]']
)  # fmt: skip
KEYS = {
    model: sorted({key for name, info in model.model_fields.items() for key in (name, str(info.validation_alias or name))})
    for model in TRANSLATABLE
}


COMPILED = {model: compile_model(model) for model in TRANSLATABLE}


@pytest.mark.parametrize("model", TRANSLATABLE)
@settings(max_examples=250, deadline=None)
@given(draw=st.data())
def test_what_a_compiled_model_accepts_the_model_accepts(model: type[BaseModel], draw: st.DataObject) -> None:
    pairs = draw.draw(st.lists(st.tuples(st.sampled_from(KEYS[model]), JSON_VALUES), max_size=5))
    record = "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
    try:
        COMPILED[model].decode(record)
    except MsgspecError:
        return
    model.model_validate_json(record)


ACCEPTED = {
    "Scalars": '{"text":"x","count":5,"ratio":2,"flag":true,"anything":[1],"nothing":null,"extra":{}}',
    "Limits": '{"text":"abcd","count":9,"ratio":1,"perhaps":3,"items":["ab"],"strict":1,"strict_ratio":1.5}',
    "Nested": '{"payload":{"size":1},"more":[{"size":2,"name":"x"}],"by_name":{"a":null},"kind":1,"either":[1.5]}',
    "Aliased": '{"the text":"x","itemCount":3,"o":1.5}',
    "StrictModel": '{"count":1,"ratio":1.5}',
}


@pytest.mark.parametrize("model", TRANSLATABLE)
def test_a_compiled_model_accepts_plain_records_itself(model: type[BaseModel]) -> None:
    compile_model(model).decode(ACCEPTED[model.__name__])


@pytest.mark.parametrize(
    ("name", "record"),
    [("Scalars", "{}"), ("Scalars", '{"text":5}'), ("Limits", '{"text":"a"}'), ("Limits", '{"perhaps":-1}'), ("Limits", '{"items":["abc"]}'),
     ("Nested", '{"payload":{}}'), ("Nested", '{"payload":{"size":1},"kind":"c"}'), ("Aliased", '{"text":"x","itemCount":3}'), ("StrictModel", '{"count":1.0}')],
)  # fmt: skip
def test_a_compiled_model_refuses_what_the_model_refuses(name: str, record: str) -> None:
    model = next(one for one in TRANSLATABLE if one.__name__ == name)
    with pytest.raises(ValidationError):
        model.model_validate_json(record)
    with pytest.raises(MsgspecError):
        compile_model(model).decode(record)


@pytest.mark.parametrize(
    ("name", "keys", "quoted"),
    [
        ("a", ("a",), False),
        ("a.b.c", ("a", "b", "c"), False),
        ("a..b", ("a", "", "b"), False),
        ('"a.b"', ("a.b",), True),
        ('a."b.c".d', ("a", "b.c", "d"), True),
        ('"a"."b"', ("a", "b"), True),
        ('say "hi"', ('say "hi"',), False),
        ('"a.b', ('"a', "b"), False),
        ('a."".b', ("a", '""', "b"), False),
    ],
)
def test_a_quoted_key_of_a_name_may_have_dots(name: str, keys: tuple[str, ...], quoted: bool) -> None:
    assert (name_keys(name), is_quoted(name)) == (keys, quoted)


LEAVES = st.sampled_from([1, "x", None])
TREES = st.recursive(
    LEAVES, lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c"]), inner, max_size=3)
)


def by_definition(document: dict[str, Any], name: str) -> object:
    """Each way to split the name after its first dots, the one with the longest last key first."""
    keys = name.split(".")
    for depth in range(len(keys)):
        here: Any = document
        for key in keys[:depth]:
            here = here.get(key) if isinstance(here, dict) else None
        last = ".".join(keys[depth:])
        if isinstance(here, dict) and last in here:
            return here[last]
    return None


@settings(max_examples=400, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b", "a.b", "a.b.c"]), TREES, max_size=3), min_size=1, max_size=5))
def test_a_key_that_is_written_with_dots_wins_over_the_way_through_objects(documents: list[dict[str, Any]]) -> None:
    lines = b"".join(json.dumps(document).encode() + b"\n" for document in documents)
    for name in ("a.b", "a.b.c", "a"):
        expected = [by_definition(document, name) for document in documents]
        (found,) = columns(lines, name)
        for reader in (found, [reach(document, field_path(name)) for document in documents]):
            assert [None if isinstance(each, Absent) else each for each in reader] == expected
        rows = RowReader([column_of(name)], AS_IS_SPELLING, ())
        assert [json.loads(value) for (value,) in rows.rows(lines)] == expected


@pytest.mark.parametrize(
    "document", [{"a.b": 1, "a": {"b": 2}}, {"a": {"b": 1}}, {"a": 5, "a.b": 1}, {"a.b": 1}, {"a": {"b": 1, "x.y": 5}}]
)
def test_transforms_find_a_key_that_is_written_with_dots(document: dict[str, Any]) -> None:
    """The value 1 is found wherever it is; another document beside it is not affected."""
    other = {"a": {"b": 7}}
    for options, expected in (
        ({"rename": {"new": "a.b"}}, [1, 7]),
        ({"uuid5": {"new": "a.b"}}, [str(uuid.uuid5(uuid.UUID(UUID5_NAMESPACE), text)) for text in ("1", "7")]),
    ):
        found = transformed(options, [document, other])
        assert [each["new"] for each in found] == expected
    for each in transformed({"drop": ("a.b",)}, [document, other]):
        assert by_definition(each, "a.b") != 1
    for each, value in zip(transformed({"set": {"a.b": 3}}, [document, other]), [3, 3], strict=True):
        assert by_definition(each, "a.b") == value
    converted = transformed({"convert": {"a.b": "string"}}, [document, other])
    assert [by_definition(each, "a.b") for each in converted] == ["1", "7"]
    kept = transformed({"keep": ("a.b", "z")}, [document, other])
    assert [by_definition(each, "a.b") for each in kept] == [1, 7]
    assert all(each.keys() <= {"a", "a.b", "z"} for each in kept)


def test_a_quoted_name_of_a_transform_is_exact() -> None:
    document = {"a.b": 1, "a": {"b": 2}}
    assert transformed({"rename": {"new": '"a.b"'}}, [document]) == [{"a": {"b": 2}, "new": 1}]
    assert transformed({"set": {'x."y.z"': 5}}, [document]) == [{**document, "x": {"y.z": 5}}]


def transformed(options: dict[str, Any], documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    steps = list(compiled_steps(TransformOptions.model_validate(options), TimestampReader("UTC")))
    read = [read_document(json.dumps(document).encode()) for document in documents]
    for step in steps:
        step(read)
    return [json.loads(written(each)) for each in read]
