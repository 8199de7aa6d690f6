"""What becomes of a line in each format: columns, spellings, quotes, types, timestamps."""

from __future__ import annotations

import csv
import importlib
import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Literal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from event_processor.assembly import Environment, connectors
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.model.errors import ConfigurationError
from event_processor.records.writing.delimited import DelimitedWriter
from event_processor.records.writing.outputs import DelimitedOutput, JsonArrayParts, JsonLinesOutput, LineParts, ParquetParts
from event_processor.records.writing.parquet import ColumnType, ParquetWriter
from event_processor.records.writing.rows import ObjectLines, RowReader, TimestampSpelling, column_of, is_spelling
from support import engine

AS_IS = TimestampSpelling("as_is", TimestampReader("UTC"))
LINE = b'{"id": 1, "amount": 1.50e2, "payload": {"size": 007, "deep": {"x": [1, 2]}}, "note": "a\\tb", "at": "2026-01-31 23:59:59.5"}\n'
LINE = LINE.replace(b"007", b"7")


def spelling(text: str, zone: str = "UTC") -> TimestampSpelling:
    return TimestampSpelling(text, TimestampReader(zone))


def objects(*columns: str, timestamps: str = "as_is", fields: tuple[str, ...] = ("at",)) -> ObjectLines:
    return ObjectLines([column_of(text) for text in columns], spelling(timestamps), fields)


def cells(
    line: bytes, *columns: str, delimiter: str = ",", quote: str = '"', decimal: Literal[".", ","] = ".", header: bool = False
) -> bytes:
    chosen = [column_of(text) for text in columns]
    writer = DelimitedWriter(
        [column.name for column in chosen], delimiter=delimiter, quote=quote, decimal=decimal, has_header=header
    )
    output = DelimitedOutput(RowReader(chosen, AS_IS, ()), writer)
    return output.header + output.written(line)


def test_timestamps_of_a_fixed_number_of_digits_sort_as_texts_and_reach_the_year_9999() -> None:
    reader = TimestampReader.of_sink("UTC", ("%d.%m.%Y",))
    fixed = TimestampSpelling("rfc3339", reader, 6)
    written = [
        fixed.respelt(value) for value in (b'"31.01.2026"', b'"2026-01-31T00:00:00.5Z"', b"1769817600.25", b'"9999-12-31"')
    ]
    assert written == [
        b'"2026-01-31T00:00:00.000000Z"', b'"2026-01-31T00:00:00.500000Z"', b'"2026-01-31T00:00:00.250000Z"',
        b'"9999-12-31T00:00:00.000000Z"',
    ]  # fmt: skip


def test_a_string_that_looks_like_a_formula_is_escaped_and_a_number_is_not() -> None:
    writer = DelimitedWriter(["a"], delimiter=",", quote='"', decimal=".", has_header=False, escapes_formulas=True)
    rows = [b'"=1+1"', b'"-x"', b'"@a"', b'"\\tb"', b"-5", b'"a=b"', b'""', b"null"]
    assert writer.lines([[value] for value in rows]).split(b"\n")[:-1] == [
        b"'=1+1", b"'-x", b"'@a", b"'\tb", b"-5", b"a=b", b'""', b'""',
    ]  # fmt: skip


def test_without_columns_a_line_is_written_as_it_is() -> None:
    assert objects().written(LINE) is LINE


def test_columns_are_written_in_their_order_under_their_names_and_values_keep_their_spelling() -> None:
    written = objects("payload.size as size", "amount", "payload.deep", "id as amount of it").written(LINE)
    assert written == b'{"size":7,"amount":1.50e2,"payload.deep":{"x": [1, 2]},"amount of it":1}\n'


def test_a_key_that_has_the_dots_of_a_column_is_found_and_so_are_the_groups_of_a_row() -> None:
    row = b'{"customer.country": "PT", "at.x": "2026-01-31 23:59:59", "n": 2}\n'
    assert cells(row, "customer.country as country", "n") == b"PT,2\n"
    assert cells(row, '"customer.country" as country', 'customer."country"') == b"PT,\n"
    respelt = objects("at.x", timestamps="epoch_s", fields=("at.x",)).written(row)
    assert respelt == b'{"at.x":1769903999}\n'
    assert json.loads(objects(timestamps="epoch_s", fields=("at.x",)).written(row))["at.x"] == 1769903999


@pytest.mark.parametrize("line", [b"{}\n", b'{"a": null}\n', b'{"a": {"b": null}}\n', b'{"a": {"c": 1}}\n', b'{"a": [1]}\n'])
def test_what_is_not_there_is_null(line: bytes) -> None:
    assert objects("a.b").written(line) == b'{"a.b":null}\n'


def test_more_lines_than_are_read_at_once_have_a_row_each() -> None:
    lines = b"".join(b'{"id": %d, "note": "%s"}\n' % (number, b"x" * 50) for number in range(5000))
    assert objects("id").written(lines) == b"".join(b'{"id":%d}\n' % number for number in range(5000))


@pytest.mark.parametrize("name", ['quo"ted', "per%cent", "ä", "back\\slash"])
def test_a_name_may_hold_anything(name: str) -> None:
    assert json.loads(objects(f"id as {name}").written(LINE)) == {name: 1}


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": 1, "\\ud800": 2}\n',
        b'{"id": 1, "note": "\\ud800"}\n',
        b'{"id": 1, "id": 1}\n',
        b'  {"id"  :  1 }  \n',
        b'{"\\u0069d": 1}\n',
    ],
)
def test_odd_lines_have_their_columns_too(line: bytes) -> None:
    assert objects("id").written(line + LINE) == b'{"id":1}\n{"id":1}\n'


@pytest.mark.parametrize("line", [b"no object\n", b"[1]\n", b"\n", b'{"id": 1\n'])
def test_what_is_no_object_is_a_line_of_nulls_and_no_failure(line: bytes) -> None:
    assert objects("id").written(LINE + line + LINE) == b'{"id":1}\n{"id":null}\n{"id":1}\n'


@pytest.mark.parametrize(
    ("how", "written"),
    [
        ("rfc3339", '"2026-01-31T23:59:59.5Z"'),
        ("epoch_s", "1769903999.5"),
        ("epoch_ms", "1769903999500"),
        ("%Y-%m-%d %H:%M:%S", '"2026-01-31 23:59:59"'),
        ("%d.%m.%Y %H:%M:%S.%f", '"31.01.2026 23:59:59.500000"'),
    ],
)
def test_a_timestamp_is_written_as_it_was_asked(how: str, written: str) -> None:
    assert objects("at", timestamps=how).written(LINE) == b'{"at":%b}\n' % written.encode()
    whole = objects(timestamps=how).written(LINE)
    assert whole.endswith(b'"at":%b}\n' % written.encode())
    assert {**json.loads(whole), "at": None} == {**json.loads(LINE), "at": None}
    assert b"1.50e2" in whole


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (b"0", b'"1970-01-01T00:00:00Z"'),
        (b"-1.5", b'"1969-12-31T23:59:58.5Z"'),
        (b'"2026-01-31T23:59:59+01:00"', b'"2026-01-31T22:59:59Z"'),
        (b'"yesterday"', b'"yesterday"'),
        (b"null", b"null"),
        (b"true", b"true"),
        (b'{"a": 1}', b'{"a": 1}'),
        (b"1e999", b"1e999"),
        (b'"\\ud800"', b'"\\ud800"'),
    ],
)
def test_what_is_no_timestamp_stays_as_it_is(value: bytes, written: bytes) -> None:
    assert spelling("rfc3339").respelt(value) == written


@pytest.mark.parametrize(("ns", "written"), [(b"-1.5", b"-1.5"), (b"-0.25", b"-0.25"), (b"10", b"10"), (b"100", b"100")])
def test_seconds_before_the_epoch_keep_their_sign(ns: bytes, written: bytes) -> None:
    assert spelling("epoch_s").respelt(ns) == written


def test_a_timestamp_without_a_zone_is_read_in_the_configured_one() -> None:
    assert spelling("rfc3339", "Europe/Berlin").respelt(b'"2026-01-31 12:00:00"') == b'"2026-01-31T11:00:00Z"'


def test_timestamps_inside_are_written_anew_where_they_stand() -> None:
    line = b'{"payload": {"at": 0, "n": 1.0}, "at": 0}\n'
    written = objects(timestamps="rfc3339", fields=("payload.at", "not.there", "at.inside")).written(line)
    assert written == b'{"payload":{"at":"1970-01-01T00:00:00Z","n":1.0},"at":0}\n'


@pytest.mark.parametrize(
    ("text", "known"), [("rfc3339", True), ("%Y", True), ("iso", False), ("", False), ("%%", True), ("%\0", False)]
)
def test_spellings_are_known_by_name_or_are_patterns(text: str, *, known: bool) -> None:
    assert is_spelling(text) is known


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (b"1.50e2", b"1.50e2"),
        (b"-7", b"-7"),
        (b"true", b"true"),
        (b"null", b""),
        (b'""', b'""'),
        (b'"plain"', b"plain"),
        (b'"a,b"', b'"a,b"'),
        (b'"say \\"so\\""', b'"say ""so"""'),
        (b'"two\\nlines"', b'"two\nlines"'),
        (b'"cr\\r"', b'"cr\r"'),
        (b'"tab\\t"', b"tab\t"),
        (b'"\\u00e4"', "ä".encode()),
        (b'"\\ud800x"', "\ufffdx".encode()),
        (b'{"x": [1, "b"]}', b'"{""x"": [1, ""b""]}"'),
    ],
)
def test_a_cell_of_csv(value: bytes, cell: bytes) -> None:
    assert cells(b'{"a": %b, "b": 0}\n' % value, "a", "b") == cell + b",0\n"


def test_csv_has_the_marks_that_it_was_told() -> None:
    line = b'{"a": 1.5, "b": "x;y", "c": "it\'s", "d": "1.5"}\n'
    written = cells(line, "a", "b", "c", "d as the d", delimiter=";", quote="'", decimal=",", header=True)
    assert written == b"a;b;c;the d\n1,5;'x;y';'it''s';1.5\n"
    assert cells(line, "a", "b", delimiter=",", decimal=",") == b'"1,5",x;y\n'
    assert cells(line, "b", "a", delimiter="§", quote="»") == "x;y§1.5\n".encode()


def test_a_row_of_nothing_is_a_line_all_the_same() -> None:
    assert cells(b"{}\n", "a") == b'""\n'


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), TEXTS)


@given(
    rows=st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;|\"'§"),
    header=st.booleans(),
)
def test_what_is_written_as_csv_is_what_python_reads(rows: list[list[Any]], delimiter: str, header: bool) -> None:
    quote = "'" if delimiter == '"' else '"'
    lines = b"".join(json.dumps(dict(zip("abc", row, strict=True))).encode() + b"\n" for row in rows)
    written = cells(lines, "a", "b", "c", delimiter=delimiter, quote=quote, header=header)
    found = list(csv.reader(io.StringIO(written.decode(), newline=""), delimiter=delimiter, quotechar=quote, strict=True))
    expected = [["a", "b", "c"]] * header + [[text_of(value) for value in row] for row in rows]
    assert found == expected
    writer = DelimitedWriter("abc", delimiter=delimiter, quote=quote, decimal=".", has_header=header)
    assert writer.count(written) == len(rows)
    assert writer.count(written[:-1]) is None


def text_of(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def test_a_json_part_is_one_array_an_object_a_line() -> None:
    parts = JsonArrayParts(objects())
    content = b"".join(parts.content([b'{"a": 1}\n{"a": 2}\n', b"", b'{"a": 3}\n']))
    assert content == b'[\n{"a": 1},\n{"a": 2},\n{"a": 3}\n]\n'
    assert parts.count(content) == 3
    assert parts.holds(content, b'{"a": 1}\n{"a": 2}\n{"a": 3}\n')
    assert not parts.holds(content, b'{"a": 1}\n{"a": 2}\n{"a": 4}\n')
    assert [parts.count(wrong) for wrong in (b"", b"[\n", content[:-1], b"x" + content)] == [None] * 4


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_a_part_is_the_same_in_whatever_pieces_its_lines_come(sizes: list[int]) -> None:
    lines = [b'{"id": %d, "at": %d}\n' % (number, number) for number in range(sum(sizes))]
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    pieces = [b"".join(lines[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    columns = [column_of("id"), column_of("at")]
    for parts in (
        JsonArrayParts(objects("id")),
        LineParts(JsonLinesOutput(objects("id"))),
        ParquetParts(RowReader(columns, AS_IS, ()), ParquetWriter([("id", "integer"), ("at", "timestamp")], AS_IS.read)),
    ):
        content = b"".join(parts.content(pieces))
        assert content == b"".join(parts.content([b"".join(lines)]))
        assert parts.count(content) == len(lines)


def parquet_rows(kind: ColumnType, *values: bytes) -> list[Any]:
    content = ParquetWriter([("a", kind)], spelling("as_is").read).content([[value] for value in values])
    table = parquet.read_table(pa.BufferReader(content))
    return [row["a"] for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("string", [b'"a\\u00e4"', b"1.50", b"true", b"null", b'{"x": 1}', b'""'], ["aä", "1.50", "true", None, '{"x": 1}', ""]),
        ("integer", [b"1234567890123456789.0", b"0.99999999999999999999", b"1e400"], [1234567890123456789, None, None]),
        ("integer", [b"7", b"-7", b"7.0", b"7e2", b"7.5", b'"7"', b"9223372036854775808"], [7, -7, 7, 700, None, None, None]),
        ("number", [b"1.5", b"2", b'"x"', b"1e999", b"true"], [1.5, 2.0, None, None, None]),
        ("boolean", [b"true", b"false", b"1", b"null"], [True, False, None, None]),
        ("timestamp", [b"0.5", b'"1970-01-01 00:00:01"', b'"x"'], [
            datetime(1970, 1, 1, 0, 0, 0, 500_000, UTC), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), None,
        ]),
    ],
)  # fmt: skip
def test_a_value_of_parquet_is_of_its_columns_type_or_null(kind: ColumnType, values: list[bytes], expected: list[Any]) -> None:
    assert parquet_rows(kind, *values) == expected


def test_every_parquet_part_has_the_same_schema_and_the_same_rows_the_same_bytes() -> None:
    writer = ParquetWriter([("a", "integer"), ("b", "string")], AS_IS.read)
    one, other = writer.content([[b"null", b"null"]]), writer.content([[b"1", b'"x"']])
    schemas = [parquet.read_table(pa.BufferReader(content)).schema for content in (one, other)]
    assert schemas[0] == schemas[1]
    assert other == ParquetWriter([("a", "integer"), ("b", "string")], AS_IS.read).content([[b"1", b'"x"']])
    assert writer.are_equal(other, other)
    assert not writer.are_equal(one, other)
    assert not writer.are_equal(b"x", other)
    assert writer.count(b"x") is None


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", nothing)
    with pytest.raises(ConfigurationError, match="needs pyarrow") as raised:
        ParquetWriter([("a", "string")], AS_IS.read)
    assert "event-processor[parquet]" in raised.value.hint


def test_rows_of_windows_and_dead_letters_are_not_read_in_the_form_of_the_events_timestamp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1767225660 seconds are no milliseconds."""
    inputs = {"events": "events", "rows": "aggregates.a", "letters": "dead_letters"}
    aggregates = {"a": {"measures": {"n": "count"}, "window": {"size_s": 60, "timestamp_format": "epoch_s"}}}
    files = {name: FileSinkOptions(input=each, path=ConfiguredPath(f"/d/{name}.jsonl")) for name, each in inputs.items()}
    keys = {"type": "sql", "url": "sqlite:////d/a.db", "table": "t", "columns": {"n": "integer"}, "input": "aggregates.a"}
    database = {"database": SqlSinkOptions.model_validate(keys)}
    sections: dict[str, Any] = {
        "event": {"timestamp_format": "epoch_ms"},
        "aggregates": aggregates,
        "sinks": {**files, **database},
    }
    configuration = engine.configuration("/d", **sections)
    fake = SimpleNamespace(sink=lambda _options, context: context.timestamp_formats)
    monkeypatch.setattr(connectors, "CONNECTORS", {"file": fake})
    found: dict[str, object] = {name: connectors.make_sink(configuration, Environment(), name, {}) for name in inputs}
    assert found == {"events": ("epoch_ms",), "rows": ("auto",), "letters": ("auto",)}
    assert connectors.receiver_context(configuration, Environment(), "database").timestamp_formats == ("auto",)


def test_a_year_before_1000_has_four_digits_in_a_pattern() -> None:
    written = spelling("%Y/%m %F %G %%Y %%F").respelt(b'"0099-12-31T00:00:00Z"')
    assert written == b'"0099/12 0099-12-31 0099 %Y %F"'
    assert spelling("%Y").respelt(b'"1000-01-01T00:00:00Z"') == b'"1000"'
