"""CSV lines into events: cells, types, names, and what is said of each line that is none; by hand, and against a line alone."""

from __future__ import annotations

import csv
import io
import pickle
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from event_processor.configuration.configuration import ConfiguredPath, EventOptions
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.columns import Columns
from event_processor.model.event import Chunk
from event_processor.records.content_cutter import ContentCutter
from event_processor.records.delimited import DelimitedReader, is_line_based
from event_processor.records.delimited_cells import Dialect
from event_processor.records.heads import HEAD_BYTES_MIN
from event_processor.records.json_lines import lines
from event_processor.records.json_lines.lines import cut_lines
from event_processor.records.objects import ObjectFormat
from event_processor.records.quoted_lines import QuotedLineCutter, quoted_lines_path
from support.columns import categories_of, ids_of, timestamps_of

HEADER = b"id,category,value\n"
LATE_HEADER = "the header does not begin and end in the first record_bytes_max bytes of the file: raise that limit"
NO_LINE_FEED = 'the header has no line feed: if carriage returns end the lines, set csv_line_end = "cr"'
BANK = Dialect(delimiter=";", decimal=",", types={"id": "integer", "amount": "number"})
BANK_EVENT = EventOptions(category="merchant", value="amount")
PLAIN = Dialect(types={"value": "number"})


def decode(
    content: bytes,
    dialect: Dialect = PLAIN,
    event: EventOptions | None = None,
    *,
    offset: int = 0,
    head: bytes | None = None,
    record_bytes_max: int = 1 << 20,
) -> Columns:
    made = ObjectFormat(
        partial(DelimitedReader, dialect, record_bytes_max=record_bytes_max),
        event or EventOptions(timestamp=""),
        record_bytes_max=record_bytes_max,
        timestamps_used=False,
    )
    final = not content.endswith(b"\n")
    return made.decode(Chunk("events", 1, offset, content, {}, final=final, head=content if head is None else head))


def lines_of(columns: Columns) -> list[Any]:
    """What sinks get of the events."""
    assert columns.events is not None
    spans = zip(columns.events.starts.tolist(), columns.events.ends.tolist(), strict=True)
    assert all(columns.events.content[end : end + 1] == b"\n" for end in columns.events.ends.tolist())
    return [msgspec.json.decode(columns.events.content[start:end]) for start, end in spans]


def reasons(columns: Columns) -> list[tuple[int, str, str]]:
    return [(each.row, each.field, each.reason) for each in columns.rejections]


def test_a_bank_statement_is_read_with_its_decimal_commas_and_its_quotes() -> None:
    content = (
        b"id;description;amount;timestamp;merchant;operation_type;side\n"
        b'1;"Card expense at EDF";-952,40;"2023-11-28 06:35:12";"EDF";"refund";"debit"\n'
        b'2;"He said ""no""; twice";+7;"2023-11-27 01:02:03";"A;B";"";"credit"\n'
    )
    columns = decode(content, BANK, BANK_EVENT)
    assert (columns.record_count, columns.blank_count, columns.rows.tolist()) == (3, 1, [1, 2])
    assert ids_of(columns) == [1, 2]
    assert categories_of(columns) == ["EDF", "A;B"]
    assert columns.values is not None
    assert columns.values.tolist() == [-952.4, 7.0]
    assert timestamps_of(columns) == ["2023-11-28 06:35:12", "2023-11-27 01:02:03"]
    assert columns.events is not None
    shown = columns.events.content.split(b"\n")[0].decode()
    assert f"`{shown}`" in (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    assert lines_of(columns)[1] == {
        "id": 2, "description": 'He said "no"; twice', "amount": 7.0, "timestamp": "2023-11-27 01:02:03",
        "merchant": "A;B", "operation_type": "", "side": "credit",
    }  # fmt: skip
    assert columns.record(1).startswith(b'1;"Card')


def test_every_line_has_one_outcome_and_the_header_and_empty_lines_are_blank() -> None:
    columns = decode(HEADER + b"a,x,1\r\n\r\n \t\nb,y\nc,z,1,2\nd,x,\ne,x,2")
    assert (columns.record_count, columns.blank_count) == (8, 3)
    assert ids_of(columns) == ["a", "e"]
    assert reasons(columns) == [
        (4, "", "has 2 cells, but there are 3 columns"),
        (5, "", "has 4 cells, but there are 3 columns"),
        (6, "value", '"value" is not a number: null'),
    ]


def test_rejections_of_lines_and_of_objects_stand_in_the_order_of_the_log() -> None:
    columns = decode(HEADER + b"a,x,\nb,x\nc,x,1\nd,,2\ne,x,3\n")
    assert [(each.row, each.stage) for each in columns.rejections] == [(1, "validate"), (2, "decode"), (4, "validate")]
    assert columns.rows.tolist() == [3, 5]
    assert [each["id"] for each in lines_of(columns)] == ["c", "e"]


def test_a_name_may_hold_what_means_something_elsewhere() -> None:
    content = b'id,category,value,"100 % ""sure"", {}"\na,x,1,%s\n'
    assert lines_of(decode(content)) == [{"id": "a", "category": "x", "value": 1.0, '100 % "sure", {}': "%s"}]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("abc", "is not a number: 'abc'"),
        ("1_0", "is not a number: '1_0'"),
        ("nan", "is not a number: 'nan'"),
        ("1e999", "is not a number: '1e999'"),
        ("0x10", "is not a number: '0x10'"),
        ("\u0661", "is not a number: '\u0661'"),
        ("1 2", "is not a number: '1 2'"),
        ("9" * 80 + "x", f"is not a number: '{'9' * 60}…'"),
    ],
)
def test_what_is_no_number_is_said(cell: str, reason: str) -> None:
    columns = decode(HEADER + f"a,x,{cell}\n".encode())
    assert reasons(columns) == [(1, "value", reason)]
    assert columns.rejections[0].stage == "decode"


@pytest.mark.parametrize(
    ("cell", "value"), [("1", 1.0), ("-0", 0.0), (".5", 0.5), ("7.", 7.0), (" 3 ", 3.0), ("007", 7.0), ("1E3", 1000.0)]
)
def test_what_is_a_number_is_read(cell: str, value: float) -> None:
    columns = decode(HEADER + f"a,x,{cell}\n".encode())
    assert columns.values is not None
    assert columns.values.tolist() == [value]


def test_with_a_decimal_comma_a_point_is_no_part_of_a_number() -> None:
    columns = decode(
        b"id;category;value\na;x;1.000,5\nb;x;1.5\nc;x;1,5\nd;x;1,2,3\n", Dialect(";", decimal=",", types={"value": "number"})
    )
    assert columns.values is not None
    assert columns.values.tolist() == [1.5]
    assert [row for row, _, _ in reasons(columns)] == [1, 2, 4]


def test_cells_have_the_types_that_are_named_and_an_empty_one_is_null() -> None:
    dialect = Dialect(types={"id": "integer", "value": "number", "on": "boolean", "text": "string", "n": "integer"})
    content = b"id,category,value,on,text,n\n9223372036854775807,c,1,TRUE,,\n-5,c,2,0,5,7\n"
    columns = decode(content, dialect)
    assert ids_of(columns) == [2**63 - 1, -5]
    assert [(each["on"], each["text"], each["n"]) for each in lines_of(columns)] == [(True, "", None), (False, "5", 7)]
    refused = decode(b"id,category,value,on,text,n\n9223372036854775808,c,1,,,\n1,c,1,maybe,,\n1,c,1,,,1.5\n", dialect)
    assert reasons(refused) == [
        (1, "id", "is not a 64-bit integer: '9223372036854775808'"),
        (2, "on", "is not true or false: 'maybe'"),
        (3, "n", "is not a 64-bit integer: '1.5'"),
    ]


def test_a_quote_that_is_not_closed_spoils_its_own_line_alone() -> None:
    columns = decode(HEADER + b'a,"x,1\nb,"y",2\nc,z",3\nd,"z"z,4\ne,"w",5\nf,"w,6')
    assert ids_of(columns) == ["b", "c", "e"]
    assert reasons(columns) == [
        (1, "", "a quoted cell does not end on its line"),
        (4, "", "is not CSV: ',' expected after '\"'"),
        (6, "", "a quoted cell does not end on its line"),
    ]


def test_a_carriage_return_within_a_line_is_said() -> None:
    assert reasons(decode(HEADER + b"a,x\ry,1\n")) == [(1, "", "has a carriage return outside quotes")]


def test_without_a_quote_a_quote_is_a_character_like_any_other() -> None:
    columns = decode(HEADER + b'a,"x,1\n', Dialect(quote="", types={"value": "number"}))
    assert categories_of(columns) == ['"x']


def test_another_encoding_is_read_and_a_wrong_one_is_said_line_by_line() -> None:
    content = HEADER + "a,Café,1\n".encode("latin-1") + b"b,x,2\n"
    assert categories_of(decode(content, Dialect(encoding="latin-1", types={"value": "number"}))) == ["Café", "x"]
    columns = decode(content)
    assert ids_of(columns) == ["b"]
    assert reasons(columns) == [(1, "", "is not utf-8 (byte 5)")]


def test_a_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert ids_of(decode(b"\xef\xbb\xbf" + HEADER + b"a,x,1\n")) == ["a"]


@pytest.mark.parametrize("has_kernel", [False, True])
@pytest.mark.parametrize(
    "dialect", [PLAIN, Dialect(skip_lines=1), Dialect(comment="#"), Dialect(columns=("id", "value"), has_header=False)]
)
def test_a_byte_order_mark_and_nothing_else_is_no_record(
    dialect: Dialect, monkeypatch: pytest.MonkeyPatch, *, has_kernel: bool
) -> None:
    if not has_kernel:
        monkeypatch.setattr(lines, "KERNELS", None)
    columns = decode(b"\xef\xbb\xbf", dialect)
    assert (len(columns.starts), columns.blank_count, len(columns.rejections)) == (0, 0, 0)


def test_behind_the_first_chunk_the_names_come_from_the_files_head() -> None:
    columns = decode(b"a,x,1\n", offset=len(HEADER), head=HEADER + b"a,x,1\n")
    assert (columns.blank_count, ids_of(columns)) == (0, ["a"])


def test_behind_the_nuls_of_a_truncation_the_header_line_is_still_one() -> None:
    columns = decode(HEADER + b"a,x,1\n", offset=9, head=b"\0" * 9 + HEADER + b"a,x,1\n")
    assert (columns.blank_count, ids_of(columns)) == (1, ["a"])


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"id,category,id\n", "the header line has a duplicate or empty name: set csv_columns"),
        (b"id,,value\n", "the header line has a duplicate or empty name: set csv_columns"),
        (b'id,"category,value\n', "the header line: a quoted cell does not end on its line"),
        (b"id,\xff,value\n", "the header line is not utf-8 (byte 3)"),
        (b"x" * HEAD_BYTES_MIN + b"\n", LATE_HEADER),
    ],
)
def test_under_a_header_that_names_nothing_each_line_says_so(header: bytes, reason: str) -> None:
    content = header + b"a,x,1\n\nb,y,2\n"
    columns = decode(content, head=content[:HEAD_BYTES_MIN], record_bytes_max=HEAD_BYTES_MIN)
    assert columns.blank_count == 2
    assert reasons(columns) == [(1, "", reason), (3, "", reason)]


def test_without_a_header_the_columns_are_named_and_the_first_line_is_a_record() -> None:
    dialect = Dialect(has_header=False, columns=("id", "category", "value"), types={"value": "number"})
    columns = decode(b"a,x,1\n", dialect)
    assert (columns.blank_count, ids_of(columns)) == (0, ["a"])


def test_named_columns_stand_in_the_place_of_the_headers() -> None:
    dialect = Dialect(columns=("id", "category", "value"), types={"value": "number"})
    columns = decode(b"Nummer,Art,Wert\na,x,1\n", dialect)
    assert (columns.blank_count, ids_of(columns)) == (1, ["a"])


def test_the_position_as_id_is_that_of_the_line() -> None:
    columns = decode(HEADER + b"bad\na,x,1\n", event=EventOptions(id="@position", timestamp=""))
    assert ids_of(columns) == [("events", 1, len(HEADER) + 4)]


def test_a_line_over_the_limit_is_rejected_with_the_words_of_every_format() -> None:
    columns = decode(HEADER + b"a,x,1\nlonger-than-that,x,1\n", record_bytes_max=18)
    assert [(each.row, each.stage, each.reason) for each in columns.rejections] == [
        (2, "read", "record over the size limit (record_bytes_max)")
    ]


def test_a_cell_may_be_as_long_as_a_record() -> None:
    long = "x" * 200_000
    assert lines_of(decode(b"id,category,value,text\n" + f"a,c,1,{long}\n".encode()))[0]["text"] == long


def test_the_reader_can_be_sent_to_another_process() -> None:
    make = pickle.loads(pickle.dumps(partial(DelimitedReader, BANK, record_bytes_max=100)))
    assert isinstance(make(), DelimitedReader)


CELLS = st.text(st.sampled_from('ab ,;"1é\t'), max_size=4)
LINES = st.lists(st.lists(CELLS, min_size=1, max_size=4).map(",".join), max_size=12)


def alone(line: str) -> list[str] | None:
    """The cells of a line by the definition: it is parsed alone."""
    try:
        (cells,) = csv.reader([line], strict=True)
    except csv.Error:
        return None
    return cells


@given(LINES)
@example(['"', "a", '"', "b"])
@example(['a,"b', 'c"d', 'e,"f"'])
def test_any_lines_give_what_each_gives_alone(lines: list[str]) -> None:
    dialect = Dialect(has_header=False, columns=("p", "q"))
    columns = decode(
        "".join(f"{line}\n" for line in lines).encode(),
        dialect,
        EventOptions(id="@position", category="", value="", timestamp=""),
    )
    filled = [(row, alone(line)) for row, line in enumerate(lines) if line.strip(" \t\r")]
    assert columns.rows.tolist() == [row for row, cells in filled if cells is not None and len(cells) == 2]
    assert [[each["p"], each["q"]] for each in lines_of(columns)] == [
        cells for _, cells in filled if cells is not None and len(cells) == 2
    ]
    assert columns.blank_count + len(columns.rejections) + len(columns.rows) == len(lines)


NUMBERS = st.sampled_from(
    ["1", "-1.50", "0", "-0", "1,5", "+3", ".5", "007", " 2 ", "1e3", "", "x", "1.5", "123456789012345678901"]
)
ROWS = st.lists(st.tuples(st.sampled_from(["a", "b b", "é", "%b", '"q;"', "\\", "", "\x01"]), NUMBERS, NUMBERS), max_size=6)


@given(ROWS, st.sampled_from([".", ","]), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example([("a", "1", "1.5"), ("b b", "0", "")], ".", "\n", True)
@example([("a", "1", "1,5"), ("é", "-0", "7")], ",", "\r\n", False)
def test_a_line_becomes_the_same_bytes_whatever_stands_beside_it(
    rows: list[tuple[str, str, str]], decimal: Literal[".", ","], line_end: str, ended: bool
) -> None:
    dialect = Dialect(";", decimal=decimal, types={"value": "number", "n": "integer"})
    event = EventOptions(id="@position", category="", value_missing="count_only", timestamp="")
    header = "name;n;value" + line_end
    lines = [(";".join(row) + line_end).encode() for row in rows]
    content = header.encode() + b"".join(lines)
    content = content if ended else content.removesuffix(line_end.encode())
    together = decode(content, dialect, event)
    found, places, offset = [], [], len(header)
    for number, line in enumerate(lines):
        alone = decode(line, dialect, event, offset=offset, head=header.encode())
        found += [alone.events.content] if alone.events and len(alone.rows) else []
        places += [number + 1] if len(alone.rows) else []
        offset += len(line)
    assert together.events is not None
    spans = zip(together.events.starts.tolist(), together.events.ends.tolist(), strict=True)
    assert [together.events.content[start:end] + b"\n" for start, end in spans] == found
    assert together.rows.tolist() == places


def test_cells_too_many_on_one_line_do_not_make_up_for_too_few_on_the_next() -> None:
    columns = decode(HEADER + b"a,x,1,b\nx,2\nc,x,3\n")
    assert ids_of(columns) == ["c"]
    assert [row for row, _, _ in reasons(columns)] == [1, 2]


def test_a_line_of_tabs_is_blank_where_tabs_are_the_delimiter_and_an_empty_line_where_there_is_one_column() -> None:
    dialect = Dialect("\t", types={"value": "number"})
    columns = decode(b"id\tcategory\tvalue\na\tx\t1\n\t\t\n", dialect)
    assert (columns.blank_count, ids_of(columns), columns.rejections) == (2, ["a"], [])
    spaced = decode(b"id category value\na x 1\n  \n", Dialect(" ", types={"value": "number"}))
    assert (spaced.blank_count, ids_of(spaced), spaced.rejections) == (2, ["a"], [])
    single = decode(b"id\na\n\nb\n", Dialect(), EventOptions(category="", value="", timestamp=""))
    assert (single.blank_count, ids_of(single), single.rejections) == (2, ["a", "b"], [])


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"csv_delimiter": ";;"}, "one character"),
        ({"csv_delimiter": "\n"}, "one character"),
        ({"csv_encoding": "utf-32"}, "one byte per ASCII character"),
        ({"csv_encoding": "nonsense"}, "one byte per ASCII character"),
        ({"csv_header": False}, "csv_columns must name the columns"),
        ({"csv_columns": ("a", "a")}, "each name only once"),
        ({"csv_delimiter": '"'}, "must differ"),
        ({"format": "jsonl", "csv_decimal": ","}, 'csv_decimal applies only to format = "csv"'),
        ({"csv_types": {"a": "date"}}, "'string', 'integer', 'number' or 'boolean'"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(said: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        FileSourceOptions(**{"path": ConfiguredPath("events.csv"), "format": "csv", **said})


def test_the_identity_holds_the_keys_of_csv_only_for_csv() -> None:
    plain = FileSourceOptions(path=ConfiguredPath("events.jsonl"))
    assert set(plain.identity()) == {"type", "path", "format", "start", "record_bytes_max"}
    dialect = FileSourceOptions(path=ConfiguredPath("events.csv"), format="csv", csv_types={"id": "integer"})
    assert dialect.identity()["csv_types"] == {"id": "integer"}
    assert dialect.dialect("value").types == {"id": "integer", "value": "number"}
    assert dialect.dialect("").types == {"id": "integer"}


def test_an_encoding_must_keep_line_feeds_apart() -> None:
    assert all(map(is_line_based, ["utf-8", "latin-1", "cp1252", "ascii", "shift_jis", "gbk"]))
    assert not any(map(is_line_based, ["utf-16", "utf-32", "utf-7", "cp037", "base64", "nonsense"]))


@pytest.mark.parametrize("columns", [(), ("id", "category", "value")])
@pytest.mark.parametrize("rows", [1, 2_000])
def test_a_file_with_carriage_returns_as_line_ends_is_one_rejection(columns: tuple[str, ...], rows: int) -> None:
    """Longer than the kept head or not, and whether the header or the configuration names the columns."""
    columns_found = decode(b"id,category,value\r" + b"a,x,1\r" * rows, Dialect(columns=columns, types={"value": "number"}))
    assert (columns_found.record_count, columns_found.blank_count, len(columns_found.ids)) == (1, 0, 0)
    assert reasons(columns_found) == [(0, "", NO_LINE_FEED)]


def test_a_header_line_that_holds_rows_between_carriage_returns_is_rejected() -> None:
    columns = decode(b"id,category,value\ra,x,1\nb,y,2\n")
    reason = "the header line: has a carriage return outside quotes"
    assert (columns.blank_count, reasons(columns)) == (0, [(0, "", reason), (1, "", reason)])
    named = Dialect(columns=("id", "category", "value"), types={"value": "number"})
    columns = decode(b"Nummer,Art,Wert\ra,x,1\nb,y,2\n", named)
    assert (ids_of(columns), reasons(columns)) == (["b"], [(0, "", reason)])


def test_a_header_line_that_ends_the_file_is_rejected_if_it_names_nothing() -> None:
    assert reasons(decode(b"id,,value")) == [(0, "", "the header line has a duplicate or empty name: set csv_columns")]


@pytest.mark.parametrize("content", [b"id,category,value", b"id,category,value\r", b"id,category,value\r\n"])
def test_a_header_line_alone_is_blank(content: bytes) -> None:
    columns = decode(content)
    assert (columns.record_count, columns.blank_count) == (1, 1)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1234567890123456789", "1234567890123456789"),
        ("3.14159265358979323846", "3.14159265358979323846"),
        ("-0.1000000000000000055511151231257827", "-0.1000000000000000055511151231257827"),
        ("9" * 280, "9" * 280),
        ("0" * 400 + "1.50", "1.50"),
        ("+1234567890123456789.0", "1234567890123456789.0"),
        ("007", "7"),
        (".5", "0.5"),
        ("5.", "5"),
        (" -007.50 ", "-7.50"),
        ("1.000000000000000000001E+3", "1.000000000000000000001E+3"),
    ],
)
@pytest.mark.parametrize("mark", [".", ","])
@pytest.mark.parametrize("neighbour", ["1", "+1"])
def test_a_number_keeps_its_digits(cell: str, number: str, mark: Literal[".", ","], neighbour: str) -> None:
    """Alone or beside a number that is written otherwise, which changes how the column is read."""
    dialect = Dialect(delimiter=";", decimal=mark, columns=("id", "value"), has_header=False, types={"value": "number"})
    content = f"a;{neighbour}\nb;{cell.replace('.', mark)}\n".encode()
    columns = decode(content, dialect, EventOptions(category="", timestamp="", value_missing="count_only"))
    assert columns.events is not None
    assert columns.events.content == f'{{"id":"a","value":1}}\n{{"id":"b","value":{number}}}\n'.encode()
    assert columns.values is not None
    assert columns.values.tolist() == [1.0, float(number)]


@pytest.mark.parametrize("cell", ["1e999", "9" * 310, "", "e5", ".", "+", "1e", "--1", "1,5", "0x10", "1_000", "nan"])
def test_a_cell_that_is_not_a_number_is_rejected_with_its_text(cell: str) -> None:
    columns = decode(b"id,category,value\na,x,1\nb,x," + f'"{cell}"'.encode() + b"\n")
    assert len(columns.ids) == 1
    (rejection,) = columns.rejections
    assert rejection.field == "value"


def test_an_integer_beyond_18_digits_is_an_id_though_its_column_holds_numbers() -> None:
    dialect = Dialect(columns=("id", "value"), has_header=False, types={"id": "number", "value": "number"})
    columns = decode(b"1234567890123456789,1\n+7,1\n", dialect, EventOptions(category="", timestamp=""))
    assert ids_of(columns) == [1234567890123456789, 7]


def test_lines_before_the_header_and_comments_are_blank() -> None:
    content = b"Report\nof May\n# made by hand\nid,category,value\n1,a,2\n# 2,b,3\n3,c,4\n"
    dialect = Dialect(types={"value": "number"}, skip_lines=2, comment="#")
    columns = decode(content, dialect)
    assert (columns.record_count, columns.blank_count, columns.rejections) == (7, 5, [])
    assert lines_of(columns) == [{"id": "1", "category": "a", "value": 2}, {"id": "3", "category": "c", "value": 4}]
    for cut in range(1, content.count(b"\n")):
        offset = len(b"".join(content.splitlines(keepends=True)[:cut]))
        whole = decode(content[:offset], dialect, head=content), decode(content[offset:], dialect, offset=offset, head=content)
        assert sum(each.blank_count for each in whole) == 5
        assert [line for each in whole for line in lines_of(each)] == lines_of(columns)


def test_cells_that_mean_nothing_are_null_in_any_column() -> None:
    dialect = Dialect(types={"value": "number"}, nulls=frozenset({"NA", ""}))
    columns = decode(HEADER + b"1,a,NA\n2,NA,3\n3,c,4\n", dialect, EventOptions(timestamp="", value_missing="count_only"))
    assert lines_of(columns) == [{"id": "1", "category": "a", "value": None}, {"id": "3", "category": "c", "value": 4}]
    assert [(row, name) for row, name, _ in reasons(columns)] == [(2, "category")]


def test_groups_of_three_digits_and_whole_numbers_with_a_point_are_numbers() -> None:
    dialect = Dialect(delimiter=";", decimal=",", thousands=".", types={"id": "integer", "value": "number"})
    columns = decode(b"id;category;value\n1,0;a;1.234.567,50\n-1.000;b;12\n2;c;1.23\n3,5;d;1\n", dialect)
    assert columns.events is not None
    assert b'"value":1234567.50' in columns.events.content
    assert [(each["id"], each["value"]) for each in lines_of(columns)] == [(1, 1234567.5), (-1000, 12)]
    assert reasons(columns) == [(3, "value", "is not a number: '1.23'"), (4, "id", "is not a 64-bit integer: '3,5'")]


def test_a_delimiter_at_the_end_of_each_line_is_no_column() -> None:
    columns = decode(b"id,category,value,\n1,a,2,\n2,b,3\n3,c,4,x\n")
    assert lines_of(columns) == [{"id": "1", "category": "a", "value": 2}, {"id": "2", "category": "b", "value": 3}]
    assert reasons(columns) == [(3, "", "has 4 cells, but there are 3 columns")]


cells_of = st.text(st.sampled_from('ab,"\n\r; '), max_size=6)


@given(
    rows=st.lists(st.tuples(cells_of, cells_of, st.sampled_from(["1", "2.5"])), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
def test_quoted_cells_with_line_ends_are_read_as_the_standard_library_reads_them(
    rows: list[tuple[str, str, str]], sizes: list[int]
) -> None:
    """In blocks of any size. The id numbers the rows, so that none is a duplicate or empty."""
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\r\n").writerows(
        [("id", "x", "category", "value"), *[(n, *row) for n, row in enumerate(rows)]]
    )
    content = written.getvalue().encode()
    options = FileSourceOptions.model_validate({"path": ConfiguredPath("a.csv"), "format": "csv", "csv_quoted_line_breaks": True})
    cutter, place, number = ContentCutter(options.record_bytes_max, options.items), 0, 0
    while place < len(content):
        size = sizes[number % len(sizes)]
        cutter.feed(content[place : place + size])
        place, number = place + size, number + 1
    cutter.end()
    cut = cutter.cut(1 << 20)
    assert cut is not None
    own = cutter.own_of(cut)
    assert (own or cut.content) == content
    make = options.object_reader("value")
    assert make is not None
    lines = cut_lines(cut.content, at_file_start=True, record_bytes_max=1000)
    objects = make().read(Chunk("a", 1, 0, cut.content, {}, final=True, head=cut.content[:4096], own=own), lines)
    assert objects.rejections == []
    expected = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    found = [msgspec.json.decode(line) for line in objects.content.splitlines()]
    assert [(each["id"], each["x"], each["category"]) for each in found] == [
        (each["id"], each["x"], each["category"]) for each in expected
    ]


def test_a_number_with_a_line_feed_beside_it_is_a_number() -> None:
    content, own = b'id,category,value\n1,a,"12 "\n2,b,5\n', b'id,category,value\n1,a,"12\n"\n2,b,5\n'
    chunk = Chunk("a", 1, 0, content, {}, final=True, head=content, own=own)
    lines = cut_lines(content, at_file_start=True, record_bytes_max=1000)
    objects = DelimitedReader(PLAIN, record_bytes_max=1000).read(chunk, lines)
    assert (objects.rejections, objects.blank_count) == ([], 1)
    assert [msgspec.json.decode(line)["value"] for line in objects.content.splitlines()] == [12, 5]


def test_an_unclosed_quote_takes_no_more_than_a_record_may_have() -> None:
    cutter = ContentCutter(50, quoted_lines_path(Dialect(), 50))
    content = b'1,"open\n' + b"2,b,2\n" * 20 + b'3,"c\nc",3\n'
    cutter.feed(content)
    cutter.end()
    cuts = []
    while cut := cutter.cut(1 << 10):
        cuts.append(cut)
    assert [cut.oversized_bytes > 0 for cut in cuts] == [True, False]
    assert cuts[1].content.count(b"\n") >= 10
    assert cuts[1].content.endswith(b'2,b,2\n3,"c c",3\n')
    assert sum(len(cut.content) + cut.oversized_bytes for cut in cuts) == len(content)


@pytest.mark.parametrize("start", [b"\n", b"\r\n", b"#x\n\n"])
def test_an_empty_line_for_a_header_makes_each_line_bad(start: bytes) -> None:
    columns = decode(start + b"id,category,value\n1,a,2\n", Dialect(types={"value": "number"}, comment="#"))
    assert columns.blank_count == start.count(b"\n")
    assert {reason for _, _, reason in reasons(columns)} == {"the header line has a duplicate or empty name: set csv_columns"}
    assert len(columns.rejections) == 2


@pytest.mark.parametrize("content", [b"#x", b"#x\n#y", b"#x\n", b"\xef\xbb\xbf#x"])
def test_a_file_that_is_only_comments_has_no_records(content: bytes) -> None:
    columns = decode(content, Dialect(comment="#"))
    assert (columns.record_count, columns.rejections) == (columns.blank_count, [])


def test_a_file_with_fewer_lines_than_are_skipped_has_no_records() -> None:
    columns = decode(b"Report\nof May", Dialect(skip_lines=3))
    assert (columns.record_count, columns.blank_count, columns.rejections) == (2, 2, [])


def test_a_file_whose_line_ends_are_carriage_returns_is_not_skipped_as_one_line() -> None:
    columns = decode(b"Report\rid,category,value\r1,a,2\r", Dialect(skip_lines=1))
    assert reasons(columns) == [(0, "", NO_LINE_FEED)]


def quoted_lines(content: bytes, dialect: Dialect, sizes: list[int], record_bytes_max: int) -> bytes:
    """The content as lines, if it comes in blocks of these sizes, again and again."""
    cutter, made, own, place = QuotedLineCutter(quoted_lines_path(dialect, record_bytes_max)), b"", b"", 0
    for size in cycle(sizes):
        pieces = b"".join(cutter.feed(content[place : place + size]) if place < len(content) else cutter.finish())
        made, own = made + pieces, own + (cutter.take_own() or pieces)
        if place >= len(content):
            assert own == content
            return made
        place += size
    raise AssertionError("there are sizes")


@given(
    content=st.lists(st.sampled_from(["a", ",", '"', '""', "\n", "\r\n", "§", "#", "bcd", "\ufeff"]), max_size=40).map("".join),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    limit=st.integers(1, 30),
    comment=st.sampled_from(["", "#", "§"]),
    skip_lines=st.integers(0, 2),
)
@example('"""\n', [1], 3, "", 0)
@example('\ufeff"a\nb"\n', [1], 30, "", 0)
def test_where_blocks_end_makes_no_difference_to_the_lines(
    content: str, sizes: list[int], limit: int, comment: str, skip_lines: int
) -> None:
    dialect = Dialect(comment=comment, skip_lines=skip_lines)
    encoded = content.encode()
    made = quoted_lines(encoded, dialect, sizes, limit)
    assert made == quoted_lines(encoded, dialect, [1000], limit)
    assert made == lines_by_character(content, dialect, limit)


def lines_by_character(content: str, dialect: Dialect, limit: int) -> bytes:
    """An independent model: character by character."""
    made, length, is_whole = "", 0, False
    before, is_quoted = "\n", False
    for number, line in enumerate(content.removeprefix("\ufeff").splitlines(keepends=True)):
        if not is_quoted:
            length, before = 0, "\n"
            is_whole = number < dialect.skip_lines or bool(dialect.comment and line.startswith(dialect.comment))
        for character in line:
            is_whole = is_whole or length >= limit
            is_quoted = is_quoted and not (is_whole and character == "\n")
            made += " " if is_quoted and character == "\n" else character
            if character == '"':
                # A doubled quote closes the cell and opens it again.
                is_quoted, before = (False, "closed") if is_quoted else (before in ("\n", ",", "closed"), '"')
            else:
                before = character
            length += len(character.encode())
    return (content[: content.startswith("\ufeff")] + made).encode()


def test_a_quote_in_a_comment_or_in_a_skipped_line_opens_no_cell() -> None:
    content = b'Report of "May\n# columns: id,"v in EUR\nid,v\n1,2\n#,"\n3,"x\ny"\n'
    made = quoted_lines(content, Dialect(comment="#", skip_lines=1), [1000], 1000)
    assert made == content.replace(b"x\ny", b"x y")


@pytest.mark.parametrize("start", [b"Report\rof May\n", b"# a\rb\n#\n", b"#\n# a\rb\r\n"])
@pytest.mark.parametrize("columns", [(), ("id", "category", "value")])
def test_a_carriage_return_before_the_header_is_blank_however_the_file_is_cut(start: bytes, columns: tuple[str, ...]) -> None:
    content = start + b"id,category,value\n1,a,2\n"
    dialect = Dialect(types={"value": "number"}, columns=columns, skip_lines=1, comment="#")
    for cut in range(content.count(b"\n") + 1):
        offset = len(b"".join(content.split(b"\n")[:cut])) + cut
        parts = (
            decode(content[:offset], dialect, head=content[:offset]),
            decode(content[offset:], dialect, offset=offset, head=content),
        )
        assert [each.rejections for each in parts] == [[], []]
        assert sum(each.blank_count for each in parts) == content.count(b"\n") - 1


def test_lines_before_the_header_that_are_longer_than_the_known_start_hide_it_and_that_is_said() -> None:
    comments = b"# a\rb\n" * 700
    known = comments[:HEAD_BYTES_MIN]
    assert len(comments) > HEAD_BYTES_MIN
    columns = decode(comments + b"id,category,value\n1,a,2\n", Dialect(comment="#"), head=known, record_bytes_max=HEAD_BYTES_MIN)
    assert reasons(columns) == [(700, "", LATE_HEADER), (701, "", LATE_HEADER)]
    rest = decode(b"1,a,2\n", Dialect(comment="#"), offset=5000, head=known, record_bytes_max=HEAD_BYTES_MIN)
    assert reasons(rest) == [(0, "", LATE_HEADER)]
    late = decode(
        b"#\n" + b"a" * 4095 + b"\n1\n", Dialect(comment="#"), head=b"#\n" + b"a" * 4094, record_bytes_max=HEAD_BYTES_MIN
    )
    assert reasons(late) == [(2, "", LATE_HEADER)]


def test_a_mark_of_comments_that_the_encoding_does_not_have_is_a_fault() -> None:
    keys = {"path": ConfiguredPath("a.csv"), "format": "csv", "csv_comment": "→"}
    assert FileSourceOptions.model_validate(keys).csv_comment == "→"
    with pytest.raises(ValueError, match="csv_comment must be written in csv_encoding"):
        FileSourceOptions.model_validate({**keys, "csv_encoding": "latin-1"})
