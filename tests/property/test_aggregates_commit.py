"""What a commit writes of the windows: what changed, or all of it anew where most of the file is left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest

from event_processor.aggregation.aggregates import Aggregates, AggregatesCommit
from event_processor.columns.event_slices import EventSlice
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import EventOptions, OrderOptions
from event_processor.storage import replaced_file as held_file

OPTIONS = {"a": AggregateOptions.model_validate({"measures": {"n": "count"}, "window": {"size_s": 120, "every_s": 60}})}
EVENT = EventOptions(value="", category="")


def aggregates(before: AggregatesCommit | None = None, held: list[bytes] | None = None) -> Aggregates:
    return Aggregates(OPTIONS, EVENT, OrderOptions(), before.documents if before else {}, lambda: held or [])


def commits(into: Aggregates, minutes: range) -> Iterator[AggregatesCommit]:
    """A commit for each event, one a minute."""
    for minute in minutes:
        line = json.dumps({"timestamp": 60 * minute + 1}).encode() + b"\n"
        into.release([EventSlice(1, lambda line=line: line, None)])  # type: ignore[misc]
        yield into.take()


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_file, "REPLACED_BYTES_MIN", 2_000)


def test_a_file_of_which_most_was_left_behind_is_written_anew() -> None:
    written: list[int] = []
    file: list[bytes] = []
    for taken in commits(aggregates(), range(1_000)):
        file = list(taken.lines) if taken.anew else [*file, *taken.lines]
        written.append(sum(len(line) + 1 for line in file))
    assert max(written) <= 2_000
    assert sum(before > after for before, after in pairwise(written)) > 10


@pytest.mark.parametrize("late_s", [0, 60])
def test_a_group_that_changes_is_written_alone_however_many_there_are(late_s: int) -> None:
    """Groups of the latest piece of time are held like all others; so are those of pieces behind it."""
    wide = {"measures": {"n": "count"}, "window": {"size_s": 600, "every_s": 60}, "group_by": ("g",)}
    into = Aggregates({"a": AggregateOptions.model_validate(wide)}, EVENT, OrderOptions(), {})
    lines_written = commits_anew = 0
    for number in range(2_000):
        timestamp = 6_001 + (late_s if number == 0 else 0)
        line = json.dumps({"timestamp": timestamp, "g": number % 200}).encode() + b"\n"
        into.release([EventSlice(1, lambda line=line: line, None)])  # type: ignore[misc]
        taken = into.take()
        lines_written += len(taken.lines)
        commits_anew += taken.anew
    assert commits_anew < 10
    assert lines_written <= 2_000 + 200 * commits_anew


def test_a_restart_forgets_no_byte_of_the_file_so_that_it_stays_small() -> None:
    """Runs of a few commits each, as from a timer: none of them alone fills a file."""
    file: list[bytes] = []
    taken: AggregatesCommit | None = None
    for run in range(200):
        into = aggregates(taken, file)
        # What a start asks.
        into.documents()
        for taken in commits(into, range(5 * run, 5 * run + 5)):
            file = list(taken.lines) if taken.anew else [*file, *taken.lines]
        assert sum(len(line) + 1 for line in file) <= 2_000
        assert taken is not None
        assert not aggregates(taken, file).torn()


def test_where_nothing_is_held_any_more_there_is_no_file() -> None:
    into = aggregates()
    (taken,) = commits(into, range(1))
    assert (taken.holds, len(taken.lines)) == (True, 1)
    into.finish()
    taken = into.take()
    assert (taken.holds, list(taken.lines)) == (True, [])
    line = json.dumps({"timestamp": 6_000}).encode() + b"\n"
    hole = {"a": AggregateOptions.model_validate({"measures": {"n": "count"}, "window": {"size_s": 1, "every_s": 60}})}
    gone = Aggregates(hole, EVENT, OrderOptions(), {})
    gone.release([EventSlice(1, lambda: line.replace(b"6000", b"5999"), None)])
    assert gone.take().holds
    gone.release([EventSlice(1, lambda: line.replace(b"6000", b"6030"), None)])
    assert not gone.take().holds


def test_rows_that_say_the_same_of_a_group_share_their_text() -> None:
    """A backlog closes many windows in one commit: what they hold in memory until then is one text for each change of a group."""
    wide = {"measures": {"n": "count"}, "window": {"size_s": 6_000, "every_s": 60}, "group_by": ("g",)}
    into = Aggregates({"a": AggregateOptions.model_validate(wide)}, EVENT, OrderOptions(), {})
    timestamps = [*[(0, group) for group in range(50)], *[(60 * minute, 0) for minute in range(1, 101)]]
    lines = b"".join(json.dumps({"timestamp": second, "g": group}).encode() + b"\n" for second, group in timestamps)
    runs = into.release([EventSlice(len(timestamps), lambda: lines, None)])["a"]
    assert sum(run.row_count for run in runs) == 100 * 50
    assert len({id(tail) for run in runs for tail in run.tails}) == 49 + 100
