"""Lines that are spelt alike, read by columns, against the line-by-line model: chunks of one form with anything in between."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.config import EventOptions
from event_processor.event import Chunk
from event_processor.formats.event_columns import EventColumns
from event_processor.formats.jsonl import JsonLinesFormat
from event_processor.formats.lines import Lines
from event_processor.formats.uniform import AlikeReader
from support.columns import categories_of, ids_of, timestamps_of
from support.json_lines_cases import ALPHABET, NUMBERS, SHAPES, STRINGS, WAYS, build, chunk, pieces, seen, typed
from support.json_lines_model import outcomes

LINES = 70
"""Enough for a chunk to be read by columns."""

PLAIN_NUMBERS = [
    "0",
    "7",
    "-3",
    "12.5",
    "0.10",
    "999999999999999",
    "-0.0",
    "123456789.123456",
    "1e3",
    "0.1234567890123456789",
    "5E-2",
]
TEXTS = ["", "a", "é😀", "x" * 17, "q" * 300, "n" * 1100, " ", "{[", "\x7f", "12", "true"]

FORMS: list[str] = [
    '{"id":"%i","category":"%c","value":%v,"timestamp":"%t"}',
    '{ "timestamp" : %n , "value" : %v , "category" : "%c" , "id" : %d }\r',
    '{"noise":{"deep":[%n,"%s",{"id":"%s"}],"flag":true},"id":%d,"category":"%c","value":%v,"timestamp":null,"payload":{"size":%v,"deep":{"size":%n},"at":"%t"}}',
    '{"id":"%i","category":"%c","value":%v,"value":%v}',
    '{"id":"%i","timestamp":[1],"category":"%c","value":%v}',
    '{"ключ":"%s","id":"%i","category":"%c","value":%v,"payload":{"size":%d}}',
]  # fmt: skip


@st.composite
def alike(draw: st.DrawFn) -> bytes:
    """Lines of one form, their values drawn by a seeded generator; a few lines of any kind between; a few bytes changed."""
    form = draw(st.sampled_from(FORMS))
    chance = random.Random(draw(st.integers(0, 1 << 16)))
    odd_share = draw(st.sampled_from([0.0, 0.0, 0.02, 0.2]))
    slots: dict[str, Callable[[], str]] = {
        "%i": lambda: chance.choice(TEXTS) if chance.random() < odd_share else f"evt-{chance.randrange(100_000)}",
        "%d": lambda: chance.choice(NUMBERS) if chance.random() < odd_share else str(chance.randrange(-99, 10**6)),
        "%c": lambda: chance.choice(TEXTS) if chance.random() < odd_share else f"category-{chance.randrange(12)}",
        "%v": lambda: (
            chance.choice(NUMBERS + PLAIN_NUMBERS) if chance.random() < odd_share else f"{chance.uniform(-99, 999):.2f}"
        ),
        "%n": lambda: chance.choice(NUMBERS + PLAIN_NUMBERS) if chance.random() < odd_share else repr(chance.random()),
        "%s": lambda: chance.choice(TEXTS),
        "%t": lambda: chance.choice(TEXTS) if chance.random() < odd_share else f"2026-01-{chance.randrange(1, 29):02d}T00:00:00Z",
    }
    lines = []
    for _ in range(LINES):
        text = form
        for slot, make in slots.items():
            while slot in text:
                text = text.replace(slot, make(), 1)
        lines.append(text.encode())
    for at, line in draw(st.lists(st.tuples(st.integers(0, LINES - 1), pieces), max_size=3)):
        lines[at] = line
    if draw(st.booleans()):
        odd = draw(st.sampled_from(STRINGS)).encode("utf-8", "surrogatepass")
        at = draw(st.integers(0, LINES - 1))
        lines[at] = lines[at].replace(b'"category-1', odd[:-1] if odd.endswith(b'"') else odd, 1)
    content = b"\n".join(lines) + draw(st.sampled_from([b"", b"\n", b"\r\n"]))
    for _ in range(draw(st.integers(0, 3))):
        at, length = draw(st.integers(0, len(content))), draw(st.integers(0, 3))
        content = content[:at] + bytes(draw(st.lists(st.sampled_from(list(ALPHABET)), max_size=2))) + content[at + length :]
    return content


BOTH = {(way, name): build(shape, kernels) for way, kernels in WAYS.items() for name, shape in SHAPES.items()}
FORMATS = {name: BOTH["numpy", name] for name in SHAPES}


@settings(max_examples=300, deadline=None)
@given(way=st.sampled_from(list(WAYS)), name=st.sampled_from(list(SHAPES)), content=alike(), offset=st.sampled_from([0, 7]))
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":"a","category":"c","value":1}\n' * 70 + b'{"id":"a","category":"c","value":1',
    offset=0,
)
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":"a","category":"c","value":1}\n' * 70 + b'{"id":"a","category":"c","value":1}',
    offset=0,
)
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":"a","category":"c","value":1}\n' * 70 + b'{"id":"a","category":"c","value":1} {}\n',
    offset=0,
)
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":"a","category":"c","value":1}\n' * 70 + b'{"id":"a","category":"c","category":"d","value":1}\n',
    offset=0,
)
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":"a","category":"c","value":1}\n' * 70 + b'{"id":"a","category":"c\\","value":1}\n',
    offset=0,
)
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":"a","category":"c","value":1}\n' * 70 + b'{"id":"a","category":"c","value":}\n',
    offset=0,
)
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":"a","category":"c","value":1}\n' * 70 + b'{"id":"\tb","category":"c","value":1}\n',
    offset=0,
)
def test_lines_spelt_alike_give_what_the_model_gives(way: str, name: str, content: bytes, offset: int) -> None:
    columns = BOTH[way, name].decode(chunk(content, offset))
    assert typed(seen(columns)) == typed(outcomes(content, SHAPES[name], offset=offset))


def _ordinary() -> list[tuple[str, str]]:
    """The shapes and forms of which every line can be read by columns."""
    twice, array, null, deep = '"value":%v,"value"', '"timestamp":[', '"timestamp":null', "noise"
    unread = {
        "plain": (twice, array, null),
        "position": (twice, array, null, deep, '"timestamp" :', '"timestamp":'),
        "counts": (twice,),
    }
    return [(name, form) for name, parts in unread.items() for form in FORMS if not any(part in form for part in parts)]


@pytest.mark.parametrize(("name", "form"), _ordinary())
def test_what_is_spelt_alike_is_read_by_columns(name: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else every test here would hold for the other ways alone: the decoder of blocks is taken away, and nothing is missing."""
    reader = FORMATS[name]
    values = {"%i": "evt-00", "%d": "123", "%c": "a", "%v": "1.25", "%n": "0.5", "%s": "x", "%t": "2026-01-01T00:00:00Z"}
    for slot, value in values.items():
        form = form.replace(slot, value)
    monkeypatch.setattr(JsonLinesFormat, "_read_left", lambda *_: pytest.fail("a line was left to the others"))
    columns = reader.decode(chunk((form.encode() + b"\n") * LINES, 7))
    assert len(columns.rows) == LINES


def read_by_columns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The records that are read so from here on."""
    found: list[int] = []
    read = AlikeReader.read

    def overheard(reader: AlikeReader, lines: Lines) -> EventColumns | None:
        columns = read(reader, lines)
        found.extend([] if columns is None else columns.rows.tolist())
        return columns

    monkeypatch.setattr(AlikeReader, "read", overheard)
    return found


@pytest.mark.parametrize("odd_count", [1, 3, 10])
def test_a_few_lines_of_other_widths_are_read_by_columns_too(odd_count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what reads the others would take part for each chunk, and the two be joined."""
    lines = ['{"id":"evt-1","category":"c","value":1.5}'] * 2000
    for number in range(odd_count):
        text = "x" * (number % 17 + 2)
        lines[50 * number + 30] = f'{{"id":"{text}","category":"{text[:9]}","value":{10**number}}}'
        lines[50 * number + 31] = f'{{"id":"{text}","category":"c","value":-1.25}}'
    found = read_by_columns(monkeypatch)
    columns = FORMATS["plain"].decode(chunk("\n".join(lines).encode() + b"\n", 7))
    assert found == list(range(2000))
    assert columns.rows.tolist() == found


@pytest.mark.parametrize("lines_count", [400, 5000])
def test_lines_of_many_widths_are_read_by_columns_and_faults_among_them_do_not_matter(
    lines_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(lines_count)
    wide: Callable[[str, int], str] = lambda text, most: (text * most)[: chance.randrange(1, most)]  # noqa: E731
    lines = [
        f'{{"id":"{wide("i", 9)}","category":"{wide("c", 7)}","value":{chance.choice(["1", "-2.5", "30.25", "400"])}}}'
        for _ in range(lines_count)
    ]
    faults = set(chance.sample(range(20, lines_count), lines_count // 50))
    for place in faults:
        lines[place] = lines[place][:-3] + chance.choice(["", "x}", '"}'])
    found = read_by_columns(monkeypatch)
    columns = FORMATS["plain"].decode(chunk("\n".join(lines).encode() + b"\n", 7))
    assert {one.row for one in columns.rejections} == faults
    # Of those left over, it may be that a fault stands before them too often.
    assert len(found) >= lines_count - len(faults) - (24 if lines_count < 5000 else 0)


@pytest.mark.parametrize("way", WAYS)
def test_timestamps_in_use_are_read_by_columns_too(way: str) -> None:
    event = EventOptions()
    reader = JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=True, kernels=WAYS[way])
    lines = [b'{"id":%d,"category":"c","value":1,"timestamp":"2026-01-01T00:00:%02dZ"}' % (n, n % 60) for n in range(LINES)]
    lines[7] = lines[7].replace(b"2026", b"20x6")
    columns = reader.decode(Chunk("events", 1, 0, b"\n".join(lines) + b"\n", {}))
    assert ids_of(columns) == [n for n in range(LINES) if n != 7]
    assert columns.timestamps_ns is not None
    assert columns.timestamps_ns[:3].tolist() == [1767225600 * 10**9 + n * 10**9 for n in range(3)]
    assert [one.row for one in columns.rejections] == [7]


@pytest.mark.parametrize("way", WAYS)
def test_ids_of_both_ways_stand_in_the_order_of_their_records(way: str) -> None:
    lines = [b'{"id":"e%d","category":"c%d","value":%d,"timestamp":%d}' % (n, n % 3, n, n) for n in range(LINES)]
    lines[5] = b'{"category":"\\u0063","id":"\\u00e9","value":-1}'
    lines[40] = b'{"category":"other","id":17,"value":-2,"timestamp":"x"}'
    columns = BOTH[way, "plain"].decode(chunk(b"\n".join(lines)))
    ids: list[object] = [f"e{n}" for n in range(LINES)]
    categories = [f"c{n % 3}" for n in range(LINES)]
    ids[5], ids[40], categories[5], categories[40] = "é", 17, "c", "other"
    timestamps: list[object] = list(range(LINES))
    timestamps[5], timestamps[40] = None, "x"
    assert (ids_of(columns), categories_of(columns), timestamps_of(columns)) == (ids, categories, timestamps)


NEXT_LINES = [b"\xff", b"", b"\r", b"x" * 2000, b"{}", b'"', b"[1]", b'{"id":"a","category":"c","value":1}{}', b'{"id":"a","category":"","value":1}', b'{"id":"","category":"c","value":1}', b'{"id":"a","category":"c","value":1e999}', b'{"id":"a","category":"c","value":-}', b'{"id":7,"category":"c","value":1}']  # fmt: skip


@pytest.mark.parametrize("line", NEXT_LINES)
@pytest.mark.parametrize("kept", [0, 1, 20, 40])
def test_a_chunk_of_other_lines_behind_one_of_lines_spelt_alike_gives_what_the_model_gives(line: bytes, kept: int) -> None:
    """The reader remembers the template of the chunk before; `kept` of the lines still follow it."""
    reader = build(SHAPES["position" if len(line) > 1000 else "plain"])
    good = b'{"id":"a","category":"c","value":1}'
    reader.decode(chunk((good + b"\n") * LINES, 7))
    for lines in ([good] * kept + [line] * LINES, [line] * LINES + [good] * kept, [line, good] * kept + [line] * LINES):
        content = b"\n".join(lines)
        shape = SHAPES["position" if len(line) > 1000 else "plain"]
        found = seen(reader.decode(chunk(content, 7)))
        assert [one.kind for one in found] == [one.kind for one in outcomes(content, shape, offset=7)]
        if shape is SHAPES["plain"]:
            assert typed(found) == typed(outcomes(content, shape, offset=7))
