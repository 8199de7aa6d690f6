"""A series that is made again from the log has the chain and the lines of the first writing, from any place on."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.model.committed_rows import ReleasedRecord
from event_processor.model.released import Released
from event_processor.storage.durable import OperatingSystem
from event_processor.storage.rebuilt_outbox import Rebuilding, RebuiltSeries
from support.engine import FakeClock
from support.outbox import chains, outbox_line, place_of

RECORDS = 12
ALL = [(place_of(10 * n, n), b'{"id": %d}' % n) for n in range(1, RECORDS + 1)]


def batches(cuts: list[int], pieces: int) -> list[Released]:
    """All records, in batches that end at the cuts, each in pieces of at most so many records."""
    made = []
    for start, end in pairwise([0, *cuts, RECORDS]):
        taken = ALL[start:end]
        parts = [taken[n : n + pieces] for n in range(0, len(taken), pieces)]
        lines = tuple(b"".join(b" " + object_ + b"\n" for _, object_ in part) for part in parts)
        made.append(Released(lines, len(taken), tuple([place for place, _ in part] for part in parts)))
    return made


def written(folder: str) -> list[bytes]:
    return [line for path in sorted(Path(folder, "outbox").glob("*")) for line in path.read_bytes().splitlines()]


@given(
    first=st.integers(0, RECORDS + 2),
    after=st.none() | st.integers(0, RECORDS + 2),
    compared=st.frozensets(st.integers(0, RECORDS + 2)),
    cuts=st.lists(st.integers(0, RECORDS), max_size=4).map(sorted),
    pieces=st.integers(1, 5),
)
@settings(max_examples=150)
def test_chains_and_lines_are_those_of_the_first_writing(
    first: int, after: int | None, compared: frozenset[int], cuts: list[int], pieces: int
) -> None:
    """The model: the chain over the records after `first`, and the lines of those after `after`."""
    expected = dict(enumerate(chains(ALL[first:], first), start=first + 1)) | {first: ""}
    rebuilding = Rebuilding(first, "", after, compared)
    tokens = iter(f"{n:x}" for n in range(100))
    with tempfile.TemporaryDirectory() as folder:
        appended: dict[str, int] = {}
        sequence, chain = 0, ""
        for batch in batches(cuts, pieces):
            series = RebuiltSeries(
                OperatingSystem(), folder, "events", rebuilding,
                appended=appended, sequence=sequence, chain=chain, new_token=lambda: next(tokens), clock=FakeClock(),
            )  # fmt: skip
            series.write(batch)
            series.sync()
            appended, sequence, chain = dict(series.appended()), series.sequence, series.chain
            series.close()
        assert (sequence, chain) == (RECORDS, expected[RECORDS] if first <= RECORDS else "")
        assert rebuilding.chains.items() >= {(n, expected[n]) for n in compared | {first} if first <= n <= RECORDS}
        begins = RECORDS if after is None else max(first, after)
        records = [outbox_line(line) for line in written(folder)] if begins < RECORDS else []
        assert [(each["sequence"], each["chain"], each["object"]["id"]) for each in records] == [
            (n, expected[n], n) for n in range(begins + 1, RECORDS + 1)
        ]
        names = sorted(path.name for path in Path(folder, "outbox").glob("*"))
        assert not names or names[0].startswith(f"events.{begins + 1:012}.")


@given(
    first=st.integers(0, RECORDS + 2),
    cuts=st.lists(st.integers(0, RECORDS), max_size=4).map(sorted),
    pieces=st.integers(1, 5),
)
@settings(max_examples=50)
def test_records_that_are_not_written_are_shown_in_order_with_their_chain(first: int, cuts: list[int], pieces: int) -> None:
    shown: list[ReleasedRecord] = []
    rebuilding = Rebuilding(first, "", compared_at=frozenset({5}), watch=shown.extend)
    with tempfile.TemporaryDirectory() as folder:
        series = RebuiltSeries(
            OperatingSystem(), folder, "events", rebuilding,
            appended={}, sequence=0, chain="", new_token=str, clock=FakeClock(),
        )  # fmt: skip
        for batch in batches(cuts, pieces):
            series.write(batch)
        assert not written(folder)
    numbered = enumerate(zip(ALL[first:], chains(ALL[first:], first), strict=True), start=first + 1)
    assert shown == [(sequence, place, chain, content) for sequence, ((place, content), chain) in numbered]
