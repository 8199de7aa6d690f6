"""The content of one input, cut into records from any place on: lines, and the items of a document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.records.content_cutter import ContentCutter

LINES = b'{"id": 1}\r\n\n{"id": 22}\nlast'
DOCUMENT = b'[{"id": 1},\n {"id":"a\nb"}, 3]'
ITEMS = [b'{"id": 1}', b'{"id":"a\nb"}', b"3"]
"""A line end in a string becomes another control character in the line that the item is."""


def cut_all(cutter: ContentCutter, bytes_max: int) -> list[tuple[int, bytes, bytes]]:
    found = []
    while (cut := cutter.cut(bytes_max)) is not None:
        found.append((cut.offset, cut.content, cutter.own_of(cut)))
    return found


@given(st.integers(1, 12), st.sampled_from([0, 11, 12, 23]))
def test_lines_are_cut_from_any_record_on_wherever_the_content_is_fed_from(block_bytes: int, offset: int) -> None:
    for begin, head in ((0, None), (offset, LINES[:offset])):
        cutter = ContentCutter(100, offset=offset, head=head)
        for start in range(begin, len(LINES), block_bytes):
            cutter.feed(LINES[start : start + block_bytes])
        cutter.end()
        found = cut_all(cutter, 1000)
        assert (found[0][0], b"".join(content for _, content, _ in found)) == (offset, LINES[offset:])
        assert found[-1][1] == b"last"
        assert cutter.is_exhausted


@pytest.mark.parametrize("known", [0, 1, 2])
def test_a_document_is_fed_from_its_start_and_the_items_that_are_known_are_passed_over(known: int) -> None:
    offset = sum(len(item) + 1 for item in ITEMS[:known])
    cutter = ContentCutter(100, ("item",), offset=offset)
    for start in range(0, len(DOCUMENT), 4):
        cutter.feed(DOCUMENT[start : start + 4])
    cutter.end()
    found = cut_all(cutter, 1)
    assert b"".join(content for _, content, _ in found) == b"".join(
        item.replace(b"\n", b"\x01") + b"\n" for item in ITEMS[known:]
    )
    assert b"".join(own or content for _, content, own in found) == b"".join(item + b"\n" for item in ITEMS[known:])
    assert found[0][0] == offset


def test_what_comes_before_a_fault_of_a_document_is_cut() -> None:
    cutter = ContentCutter(100, ("item",))
    cutter.feed(b'[{"id": 1}, {"id"')
    cutter.end()
    assert [content for _, content, _ in cut_all(cutter, 100)] == [b'{"id": 1}\n', b'{"id"']
    assert cutter.damage
    assert cutter.has_ended
