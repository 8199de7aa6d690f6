"""The conditions that a daemon publishes: they begin, they end, and a file that a dead process left misleads no reader."""

from __future__ import annotations

import errno
import json

import pytest

from event_processor.model.errors import StorageError
from event_processor.operations.conditions import Condition, ReloadAnswer, read_conditions
from event_processor.service.conditions import LISTED_MAX, Conditions
from support.engine import FakeClock
from support.simulated_faults import Fault
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/state"
OWNER = "process 7 on here"


@pytest.fixture
def fs() -> SimulatedFileSystem:
    fs = SimulatedFileSystem(1)
    fs.make_directory(FOLDER)
    return fs


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def opened(fs: SimulatedFileSystem, clock: FakeClock, owner: str = OWNER) -> Conditions:
    conditions = Conditions(fs, FOLDER, owner, clock)
    conditions.begin()
    return conditions


def published(fs: SimulatedFileSystem) -> list[Condition]:
    document = read_conditions(fs, FOLDER)
    assert document is not None
    return list(document.conditions)


def rounds(conditions: Conditions, count: int = 2) -> None:
    for _ in range(count):
        conditions.progressed()


def test_a_condition_is_published_with_its_file_and_what_to_do_and_ends(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    conditions = opened(fs, clock)
    conditions.file_unreadable(source="events", path="/log", reason="Permission denied")
    rounds(conditions)
    (present,) = published(fs)
    assert (present.kind, present.source, present.path, present.fails) == ("file_unreadable", "events", "/log", True)
    assert "Permission denied" in present.problem
    assert present.remedy
    conditions.file_readable(source="events", path="/log")
    rounds(conditions, 1)
    assert published(fs) == []


def test_a_missing_file_that_becomes_unreadable_is_one_condition(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    conditions = opened(fs, clock)
    conditions.file_missing(source="events", path="/log")
    conditions.file_unreadable(source="events", path="/log", reason="is a folder, not a file")
    rounds(conditions)
    assert [each.kind for each in published(fs)] == ["file_unreadable"]


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("Permission denied", "let the user of this process read it; it is tried again until it can be read"),
        (
            "is a folder, not a file",
            "put a file in its place, or correct sources.events.path; it is tried again until it can be read",
        ),
        ("not a regular file", "put a file in its place, or correct sources.events.path; it is tried again until it can be read"),
    ],
)
def test_what_to_do_depends_on_what_is_in_the_place_of_a_file(
    fs: SimulatedFileSystem, clock: FakeClock, reason: str, remedy: str
) -> None:
    conditions = opened(fs, clock)
    conditions.file_unreadable(source="events", path="/log", reason=reason)
    rounds(conditions)
    assert [each.remedy for each in published(fs)] == [remedy]


def test_a_name_that_is_not_utf_8_is_escaped_and_its_condition_ends(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    conditions = opened(fs, clock)
    path = b"/caf\xe9.jsonl".decode(errors="surrogateescape")
    conditions.file_unreadable(source="events", path=path, reason="Permission denied")
    rounds(conditions)
    assert [each.path for each in published(fs)] == ["/caf\\udce9.jsonl"]
    conditions.file_readable(source="events", path=path)
    rounds(conditions, 1)
    assert published(fs) == []


def test_no_watcher_is_a_note(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    conditions = opened(fs, clock)
    conditions.watcher_unavailable(path="/logs", reason="no space left on device")
    rounds(conditions)
    assert [(each.kind, each.fails) for each in published(fs)] == [("watcher_unavailable", False)]
    assert conditions.failures == ()


def test_a_condition_keeps_its_time_over_reloads_and_restarts_and_ends_if_it_is_not_reported_again(
    fs: SimulatedFileSystem, clock: FakeClock
) -> None:
    first = opened(fs, clock)
    first.file_missing(source="events", path="/a")
    first.file_missing(source="events", path="/b")
    rounds(first)
    since = published(fs)[0].since
    clock.now_s += 60
    second = opened(fs, clock, "process 8 on here")
    second.file_missing(source="events", path="/a")
    assert [each.path for each in published(fs)] == ["/a", "/b"], "the second has not looked at everything yet"
    rounds(second)
    assert [(each.path, each.since) for each in published(fs)] == [("/a", since)]


def lanes_of_a_process_before(fs: SimulatedFileSystem, clock: FakeClock) -> Conditions:
    """The next process, after one that had something to say of each sink."""
    first = opened(fs, clock)
    first.lane_stopped(sink="a", reason="401", remedy="correct the token")
    first.lane_paused(sink="a", remedy="resume it")
    first.lane_waiting(sink="b", reason="503")
    first.lane_failed(sink="c", reason="another chain", remedy="drop it", exit_code=65)
    first.lane_stopped(sink="a.retry", reason="401", remedy="correct the token")
    rounds(first)
    second = opened(fs, clock, "process 8 on here")
    rounds(second, 9)
    return second


def of_lanes(fs: SimulatedFileSystem) -> set[tuple[str, str]]:
    return {(each.kind.removeprefix("lane_"), each.source) for each in published(fs)}


EARLIER = {("stopped", "a"), ("paused", "a"), ("waiting", "b"), ("failed", "c"), ("stopped", "a.retry")}


def test_what_was_said_of_a_sink_stays_until_its_lane_knows_itself(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    second = lanes_of_a_process_before(fs, clock)
    assert of_lanes(fs) == EARLIER
    second.lanes_opened(sinks=("a", "b", "c", "a.retry"))
    second.lane_checked(sink="a", is_sending=False)
    rounds(second, 9)
    assert of_lanes(fs) == EARLIER - {("paused", "a")}
    second.lane_checked(sink="a", is_sending=True)
    second.lane_checked(sink="b", is_sending=True)
    rounds(second)
    assert of_lanes(fs) == {("failed", "c"), ("stopped", "a.retry")}
    second.stopped(reason="signal", records=0, held_events=0)
    assert of_lanes(fs) == {("failed", "c"), ("stopped", "a.retry")}, "the next process knows it too"


def test_what_was_said_of_a_sink_that_is_gone_ends(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    second = lanes_of_a_process_before(fs, clock)
    second.lanes_opened(sinks=("b",))
    rounds(second, 1)
    assert of_lanes(fs) == {("waiting", "b")}


def test_what_a_lane_says_now_replaces_what_was_said_and_a_check_ends_only_the_latter(
    fs: SimulatedFileSystem, clock: FakeClock
) -> None:
    second = lanes_of_a_process_before(fs, clock)
    second.lane_stopped(sink="b", reason="403", remedy="correct the token")
    second.lane_waiting(sink="a", reason="503")
    second.lane_stopped(sink="c", reason="401", remedy="correct the token")
    for sink in ("a", "b", "c"):
        second.lane_checked(sink=sink, is_sending=True)
    rounds(second, 1)
    assert of_lanes(fs) == {("waiting", "a"), ("stopped", "b"), ("stopped", "c"), ("stopped", "a.retry")}


def test_a_failure_stays_on_disk_until_the_next_process_works(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    first = opened(fs, clock)
    first.failed(StorageError("write", "/state/x", 28, "No space left on device"))
    (failed,) = published(fs)
    assert "74" in failed.problem
    assert "No space left on device" in failed.problem
    second = opened(fs, clock)
    rounds(second)
    assert published(fs) == []


def test_a_refused_reload_lasts_until_one_is_accepted(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    conditions = opened(fs, clock)
    conditions.answer(ReloadAnswer(1.0, "refused", reason="x.toml:2: wanted: a number\n  fix it"))
    conditions.begin()
    rounds(conditions)
    assert [each.kind for each in published(fs)] == ["reload_refused"]
    conditions.answer(ReloadAnswer(2.0, "unchanged"))
    assert published(fs) == []


def test_a_refused_reload_ends_with_its_process(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    opened(fs, clock).answer(ReloadAnswer(1.0, "refused", reason="a fault"))
    opened(fs, clock)
    assert published(fs) == []


def test_a_file_that_is_torn_or_of_another_form_counts_as_none(fs: SimulatedFileSystem) -> None:
    for content in (b"", b"{", b'{"version": 9, "owner": "x"}', b"[]", b"\xff"):
        fs.plant(f"{FOLDER}/conditions.json", content)
        assert read_conditions(fs, FOLDER) is None


def test_a_disk_that_is_full_stops_nothing_and_the_write_is_tried_again(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    conditions = opened(fs, clock)
    fs.fail(Fault(errno.ENOSPC, kinds={"write"}, lasting=True))
    conditions.file_missing(source="events", path="/log")
    rounds(conditions)
    assert published(fs) == []
    fs.stop_failing()
    clock.now_s += 10
    rounds(conditions, 1)
    assert [each.kind for each in published(fs)] == ["file_missing"]


def test_a_thousand_conditions_are_counted_and_the_oldest_are_listed(fs: SimulatedFileSystem, clock: FakeClock) -> None:
    conditions = opened(fs, clock)
    for number in range(1000):
        conditions.file_missing(source="events", path=f"/{number:04}")
    rounds(conditions)
    document = json.loads(fs.content(f"{FOLDER}/conditions.json") or b"")
    assert (len(document["conditions"]), document["unlisted"]) == (LISTED_MAX, 1000 - LISTED_MAX)
    assert document["conditions"][0]["path"] == "/0000"
