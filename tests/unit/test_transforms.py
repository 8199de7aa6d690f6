"""The tables of `[[transforms]]`: what each key does, in which order, and what it says of a record that it cannot transform."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from event_processor.configuration.transforms import UUID5_NAMESPACE, TransformOptions
from event_processor.model.contracts import Refusal
from event_processor.records.transforms.tables import transform_factories

ZONE = "Europe/Lisbon"


def options(table: dict[str, Any]) -> TransformOptions:
    """As the loader gives it: arrays are tuples."""
    return TransformOptions.model_validate(
        {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    )


def transformed(record: str, *tables: dict[str, Any]) -> str | Refusal:
    (factory,) = transform_factories([options(table) for table in tables], ZONE)
    (answer,) = factory().apply([record.encode()])
    return answer if isinstance(answer, Refusal) else answer.decode()


@pytest.mark.parametrize(
    ("record", "rename", "expected"),
    [
        ('{"a":1,"b":2}', {"c": "a"}, '{"b":2,"c":1}'),
        ('{"a":1,"b":2}', {"a": "b"}, '{"a":2}'),
        ('{"a":1,"b":2}', {"a": "b", "b": "a"}, '{"a":2,"b":1}'),
        ('{"a":1}', {"b": "a", "c": "a"}, '{"b":1,"c":1}'),
        ('{"a":1}', {"a": "a", "b": "a"}, '{"a":1,"b":1}'),
        ('{"a":1}', {"b": "missing"}, '{"a":1}'),
        ('{"a":null}', {"b": "a"}, '{"b":null}'),
        ('{"a":{"b":{"c":1.10,"d":2}},"e":3}', {"c": "a.b.c"}, '{"a":{"b":{"d":2}},"e":3,"c":1.10}'),
        ('{"a":{"b":1}}', {"a": "a.b"}, '{"a":1}'),
        ('{"a":1}', {"a.b": "a"}, '{"a":{"b":1}}'),
        ('{"a":1,"b":2}', {"x.y.a": "a", "x.y.b": "b", "x.z": "b"}, '{"x":{"y":{"a":1,"b":2},"z":2}}'),
        ('{"a":1,"x":{"z":0}}', {"x": {"y": "a"}}, '{"x":{"z":0,"y":1}}'),
        ('{"a":1,"x":null}', {"x.y": "a"}, '{"x":{"y":1}}'),
        ('{"a":null}', {"b": "a.c"}, '{"a":null}'),
        ('{"é \\"%":1}', {"ü \\\\": 'é "%'}, '{"ü \\\\\\\\":1}'),
    ],
)
def test_rename_moves_all_at_once(record: str, rename: dict[str, Any], expected: str) -> None:
    assert transformed(record, {"rename": rename}) == expected


def test_an_object_that_is_given_twice_is_two_objects() -> None:
    first = {"rename": {"a.x": "a.b"}}
    twice = {"rename": {"p": "a", "q": "a"}}
    assert transformed('{"a":{"b":1}}', first, twice, {"drop": ["p.x"]}) == '{"p":{},"q":{"x":1}}'
    emptied = {"rename": {"c": "a.b"}}
    assert transformed('{"a":{"b":1}}', emptied, twice, {"set": {"p.x": 2}}) == '{"c":1,"p":{"x":2},"q":{}}'


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("string", '"a\\u0062"', '"a\\u0062"'),
        ("string", "1.10", '"1.10"'),
        ("string", "true", '"true"'),
        ("integer", "7", "7"),
        ("integer", '"007"', "7"),
        ("integer", '"+7"', "7"),
        ("integer", '"\\u0037"', "7"),
        ("integer", "5.0", "5"),
        ("integer", "1e3", "1000"),
        ("integer", "0e99", "0"),
        ("integer", "9007199254740993.0", "9007199254740993"),
        ("integer", "-9223372036854775808", "-9223372036854775808"),
        ("number", "123456789012345678901234567890.10", "123456789012345678901234567890.10"),
        ("number", '"1.10"', "1.10"),
        ("number", '"1e3"', "1e3"),
        ("number", '"+.5"', "0.5"),
        ("number", '"007"', "7"),
        ("number", '"+1234567890123456789"', "1234567890123456789"),
        ("number", '"03.14159265358979323846"', "3.14159265358979323846"),
        ("number", '".12345678901234567890e-2"', "0.12345678901234567890e-2"),
        ("boolean", "false", "false"),
        ("boolean", '"TRUE"', "true"),
        ("boolean", "1", "true"),
        ("boolean", '"0"', "false"),
        ("uuid", "1", '"00000000-0000-0000-0000-000000000001"'),
        ("uuid", str(2**128 - 1), '"ffffffff-ffff-ffff-ffff-ffffffffffff"'),
        ("uuid", '"0F8FAD5B-D9CB-469F-A165-70867728950E"', '"0f8fad5b-d9cb-469f-a165-70867728950e"'),
        ("uuid", '"0f8fad5bd9cb469fa16570867728950e"', '"0f8fad5b-d9cb-469f-a165-70867728950e"'),
        ("timestamp", '"2023-11-28 06:35:12"', '"2023-11-28T06:35:12Z"'),
        ("timestamp", '"2023-07-28 06:35:12.50"', '"2023-07-28T05:35:12.5Z"'),
        ("timestamp", '"2023-11-28T06:35:12+02:00"', '"2023-11-28T04:35:12Z"'),
        ("timestamp", "86400", '"1970-01-02T00:00:00Z"'),
        ("timestamp", "0.5", '"1970-01-01T00:00:00.5Z"'),
    ],
)
def test_convert_gives_what_is_asked_for(kind: str, value: str, expected: str) -> None:
    assert transformed(f'{{"a":{value}}}', {"convert": {"a": kind}}) == f'{{"a":{expected}}}'
    assert transformed(f'{{"a":{{"b":{value}}}}}', {"convert": {"a.b": kind}}) == f'{{"a":{{"b":{expected}}}}}'


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("string", "{}", "is not a string, a number, true or false: an object"),
        ("integer", '"1.0"', 'is not a 64-bit integer: "1.0"'),
        ("integer", "1.5", "is not a 64-bit integer: 1.5"),
        ("integer", "9223372036854775808", "is not a 64-bit integer: 9223372036854775808"),
        ("integer", '"-9223372036854775809"', 'is not a 64-bit integer: "-9223372036854775809"'),
        ("integer", "9" * 5000, f"is not a 64-bit integer: {'9' * 59}…"),
        ("integer", "1e99999999999999999999", "is not a 64-bit integer: 1e99999999999999999999"),
        ("integer", "1e-99999999999999999999", "is not a 64-bit integer: 1e-99999999999999999999"),
        ("integer", "true", "is not a 64-bit integer: true"),
        ("integer", '"٣"', 'is not a 64-bit integer: "٣"'),
        ("number", '" 1"', 'is not a number: " 1"'),
        ("number", '"nan"', 'is not a number: "nan"'),
        ("number", '"1e999"', 'is not a number: "1e999"'),
        ("number", '"' + "1" * 2000 + '"', f'is not a number: "{"1" * 58}…'),
        ("number", "false", "is not a number: false"),
        ("number", "[1]", "is not a number: an array"),
        ("boolean", "2", "is not true or false: 2"),
        ("boolean", '"yes"', 'is not true or false: "yes"'),
        ("uuid", "-1", "is not a UUID or a 128-bit integer: -1"),
        ("uuid", str(2**128), f"is not a UUID or a 128-bit integer: {2**128}"),
        ("uuid", "1.0", "is not a UUID or a 128-bit integer: 1.0"),
        ("uuid", '"1"', 'is not a UUID or a 128-bit integer: "1"'),
        ("uuid", '"0f8fad5bd9cb-469fa16570867728950e"', 'is not a UUID or a 128-bit integer: "0f8fad5bd9cb-469fa16570867728950e"'),
        ("timestamp", '"yesterday\\u001b"', 'is not a timestamp: "yesterday\\u001b"'),
        ("timestamp", "true", "is not a timestamp: true"),
        ("timestamp", "{}", "is not a timestamp: an object"),
        ("timestamp", "9" * 30, f"is not between 1677-09-21 and 2262-04-11: {'9' * 30}"),
        ("timestamp", "1e400", "is not between 1677-09-21 and 2262-04-11: 1e400"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused_with_the_field_and_the_value(kind: str, value: str, reason: str) -> None:
    assert transformed(f'{{"a":{{"b":{value}}}}}', {"convert": {"a.b": kind}}) == Refusal(f'"a.b" {reason}', "a.b")


@pytest.mark.parametrize("kind", ["string", "integer", "number", "boolean", "uuid", "timestamp"])
def test_what_is_missing_or_null_is_not_converted(kind: str) -> None:
    for record in ('{"b":1}', '{"a":null}', '{"a":{}}', '{"a":{"b":null}}'):
        assert transformed(record, {"convert": {"a.b": kind}}) == record
    assert transformed('{"a":null}', {"convert": {"a": kind}}) == '{"a":null}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"a"', "a"),
        ('"a\\u00e9\\n"', "aé\n"),
        ('"😀"', "😀"),
        ('""', ""),
        ("7", "7"),
        ("-0", "0"),
        (str(10**40), str(10**40)),
        ("9" * 4300, "9" * 4300),
    ],
)
def test_uuid5_is_that_of_the_standard_library(value: str, text: str) -> None:
    namespace = uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
    found = transformed(f'{{"a":{value}}}', {"uuid5": {"x.y": "a"}, "uuid5_namespace": str(namespace)})
    assert found == f'{{"a":{value},"x":{{"y":"{uuid.uuid5(namespace, text)}"}}}}'
    assert transformed(f'{{"a":{value}}}', {"uuid5": {"a": "a"}}) == f'{{"a":"{uuid.uuid5(uuid.UUID(UUID5_NAMESPACE), text)}"}}'


def test_the_namespace_of_uuid5_is_the_one_of_the_project_for_ever() -> None:
    assert str(uuid.uuid5(uuid.NAMESPACE_DNS, "event-processor")) == UUID5_NAMESPACE
    assert UUID5_NAMESPACE == "d5d65ec9-07bc-5a2f-a965-0ac359daf1da"


@pytest.mark.parametrize("value", ["1.0", "true", "[]", "{}", "9" * 5000, "-" + "9" * 4301, "1e3"])
def test_a_uuid5_of_what_has_no_text_is_refused(value: str) -> None:
    found = transformed(f'{{"a":{value}}}', {"uuid5": {"x": "a"}})
    assert isinstance(found, Refusal)
    assert found.field == "a"
    assert found.reason.startswith('"a" is not a string or an integer: ')


def test_fields_are_joined_before_they_are_converted() -> None:
    table = {"join": {"at": ("day", "t.time")}, "convert": {"at": "timestamp"}, "drop": ["day", "t"]}
    # Lisbon is an hour ahead of UTC on this day.
    assert transformed('{"day":"2026-10-10","t":{"time":"13:55:36"}}', table) == '{"at":"2026-10-10T12:55:36Z"}'
    assert transformed('{"a":7,"b":"\\"é"}', {"join": {"c": ("b", "a")}}) == '{"a":7,"b":"\\"é","c":"\\"é 7"}'
    assert transformed('{"a":7,"b":null}', {"join": {"c": ("a", "b"), "d": ("a", "x")}}) == '{"a":7,"b":null}'
    found = transformed('{"a":7,"b":1.5}', {"join": {"c": ("a", "b")}})
    assert isinstance(found, Refusal)
    assert found.reason == '"b" is not a string or an integer: 1.5'


def test_a_uuid5_of_nothing_is_not_made() -> None:
    assert transformed('{"a":null}', {"uuid5": {"x": "a", "y": "b", "z": "a.b"}}) == '{"a":null}'


def test_set_puts_constants_whatever_stood_there() -> None:
    constants = {"a": "ü", "b": {"c": 1, "d": [True, {"e": 1.5}]}, "f.g": "%", "h": {}}
    assert transformed('{"a":1,"b":{"x":0},"z":2}', {"set": constants}) == (
        '{"a":"ü","b":{"x":0,"c":1,"d":[true,{"e":1.5}]},"z":2,"f":{"g":"%"},"h":{}}'
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ('{"a":"","b":{"c":""},"d":""}', '{"a":null,"b":{"c":null},"d":""}'),
        ('{"a":" ","b":{"c":0}}', '{"a":" ","b":{"c":0}}'),
        ('{"a":[],"b":null}', '{"a":[],"b":null}'),
        ('{"a":false,"b":{}}', '{"a":false,"b":{}}'),
        ('{"b.c":"","b":{"c":""}}', '{"b.c":null,"b":{"c":""}}'),
    ],
)
def test_an_empty_string_becomes_null_and_nothing_else_does(record: str, expected: str) -> None:
    assert transformed(record, {"null_if_empty": ["a", "b.c"]}) == expected


def test_drop_takes_out_what_is_there() -> None:
    record = '{"a":1,"b":{"c":1,"d":2},"e":"text","f":null}'
    assert transformed(record, {"drop": ["a", "b.c", "e.x", "f.x", "g", "h.i"]}) == '{"b":{"d":2},"e":"text","f":null}'


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ('{"z":0,"b":{"d":{"f":4,"z":0},"c":2},"a":1}', '{"a":1,"b":{"c":2,"d":{"e":null,"f":4}}}'),
        ("{}", '{"a":null,"b":null}'),
        ('{"b":null}', '{"a":null,"b":null}'),
        ('{"b":{}}', '{"a":null,"b":{"c":null,"d":{"e":null,"f":null}}}'),
        ('{"b":{"d":null}}', '{"a":null,"b":{"c":null,"d":{"e":null,"f":null}}}'),
        ('{"a":[1, 2],"b":{"c":1.10,"d":{}}}', '{"a":[1, 2],"b":{"c":1.10,"d":{"e":null,"f":null}}}'),
    ],
)
def test_keep_gives_the_shape(record: str, expected: str) -> None:
    assert transformed(record, {"keep": ["a", "b.c", "b.d.e", "b.d.f"]}) == expected


@pytest.mark.parametrize(
    ("record", "table", "field"),
    [
        ('{"a":5}', {"rename": {"b": "a.c"}}, "a"),
        ('{"a":1,"b":{"c":[]}}', {"rename": {"b.c.d": "a"}}, "b.c"),
        ('{"a":"text"}', {"convert": {"a.b.c": "number"}}, "a"),
        ('{"a":true}', {"uuid5": {"x": "a.b"}}, "a"),
        ('{"a":1,"b":"x"}', {"uuid5": {"b.c": "a"}}, "b"),
        ('{"a":1}', {"set": {"a.b": 1}}, "a"),
        ('{"a":1}', {"keep": ["a.b"]}, "a"),
        ('{"a":{"b":1}}', {"keep": ["a.b.c"]}, "a.b"),
    ],
)
def test_a_name_that_reaches_into_what_is_no_object_is_refused(record: str, table: dict[str, Any], field: str) -> None:
    found = transformed(record, table)
    assert isinstance(found, Refusal)
    assert found.field == field
    assert found.reason.startswith(f'"{field}" is not an object: ')


def test_the_keys_of_a_table_work_in_a_fixed_order_and_the_tables_in_theirs() -> None:
    table = {
        "keep": ["n", "u", "k", "e"],
        "drop": ["d"],
        "set": {"d": 1, "k": 2},
        "uuid5": {"u": "n"},
        "convert": {"n": "string", "e": "number"},
        "null_if_empty": ["e"],
        "rename": {"n": "a", "e": "x"},
    }
    made = uuid.uuid5(uuid.UUID(UUID5_NAMESPACE), "7")
    assert transformed('{"a":7,"x":""}', table) == f'{{"n":"7","u":"{made}","k":2,"e":null}}'
    assert transformed('{"a":7}', {"set": {"b": 1}}, {"rename": {"a": "b"}}) == '{"a":1}'


def test_what_no_key_names_keeps_its_spelling_and_the_last_of_equal_keys_counts() -> None:
    record = '{"n": 1.10, "i":123456789012345678901234567890,"s":"\\u0061\\/","o":{"x": [1.0 ,2] },"n":2.50}'
    assert transformed(record, {"set": {"z": 0}}) == (
        '{"n":2.50,"i":123456789012345678901234567890,"s":"\\u0061\\/","o":{"x": [1.0 ,2] },"z":0}'
    )


@pytest.mark.parametrize(
    "record", ["{", "{}}", '{"a":NaN}', '{"a":01}', '{"a" 1}', '{"a":"\\ud800"}', "{'a':1}", '{"a":1}{"a":1}']
)
def test_what_is_no_json_stays_as_it_is_for_the_judge(record: str) -> None:
    assert transformed(record, {"drop": ["a"]}) == record
    assert transformed(f"{record}\r", {"drop": ["a"]}) == f"{record}\r"


def test_a_record_that_cannot_be_transformed_spoils_no_other() -> None:
    (factory,) = transform_factories([options({"convert": {"a": "integer"}})], ZONE)
    records = [b'{"a":"%d"}' % number for number in range(1000)]
    expected: list[bytes | Refusal] = [b'{"a":%d}' % number for number in range(1000)]
    for place in (0, 255, 256, 700, 701, 999):
        records[place], expected[place] = b'{"a":"x"}', Refusal('"a" is not a 64-bit integer: "x"', "a")
    records[500] = expected[500] = b"{no"
    assert factory().apply(records) == expected


def test_nothing_in_nothing_out() -> None:
    (factory,) = transform_factories([options({"keep": ["a"], "uuid5": {"b": "a"}})], ZONE)
    assert factory().apply([]) == []
