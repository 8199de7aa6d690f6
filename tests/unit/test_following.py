"""Following the journal's tail, with sources that give what a test says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from event_processor.engine.following import WAITED_S_MAX, Following, Surroundings
from event_processor.engine.journal import (
    IdleRelease,
    InputFinished,
    JournalEntry,
    JournalRun,
    LossesAcknowledged,
    LossFound,
    OrderEnded,
    OrderStarted,
    RetiredGeneration,
)
from event_processor.engine.state import Counts, State, fresh_state
from event_processor.model.clock import SystemWakeup
from event_processor.model.event import Chunk, Json
from event_processor.model.losses import Loss
from support.engine import FakeClock
from support.fallbacks import JOURNAL, Reports

BYTES_MAX = 1000


@dataclass
class Given:
    """A source that gives these chunks, cut to what is asked for, and None where there is nothing yet."""

    name: str
    chunks: list[Chunk | None] = field(default_factory=list)
    waits_s: float | None = None
    losses: list[Loss] = field(default_factory=list)

    def read(self, bytes_max: int) -> Chunk | None:
        chunk = self.chunks.pop(0) if self.chunks else None
        if chunk is not None and len(chunk.content) > bytes_max:
            self.chunks.insert(0, of(chunk.source, chunk.offset + bytes_max, chunk.end_offset, chunk.generation))
            return of(chunk.source, chunk.offset, chunk.offset + bytes_max, chunk.generation)
        return chunk

    def take_losses(self) -> Sequence[Loss]:
        taken, self.losses = self.losses, []
        return taken

    def wait_s(self) -> float | None:
        return self.waits_s

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None: ...

    def lag_bytes(self) -> int:
        return 0

    def has_more(self) -> bool:
        return bool(self.chunks)

    def acknowledge(self) -> None: ...

    def close(self) -> None: ...


def of(source: str, start: int, end: int, generation: int = 1, **more: Any) -> Chunk:
    return Chunk(source, generation, start, b"\n" * (end - start), {}, **more)


class Followed:
    """One following, and what it fed."""

    def __init__(
        self, tail: Sequence[JournalEntry], *sources: Given, is_ordered: bool = False, state: State | None = None
    ) -> None:
        self.reports = Reports()
        self.left = 0
        self.clock = FakeClock()
        self.state = state or fresh_state(8)
        self.fed: list[list[Chunk | JournalEntry]] = []
        surroundings = Surroundings(
            path=JOURNAL,
            bytes_max=BYTES_MAX,
            is_ordered=is_ordered,
            leave=self._leave,
            clock=self.clock,
            wakeup=SystemWakeup(),
            telemetry=self.reports,
        )
        self.following = Following(tail, sources, surroundings)

    def _leave(self) -> None:
        self.left += 1

    def run(self, stops: Iterator[bool] | None = None) -> list[list[Any]]:
        """What was fed, a list for each script: places of chunks, and entries. Each record is one line feed."""
        for script in self.following.scripts(lambda: self.state, lambda: next(stops, True) if stops else False):
            fed = list(script)
            self.fed.append(fed)
            count = sum(len(each.content) for each in fed if isinstance(each, Chunk))
            records = self.state.counts.records + count
            ordered = self.state.ordered
            for each in fed:
                ordered = isinstance(each, OrderStarted) or (ordered and not isinstance(each, OrderEnded))
            self.state = msgspec.structs.replace(self.state, counts=Counts(records=records), ordered=ordered)
        return [
            [(each.source, each.offset, each.end_offset) if isinstance(each, Chunk) else each for each in fed] for fed in self.fed
        ]


def test_sources_are_read_in_the_order_of_the_tail_up_to_its_offsets() -> None:
    tail = [JournalRun("a", 1, 0, 10), JournalRun("b", 1, 5, 25), JournalRun("a", 1, 10, 30)]
    followed = Followed(tail, Given("a", [of("a", 0, 100)]), Given("b", [of("b", 5, 15), of("b", 15, 99)]))
    assert followed.run() == [[("a", 0, 10), ("b", 5, 15), ("b", 15, 25), ("a", 10, 30)]]
    assert followed.reports.said == [("followed", 3, "")]
    assert followed.left == 1


def test_the_run_that_was_open_goes_on_where_it_was() -> None:
    state = msgspec.structs.replace(fresh_state(8), journal=JournalRun("a", 1, 0, 40))
    followed = Followed([JournalRun("a", 1, 0, 50)], Given("a", [of("a", 40, 90)]), state=state)
    assert followed.run() == [[("a", 40, 50)]]
    same = Followed([JournalRun("a", 1, 0, 40)], Given("a", [of("a", 40, 90)]), state=state)
    assert same.run() == [[]]
    assert same.reports.said == [("followed", 1, "")]


def test_a_chunk_is_never_larger_than_a_batch() -> None:
    followed = Followed([JournalRun("a", 1, 0, 2500)], Given("a", [of("a", 0, 9999)]))
    assert followed.run() == [[("a", 0, 1000), ("a", 1000, 2000), ("a", 2000, 2500)]]


@pytest.mark.parametrize("entry", [IdleRelease(10), InputFinished(10), OrderStarted(10)])
def test_an_entry_that_counts_the_records_before_it_comes_after_their_commit(entry: JournalEntry) -> None:
    tail = [JournalRun("a", 1, 0, 10), entry, JournalRun("a", 1, 10, 12)]
    followed = Followed(tail, Given("a", [of("a", 0, 99)]), is_ordered=isinstance(entry, OrderStarted))
    assert followed.run() == [[("a", 0, 10)], [entry], [("a", 10, 12)]]
    assert followed.reports.said == [("followed", 3, "")]


def test_another_number_of_records_ends_it() -> None:
    followed = Followed([JournalRun("a", 1, 0, 10), IdleRelease(9), JournalRun("a", 1, 10, 12)], Given("a", [of("a", 0, 99)]))
    assert followed.run() == [[("a", 0, 10)]]
    assert followed.reports.said == [("left", 1, "the next entry comes after 9 records, but 10 were read")]
    assert followed.left == 1


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (None, "source 'a' gives nothing more of generation 1"),
        (of("a", 5, 10), "source 'a' gives generation 1 from byte 5 to 10, but the journal has generation 1 from byte 0 to 10"),
        (
            of("a", 0, 10, 2),
            "source 'a' gives generation 2 from byte 0 to 10, but the journal has generation 1 from byte 0 to 10",
        ),
        (
            Chunk("a", 1, 0, b"", {}, oversized_bytes=11),
            "source 'a' gives generation 1 from byte 0 to 11, but the journal has generation 1 from byte 0 to 10",
        ),
    ],
)
def test_a_log_that_gives_something_else_ends_it_and_what_it_gave_is_used(chunk: Chunk | None, reason: str) -> None:
    tail = [JournalRun("a", 1, 0, 10), JournalRun("b", 1, 0, 10)]
    followed = Followed(tail, Given("a", [chunk] if chunk else []), Given("b", [of("b", 0, 10)]))
    assert followed.run() == [[("a", chunk.offset, chunk.end_offset)] if chunk else []]
    assert followed.reports.said == [("left", 0, reason)]


def test_a_generation_is_retired_after_the_first_chunk_of_its_successor() -> None:
    retired = RetiredGeneration("a", 1, {}, 10)
    given: list[Chunk | None] = [of("a", 0, 10), of("a", 0, 4, 2), Chunk("a", 1, 10, b"", {}, retired=True), of("a", 4, 20, 2)]
    tail: list[JournalEntry] = [
        JournalRun("a", 1, 0, 10),
        retired,
        JournalRun("a", 2, 0, 7),
        JournalRun("b", 1, 0, 1),
        JournalRun("a", 2, 7, 9),
    ]
    followed = Followed(tail, Given("a", given), Given("b", [of("b", 0, 1)]))
    assert followed.run() == [[("a", 0, 10), ("a", 0, 4), ("a", 10, 10), ("a", 4, 7), ("b", 0, 1), ("a", 7, 9)]]
    assert followed.reports.said == [("followed", 5, "")]


def test_what_was_retired_earlier_than_its_entry_is_not_waited_for() -> None:
    given: list[Chunk | None] = [of("a", 0, 4, 2), Chunk("a", 1, 10, b"", {}, retired=True), of("a", 4, 7, 2)]
    tail: list[JournalEntry] = [JournalRun("a", 2, 0, 7), RetiredGeneration("a", 1, {}, 10)]
    followed = Followed(tail, Given("a", given))
    assert followed.run() == [[("a", 0, 4), ("a", 10, 10), ("a", 4, 7)]]
    assert followed.reports.said == [("followed", 2, "")]


def test_a_run_that_was_closed_before_a_generation_was_retired_is_closed_before_again() -> None:
    given: list[Chunk | None] = [of("a", 0, 7, 2), Chunk("a", 1, 10, b"", {}, retired=True)]
    tail: list[JournalEntry] = [JournalRun("a", 2, 0, 7), RetiredGeneration("a", 1, {}, 10), JournalRun("b", 1, 0, 5)]
    followed = Followed(tail, Given("a", given), Given("b", [of("b", 0, 5)]))
    assert followed.run() == [[("a", 0, 7), ("b", 0, 5), ("a", 10, 10)]]
    assert followed.reports.said == [("followed", 3, "")]


def test_losses_come_at_their_place_and_those_that_a_source_finds_too() -> None:
    loss, found = Loss("a", 1, "a.jsonl", 10), Loss("b", 1, "b.jsonl", 0)
    seen = LossesAcknowledged((loss,))
    tail: list[JournalEntry] = [LossFound(loss), JournalRun("b", 1, 0, 10), seen]
    followed = Followed(tail, Given("b", [of("b", 0, 10)], losses=[found]))
    assert followed.run() == [[LossFound(loss), LossFound(found), ("b", 0, 10), seen]]


def test_a_deadline_of_a_source_is_waited_for_but_not_without_end() -> None:
    tail = [JournalRun("a", 1, 0, 10)]
    late = Followed(tail, Given("a", [None, None, of("a", 0, 10)], waits_s=2.0))
    assert late.run() == [[("a", 0, 10)]]
    never = Followed(tail, Given("a", waits_s=2.0))
    before_s = never.clock.now_s
    assert never.run() == [[]]
    assert never.clock.now_s - before_s == pytest.approx(WAITED_S_MAX, abs=1.1)
    assert never.reports.said[0][0] == "left"


@pytest.mark.parametrize("looks", range(6))
def test_a_stop_reports_nothing_and_leaves_the_tail_to_the_next_start(looks: int) -> None:
    tail = [JournalRun("a", 1, 0, 10), JournalRun("b", 1, 0, 10)]
    followed = Followed(tail, Given("a", [of("a", 0, 10)]), Given("b", [of("b", 0, 10)]), is_ordered=True)
    fed = followed.run(iter([False] * looks))
    assert [each for script in fed for each in script] in ([], [("a", 0, 10)], [("a", 0, 10), ("b", 0, 10)])
    assert (followed.reports.said, followed.left) == ([], 0)


@pytest.mark.parametrize(("was", "wanted", "entry"), [(False, True, OrderStarted(10)), (True, False, OrderEnded(10))])
def test_the_configuration_of_now_decides_about_the_order_stage_after_the_tail(
    was: bool, wanted: bool, entry: JournalEntry
) -> None:
    state = msgspec.structs.replace(fresh_state(8), ordered=was)
    followed = Followed([JournalRun("a", 1, 0, 10)], Given("a", [of("a", 0, 10)]), is_ordered=wanted, state=state)
    assert followed.run() == [[("a", 0, 10)], [entry]]
