"""The outbox in blocks, written and read by the kernels, against the way line by line: the same bytes, the same records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest

from event_processor.kernels import outbox as kernels
from event_processor.kernels.library import LIBRARY
from event_processor.kernels.outbox import read_lines, write_lines
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.record_blocks import RecordBlock
from event_processor.storage.outbox_blocks import block_of
from event_processor.storage.outbox_reader import require_follows

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="there are no kernels here")

CLOCK = b',"@now":"2026-01-01T00:00:00.000Z","@elapsed_ms":1.5,"chain":"'
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=12)
OBJECTS = st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(-9, 9), st.just("x" * 300)), max_size=4)
EVENT_PLACES = st.fixed_dictionaries(
    {
        "source": TEXTS,
        "generation": st.integers(0, 3),
        "offset": st.integers(0, 10**18 - 1),
        "line": st.integers(0, 10**9),
    }
)
PLACES = st.one_of(EVENT_PLACES, st.fixed_dictionaries({"aggregate": TEXTS, "end": TEXTS, "group": st.lists(TEXTS, max_size=2)}))
SPACES = st.text(" \t\r", max_size=2).map(str.encode)
RECORDS = st.lists(st.tuples(PLACES, OBJECTS, SPACES, SPACES), min_size=1, max_size=9)


def line_of(sequence: int, place: bytes, clock: bytes, chain: str, content: bytes) -> bytes:
    return b'{"sequence":%d,"place":%b%b%b","object":%b}\n' % (sequence, place, clock, chain.encode(), content)


def written_by_hand(records: list[tuple[Any, Any, bytes, bytes]], sequence: int, chain: str) -> tuple[bytes, list[bytes], bytes]:
    """The log's records, their places, and the lines of the outbox."""
    content, places, lines = b"", [], b""
    for place, value, before, after in records:
        sequence += 1
        encoded, text = msgspec.json.encode(place), msgspec.json.encode(value)
        content += before + text + after + b"\n"
        places.append(encoded)
        chain = xxh3_128_hexdigest(f"{chain}\n{sequence}\n".encode() + encoded + b"\n" + text)
        lines += line_of(sequence, encoded, CLOCK, chain, text)
    return content, places, lines


def decoded(line: bytes, sequence: int) -> OutboxRecord:
    record = msgspec.json.decode(line, type=OutboxRecord)
    if record.sequence != sequence:
        raise StateError("another sequence", hint="")
    return record


def read(lines: bytes, sequence: int, chain: str, count: int = 1_000) -> RecordBlock:
    return block_of(lines, sequence=sequence, count=count, chain=chain, decode=decoded, follow=require_follows)


def everything(block: RecordBlock) -> dict[str, Any]:
    """All that a block says, without how it says it."""
    whole = replace(block, content=block.content[block.begin : block.ends[-1]], begin=0)
    return {
        "records": [block.record(index) for index in range(len(block))],
        "sizes": [block.line_bytes(index) for index in range(len(block))],
        "objects": block.object_lines(),
        "counted": (block.clocks.counted(), block.places and block.places.sources.counted()),
        "clocks": [block.clocks.at(index) for index in range(len(block))],
        "places": block.places
        and [
            (block.places.sources.at(index), block.places.offsets[index], block.places.lines[index])
            for index in range(len(block))
        ],
        "span": (block.first, block.last, block.size_bytes, len(whole.content)),
    }


@settings(deadline=None)
@given(records=RECORDS, sequence=st.integers(0, 10**12), is_first=st.booleans(), bytes_max=st.integers(1, 2_000))
def test_the_lines_are_those_that_are_written_one_by_one(
    records: list[Any], sequence: int, is_first: bool, bytes_max: int
) -> None:
    chain = "" if is_first else "0123456789abcdef" * 2
    content, places, lines = written_by_hand(records, sequence, chain)
    pieces = list(write_lines(content, places, CLOCK, sequence=sequence, chain=chain, bytes_max=bytes_max))
    assert b"".join(piece.content for piece in pieces if piece is not None) == lines
    last = pieces[-1]
    assert last is not None
    assert (last.sequence, last.chain) == (
        sequence + len(records),
        decoded(lines.splitlines()[-1], sequence + len(records)).chain,
    )


def test_a_record_that_is_too_short_for_the_kernel_is_left_to_the_other_way() -> None:
    (only,) = write_lines(b"0\n", [b"{}"], CLOCK, sequence=0, chain="", bytes_max=100)
    assert only is None


@settings(deadline=None)
@given(records=RECORDS, sequence=st.integers(0, 10**12), count=st.integers(1, 9), data=st.data())
def test_a_block_and_its_parts_are_the_lines_read_one_by_one(
    records: list[Any], sequence: int, count: int, data: st.DataObject
) -> None:
    _, _, lines = written_by_hand(records, sequence, "")
    fast = read(lines, sequence + 1, "", count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("event_processor.storage.outbox_blocks.read_lines", lambda *_, **__: None)
        slow = read(lines, sequence + 1, "", count)
    assert len(fast) == min(count, len(records))
    assert everything(fast) == everything(slow)
    begin = data.draw(st.integers(0, len(fast) - 1))
    end = data.draw(st.integers(begin + 1, len(fast)))
    assert everything(fast.part(begin, end)) == everything(slow.part(begin, end))
    assert everything(fast.part(begin, end))["records"] == everything(fast)["records"][begin:end]


@settings(deadline=None)
@given(records=RECORDS, data=st.data())
def test_a_byte_that_was_changed_is_never_read_as_a_record(records: list[Any], data: st.DataObject) -> None:
    _, _, lines = written_by_hand(records, 0, "")
    place = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(st.integers(0, 255))
    changed = lines[:place] + bytes([other]) + lines[place + 1 :]
    found = read_lines(changed, sequence=1, count=100, chain="")
    good = lines[:place].count(b"\n")
    if changed == lines:
        assert found is not None
        assert len(found.ends) == len(records)
        return
    accepted = 0 if found is None else len(found.ends)
    # The clock fields are in no chain.
    begin = lines.rfind(b"\n", 0, place) + 1
    is_in_clock = begin + changed[begin:].find(b'"@now"') <= place <= begin + changed[begin:].find(b'"chain":"')
    assume(not is_in_clock)
    assert accepted == good


@pytest.mark.parametrize("content", [b'{"id":"\\ud800"}', b"[1]", b"{"])
def test_an_object_that_the_decoder_refuses_is_still_that_of_its_record(content: bytes) -> None:
    place, chain, lines = b'{"source":"a","generation":1,"offset":0,"line":1}', "", b""
    for sequence in (1, 2):
        chain = xxh3_128_hexdigest(b"%b\n%d\n%b\n%b" % (chain.encode(), sequence, place, content))
        lines += line_of(sequence, place, CLOCK, chain, content)
    block = read(lines, 1, "")
    assert [(block.record(index).sequence, bytes(block.record(index).object)) for index in (0, 1)] == [(1, content), (2, content)]
    assert block.record(1).chain == chain


def test_a_line_of_another_spelling_is_read_by_the_other_way() -> None:
    records = [({"source": "a", "generation": 1, "offset": 0, "line": 1}, {"id": number}, b"", b"") for number in range(3)]
    _, _, lines = written_by_hand(records, 0, "")
    first, second, third = lines.splitlines(keepends=True)
    spelt = second.replace(b'"sequence":2', b'"sequence" : 2')
    block = read(first + spelt + third, 1, "")
    assert (block.first, block.last) == (1, 1)
    rest = read(spelt + third, 2, block.record(0).chain)
    assert (rest.first, rest.last) == (2, 3)
    assert rest.line_bytes(0) == len(spelt)


def test_a_record_that_does_not_follow_is_an_error_of_the_other_way() -> None:
    records = [({"source": "a", "generation": 1, "offset": 0, "line": 1}, {"id": 1}, b"", b"")]
    _, _, lines = written_by_hand(records, 0, "")
    with pytest.raises(StateError, match="sequence 1 that does not follow"):
        read(lines, 1, "0" * 32)


@pytest.mark.parametrize("width", [*range(17, 300, 7), 127, 128, 129, 239, 240, 241, 1023, 1024, 1025, 1088, 1089, 5000])
def test_the_chain_is_the_hash_of_texts_of_every_length(width: int) -> None:
    place, chain, sequence = b'{"source":"a"}', "f" * 32, 7
    content = b"x" * width
    (written,) = write_lines(content + b"\n", [place], CLOCK, sequence=sequence - 1, chain=chain, bytes_max=10)
    assert written is not None
    assert written.chain == xxh3_128_hexdigest(b"%b\n%d\n%b\n%b" % (chain.encode(), sequence, place, content))


def test_without_the_library_nothing_is_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LIBRARY", None)
    assert read_lines(b"{}\n", sequence=1, count=1, chain="") is None
    assert not kernels.can_write()
