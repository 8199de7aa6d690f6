"""Records cut out of blocks: against a plain split, however the blocks fall."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.records.record_cutter import Cut, RecordCutter

LIMIT = 16
BLOCKS = st.lists(
    st.binary(max_size=40).map(lambda block: block.replace(b"\x00", b"\n").replace(b"\x01", b"\r\n")) | st.just(b"\n"),
    max_size=20,
)


def cuts_of(blocks: list[bytes], sizes: list[int], *, limit: int = LIMIT) -> list[Cut]:
    """All that is given; after each block as much as there is, asked for in these sizes, again and again."""
    cutter = RecordCutter(limit)
    cuts: list[Cut] = []

    def take() -> None:
        while (cut := cutter.cut(sizes[len(cuts) % len(sizes)])) is not None:
            cuts.append(cut)

    for block in blocks:
        cutter.feed(block)
        take()
        assert cutter.held_bytes <= max(*sizes, 2 * (limit + 2)) + len(block), "only what is needed is held"
    cutter.end()
    take()
    assert cutter.is_exhausted
    return cuts


def split(content: bytes, limit: int = LIMIT) -> list[bytes | int]:
    """The records, with their ends; of one over the limit its length. A carriage return before the line feed belongs to the end."""
    records: list[bytes | int] = []
    for record in _lines(content):
        body = record.removesuffix(b"\n")
        body = body.removesuffix(b"\r") if record.endswith(b"\r\n") else body
        records.append(record if len(body) <= limit else len(record))
    return records


def _lines(content: bytes) -> list[bytes]:
    *whole, rest = content.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])


def records_of(cuts: list[Cut]) -> list[bytes | int]:
    return [record for cut in cuts for record in ([cut.oversized_bytes] if cut.oversized_bytes else _lines(cut.content))]


@settings(max_examples=400, deadline=None)
@given(BLOCKS, st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_records_are_those_of_a_plain_split_however_the_blocks_are_cut(blocks: list[bytes], sizes: list[int]) -> None:
    content = b"".join(blocks)
    cuts = cuts_of(blocks, sizes)
    assert records_of(cuts) == split(content)
    offset = 0
    for place, cut in enumerate(cuts):
        assert len(cut.content) <= sizes[place % len(sizes)] or len(_lines(cut.content)) == 1
        assert cut.offset == offset
        assert cut.head == content[: min(4096, cut.end_offset)]
        assert cut.final == (cut is cuts[-1] and not content.endswith(b"\n"))
        offset = cut.end_offset
    assert offset == len(content)


def test_a_cut_is_as_long_as_was_asked_for_and_ends_with_a_record() -> None:
    assert [cut.content for cut in cuts_of([b"aa\nbb\ncc\n", b"dd\nee"], [7])] == [b"aa\nbb\n", b"cc\ndd\n", b"ee"]


def test_nothing_is_given_before_as_much_is_there_as_was_asked_for() -> None:
    cutter = RecordCutter(LIMIT)
    cutter.feed(b"aa\nbb\n")
    assert cutter.cut(7) is None
    cutter.feed(b"c")
    assert cutter.cut(7) == Cut(0, b"aa\nbb\n", b"aa\nbb\n")


def test_a_record_over_the_limit_is_never_held() -> None:
    cutter = RecordCutter(LIMIT)
    for _ in range(1000):
        cutter.feed(b"x" * 100)
        assert cutter.cut(50) is None
        assert cutter.held_bytes <= 100
    cutter.feed(b"x\r\nrest\n")
    assert cutter.cut(1) == Cut(0, b"", b"x" * 4096, oversized_bytes=100_003)
    assert cutter.cut(1) == Cut(100_003, b"rest\n", b"x" * 4096)


def test_a_long_record_in_small_blocks_is_searched_in_linear_time() -> None:
    cutter = RecordCutter(1 << 20)
    searched = 0
    original = cutter._front

    def counted(size_bytes: int) -> bytes:
        nonlocal searched
        found = original(size_bytes)
        searched += len(found)
        return found

    cutter._front = counted  # type: ignore[method-assign]
    for _ in range(10_000):
        cutter.feed(b"x" * 100)
        assert cutter.cut(64) is None
    cutter.feed(b"\n")
    cutter.end()
    found = cutter.cut(64)
    assert found is not None
    assert len(found.content) == 1_000_001
    assert searched < 10_000_000
