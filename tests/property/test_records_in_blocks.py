"""What waits for a transaction, in blocks against one by one: the same records go into the next one, whatever is skipped or refused."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.engine.delivery.blocks import LaneBlock, groups_of, sequences_of
from event_processor.engine.delivery.cursor import CursorDocument, LaneCounts
from event_processor.engine.delivery.figures import Figures, LaneFigures
from event_processor.engine.delivery.prefix import Prefix, Selected
from event_processor.engine.delivery.progress import LaneIdentity
from event_processor.engine.delivery.queue import Waiting
from event_processor.engine.delivery.window import Window
from event_processor.model.answers import Answer, Verdict
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.model.record_blocks import RecordBlock
from event_processor.model.transactions import Refusal
from event_processor.storage.outbox_blocks import block_of
from event_processor.storage.outbox_reader import require_follows
from support.lanes import Frozen, MemoryOutbox, chain_after, records

COUNT = 12
REFUSAL = Refusal("skipped", Answer(Verdict.BAD, "no"), 0)
ALL = records(COUNT)


def key_of(record: OutboxRecord) -> str:
    return f"key {record.sequence}"


def decode(line: bytes, sequence: int) -> OutboxRecord:
    record = msgspec.json.decode(line, type=OutboxRecord)
    assert record.sequence == sequence
    return record


def line_of(record: OutboxRecord) -> bytes:
    return msgspec.json.encode(record) + b"\n"


def block(begin: int, end: int) -> RecordBlock:
    chain = ALL[begin - 1].chain if begin else ""
    content = b"".join(map(line_of, ALL[begin:end]))
    return block_of(content, sequence=begin + 1, count=COUNT, chain=chain, decode=decode, follow=require_follows)


def figures() -> LaneFigures:
    return LaneFigures((), lambda: 0, lambda: 0.0)


def prefixes(cuts: list[int]) -> tuple[Prefix, Prefix]:
    """The same records in blocks that begin at `cuts`, and one by one."""
    blocks, single = Prefix(), Prefix()
    counted = figures()
    for begin, end in pairwise(sorted({0, COUNT, *cuts})):
        part = block(begin, end)
        blocks.add_block(LaneBlock(part, counted.taken_block(part), key_of))
    for record in ALL:
        single.add(Waiting(record, key_of(record), len(line_of(record)), ()))
    return blocks, single


def shown(selected: Selected | None) -> list[tuple[int, str, int, bool]]:
    if selected is None:
        return []
    assert list(sequences_of(selected.waiting)) == [each.record.sequence for each in selected.waiting]
    assert [each.record for each in selected.handed] == [each.record for each in selected.waiting]
    assert sum(count for _, count in groups_of(selected.waiting)) == len(selected.waiting)
    return [
        (waiting.record.sequence, handed.key, waiting.size_bytes, handed.refusal is None)
        for waiting, handed in zip(selected.waiting, selected.handed, strict=True)
    ]


SEQUENCES = st.frozensets(st.integers(1, COUNT + 2), max_size=4)
STEP = st.tuples(SEQUENCES, st.integers(1, COUNT + 2), st.integers(1, 3_000), st.booleans())


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, COUNT - 1), max_size=4), steps=st.lists(STEP, max_size=6))
def test_the_next_transaction_is_the_same_as_with_single_records(
    cuts: list[int], steps: list[tuple[frozenset[int], int, int, bool]]
) -> None:
    blocks, single = prefixes(cuts)
    cursor = 0
    for skipped, events_max, bytes_max, alone in steps:
        for prefix in (blocks, single):
            for waiting, _ in prefix.drop(skipped):
                prefix.refuse(waiting, REFUSAL)
        found, expected = (each.after(cursor, events_max, bytes_max, alone=alone) for each in (blocks, single))
        assert shown(found) == shown(expected)
        for each in range(COUNT + 3):
            assert (blocks.has(each), blocks.is_refused(each)) == (single.has(each), single.is_refused(each))
        through = [[each.record for each in prefix.through(cursor, cursor + events_max)] for prefix in (blocks, single)]
        assert through[0] == through[1]
        if found is None or expected is None:
            break
        blocks.remove(found.waiting)
        single.remove(expected.waiting)
        cursor += len(found.waiting)
        assert len(blocks) == len(single) == COUNT - cursor
    assert sorted(each.record.sequence for each in blocks.clear()) == sorted(each.record.sequence for each in single.clear())
    assert len(blocks) == 0


def test_the_bytes_of_a_transaction_are_limited_over_several_blocks() -> None:
    blocks, _ = prefixes([5])
    size_bytes = sum(len(line_of(record)) for record in ALL[:7])
    for limit, count in ((size_bytes, 7), (size_bytes - 1, 6), (1, 1)):
        selected = blocks.after(0, COUNT, limit, alone=False)
        assert selected is not None
        assert len(selected.waiting) == count


def test_a_record_of_a_running_transaction_is_not_dropped() -> None:
    blocks, _ = prefixes([5])
    blocks.locked_through = 6
    assert [waiting.record.sequence for waiting, _ in blocks.drop(frozenset({6, 7}))] == [7]


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, COUNT - 1), max_size=3))
def test_the_figures_of_blocks_are_those_of_their_records(cuts: list[int]) -> None:
    together, alone = figures(), figures()
    blocks = [block(begin, end) for begin, end in pairwise(sorted({0, COUNT, *cuts}))]
    taken = [(each, together.taken_block(each)) for each in blocks]
    groups = [alone.taken(record) for record in ALL]
    assert together.all.pending == alone.all.pending == COUNT
    together.delivered(taken)
    for record, each in zip(ALL, groups, strict=True):
        alone.record(record, each, is_delivered=True)
    for one, other in ((together.all, alone.all), (taken[0][1].at(0)[0], groups[0][0])):
        assert one_of(one) == one_of(other)


def one_of(counted: Figures) -> tuple[int, int, int, float]:
    return counted.delivered, counted.pending, counted.failed, round(counted.elapsed_ms, 6)


class Blocks:
    """A queue of blocks, and an outbox that a fallback left behind: it has the records up to 5 first, then up to 9."""

    def __init__(self) -> None:
        self.sequences: list[int] = []

    def add(self, waiting: Waiting) -> None:
        raise AssertionError

    def add_block(self, added: LaneBlock) -> None:
        self.sequences += range(added.records.first, added.records.last + 1)


def window_at(sequence: int, chain: str, queue: Blocks) -> Window:
    outbox = MemoryOutbox(ALL[:5])
    identity = LaneIdentity("remote", "events", "state", {}, 0, "")
    document = CursorDocument("state", "events", {}, 0, sequence, chain)
    window = Window(
        identity,
        document,
        Frozen(5, ALL[4].chain),
        reader=outbox.reader(min(5, sequence)),
        queue=queue,
        chain_after=chain_after,
        figures=figures(),
    )
    outbox.entries += ALL[5:9]
    window.follow(Frozen(9, ALL[8].chain))
    return window


def test_records_that_a_cursor_has_passed_are_read_but_not_queued_again() -> None:
    queue = Blocks()
    window = window_at(7, ALL[6].chain, queue)
    window.refill()
    assert queue.sequences == [8, 9]
    window.finished_through(ALL[8], LaneCounts(9, 0, 0))
    assert (window.unread, window.pending_bytes) == (0, 0)


def test_a_cursor_with_another_chain_is_an_error_also_within_a_block() -> None:
    queue = Blocks()
    with pytest.raises(StateError, match="another record at sequence 7"):
        window_at(7, "f" * 32, queue).refill()
    assert queue.sequences == []
