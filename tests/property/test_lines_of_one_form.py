"""Chunks of one form with odd lines in between, read in both ways, against the line-by-line model."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.configuration.configuration import EventOptions
from event_processor.model.event import Chunk
from event_processor.records.json_lines.format import JsonLinesFormat
from support.columns import categories_of, ids_of, timestamps_of
from support.json_lines_cases import ALPHABET, NUMBERS, SHAPES, STRINGS, WAYS, build, chunk, pieces, seen, typed
from support.json_lines_model import outcomes

LINES = 70

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
def test_lines_of_one_form_give_what_the_model_gives(way: str, name: str, content: bytes, offset: int) -> None:
    columns = BOTH[way, name].decode(chunk(content, offset))
    assert typed(seen(columns)) == typed(outcomes(content, SHAPES[name], offset=offset))


@pytest.mark.parametrize("way", WAYS)
def test_timestamps_in_use_are_read_in_both_ways(way: str) -> None:
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
def test_a_chunk_of_other_lines_after_one_of_one_form_gives_what_the_model_gives(line: bytes, kept: int) -> None:
    """The reader remembers spellings of the chunk before; `kept` of the lines still follow them."""
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
