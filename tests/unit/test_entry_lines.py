"""The lines of entries: a queue of those that change no more, and those that may, counted and hashed together."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.aggregation.windows import entry_lines as module
from event_processor.aggregation.windows.entries import Entry
from event_processor.aggregation.windows.entry_lines import EntryLines, EntryRow, decode_line, encode_line

steps = st.lists(
    st.sampled_from(["settle", "settle", "settle", "write", "drop_oldest", "put", "drop", "settle_put", "settle_line"]),
    max_size=60,
)


def line_of(row: EntryRow) -> bytes:
    return encode_line(row.aggregate, (row.is_behind, row.cell, row.group), row.entry)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_entries_leave_in_the_order_in_which_they_were_settled(names: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_LINES", 3)
        lines, written, unwritten = EntryLines(), deque[EntryRow](), deque[EntryRow]()
        others: dict[tuple[bool, int, str], EntryRow] = {}
        for number, name in enumerate(names):
            row = EntryRow("a", is_behind=False, cell=number % 3, group="g", entry=Entry(number, ()))
            place = False, number % 3, "g"
            if name == "settle":
                lines.settle(row)
                unwritten.append(row)
            elif name == "write":
                assert lines.write() == [line_of(each) for each in unwritten]
                written.extend(unwritten)
                unwritten.clear()
            elif name == "put":
                lines.put(place, line_of(row))
                others[place] = row
            elif name == "drop":
                lines.drop(place)
                others.pop(place, None)
            elif name == "settle_put" and place in others:
                lines.settle_put(place)
                written.append(others.pop(place))
            elif name == "settle_line":
                lines.settle_line(line_of(row))
                written.append(row)
            elif name == "drop_oldest" and (written or unwritten):
                lines.drop_oldest()
                (written or unwritten).popleft()
            assert lines.oldest == next(iter([*written, *unwritten]), None)
            everything = [line_of(row) for row in [*written, *others.values()]]
            assert sorted(lines.all()) == sorted(everything)
            assert lines.all()[: len(written)] == [line_of(row) for row in written]
            assert (len(lines), lines.size_bytes) == (len(everything), sum(map(len, everything)))
        again = EntryLines()
        for line in reversed(lines.all()):
            again.settle(decode_line(line))
        again.write()
        assert again.digest == lines.digest
        assert bool(lines.digest) == bool(len(lines))
