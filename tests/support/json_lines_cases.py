"""Chunks of JSON Lines of every sort, and the outcomes of their records as columns tell them: for the decoder's tests."""

from __future__ import annotations

import os

from hypothesis import strategies as st

from event_processor.configuration.configuration import EventOptions
from event_processor.kernels.library import SWITCH
from event_processor.kernels.lines import KERNELS, LineKernels
from event_processor.model.columns import Columns
from event_processor.model.event import Chunk
from event_processor.records.json_lines.format import JsonLinesFormat
from support.columns import categories_of, timestamps_of
from support.json_lines_model import Expected, Shape

NUMBERS = [
    "0", "-0", "-0.0", "0.0", "1", "1.0", "1e3", "5e-324", "2e-324", "2.5e-324", "1e999", "-1e999", "1e-999999", "1e99999999999999",
    "9" * 400, "-" + "9" * 400, "9" * 5000, "9" * 289, "1e289", "9007199254740993", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "123456789012345678901234567890",
    str(2**960), str(2**960 - 1), str(2**960 - 2**906), str(2**960 - 2**907), "9.745314011399999e288", "0." + "1" * 500, "1" * 25 + ".5",
    "1.7976931348623157e308", "1.7976931348623159e308", "2.2250738585072011e-308", "0e999", "8.5", "0.1", "1.00000000000000011102230246251565",
    "01", "1.", ".5", "+1", "-", "1e", "1e+", "0x1", "1_0", "NaN", "Infinity", "-Infinity", "nan", "-01", "1e5.5",
]  # fmt: skip
STRINGS = [
    '"\udcff"', '"a"', '""', '"1"', '"\\u0061"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00"', '"\\ude00\\ud83d"', '"\\ud83d\\ud83d\\ude00"',
    '"\\\\ud83d"', '"\\\\\\ud83d"', '"\\ud83d\\\\\\ude00"', '"\u2028\u2029\u0085"', '"é😀"', '"\\n"', '"\\x"', '"\\u12"', '"a\tb"', '"a\x7fb"', '"{[\\"}]"', '"' + "c" * 256 + '"',
    '"' + "c" * 257 + '"', '"' + "😀" * 256 + '"', '"' + "i" * 1024 + '"', '"' + "i" * 1025 + '"', '"2026-01-05T10:00:00Z"', '"' + "t" * 65 + '"', "'a'", '"a', 'a"',
]  # fmt: skip
OTHERS = ["null", "true", "false", "[]", "{}", "[1,]", '{"a":1,}', '{"size":1}', '{"size":"x"}', '{"size":null}', '{"size":1,"size":2}', "[1,[2,{}]]", "nul", "", "[", "}", "[" * 99 + "]" * 99, "[" * 100 + "]" * 100, "[" * 3000 + "]" * 3000, '{"a":' * 120 + "1" + "}" * 120, "[]," * 150 + "[]"]  # fmt: skip
KEYS = [
    '"id"',
    '"\\u0069d"',
    '"category"',
    '"value"',
    '"timestamp"',
    '"payload"',
    '"payload.size"',
    '"payload\\u002esize"',
    '"other"',
    '"\\ud800"',
    '"id "',
    "id",
    '"i\\d"',
    '"size"',
]
ALPHABET = b'{}[]",:\\\n\r\t \x00\xff\xc2\x85\xe2\x80\xa8e.-0u9\xef\xbb\xbf'

numbers = st.one_of(st.sampled_from(NUMBERS), st.floats(allow_nan=False, allow_infinity=False).map(repr), st.integers().map(str))
anything = st.one_of(st.sampled_from([*NUMBERS, *STRINGS, *OTHERS]), numbers, st.text(max_size=5).map(lambda text: f'"{text}"'))


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """An object with the fields of an event, some of them spoilt, and perhaps others around them."""
    fields = [
        ('"id"', '"e1"'),
        ('"category"', '"c"'),
        ('"value"', draw(numbers)),
        ('"timestamp"', "7"),
        ('"payload"', draw(st.sampled_from(['{"size":2}', '{"size":2}', '{"size":2,"deep.size":3}', '{"deep":{"size":4}}']))),
    ]
    if draw(st.booleans()):
        at = draw(st.integers(0, len(fields) - 1))
        fields[at] = (fields[at][0], draw(anything))
    fields += draw(st.lists(st.tuples(st.sampled_from(KEYS), anything), max_size=2))
    first = draw(st.integers(0, len(fields) - 1))
    fields = fields[first:] + fields[:first]
    comma, colon = draw(st.sampled_from([",", ", ", " ,\r", "\t,"])), draw(st.sampled_from([":", " : "]))
    text = "{" + comma.join(key + colon + value for key, value in fields) + "}"
    return text.encode("utf-8", "surrogatepass")


pieces = st.one_of(
    records(),
    st.sampled_from([b"", b" ", b"\t\r", b"\r", b"\x0b", b"\xc2\xa0", b"null", b"[]", b"{}", b"\xef\xbb\xbf", b"\x00\x00\x00", b"{", b"}", b'{"id":', b"}{"]),
    st.tuples(st.sampled_from([b" ", b"\t", b"\xef\xbb\xbf", b"\x00", b"x", b"\x0c"]), records()).map(b"".join),
    st.tuples(records(), st.sampled_from([b" ", b"\r", b"\r\r", b",", b"\x00", b"x"])).map(b"".join),
    st.tuples(records(), st.sampled_from([b"", b" ", b"\r", b"\n", b"\xc2\x85"]), records()).map(b"".join),
    records().map(lambda record: record.replace(b",", b",\n", 1)),
    records().map(lambda record: record.replace(b'"payload"', b'"payload":{}\n{"payload"')),
    records().map(lambda record: record.replace(b'{"size"', b'\n{"size"') + b"\n" + record + record),
)  # fmt: skip


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Lines of all sorts, and then some bytes changed."""
    ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r"])
    content = b"".join(line + draw(ends) for line in draw(st.lists(pieces, min_size=1, max_size=8)))
    for _ in range(draw(st.integers(0, 3))):
        at, length = draw(st.integers(0, len(content))), draw(st.integers(0, 3))
        content = content[:at] + bytes(draw(st.lists(st.sampled_from(list(ALPHABET)), max_size=2))) + content[at + length :]
    return content


SHAPES = {
    "plain": Shape(),
    "counts": Shape(value="", category="", timestamp=""),
    "may miss": Shape(value_missing="count_only", value="payload.size"),
    "nested": Shape(id="payload.size", category="category", value="payload.deep.size", timestamp="payload.at"),
    "several": Shape(id=("id", "timestamp"), value_missing="count_only"),
    "one of several": Shape(id=("id",)),
    "quoted": Shape(id='"payload.size"', value='payload."deep.size"', value_missing="count_only"),
    "position": Shape(id="@position", record_bytes_max=150),
    "one field for all": Shape(id="value", timestamp="value", category="category"),
    "missing and timestamp": Shape(value="timestamp", value_missing="count_only"),
}


def options(shape: Shape) -> EventOptions:
    return EventOptions.model_validate(
        {
            "id": shape.id,
            "category": shape.category,
            "value": shape.value,
            "value_missing": shape.value_missing,
            "timestamp": shape.timestamp,
        }
    )


def chunk(content: bytes, offset: int = 0) -> Chunk:
    return Chunk(source="events", generation=0, offset=offset, content=content, position={}, final=not content.endswith(b"\n"))


def build(shape: Shape, kernels: LineKernels | None = KERNELS) -> JsonLinesFormat:
    return JsonLinesFormat(options(shape), record_bytes_max=shape.record_bytes_max, timestamps_used=False, kernels=kernels)


WAYS: dict[str, LineKernels | None] = {"numpy": None} | ({} if KERNELS is None else {"kernels": KERNELS})
"""Who reads the many: numpy, and where they were compiled, the kernels."""
assert KERNELS or not os.environ.get("CI") or os.environ.get(SWITCH) == "off", "where nothing may be skipped, they are compiled"


def seen(columns: Columns) -> list[Expected]:
    """The outcome of every record, as the columns tell it."""
    found = {rejection.row: Expected("rejected") for rejection in columns.rejections}
    timestamps, categories = timestamps_of(columns), categories_of(columns)
    for number, row in enumerate(columns.rows.tolist()):
        has_value = columns.values is not None and (columns.has_value is None or bool(columns.has_value[number]))
        timestamp = None if timestamps is None else timestamps[number]
        found[row] = Expected(
            "accepted",
            columns.ids[number],
            None if categories is None else categories[number],
            float(columns.values[number]).hex() if columns.values is not None and has_value else None,
            ("float", timestamp.hex()) if isinstance(timestamp, float) else timestamp,
        )
    assert len(found) == len(columns.rows) + len(columns.rejections)
    assert len(found) + columns.blank_count == columns.record_count
    return [found.get(row, Expected("blank")) for row in range(columns.record_count)]


def typed(expected: list[Expected]) -> list[tuple[Expected, str]]:
    """With the types of ids spelt out, since 1 == 1.0 == True."""
    return [(one, repr(one.id) + repr(one.timestamp)) for one in expected]
