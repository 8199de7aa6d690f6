"""What the last records of the intake counted as: found by their positions, also after a restart."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import numpy as np

from event_processor.configuration.configuration import EventOptions
from event_processor.engine.outcomes import Outcomes
from event_processor.engine.state import Counts, GenerationState, Retired, SourceState
from event_processor.model.event import Chunk
from event_processor.model.telemetry import Telemetry
from event_processor.records.json_lines.format import JsonLinesFormat
from support.simulated_fs import Fault, SimulatedFileSystem

EVENT = b'{"id":1,"category":"c","value":1}\n'
LENGTH = len(EVENT)
BAD = b"no event\n"
FORMAT = JsonLinesFormat(EventOptions(), record_bytes_max=1000, timestamps_used=False)


class Reports(Telemetry):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def history_unavailable(self, *, path: str, reason: str, remedy: str) -> None:
        assert path == "/state/history/intake.ring"
        assert remedy
        self.reasons.append(reason)


def disk() -> SimulatedFileSystem:
    fs = SimulatedFileSystem(1)
    fs.make_directory("/state")
    return fs


def opened(
    fs: SimulatedFileSystem,
    committed: SourceState | None = None,
    *,
    state_id: str = "s",
    slots: int = 8,
    telemetry: Telemetry | None = None,
) -> Outcomes:
    outcomes = Outcomes(fs, "/state", "intake", telemetry or Reports(), slots=slots)
    outcomes.begin(state_id, committed or SourceState())
    return outcomes


def counted(records: int, offsets: Mapping[int, int], retired: int = 0) -> SourceState:
    """A source that has counted so many records; `offsets` by open generation."""
    opened = tuple(GenerationState(generation, 0, {"offset": offset}) for generation, offset in offsets.items())
    return SourceState(opened, Retired(retired), Counts(records=records))


def add(outcomes: Outcomes, content: bytes, *, first: int, generation: int = 1, offset: int = 0, duplicates: str = "") -> None:
    """Adds the outcomes of a chunk. `duplicates`: of its valid events, "d" for a duplicate, "l" for one over the limit."""
    chunk = Chunk("intake", generation, offset, content, {})
    columns = FORMAT.decode(chunk)
    kinds = np.array([*duplicates.ljust(len(columns.rows), "a")])
    outcomes.add(chunk, columns, kinds == "a", kinds == "l", first)


def test_each_record_has_its_outcome_at_its_exact_position() -> None:
    outcomes = opened(disk())
    add(outcomes, EVENT + b"  \n" + EVENT + BAD + EVENT, first=0, offset=100, duplicates="adl")
    places = [100, 100 + LENGTH, 103 + LENGTH, 103 + 2 * LENGTH, 112 + 2 * LENGTH]
    assert outcomes.of(1, places) == ["accepted", "blank", "duplicate", "rejected", "rejected"]
    assert outcomes.of(1, [99, 101, 100 + LENGTH + 1, 112 + 3 * LENGTH]) == [None] * 4
    assert outcomes.of(2, places) == [None] * 5
    assert outcomes.of(1 << 18, [100]) == outcomes.of(1, [(1 << 44) + 100]) == [None]


def test_a_record_over_the_size_limit_is_rejected_and_other_sources_are_not_kept() -> None:
    outcomes = opened(disk())
    nothing = np.zeros(0, np.bool_)
    outcomes.add(Chunk("log", 1, 5, b"", {}, oversized_bytes=9), None, nothing, nothing, 0)
    outcomes.add(Chunk("intake", 1, 7, b"", {}, oversized_bytes=9), None, nothing, nothing, 0)
    assert outcomes.of(1, [5, 7]) == [None, "rejected"]


def test_the_ring_keeps_the_last_records_over_its_end_and_over_generations() -> None:
    outcomes = opened(disk(), slots=4)
    add(outcomes, EVENT * 3, first=0, duplicates="dda")
    add(outcomes, EVENT * 2, first=3, generation=2, duplicates="ad")
    assert outcomes.of(1, [0, LENGTH, 2 * LENGTH]) == [None, "duplicate", "accepted"]
    assert outcomes.of(2, [0, LENGTH]) == ["accepted", "duplicate"]
    assert [outcomes.reaches(1, 0), outcomes.reaches(1, LENGTH), outcomes.reaches(1, LENGTH + 1), outcomes.reaches(2, 0)] == [
        False, True, True, True,
    ]  # fmt: skip
    add(outcomes, EVENT * 6, first=5, generation=2, offset=2 * LENGTH, duplicates="aaaaad")
    assert outcomes.of(2, [LENGTH * each for each in range(2, 8)]) == [None, None, *["accepted"] * 3, "duplicate"]


def test_after_a_kill_counted_outcomes_are_known_and_the_others_are_forgotten_for_good() -> None:
    fs = disk()
    outcomes = opened(fs, slots=4)
    add(outcomes, EVENT * 3, first=0, duplicates="ada")
    add(outcomes, EVENT * 2, first=3, offset=3 * LENGTH, duplicates="dd")
    # The process dies before the second commit. A later power cut must not bring back what it had written for that.
    fs.sync(fs.open("/state/history/intake.ring", 2))
    fs.sync_directory("/state")
    fs.sync_directory("/state/history")
    fs = fs.kill()
    committed = counted(3, {1: 3 * LENGTH})
    outcomes = opened(fs, committed, slots=4)
    assert outcomes.of(1, [LENGTH * each for each in range(5)]) == [None, "duplicate", "accepted", None, None]
    add(outcomes, EVENT, first=3, offset=3 * LENGTH, duplicates="a")
    assert outcomes.of(1, [3 * LENGTH]) == ["accepted"]
    after = opened(fs.crash(), counted(5, {1: 5 * LENGTH}), slots=4)
    assert after.of(1, [3 * LENGTH])[0] in ("accepted", None)
    assert after.of(1, [4 * LENGTH]) == [None]


def test_a_retired_generation_stays_known_and_a_later_one_than_the_state_has_is_dropped() -> None:
    fs = disk()
    outcomes = opened(fs)
    add(outcomes, EVENT, first=0, generation=1)
    add(outcomes, EVENT, first=1, generation=2)
    add(outcomes, EVENT, first=2, generation=3)
    outcomes = opened(fs, counted(2, {2: LENGTH}, retired=1))
    assert [outcomes.of(generation, [0])[0] for generation in (1, 2, 3)] == ["accepted", "accepted", None]


def test_the_outcomes_of_another_state_are_not_those_of_this_one() -> None:
    fs = disk()
    add(opened(fs), EVENT, first=0)
    committed = counted(1, {1: LENGTH})
    assert opened(fs, committed).of(1, [0]) == ["accepted"]
    assert opened(fs, committed, state_id="another").of(1, [0]) == [None]
    assert opened(fs, committed).of(1, [0]) == [None]


def test_a_damaged_or_cut_file_says_less_and_nothing_wrong() -> None:
    fs = disk()
    outcomes = opened(fs)
    add(outcomes, EVENT * 3, first=0, duplicates="ada")
    content = fs.content("/state/history/intake.ring")
    assert content is not None
    for damaged, known in ((content[:-3], ["accepted", "duplicate", None]), (content[:100], [None] * 3), (b"", [None] * 3)):
        fs.plant("/state/history/intake.ring", damaged)
        assert opened(fs, counted(3, {1: 3 * LENGTH})).of(1, [0, LENGTH, 2 * LENGTH]) == known


def test_a_failing_disk_is_reported_once_and_the_outcomes_stay_in_memory() -> None:
    fs, reports = disk(), Reports()
    outcomes = opened(fs, telemetry=reports)
    fs.fail(Fault(errno=errno.ENOSPC, kinds={"write"}, lasting=True))
    for number in range(3):
        add(outcomes, EVENT, first=number, offset=number * LENGTH)
    assert len(reports.reasons) == 1
    assert "No space left" in reports.reasons[0]
    assert outcomes.of(1, [0, LENGTH, 2 * LENGTH]) == ["accepted"] * 3
    opened(fs, telemetry=reports, state_id="another")
    assert len(reports.reasons) == 2


def reached(outcomes: Outcomes, records: int) -> list[bool]:
    return [outcomes.reaches(1, LENGTH * each) for each in range(records)]


def without_file(outcomes: Outcomes) -> Outcomes:
    """After a failed write: the rest of its outcomes stays in memory."""
    outcomes._give_up(OSError("no room"))
    return outcomes


def test_after_a_gap_no_record_before_its_end_is_said_to_be_reached() -> None:
    fs = disk()
    add(opened(fs), EVENT * 3, first=0)
    # Three more are counted, but not written: a power cut, a full disk, or a time with `intake.enabled = false`.
    outcomes = opened(fs, counted(6, {1: 6 * LENGTH}))
    assert reached(outcomes, 7) == [False] * 7
    add(outcomes, EVENT * 2, first=6, offset=6 * LENGTH)
    assert reached(outcomes, 8) == [False] * 6 + [True] * 2
    # The ring still knows what was before the gap, as long as it has room.
    assert outcomes.of(1, [LENGTH * each for each in (1, 2, 3, 6)]) == ["accepted", "accepted", None, "accepted"]
    outcomes = opened(fs, counted(8, {1: 8 * LENGTH}))
    assert reached(outcomes, 8) == [False] * 6 + [True] * 2
    assert outcomes.of(1, [LENGTH * each for each in (1, 2, 3, 6)]) == ["accepted", "accepted", None, "accepted"]


def test_wherever_a_gap_is_in_the_ring_only_records_after_it_are_reached() -> None:
    slots = 4
    for before in range(1, 10):
        for missing in range(1, 10):
            if missing % slots == 0:
                continue  # words do not say how often the ring went around
            for after in range(1, 10):
                fs, end = disk(), before + missing
                add(opened(fs, slots=slots), EVENT * before, first=0)
                add(opened(fs, counted(end, {1: end * LENGTH}), slots=slots), EVENT * after, first=end, offset=end * LENGTH)
                end += after
                outcomes = opened(fs, counted(end, {1: end * LENGTH}), slots=slots)
                kept = min(after, slots)
                assert reached(outcomes, end) == [False] * (end - kept) + [True] * kept, (before, missing, after)


def test_a_page_of_the_file_that_a_power_cut_took_back_ends_what_is_reached() -> None:
    fs = disk()
    add(opened(fs), EVENT * 8, first=0)
    path, header = "/state/history/intake.ring", 4096
    before = fs.content(path)
    add(opened(fs, counted(8, {1: 8 * LENGTH})), EVENT * 6, first=8, offset=8 * LENGTH)
    after = fs.content(path)
    assert before is not None
    assert after is not None
    # Of the words of records 8 to 13, the disk has those of 10 and 11 as they were a lap ago.
    lost = slice(header + 2 * 8, header + 4 * 8)
    fs.plant(path, after[: lost.start] + before[lost] + after[lost.stop :])
    outcomes = opened(fs, counted(14, {1: 14 * LENGTH}))
    assert reached(outcomes, 14) == [False] * 12 + [True] * 2


def test_after_a_failed_write_the_process_reaches_what_it_has_in_memory_and_the_next_one_nothing() -> None:
    fs = disk()
    outcomes = opened(fs)
    add(outcomes, EVENT * 2, first=0)
    add(without_file(outcomes), EVENT * 2, first=2, offset=2 * LENGTH)
    assert reached(outcomes, 4) == [True] * 4
    assert reached(opened(fs, counted(4, {1: 4 * LENGTH})), 4) == [False] * 4
