"""JSON Lines into columns: outcomes, words and places, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from event_processor.columns.field_paths import BlockDecoder
from event_processor.configuration.configuration import EventOptions
from event_processor.kernels.lines import KERNELS, LineKernels
from event_processor.model.columns import Columns
from event_processor.model.contracts import Rejection
from event_processor.model.errors import ConfigurationError
from event_processor.model.event import Chunk
from event_processor.records.json_lines.format import JsonLinesFormat
from event_processor.records.json_lines.lines import nesting_depth
from support.columns import categories_of, ids_of, timestamps_of

GOOD = b'{"id":"a","category":"c","value":1.5,"timestamp":"2026-01-01T00:00:00Z"}'


def decode(
    content: bytes,
    event: EventOptions | None = None,
    *,
    offset: int = 7,
    timestamps_used: bool = False,
    record_bytes_max: int = 1 << 20,
) -> Columns:
    reader = JsonLinesFormat(event or EventOptions(), record_bytes_max=record_bytes_max, timestamps_used=timestamps_used)
    final = not content.endswith(b"\n")
    return reader.decode(Chunk(source="events", generation=3, offset=offset, content=content, position={}, final=final))


def rejection(record: bytes, event: EventOptions | None = None, *, timestamps_used: bool = False) -> Rejection:
    columns = decode(record, event, timestamps_used=timestamps_used)
    assert (columns.record_count, len(columns.rows), columns.blank_count) == (1, 0, 0)
    assert columns.rejections[0].row == 0
    return columns.rejections[0]


def spoilt(field: str, value: str) -> bytes:
    fields = {"id": '"a"', "category": '"c"', "value": "1.5"} | {field: value}
    return ("{" + ",".join(f'"{key}":{text}' for key, text in fields.items()) + "}").encode("utf-8", "surrogatepass")


def test_a_chunk_becomes_columns_with_every_record_in_one_place() -> None:
    columns = decode(GOOD + b"\r\n\n \t\r\n" + b"nonsense\n" + b' {"value":2,"category":"d","id":7} \n')
    assert columns.record_count == 5
    assert columns.blank_count == 2
    assert columns.rows.tolist() == [0, 4]
    assert ids_of(columns) == ["a", 7]
    assert categories_of(columns) == ["c", "d"]
    assert columns.values is not None
    assert columns.values.tolist() == [1.5, 2.0]
    assert columns.has_value is None
    assert timestamps_of(columns) == ["2026-01-01T00:00:00Z", None]
    assert columns.timestamps_ns is None
    assert [one.row for one in columns.rejections] == [3]
    assert columns.record(0) == GOOD
    assert columns.record(3) == b"nonsense"
    assert columns.record(4) == b' {"value":2,"category":"d","id":7} '


def test_an_empty_chunk_has_no_records_and_all_its_columns() -> None:
    columns = decode(b"", timestamps_used=True)
    assert columns.record_count == 0
    assert ids_of(columns) == []
    assert categories_of(columns) == []
    assert columns.values is not None
    assert columns.values.dtype == np.float64
    assert columns.timestamps_ns is not None
    assert columns.timestamps_ns.dtype == np.int64


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("value", '"5"', '"value" is not a number: "5"'),
        ("value", "true", '"value" is not a number: true'),
        ("value", "null", '"value" is not a number: null'),
        ("value", "[1]", '"value" is not a number: an array'),
        ("value", '""', '"value" is not a number: ""'),
        ("value", "1e999", '"value" is out of range: 1e999'),
        ("value", "-1" + "0" * 289, '"value" is out of range: -1' + "0" * 57 + "…"),
        ("id", "null", '"id" is not a string or an integer: null'),
        ("id", "1.0", '"id" is not a string or an integer: 1.0'),
        ("id", "1e2", '"id" is not a string or an integer: 1e2'),
        ("id", "false", '"id" is not a string or an integer: false'),
        ("id", "{}", '"id" is not a string or an integer: an object'),
        ("id", '""', '"id" is empty'),
        ("id", '"' + "x" * 1025 + '"', '"id" is longer than 1024 characters: "' + "x" * 58 + "…"),
        ("id", "9223372036854775808", '"id" is out of range: 9223372036854775808'),
        ("id", "-9223372036854775809", '"id" is out of range: -9223372036854775809'),
        ("id", "9" * 5000, '"id" is out of range: ' + "9" * 59 + "…"),
        ("category", "5", '"category" is not a string: 5; event.category_numbers = "text" counts it as "5"'),
        ("category", '""', '"category" is empty'),
        ("category", '"' + "😀" * 257 + '"', '"category" is longer than 256 characters: "' + "😀" * 58 + "…"),
        ("category", "[]", '"category" is not a string: an array'),
    ],
)
def test_a_field_that_is_refused_is_named_with_what_stands_in_it(field: str, value: str, reason: str) -> None:
    assert rejection(spoilt(field, value)) == Rejection(row=0, stage="validate", reason=reason, field=field)


@pytest.mark.parametrize("field", ["id", "category", "value"])
def test_a_field_that_is_missing_is_named(field: str) -> None:
    assert rejection(spoilt(field, "1").replace(f'"{field}"'.encode(), b'"x"')) == Rejection(
        0, "validate", f'"{field}" is missing; the record has {names_of(field)}', field
    )


def names_of(field: str) -> str:
    """The names of the fields of a spoilt record if one of them is named x."""
    return ", ".join(f'"{"x" if name == field else name}"' for name in json.loads(spoilt(field, "1")))


def test_the_names_in_a_message_are_few_and_those_inside_the_object_that_is_there() -> None:
    many = b'{"category":"c","value":1,' + b",".join(b'"n%d":%d' % (n, n) for n in range(30)) + b',"none":null}'
    shown = '"category", "value", "n0", "n1", "n2", "n3", "n4", "n5" and 24 more'
    assert rejection(many).reason == f'"id" is missing; the record has {shown}'
    assert rejection(b"{}").reason == '"id" is missing; the record has no other field'
    inside = decode(b'{"id":1,"category":"c","at":{"a":1,"b":null}}', EventOptions(value="at.size"))
    assert inside.rejections[0].reason == '"at.size" is missing; the record has "at.a"'


@pytest.mark.parametrize("kernels", [KERNELS, None], ids=["kernels", "without"])
def test_a_category_that_is_a_number_counts_as_its_text_if_that_is_configured(kernels: LineKernels | None) -> None:
    event = EventOptions(category_numbers="text", value="", timestamp="")
    numbers = ["200", "-7", '"200"', "1.50", "12345678901234567890", "true", "null"]
    lines = b"\n".join(b'{"id":%d,"category":%b}' % (n, text.encode()) for n, text in enumerate(numbers))
    format_ = JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=False, kernels=kernels)
    columns = format_.decode(Chunk("events", 1, 0, lines, {}))
    assert columns.categories is not None
    names = [columns.categories.names[code] for code in columns.categories.codes.tolist()]
    assert names == ["200", "-7", "200", "1.50", "12345678901234567890"]
    assert [each.row for each in columns.rejections] == [5, 6]


def test_a_message_cannot_move_the_cursor_of_a_terminal() -> None:
    assert (
        rejection(spoilt("value", '"\x7f\\u001b[2J\u009b\u202e"')).reason
        == '"value" is not a number: "\\u007f\\u001b[2J\\u009b\\u202e"'
    )


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"nonsense", "not JSON: expecting value (character 1)"),
        (GOOD[:-1], "not JSON: expecting ',' delimiter (character 72)"),
        (GOOD + b"," + GOOD, "not JSON: extra data (character 73)"),
        (spoilt("x", "NaN"), "not JSON: NaN is not a number"),
        (spoilt("x", "-Infinity"), "not JSON: -Infinity is not a number"),
        (b"[1]", "not a JSON object: an array"),
        (b'"text"', 'not a JSON object: "text"'),
        (b"null", "not a JSON object: null"),
        (spoilt("x", '"\xff"').replace(b"\xc3\xbf", b"\xff"), "not UTF-8: byte 0xff at offset 42 of the record"),
        (b"\xef\xbb\xbf" + GOOD, "begins with a byte order mark; only a file may begin with one"),
        (b"\0\0\0", "contains a NUL byte"),
        (GOOD + b"\0", "contains a NUL byte"),
        (spoilt("x", '"\\ud800"'), "contains half a surrogate pair, which is not a character"),
        (spoilt("x", '"\\ud83d\\\\\\ude00"'), "contains half a surrogate pair, which is not a character"),
        (spoilt("x", '"\\\\\\udc00"'), "contains half a surrogate pair, which is not a character"),
        (spoilt("x", "[" * 100 + "]" * 100), "nested deeper than 100"),
        (spoilt("x", "[" * 5000), "nested deeper than 100"),
    ],
)
def test_a_record_that_is_no_json_object_is_rejected_with_the_reason(record: bytes, reason: str) -> None:
    assert rejection(record) == Rejection(row=0, stage="decode", reason=reason, field="")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", '"' + "😀" * 1024 + '"'), ("id", "9223372036854775807"), ("id", "-9223372036854775808"), ("id", '"\\u0000"'), ("id", "-0"),
        ("category", '"' + "😀" * 256 + '"'), ("value", "-0.0"), ("value", "9" * 288), ("value", "1e-400"), ("x", "1e999"), ("x", "9" * 6000),
        ("x", '"\\\\ud800"'), ("x", '"\\ud83d\\ude00"'), ("x", '"\u2028\u0085"'), ("x", "[" * 99 + "]" * 99), ("x", '"' + "[" * 5000 + '"'), ("x", "[" + "[]," * 500 + "[]]"),
        ("timestamp", "[]"), ("timestamp", '"never"'), ("timestamp", "1e999"), ("value", "0e999999999"),
    ],
)  # fmt: skip
def test_what_is_at_a_limit_or_in_a_field_that_is_not_read_is_accepted(field: str, value: str) -> None:
    columns = decode(spoilt(field, value))
    assert columns.rows.tolist() == [0], columns.rejections


def test_a_timestamp_of_more_than_64_characters_is_not_kept() -> None:
    columns = decode(spoilt("timestamp", '"' + "t" * 64 + '"') + b"\n" + spoilt("timestamp", '"' + "t" * 65 + '"'))
    assert timestamps_of(columns) == ["t" * 64, None]


def test_an_escaped_backslash_before_a_u_is_no_surrogate_for_the_judge_either() -> None:
    judged_alone = '"' + "t" * 65 + '","x":"\\\\ud800"'
    assert decode(spoilt("timestamp", judged_alone)).rows.tolist() == [0]


def test_values_are_the_nearest_doubles_and_never_minus_zero() -> None:
    texts = ["-0.0", "9007199254740993", "0.1", "5e-324", "123456789012345678901234567890", str(2**960 - 2**907)]
    columns = decode(b"\n".join(spoilt("value", text) for text in texts))
    assert columns.values is not None
    expected = [
        "0x0.0p+0",
        "0x1.0000000000000p+53",
        "0x1.999999999999ap-4",
        "0x0.0000000000001p-1022",
        "0x1.8ee90ff6c373ep+96",
        "0x1.fffffffffffffp+959",
    ]
    assert [value.hex() for value in columns.values.tolist()] == expected


def test_of_a_key_given_twice_the_last_wins() -> None:
    columns = decode(b'{"id":[],"id":"a","category":"c","value":"x","value":2,"id":"b"}')
    assert ids_of(columns) == ["b"]
    assert columns.values is not None
    assert columns.values.tolist() == [2.0]


def test_two_objects_on_one_line_do_not_make_up_for_one_over_two_lines() -> None:
    content = b'{"id":"a","category":"c","value":1,"x":\n{"id":"b","category":"c","value":1}}\n' + GOOD + GOOD + b"\n" + GOOD
    assert decode(content).rows.tolist() == [3]


def test_a_byte_order_mark_is_no_part_of_the_first_record_of_a_file() -> None:
    columns = decode(b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD, offset=0)
    assert columns.rows.tolist() == [0, 1]
    assert columns.record(0) == GOOD
    assert decode(b"\xef\xbb\xbf\n", offset=0).blank_count == 1


def test_a_record_over_the_limit_is_rejected_by_its_length() -> None:
    columns = decode(GOOD + b"\n" + spoilt("x", '"' + "x" * 100 + '"'), record_bytes_max=len(GOOD))
    assert columns.rows.tolist() == [0]
    assert columns.rejections == [Rejection(1, "decode", f"longer than {len(GOOD)} bytes", "")]


def test_several_fields_make_an_id_of_their_values() -> None:
    event = EventOptions(id=("host", "n"), category="", value="", timestamp="")
    columns = decode(b'{"host":"a","n":1}\n{"host":"a","n":"1"}\n{"host":"a"}', event)
    assert ids_of(columns) == [("a", 1), ("a", "1")]
    assert columns.rejections == [Rejection(2, "validate", '"n" is missing; the record has "host"', "n")]
    assert (columns.categories, columns.values, columns.timestamps) == (None, None, None)


def test_an_id_of_one_listed_field_is_a_tuple_too() -> None:
    assert ids_of(decode(GOOD, EventOptions(id=("id",)))) == [("a",)]


def test_the_position_as_id_is_source_part_and_offset() -> None:
    columns = decode(b"\nx\n" + GOOD + b"\n" + GOOD, EventOptions(id="@position"), offset=100)
    assert ids_of(columns) == [("events", 3, 103), ("events", 3, 104 + len(GOOD))]


def test_a_dotted_name_reaches_inside_and_its_faults_name_it_in_full() -> None:
    event = EventOptions(value="payload.size")
    start = b'{"id":"a","category":"c","payload":'
    columns = decode(b"\n".join(start + rest + b"}" for rest in [b'{"size":3}', b"5", b"{}", b"null", b'{"size":"x"}']), event)
    assert columns.rows.tolist() == [0]
    assert [one.reason for one in columns.rejections] == [
        '"payload.size" is missing: its parent is not an object',
        '"payload.size" is missing; the record has "id", "category", "payload"',
        '"payload.size" is missing; the record has "id", "category"',
        '"payload.size" is not a number: "x"',
    ]
    assert {one.field for one in columns.rejections} == {"payload.size"}


def test_a_missing_value_may_count_without_one() -> None:
    event = EventOptions(value="payload.size", value_missing="count_only")
    start = b'{"id":"a","category":"c","payload":'
    columns = decode(
        b"\n".join(start + rest + b"}" for rest in [b'{"size":3}', b"{}", b'{"size":null}', b"null", b'{"size":"x"}', b"5"]),
        event,
    )
    assert columns.rows.tolist() == [0, 1, 2, 3]
    assert columns.values is not None
    assert columns.values.tolist() == [3.0, 0.0, 0.0, 0.0]
    assert columns.has_value is not None
    assert columns.has_value.tolist() == [True, False, False, False]


def test_timestamps_are_read_and_refused_only_where_they_are_used() -> None:
    texts = ['"2026-01-01T00:00:00Z"', "1767225600.5", "0", '"never"', "null", "true", "1e300"]
    content = b"\n".join([*(spoilt("timestamp", text) for text in texts), spoilt("x", "1")])
    assert timestamps_of(decode(content)) == ["2026-01-01T00:00:00Z", 1767225600.5, 0, "never", None, None, 1e300, None]
    columns = decode(content, timestamps_used=True)
    assert columns.timestamps_ns is not None
    assert columns.timestamps_ns.tolist() == [1_767_225_600_000_000_000, 1_767_225_600_500_000_000, 0]
    assert timestamps_of(columns) == ["2026-01-01T00:00:00Z", 1767225600.5, 0]
    assert [one.reason for one in columns.rejections] == [
        '"timestamp" is not a timestamp: "never"',
        '"timestamp" is not a timestamp: null',
        '"timestamp" is not a timestamp: true',
        '"timestamp" is not between 1677-09-21 and 2262-04-11: 1e+300',
        '"timestamp" is missing',
    ]


def test_timestamps_that_are_used_but_have_no_field_are_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"event\.timestamp"):
        decode(b"", EventOptions(timestamp=""), timestamps_used=True)


COUNTED = EventOptions(id="count", category="", value="")


def test_a_model_of_the_users_judges_each_record_and_its_values_are_not_used() -> None:
    event = COUNTED.model_copy(update={"model": "support.record_models:Validated"})
    assert (
        JsonLinesFormat(event, record_bytes_max=100, timestamps_used=False).slow_reason == "Validated has validators of its own"
    )
    columns = decode(b'{"count":2}\n{"count":3}\n{"count":4}\n{"count":"x"}\n{"count":', event)
    assert ids_of(columns) == [2, 4]
    assert [(one.row, one.field) for one in columns.rejections] == [(1, "count"), (3, "count"), (4, "")]
    assert columns.rejections[0].reason == '"count" is refused by the model: Value error, odd: 3'


def test_a_model_that_raises_something_else_refuses_the_record() -> None:
    event = COUNTED.model_copy(update={"model": "support.record_models:WholeValidated"})
    columns = decode(b'{"count":0}\n{"count":-1}\n{"count":5}', event)
    assert ids_of(columns) == [5]
    assert [one.reason for one in columns.rejections] == [
        "the model failed: ZeroDivisionError: integer division or modulo by zero",
        "the record is refused by the model: Value error, negative: an object",
    ]


def test_a_compiled_model_refuses_in_the_words_of_the_model_and_lets_it_have_the_last_one() -> None:
    event = EventOptions(id="count", category="text", value="", model="support.record_models:Scalars")
    assert not JsonLinesFormat(event, record_bytes_max=100, timestamps_used=False).slow_reason
    columns = decode(
        b'{"count":1,"text":"a"}\n{"count":2,"text":"a","flag":"x"}\n{"count":3,"text":"a","flag":"true"}\n{"count":"4","text":"a"}',
        event,
    )
    assert ids_of(columns) == [1, 3, "4"]
    assert [(one.row, one.field) for one in columns.rejections] == [(1, "flag")]
    assert columns.rejections[0].reason.startswith('"flag" is refused by the model: Input should be a valid boolean')


@pytest.mark.parametrize(("digits", "rows"), [(4300, [0, 1]), (4301, [1])])
def test_an_integer_that_pydantic_cannot_read_is_refused_beside_a_compiled_model_too(digits: int, rows: list[int]) -> None:
    event = EventOptions(id="count", category="text", value="", model="support.record_models:Scalars")
    content = b'{"count":1,"text":"a","extra":%s}\n{"count":2,"text":"a"}' % (b"9" * digits)
    assert decode(content, event).rows.tolist() == rows


def test_a_model_that_cannot_be_found_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="cannot import"):
        decode(b"", EventOptions(model="support.nowhere:Model"))


@pytest.mark.parametrize(
    "line", [b'{"id":1,"x":NaN}', GOOD + GOOD, b'{"id":"\xff"}', b'{"x":"}', b"{}", b"{" + b'"x":[' * 200 + b"}"]
)
def test_a_chunk_of_bad_lines_is_decoded_a_bounded_number_of_times(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    decode_block = BlockDecoder.decode

    def counted(decoder: BlockDecoder, lines: bytes | memoryview) -> list[object]:
        sizes.append(len(lines))
        return decode_block(decoder, lines)  # type: ignore[return-value]

    monkeypatch.setattr(BlockDecoder, "decode", counted)
    columns = decode((line + b"\n") * 2000)
    assert len(columns.rejections) == columns.record_count
    assert len(sizes) <= 3 * columns.record_count


@pytest.mark.parametrize(
    ("record", "depth"),
    [
        (b"", 0),
        (b"{}", 1),
        (b"[[],[[]]]", 3),
        (b'{"[[[":"{{\\"["}', 1),
        (b'["\\\\",[]]', 2),
        (b'"' + b"\\" * 10 + b'"[', 1),
        (b'"[[[', 3),
        (b"]]][[", 0),
    ],
)
def test_nesting_is_counted_outside_strings(record: bytes, depth: int) -> None:
    assert nesting_depth(record) == depth
