from pathlib import Path
from typing import Any

import pytest

from event_processor.assembly import lock_state
from event_processor.engine.state import Counts
from event_processor.model.errors import InputGoneError, StateError
from event_processor.operations.inspection import inspect_state
from event_processor.operations.state_access import lock_owner
from event_processor.operations.status import CommittedStatus, Status, StatusLimits, read_status, watch_status
from event_processor.storage.append_file import committed_lines
from support.engine import FakeClock
from support.operated import Place, lines


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place.real(tmp_path, buffer_events=2)
    place.append(lines(range(5)) + b"bad\n\n" + lines([3, 3]))
    return place


def committed(**facts: Any) -> CommittedStatus:
    whole = {
        "state_id": "s",
        "written_at": None,
        "age_s": 0.0,
        "counts": Counts(),
        "categories": 0,
        "lag_bytes": 0,
        "held_events": 0,
        "dead_letters": 0,
    }
    return CommittedStatus(**(whole | facts))


def test_a_place_without_a_state_is_not_keeping_up_and_nothing_is_made_there(place: Place) -> None:
    status = read_status(place.settings, place.environment)
    assert (status.owner, status.committed) == (None, None)
    assert len(status.shortfalls(StatusLimits())) == 2
    assert not place.path("state").exists()


def test_status_counts_what_is_committed_held_rejected_and_still_to_be_read(place: Place) -> None:
    place.run()
    more = lines([7, 8]) + b'{"torn'
    place.append(more)
    status = read_status(place.settings, place.environment)
    assert status.committed is not None
    assert status.committed.counts == Counts(records=9, accepted=5, duplicate=2, rejected=1, blank=1)
    assert (status.committed.categories, status.committed.held_events, status.committed.dead_letters) == (1, 2, 1)
    assert status.committed.lag_bytes == len(more)


def test_a_log_of_which_nothing_was_read_yet_is_lag_too(place: Place) -> None:
    log = place.read("log.jsonl")
    place.path("log.jsonl").unlink()
    place.run()
    place.append(log)
    status = read_status(place.settings, place.environment)
    assert status.committed is not None
    assert status.committed.lag_bytes == len(log)


def test_the_owner_is_whoever_holds_the_lock_and_looking_does_not_take_it(place: Place) -> None:
    place.run()
    assert lock_owner(place.settings, place.environment) is None
    lock = lock_state(place.settings, place.environment)
    owner = read_status(place.settings, place.environment).owner
    assert owner is not None
    assert owner.startswith("process ")
    lock.release()
    assert lock_owner(place.settings, place.environment) is None
    lock_state(place.settings, place.environment).release()


def test_status_changes_no_byte_of_the_state(place: Place) -> None:
    place.run()
    before = {path: path.read_bytes() for path in place.path("state").rglob("*") if path.is_file()}
    read_status(place.settings, place.environment)
    assert {path: path.read_bytes() for path in place.path("state").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("facts", "limits", "keeps_up"),
    [
        ({"lag_bytes": 10}, StatusLimits(), True),
        ({"lag_bytes": 10}, StatusLimits(lag_bytes_max=10), True),
        ({"lag_bytes": 11}, StatusLimits(lag_bytes_max=10), False),
        ({"age_s": 99.0}, StatusLimits(age_s_max=5), True),
        ({"age_s": 99.0, "lag_bytes": 1}, StatusLimits(age_s_max=5), False),
        ({"age_s": None, "lag_bytes": 1}, StatusLimits(age_s_max=5), False),
        ({"age_s": 5.0, "lag_bytes": 1}, StatusLimits(age_s_max=5), True),
    ],
)
def test_a_limit_is_judged_only_where_it_was_asked_for(facts: dict[str, Any], limits: StatusLimits, *, keeps_up: bool) -> None:
    assert (not Status("state", "process 1", committed(**facts)).shortfalls(limits)) is keeps_up


def test_the_rate_is_what_was_committed_between_two_looks(place: Place) -> None:
    place.run()
    environment = place.environment
    assert isinstance(environment.clock, FakeClock)
    frames = watch_status(place.settings, environment, interval_s=2.0, count=2)
    assert next(frames).records_per_s is None
    place.append(lines(range(100, 106)))
    place.run()
    assert next(frames).records_per_s == 3.0
    assert next(frames, None) is None


def test_inspect_sorts_categories_and_shows_one_where_one_is_asked_for(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(lines([1], "b") + lines([2, 3], "a") + lines([4], "c"))
    place.run()
    whole = inspect_state(place.settings, place.environment)
    assert {name: total.count for name, total in whole.categories.items()} == {"a": 2, "b": 1, "c": 1}
    assert list(whole.categories) == ["a", "b", "c"]
    assert list(inspect_state(place.settings, place.environment, category="b").categories) == ["b"]
    assert inspect_state(place.settings, place.environment, category="x").categories == {}


def test_to_inspect_nothing_is_an_answer_of_its_own(place: Place) -> None:
    with pytest.raises(InputGoneError, match="no state here yet"):
        inspect_state(place.settings, place.environment)


def test_lines_are_read_up_to_the_committed_length_and_no_further(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(b"one\ntwo\nthree\n", "file")
    path = str(place.path("file"))
    assert [line for some in committed_lines(place.fs, path, 8) for line in some] == [b"one", b"two"]
    assert list(committed_lines(place.fs, str(place.path("nothing")), 0)) == []
    with pytest.raises(StateError, match="shorter than the 99 bytes"):
        list(committed_lines(place.fs, path, 99))
    with pytest.raises(StateError):
        list(committed_lines(place.fs, str(place.path("nothing")), 1))


def test_lag_covers_files_that_rotated_meanwhile_and_those_that_are_new(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(lines([1]))
    place.run()
    unread = lines([2]), lines([3, 4]), lines([5])
    place.append(unread[0])
    place.path("log.jsonl").rename(place.path("log.jsonl.1"))
    place.append(unread[1])
    place.path("log.jsonl").rename(place.path("log.jsonl.0"))
    place.append(unread[2])
    status = read_status(place.settings, place.environment)
    assert status.committed is not None
    assert status.committed.lag_bytes == sum(map(len, unread))
