"""The kernels that read lines: what they take on, numbers to the last bit, what they remember, and nothing behind the end."""

from __future__ import annotations

import ctypes
import json
import random
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.configuration.configuration import EventOptions
from event_processor.kernels import lines as native_lines
from event_processor.kernels.lines import KERNELS
from event_processor.model.event import VALUE_MAGNITUDE_END, Chunk
from event_processor.records.json_lines import lines as lines_module
from event_processor.records.json_lines.event_columns import EventColumns
from event_processor.records.json_lines.format import JsonLinesFormat
from event_processor.records.json_lines.kernel_reader import WalkedReader
from event_processor.records.json_lines.lines import Lines, cut_lines
from support.json_lines_cases import ALPHABET

if KERNELS is None:
    pytest.skip("the kernels are not compiled", allow_module_level=True)

FIELDS = {"id": "a", "category": "c", "value": 1.5}


def read(content: bytes, event: EventOptions | None = None) -> EventColumns | None:
    assert KERNELS is not None
    reader = WalkedReader(KERNELS, event or EventOptions(), None)
    return reader.read(cut_lines(content, at_file_start=False, record_bytes_max=1 << 20))[0]


def values_of(texts: list[str]) -> dict[int, float]:
    """The value that was read of each line, by its row."""
    found = read("\n".join(f'{{"id":1,"category":"c","value":{text}}}' for text in texts).encode())
    if found is None:
        return {}
    assert found.values is not None
    return dict(zip(found.rows.tolist(), found.values.tolist(), strict=True))


EXTRAS = [
    "1", "-0.5e-7", '"x"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"é😀\x7f"', "true", "false", "null", "[]", "{}", "[ ]", '{ "a" : [ 1 , 2 ] }',
    '[[[{"id":[{"value":{}}]}]]]', '{"id":1,"id":2,"category":[],"timestamp":{}}', "[" * 98 + "]" * 98, '{"":""}', "12345678901234567890123456789",
]  # fmt: skip


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("space", ["", " ", "\t \r"])
def test_other_fields_may_hold_any_json_wherever_they_stand(extra: str, place: int, space: str) -> None:
    members = ['"id":"a"', '"category":"c"', '"value":1.5', '"timestamp":"t"']
    members.insert(place, f'"other"{space}:{space}{extra}')
    found = read((f"{space}{{{space}" + f"{space},{space}".join(members) + f"{space}}}{space}").encode())
    assert found is not None
    assert found.rows.tolist() == [0]


@pytest.mark.parametrize("line", [
    b"", b"{", b"{}", b"[]", b"x", b"{}}", b'{"id":"a","category":"c","value":1.5} x', b'{"id":"a","category":"c","value":1.5,}', b'{"id":"a","category":"c","value":1.5',
    b'{"id":"a","category":"c","value":1.5,"x":[1,]}', b'{"id":"a","category":"c","value":1.5,"x":{"a"}}', b'{"id":"a","category":"c","value":1.5,"x":{"a":}}',
    b'{"id":"a","category":"c","value":1.5,"x":[1}}', b'{"id":"a","category":"c","value":1.5,"x":tru}', b'{"id":"a","category":"c","value":1.5,"x":01}', b'{"id":"a","category":"c","value":1.5,"x":1.}',
    b'{"id":"a","category":"c","value":1.5,"x":"\\u0041"}', b'{"id":"a","category":"c","value":1.5,"x":"\\x"}', b'{"id":"a","category":"c","value":1.5,"x":"\x01"}', b'{"id":"a","category":"c","value":1.5,"x":"\\',
    b'{"id":"a","category":"c","value":1.5,"x":' + b"[" * 100 + b"]" * 100 + b"}", b'{"id":"a","category":"c","value":1.5,"\\u0069d":"b"}', b'{"id":"a","id":"b","category":"c","value":1.5}',
    b'{"id":"","category":"c","value":1.5}', b'{"id":"a","category":"","value":1.5}', b'{"id":"a","category":"c","value":"1.5"}', b'{"id":"a","category":7,"value":1.5}', b'{"id":1.5,"category":"c","value":1.5}',
    b'{"id":"a","category":"c","value":NaN}', b'{"id":"a","category":"c","value":-}', b'{"id":"a","category":"c"}', b'{"id":null,"category":"c","value":1}', b'{id:"a","category":"c","value":1}', b'{"id" "a","category":"c","value":1}',
    b'{"id":"a" "category":"c","value":1}', b'{"id":"\\n","category":"c","value":1}', b'{"id":"a","category":"c","value":1,"x":nul',
])  # fmt: skip
def test_what_is_no_event_or_needs_a_closer_look_is_left_to_others(line: bytes) -> None:
    assert read(line) is None


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ('{"id": 1, "category": "c", "a": {"b": 5}, "a.b": 7}', "a.b"),
        ('{"id": 1, "category": "c", "a.b": 7, "a": {"b": 5}}', "a.b"),
        ('{"id": 1, "category": "c", "a.b": {"x": 1}, "a": {"b": 5}}', "a.b"),
        ('{"id": 1, "category": "c", "a": {"b": {"c": 5}, "b.c": 7}}', "a.b.c"),
        ('{"id": 1, "category": "c", "a": {"b": {"c": 5}}, "a.b.c": "x"}', "a.b.c"),
    ],
)
def test_a_line_with_a_key_that_has_the_dots_of_a_name_is_left_to_others(record: str, name: str) -> None:
    assert read(record.encode(), EventOptions(value=name)) is None
    plain = read(record.replace('"a.b', '"z').replace('"b.c', '"z').encode(), EventOptions(value=name))
    assert plain is not None
    assert plain.values is not None
    assert plain.values.tolist() == [5.0]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
@example([5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -0.0, 1e22, 1e23, 9007199254740993.0])
def test_a_number_that_is_read_is_the_nearest_double(numbers: list[float]) -> None:
    texts = [repr(number) for number in numbers] + [f"{number:.17e}" for number in numbers]
    texts += [f"{number:.3f}" for number in numbers if abs(number) < 1e30]
    for row, value in values_of(texts).items():
        wanted = float(texts[row]) + 0.0
        assert struct.pack("<d", value) == struct.pack("<d", wanted), texts[row]
        assert abs(value) < VALUE_MAGNITUDE_END


def test_hard_numbers_are_the_nearest_double_or_left_to_others_and_ordinary_ones_are_read() -> None:
    chance = random.Random(3)
    texts = []
    for _ in range(20_000):
        digits = chance.randrange(1, 20)
        text = str(chance.randrange(10 ** (digits - 1), 10**digits))
        cut = chance.randrange(0, digits)
        texts.append(
            (f"{text[:cut] or '0'}.{text[cut:]}" if chance.random() < 0.7 else text)
            + chance.choice(["", "", "e7", "E-31", "e+44"])
        )
        double = struct.unpack("<d", struct.pack("<Q", chance.randrange(0x3800 << 48, 0x4700 << 48)))[0]
        half = (int(double * 2**30) * 2 + 1) if 1 < double < 2**20 else 0
        texts.append(str(half) if half else repr(double))
    found = values_of(texts)
    for row, value in found.items():
        assert value.hex() == float(texts[row]).hex(), texts[row]
    assert len(found) > 0.95 * len(texts)


@pytest.mark.parametrize("number", [0, 1, -1, 7 * 10**17, 2**63 - 1, -(2**63) + 1, 2**63, -(2**63), 2**64, 10**19, 10**30])
def test_an_id_that_is_read_is_the_integer(number: int) -> None:
    found = read(json.dumps(FIELDS | {"id": number}).encode())
    is_left = not -(2**63) < number < 2**63
    assert (found is None) == is_left
    if found is not None:
        assert found.ids is not None
        assert found.ids.to_list() == [number]


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=60) | st.lists(st.sampled_from(list(ALPHABET)), max_size=80).map(bytes), begin=st.integers(0, 3)
)
@example(content=b"\r\n\r\r\n\n", begin=0)
def test_lines_are_cut_as_numpy_cuts_them(content: bytes, begin: int) -> None:
    assert KERNELS is not None
    begin = min(begin, len(content.split(b"\n")[0]))
    if begin == len(content):
        return
    one, other = lines_module._cut(content, begin), KERNELS.cut_lines(content, begin)
    assert [each.tolist() for each in one] == [each.tolist() for each in other]


def test_categories_beyond_what_is_remembered_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KERNELS is not None
    monkeypatch.setattr(native_lines, "_SLOTS_FEW", 64)
    monkeypatch.setattr(native_lines, "_SLOTS_MAX", 512)
    monkeypatch.setattr(native_lines, "_TEXT_BYTES_MAX", 8000)
    reader = WalkedReader(KERNELS, EventOptions(), None)
    chance = random.Random(5)
    left = 0
    for turn in range(60):
        # Some are the beginning of others, and with so small a table they lead to the same places.
        wanted = [
            "x" * chance.randrange(1, 40) if chance.random() < 0.5 else f"{chance.randrange(15 + turn)}"
            for _ in range(chance.randrange(1, 30))
        ]
        lines = [{"id": f"{turn}-{n}", "category": name, "value": n, "timestamp": f"{n:04}"} for n, name in enumerate(wanted)]
        content = b"\n".join(json.dumps(line).encode() for line in lines)
        found, _ = reader.read(cut_lines(content, at_file_start=False, record_bytes_max=1000))
        assert found is not None
        assert found.categories is not None
        names = found.categories.names
        rows = found.rows.tolist()
        bearers = [wanted[row] for row in rows]
        assert found.ids is not None
        assert found.ids.to_list() == [f"{turn}-{row}" for row in rows]
        assert found.values is not None
        assert found.values.tolist() == rows
        assert found.timestamps is not None
        assert found.timestamps.to_list() == [f"{row:04}" for row in rows]
        assert [names[code] for code in found.categories.codes.tolist()] == bearers
        assert sorted(names) == sorted(set(bearers))
        left += len(wanted) - len(bearers)
    assert 0 < left < 200, "those that it had no room to remember"
    found, rejections = reader.read(cut_lines(content * 400, at_file_start=False, record_bytes_max=1000))
    assert (found, list(rejections)) == (None, [])


def test_nothing_is_read_behind_the_end_of_the_content() -> None:
    """Behind the last byte stands what would make an event of it; and then a page that may not be read."""
    assert KERNELS is not None
    page = 4096
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    place = library.mmap(None, 2 * page, 3, 0x22, -1, 0)
    assert library.mprotect(place + page, page, 0) == 0
    whole = b'{"other":[1,{"a":"b"}],"id":"abcdefghi","category":"cccccccccc","value":-12.5e3,"timestamp":"2026-01-01T00:00:00Z"}'
    reader = WalkedReader(KERNELS, EventOptions(), None)
    for length in range(1, len(whole) + 1):
        target = (ctypes.c_char * length).from_address(place + page - length)
        target.raw = whole[:length]
        content = np.ctypeslib.as_array((ctypes.c_uint8 * length).from_address(place + page - length))
        starts, ends = KERNELS.cut_lines(memoryview(content), 0)  # type: ignore[arg-type]
        cut = Lines(memoryview(content), starts, ends, np.ones(1, np.bool_))  # type: ignore[arg-type]
        assert (reader.read(cut)[0] is None) == (length < len(whole))
    library.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    library.munmap(place, 2 * page)


def test_a_chunk_of_no_lines_gives_nothing() -> None:
    assert read(b"") is None


@pytest.mark.parametrize("line", [
    b'{"id":"a","category":"c","value":NaN}', b'{"id":"a","category":"c","value":NaN,"x":"\0"}', b'{"id":"a","category":"c","value":NaN,"x":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"id":"a","category":"c","value":NaN,"x":' + b"[]," * 200 + b"1}", b'{"category":"c","value":NaN}', b'{"id":[],"category":"c","value":NaN', b'{"value":"5"}', b'{"category":"c","value":"5"}', b"{}",
    b'{"id":"a","value":"5"}', b'{"id":"a","category":"c","value":"5"}', b'{"id":"a","category":"c","value":""}', b'{"id":"a","category":"c"}', b'{"id":"a"}', b'{"id":"","category":"c","value":"x"}',
    b'{"id":"a","category":7,"value":"5"}', b'{"id":"a","category":"c","value":"5"} x', b'{"id":"a","category":"c","value":"' + "é".encode() * 90 + b'"}', b'{"id":null,"category":"c","value":"5"}',
])  # fmt: skip
@pytest.mark.parametrize("missing", ["reject", "count_only"])
def test_what_is_wrong_is_said_in_the_judges_own_words(line: bytes, missing: str) -> None:
    event = EventOptions.model_validate({"value_missing": missing})
    told = []
    for kernels in (None, KERNELS):
        reader = JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=False, kernels=kernels)
        columns = reader.decode(Chunk("events", 1, 7, b'{"id":"x","category":"c","value":1}\n' + line + b"\n", {}))
        told.append((columns.rows.tolist(), columns.rejections))
    assert told[0] == told[1]


TORN = [
    '{"id":"a","category":"c","value":1,"timestamp":"2026-01-01T00:00:00Z"}',
    ' \t{"ø":"😀","note":"é\\n\\"\\\\x","id" : "ab😀", "category":"cc","value":-1.5e3,"more":{"a":["b",{"c":"d"}]}}',
    '{"other":"\\u00e9","id":7,"category":"c","value":"n/a","x":"y\\z","id":"b"}',
    '{"id":"a","value":NaN,"category":"c"}',
    '{"id":"a","x":'
    + "[" * 40
    + "1"
    + "]" * 40
    + ',"y":"{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{"}',
    '{"id":"a","category":"c\x00d","value":1}',
    '{"id":"","category":"c","value":"x"}',
    '{"idx":"a","categories":"c","a":{"id":"b","value":1},"value":true}',
]


@pytest.mark.parametrize("line", TORN)
@pytest.mark.parametrize(
    "event", [EventOptions(), EventOptions.model_validate({"id": "a.id", "value_missing": "count_only"})], ids=str
)
def test_a_line_that_was_torn_anywhere_is_refused_in_the_judges_own_words(line: str, event: EventOptions) -> None:
    torn = [line.encode()[:end] for end in range(1, len(line.encode()) + 1)]
    for content in (b"\r\n".join(torn), b"\n".join(torn)):
        by_kernel, by_judge = (
            JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=False, kernels=kernels).decode(
                Chunk("events", 1, 0, content, {})
            )
            for kernels in (KERNELS, None)
        )
        assert by_kernel.rejections == by_judge.rejections
        assert by_kernel.rows.tolist() == by_judge.rows.tolist()


@given(st.lists(st.sampled_from([
    '"n/a"', '"other"', '"n/a "', '"é"', '"value"', "NaN", "1", "1", '"x', '"', "null", "", "[]",
]), max_size=12), st.sampled_from(["reject", "count_only"]))  # fmt: skip
@example(['"n/a"', '"other"', '"n/a"', '"x', "NaN", "1", '"e'], "reject")
def test_lines_of_many_faults_are_each_refused_in_their_own_words(values: list[str], missing: str) -> None:
    event = EventOptions.model_validate({"value_missing": missing})
    names = ["valve" if value == "null" else "value" for value in values]
    lines = [
        f'{{"id":"{"é" * row}","category":"c","{name}":{value}' + ("" if value in {'"x', '"'} else "}")
        for row, (name, value) in enumerate(zip(names, values, strict=True), start=1)
    ]
    by_kernel, by_judge = (
        JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=False, kernels=kernels).decode(
            Chunk("events", 1, 7, "\n".join(lines).encode(), {})
        )
        for kernels in (KERNELS, None)
    )
    assert by_kernel.rejections == by_judge.rejections
    assert by_kernel.rows.tolist() == by_judge.rows.tolist()


def test_a_text_without_an_end_is_seen_by_the_kernel_wherever_it_stands() -> None:
    assert KERNELS is not None
    reader = WalkedReader(KERNELS, EventOptions(), None)
    lines = [
        '{"id":"a',
        '{"id":"a","category":"',
        '{"id":1,"value":"x',
        '{"x":"y',
        '{"x":"\\n',
        '{"i',
        '{"id":"a","é":"ü',
        '{"a":[1],"b',
        '{"id":"a\\n',
        '{"category":"',
    ]
    left = [
        '{"x":["y',
        '{"x":{"y',
        '{"x":"\\',
        '{"x":"\\u00',
        '{"x":y,"z',
        '{"id":1,"id":"x',
        "[" * 101 + '"x',
        '"x',
        '{"x":"\x01',
    ]
    content = "\n".join([*lines, *left]).encode()
    _, rejections = reader.read(cut_lines(content, at_file_start=False, record_bytes_max=1000))
    assert [rejection.row for rejection in rejections] == list(range(len(lines)))
    assert rejections[6].reason == "not JSON: unterminated string starting at (character 15)"
