"""The fast decoder against a line-by-line model written on the standard library, and against its own judge."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.records.json_lines.judge import EventFields, Judge
from support.columns import ids_of
from support.json_lines_cases import SHAPES, WAYS, build, chunk, contents, options, seen, typed
from support.json_lines_model import Expected, outcomes

FORMATS = {(way, name): build(shape, kernels) for way, kernels in WAYS.items() for name, shape in SHAPES.items()}
JUDGE = Judge(options(SHAPES["plain"]), record_bytes_max=1 << 20, timestamps=None)


@settings(max_examples=600, deadline=None)
@given(way=st.sampled_from(list(WAYS)), name=st.sampled_from(list(SHAPES)), content=contents(), offset=st.sampled_from([0, 7]))
@example(way=list(WAYS)[-1], name="plain", content=b'\xef\xbb\xbf{"id":1,"category":"c","value":1}\n', offset=0)
@example(
    way=list(WAYS)[-1], name="plain", content=b'{"id":1,"category":"c","value":1}{"id":2,"category":"c","value":1}\n', offset=0
)
@example(way=list(WAYS)[-1], name="plain", content=b'{"id":1,\n"category":"c","value":1}', offset=0)
@example(
    way=list(WAYS)[-1],
    name="plain",
    content=b'{"id":1,"category":"c","value":-0.0,"x":"\xff"}\n{"id":1,"category":"c","value":-0.0}',
    offset=0,
)
@example(way=list(WAYS)[-1], name="plain", content=b"", offset=0)
@example(way=list(WAYS)[-1], name="plain", content=b"\n", offset=0)
def test_the_decoder_gives_what_the_line_by_line_model_gives(way: str, name: str, content: bytes, offset: int) -> None:
    shape = SHAPES[name]
    columns = FORMATS[way, name].decode(chunk(content, offset))
    assert typed(seen(columns)) == typed(outcomes(content, shape, offset=offset))


@settings(max_examples=200, deadline=None)
@given(way=st.sampled_from(list(WAYS)), content=contents())
def test_the_fast_way_gives_what_the_judge_alone_gives(way: str, content: bytes) -> None:
    columns = FORMATS[way, "plain"].decode(chunk(content, 7))
    verdicts = [JUDGE.judge(columns.record(row)) for row in range(columns.record_count)]
    accepted = {row: verdict for row, verdict in enumerate(verdicts) if isinstance(verdict, EventFields)}
    assert list(accepted) == columns.rows.tolist()
    assert columns.values is not None
    assert [fields.ids[0] for fields in accepted.values()] == ids_of(columns)
    assert [(fields.value or 0.0).hex() for fields in accepted.values()] == [value.hex() for value in columns.values.tolist()]


@settings(max_examples=100, deadline=None)
@given(way=st.sampled_from(list(WAYS)), content=contents(), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_how_a_log_is_cut_into_chunks_changes_nothing(way: str, content: bytes, cuts: list[int]) -> None:
    lines = [line + b"\n" for line in content.split(b"\n")]
    whole = b"".join(lines)
    edges = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    found: list[Expected] = []
    offset = 0
    for begin, end in pairwise(edges):
        part = b"".join(lines[begin:end])
        found += seen(FORMATS[way, "plain"].decode(chunk(part, offset)))
        offset += len(part)
    assert typed(found) == typed(seen(FORMATS[way, "plain"].decode(chunk(whole))))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad_every", [1, 3, 50, 1000])
def test_a_long_chunk_with_bad_lines_among_good_ones_gives_what_the_model_gives(way: str, bad_every: int) -> None:
    chance = random.Random(bad_every)
    spoil: list[Callable[[bytes], bytes]] = [
        lambda line: line.replace(b"1.5", b"NaN"),
        lambda line: line.replace(b"1.5", b"1e999"),
        lambda line: line.replace(b"1.5", b'"5"'),
        lambda line: line.replace(b"1.5", b"1" + b"0" * 100),
        lambda line: line.replace(b'"c"', b'"\xff"'),
        lambda line: line.replace(b"}", b""),
        lambda line: line + line,
        lambda line: line.replace(b",", b",\n", 1),
        lambda line: b" \t",
        lambda line: line.replace(b'"c"', b'"\\ud800"'),
        lambda line: line.replace(b'"c"', b'"c","x":' + b"[" * 100 + b"]" * 100),
        lambda line: line.replace(b'"c"', b'"c","x":' + b"[" * 2000),
    ]  # fmt: skip
    lines = []
    for number in range(2500):
        line = b'{"id":%d,"category":"c","value":1.5,"note":"\xc3\xa9"}' % number
        lines.append(chance.choice(spoil)(line) if chance.randrange(bad_every) == 0 else line)
    content = b"\n".join(lines)
    assert typed(seen(FORMATS[way, "plain"].decode(chunk(content)))) == typed(outcomes(content, SHAPES["plain"]))
