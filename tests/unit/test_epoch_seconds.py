"""Epoch seconds with fractions, read by their digits: on every way from a record to an instant, and back to text.

The model splits the digits at the point and pads them; no number is a double there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from event_processor import load, run
from event_processor.columns.number_texts import written_number
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import EventOptions
from event_processor.kernels.lines import KERNELS, LineKernels
from event_processor.model.event import Chunk
from event_processor.records.json_lines.format import JsonLinesFormat
from event_processor.records.writing.rows import TimestampSpelling

READER = TimestampReader("UTC")
MS_OF_2024 = [f"1704067200.{ms:03d}" for ms in range(1000)]


def instant(text: str) -> int:
    """The nanoseconds of a decimal text without an exponent, to the nearest, ties to even."""
    sign = -1 if text.startswith("-") else 1
    whole, _, fraction = text.removeprefix("-").partition(".")
    digits = int(whole + fraction[:9].ljust(9, "0"))
    rest = fraction[9:].rstrip("0")
    is_up = rest > "5" or (rest == "5" and digits % 2 == 1)
    return sign * (digits + is_up)


def texts(count: int) -> list[str]:
    """Texts as programs write them, and with more digits than a double keeps."""
    rnd = random.Random(20)
    found = []
    for _ in range(count):
        whole = rnd.choice(
            [rnd.randrange(10), rnd.randrange(10**9), rnd.randrange(15 * 10**8, 2 * 10**9), rnd.randrange(9 * 10**9)]
        )
        digits = rnd.choice([1, 2, 3, 3, 6, 6, 7, 9, 10, 25])
        found.append(f"{rnd.choice(['', '', '', '-'])}{whole}.{rnd.randrange(10**digits):0{digits}d}")
    return found


ALL = [*MS_OF_2024, *texts(4000), "1704067200.00000000050000000001", "1704067200.0000000005", "1704067200.0000000015"]


def test_numbers_are_read_where_they_stand_by_their_digits() -> None:
    content = ",".join(ALL).encode()
    ends = np.cumsum([len(text) + 1 for text in ALL]) - 1
    begins = ends - np.array([len(text) for text in ALL])
    ns, bad = READER.read_numbers(content, begins.astype(np.int64), ends.astype(np.int64))
    assert not bad.any()
    assert ns.tolist() == [instant(text) for text in ALL]


def test_numbers_are_read_as_values_by_their_digits() -> None:
    values = [written_number(text) for text in ALL]
    assert [READER.read(value) for value in values] == [instant(text) for text in ALL]
    assert READER.read_all(values)[0].tolist() == [instant(text) for text in ALL]
    assert READER.read_all(list(map(float, MS_OF_2024)))[0].tolist() == [instant(text) for text in MS_OF_2024]


def spoilt(line: bytes) -> bytes:
    """The same record in a form that the kernels leave to the other readers: an escape in a key."""
    return line.replace(b'"id"', b'"\\u0069d"')


@pytest.mark.parametrize("kernels", [KERNELS, None], ids=["kernels", "without"])
@pytest.mark.parametrize("make", [lambda line: line, spoilt, lambda line: line.replace(b"}", b',"huge":1e400}')])
def test_every_reader_of_lines_reads_the_digits(kernels: LineKernels | None, make: object) -> None:
    """The kernels, the blocks, and the judge, who gets the lines that the blocks refuse."""
    assert callable(make)
    lines = [make(b'{"id":%d,"category":"c","value":1,"timestamp":%b}' % (n, text.encode())) for n, text in enumerate(ALL)]
    format_ = JsonLinesFormat(EventOptions(), record_bytes_max=1 << 20, timestamps_used=True, kernels=kernels)
    columns = format_.decode(Chunk("events", 1, 0, b"\n".join([*lines, b""]), {}))
    assert not len(columns.rejections)
    assert columns.timestamps_ns is not None
    assert columns.timestamps_ns.tolist() == [instant(text) for text in ALL]
    assert columns.timestamps is not None
    assert READER.read_all(columns.timestamps.to_list())[0].tolist() == [instant(text) for text in ALL]


@pytest.mark.parametrize("kernels", [KERNELS, None], ids=["kernels", "without"])
@pytest.mark.parametrize("make", [lambda line: line, spoilt], ids=["plain", "spoilt"])
def test_every_reader_of_lines_reads_the_configured_forms(kernels: LineKernels | None, make: object) -> None:
    """17 January 2024, 12:00:01 in Berlin is 11:00:01 UTC, 1,705,489,201 s after 1970. The last record is of no form, and rejected."""
    assert callable(make)
    wanted = [1_705_489_201 * 10**9, 1_705_489_201_250_000_000, 1_705_489_201_000_000_007]
    for form, texts in {
        "%d.%m.%Y %H:%M:%S.%f": [
            '"17.01.2024 12:00:01.0"',
            '"17.01.2024 12:00:01.25"',
            '"17.01.2024 12:00:01.000000007"',
            "1705489201",
        ],
        "epoch_ns": ["1705489201000000000", '"1705489201250000000"', "1705489201000000007", '"17.01.2024"'],
        "epoch_ms": ["1705489201000", "1705489201250", '"1705489201000.000007"', '"17.01.2024"'],
    }.items():
        lines = [make(b'{"id":%d,"category":"c","value":1,"timestamp":%b}' % (n, text.encode())) for n, text in enumerate(texts)]
        event = EventOptions(timestamp_format=form, timestamp_zone="Europe/Berlin")
        format_ = JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=True, kernels=kernels)
        columns = format_.decode(Chunk("events", 1, 0, b"\n".join([*lines, b""]), {}))
        assert columns.timestamps_ns is not None
        assert (form, columns.timestamps_ns.tolist()) == (form, wanted)
        assert [(each.row, each.field) for each in columns.rejections] == [(3, "timestamp")]


def test_one_field_may_be_timestamp_and_value() -> None:
    lines = [b'{"id":%d,"v":%b}' % (n, text.encode()) for n, text in enumerate(ALL)]
    event = EventOptions(category="", value="v", timestamp="v", value_missing="count_only")
    format_ = JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=True, kernels=None)
    columns = format_.decode(Chunk("events", 1, 0, b"\n".join([*lines, b""]), {}))
    assert columns.timestamps_ns is not None
    assert columns.values is not None
    assert columns.timestamps_ns.tolist() == [instant(text) for text in ALL]
    assert columns.values.tolist() == [float(text) + 0.0 for text in ALL]
    assert columns.has_value is None


def canonical_of(ns: int) -> str:
    """RFC 3339 of an instant of 1 January 2024 before one second has passed."""
    fraction = f"{ns - 1704067200 * 10**9:09d}".rstrip("0")
    return f"2024-01-01T00:00:00.{fraction}Z" if fraction else "2024-01-01T00:00:00Z"


def test_all_forms_of_output_agree() -> None:
    for text in MS_OF_2024:
        written = {
            form: TimestampSpelling(form, READER).respelt(text.encode()).decode() for form in ("rfc3339", "epoch_s", "epoch_ms")
        }
        assert written["rfc3339"] == f'"{canonical_of(instant(text))}"'
        assert written["epoch_ms"] == text.replace(".", "")
        assert written["epoch_s"] == text.rstrip("0").rstrip(".")
        for form, value in written.items():
            if form != "epoch_ms":
                assert READER.read_json(value.encode()) == instant(text)


CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[event]
category = ""
value = ""
[order]
by = "{order}"
{transform}
[aggregates.seconds]
measures = {{ events = "count" }}
[aggregates.seconds.window]
size_s = 1
closed = "right"
[sinks.rows]
input = "aggregates.seconds"
path = "rows.jsonl"
[sinks.ms]
input = "events"
path = "ms.jsonl"
columns = ["id", "timestamp"]
timestamp_format = "epoch_ms"
"""


@pytest.mark.parametrize("order", ["timestamp", "id"])
@pytest.mark.parametrize(
    "transform", ["", '[[transforms]]\nconvert = { timestamp = "timestamp" }\n', "[[transforms]]\nset = { a = 1 }\n"]
)
def test_order_windows_and_sinks_have_the_same_instants(tmp_path: Path, order: str, transform: str) -> None:
    """At a window's end, one billionth of a second decides: 1704067201.000000001 is in the next window, 1704067201.0 is not."""
    shown = ["1704067200.5", "1704067200.001", "1704067201.0", "1704067201.00000000001", "1704067201.000000001", "1704067202.9"]
    ids: Sequence[int] = range(len(shown))
    (tmp_path / "log.jsonl").write_text("".join(f'{{"id":{n},"timestamp":{text}}}\n' for n, text in zip(ids, shown, strict=True)))
    (tmp_path / "p.toml").write_text(CONFIGURATION.format(order=order, transform=transform))
    state = run(load(str(tmp_path / "p.toml")), drain=True)
    assert state.counts.accepted == len(shown)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["window_end"][-3:], row["events"]) for row in rows] == [("01Z", 4), ("02Z", 1), ("03Z", 1)]
    ms = [json.loads(line) for line in (tmp_path / "ms.jsonl").read_text().splitlines()]
    by_time = [1, 0, 2, 3, 4, 5] if order == "timestamp" else [*ids]
    assert [row["id"] for row in ms] == by_time
    assert [row["timestamp"] for row in ms] == [instant(shown[n]) // 10**6 for n in by_time]


def test_the_last_timestamp_of_a_category_has_the_digits_of_its_record(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"id":1,"timestamp":1704067200.123456789}\n')
    event = '[event]\ncategory = ""\nvalue = ""\n'
    (tmp_path / "p.toml").write_text(f'[sources.log]\npath = "log.jsonl"\n{event}')
    state = run(load(str(tmp_path / "p.toml")), drain=True)
    (total,) = state.categories.values()
    assert total.last_timestamp == "2024-01-01T00:00:00.123456789Z"
