"""The lines of entries: a queue of those that change no more, and those that may, counted and hashed together."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.aggregation import entry_lines as module
from event_processor.aggregation.entry_lines import EntryLines

steps = st.lists(st.sampled_from(["settle", "settle", "settle", "drop_oldest", "put", "drop"]), max_size=60)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_lines_leave_in_the_order_in_which_they_were_settled(names: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_LINES", 3)
        lines, queue, others = EntryLines(), deque[bytes](), dict[tuple[bool, int, str], bytes]()
        for number, name in enumerate(names):
            line, place = f"line {number}".encode(), (False, number % 3, "g")
            if name == "settle":
                lines.settle(line)
                queue.append(line)
            elif name == "put":
                lines.put(place, line)
                others[place] = line
            elif name == "drop":
                lines.drop(place)
                others.pop(place, None)
            elif queue:
                lines.drop_oldest()
                queue.popleft()
            everything = [*queue, *others.values()]
            assert lines.oldest == (queue[0] if queue else None)
            assert sorted(lines.all()) == sorted(everything)
            assert lines.all()[: len(queue)] == list(queue)
            assert (len(lines), lines.size_bytes) == (len(everything), sum(map(len, everything)))
        again = EntryLines()
        for line in reversed(lines.all()):
            again.settle(line)
        assert again.digest == lines.digest
        assert bool(lines.digest) == bool(len(lines))
