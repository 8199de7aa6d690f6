from dataclasses import asdict
from pathlib import Path

import pytest
from msgspec import structs

from event_processor.engine.checkpoint import CheckpointStore
from event_processor.model.errors import InputGoneError, LockedError
from event_processor.model.telemetry import Telemetry
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.replay import Replay, ReplayedState
from event_processor.operations.reset import Reset
from event_processor.operations.state_access import owned_state
from event_processor.operations.verification import verify
from support.operated import Place, event_line, lines
from support.reference import Options, evaluate

LOG = lines([3, 1, 2, "x", 1]) + b"bad\n" + lines([9, 8, 7], "b")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place.real(tmp_path, buffer_events=2)
    place.append(LOG)
    place.run()
    return place


def replayed(place: Place) -> ReplayedState:
    environment = place.environment
    with owned_state(place.settings, environment):
        replay = Replay(place.settings, environment)
        result = replay.prepare(nobody_watches)
        replay.swap_in()
    return result


def leftovers(place: Place) -> list[str]:
    return [str(path) for path in place.path().rglob("*replay-*")]


def test_a_replay_of_a_right_state_changes_nothing(place: Place) -> None:
    before, sink, letters = place.comparable(), place.read("out", "ordered.jsonl"), place.read("state", "dead_letters.jsonl")
    result = replayed(place)
    assert not result.changes
    assert result.unread_reason == ""
    assert place.comparable() == before
    assert (place.read("out", "ordered.jsonl"), place.read("state", "dead_letters.jsonl")) == (sink, letters)
    assert leftovers(place) == []
    place.append(lines([50]))
    place.run()
    assert verify(place.settings, place.environment, progress=nobody_watches).is_ok


def test_nothing_of_the_present_state_changes_before_the_swap(place: Place) -> None:
    before = {path: path.read_bytes() for path in place.path().rglob("*") if path.is_file() and path.name != "lock"}
    with owned_state(place.settings, place.environment):
        replay = Replay(place.settings, place.environment)
        replay.prepare(nobody_watches)
        replay.discard()
    assert {path: path.read_bytes() for path in place.path().rglob("*") if path.is_file() and path.name != "lock"} == before
    assert leftovers(place) == []


def test_what_was_counted_wrong_is_right_after_the_swap(place: Place) -> None:
    right = place.comparable()
    place.rewrite({"categories": {}})
    result = replayed(place)
    assert {change.category: change.after.count for change in result.categories if change.after} == {"a": 4, "b": 3}
    assert all(change.before is None for change in result.categories)
    assert place.comparable() == right


def test_an_aggregate_that_was_counted_wrong_is_named_by_its_path(tmp_path: Path) -> None:
    totals = {"per_category": {"group_by": ("category",), "measures": {"n": "count"}}}
    place = Place.real(tmp_path, aggregates=totals)
    place.append(LOG)
    place.run()
    right = place.state()["aggregates"]
    assert not replayed(place).changes
    committed = CheckpointStore(place.fs, str(place.path("state")), Telemetry()).peek()
    assert committed is not None
    document = committed.state.aggregates["per_category"]
    place.rewrite({"aggregates": {"per_category": structs.replace(document, rows=77)}})
    result = replayed(place)
    assert result.changes
    assert [(each.path, each.before, each.after) for each in result.aggregates] == [("aggregates.per_category.rows", 77, 2)]
    assert place.state()["aggregates"] == right


def test_under_another_configuration_the_state_is_what_the_log_gives_under_it(place: Place) -> None:
    other = place.configured(buffer_events=4)
    result = replayed(other)
    expected = evaluate(LOG, Options(buffer_events=4, drained=False))
    assert asdict(expected.categories["a"]) == other.state()["categories"]["a"]
    assert other.read("out", "ordered.jsonl").splitlines() == expected.released
    assert result.counts_before is not None
    other.run(drain=True)
    assert other.read("out", "ordered.jsonl").splitlines() == expected.released + expected.held
    assert verify(other.settings, other.environment, progress=nobody_watches).is_ok


def test_what_the_log_holds_beyond_the_journal_is_read_too(place: Place) -> None:
    place.append(lines([100, 101]))
    result = replayed(place)
    assert result.counts_before is not None
    assert (result.counts_before.records, result.counts_after.records) == (9, 11)
    assert place.state()["counts"]["records"] == 11


@pytest.mark.parametrize("broken", [("checkpoint.json", "checkpoint.previous.json"), ("journal.jsonl",)])
def test_a_state_that_cannot_be_read_is_made_anew_from_the_sources(place: Place, broken: tuple[str, ...]) -> None:
    place.append(lines(["from the intake"]), "state/intake.jsonl")
    place.run()
    place.append(lines([200]))
    place.run()
    for name in broken:
        place.path("state", name).write_bytes(b"x")
    result = replayed(place)
    assert broken[0] in result.unread_reason
    assert place.state()["counts"] == {"records": 11, "accepted": 9, "duplicate": 1, "rejected": 1, "blank": 0, "late": 1}
    assert verify(place.settings, place.environment, progress=nobody_watches).is_ok


def test_a_state_whose_ids_are_gone_is_made_anew(place: Place) -> None:
    right = place.comparable()
    for path in place.path("state", "ids").iterdir():
        path.unlink()
    replayed(place)
    place.run()
    assert place.comparable() == right


def test_a_state_that_lost_both_checkpoints_is_made_anew(place: Place) -> None:
    right = place.comparable()
    place.path("state", "checkpoint.json").unlink()
    place.path("state", "checkpoint.previous.json").unlink()
    assert replayed(place).counts_before is None
    place.run()
    assert place.comparable() == right


def rotate(place: Place) -> None:
    """As logrotate renames: the highest number first."""
    for number in (3, 2, 1):
        if place.path(f"log.jsonl.{number}").exists():
            place.path(f"log.jsonl.{number}").rename(place.path(f"log.jsonl.{number + 1}"))
    place.path("log.jsonl").rename(place.path("log.jsonl.1"))


@pytest.fixture
def rotated(tmp_path: Path) -> Place:
    """Five records in three files, all counted; a fourth file, before them, was there at the first start."""
    place = Place.real(tmp_path)
    place.append(lines(["history"]), "log.jsonl.1")
    for ids in ([1, 2], [3], [4, 5]):
        if ids != [1, 2]:
            rotate(place)
        place.append(lines(ids))
        place.run()
    assert place.state()["counts"]["records"] == 5
    return place


def test_a_replay_of_a_lost_state_reads_what_the_journal_shows_that_it_had_read(rotated: Place) -> None:
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        rotated.path("state", name).unlink()
    result = replayed(rotated)
    assert rotated.state()["counts"]["records"] == 5
    assert {Path(file.path).name: file.read for file in result.files if file.read} == {
        "log.jsonl": True,
        "log.jsonl.1": True,
        "log.jsonl.2": True,
    }


def test_a_replay_names_the_rotated_files_that_it_leaves_out(rotated: Place) -> None:
    for path in rotated.path("state").glob("*.json*"):
        path.unlink()
    result = replayed(rotated)
    assert rotated.state()["counts"]["records"] == 2
    left_out = {Path(file.path).name for file in result.files if not file.read}
    assert left_out == {"log.jsonl.1", "log.jsonl.2", "log.jsonl.3"}
    assert all("--start oldest" in file.reason for file in result.files if not file.read)


def test_a_replay_from_the_oldest_file_reads_all_of_them(rotated: Place) -> None:
    environment = rotated.environment
    with owned_state(rotated.settings, environment):
        replay = Replay(rotated.settings, environment, start="oldest")
        result = replay.prepare(nobody_watches)
        replay.swap_in()
    assert result.counts_after.records == 6
    assert [Path(file.path).name for file in result.files if file.read] == [
        "log.jsonl",
        "log.jsonl.1",
        "log.jsonl.2",
        "log.jsonl.3",
    ]
    assert verify(rotated.settings, rotated.environment, progress=nobody_watches).is_ok


def test_a_sink_file_that_the_state_did_not_write_is_kept_beside(place: Place) -> None:
    ours = place.read("out", "ordered.jsonl")
    for name in ("checkpoint.json", "checkpoint.previous.json"):
        place.path("state", name).write_bytes(b"x")
    place.path("out", "ordered.jsonl").write_bytes(b"somebody's work\n")
    replayed(place)
    assert place.read("out", "ordered.jsonl") == ours
    kept = [path for path in place.path("out").iterdir() if ".aside-" in path.name]
    assert [path.read_bytes() for path in kept] == [b"somebody's work\n"]


def test_a_source_that_is_no_longer_configured_no_longer_counts(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    place.append(lines([1, 2]))
    place.append(lines([3]), "log.jsonl.other")
    place.run()
    other = place.configured(sources={"renamed": place.settings.sources["log"]})
    replayed(other)
    assert set(other.state()["sources"]) == {"renamed"}
    assert other.state()["counts"]["records"] == 2


def test_a_log_that_is_gone_refuses_the_replay_and_the_state_stands(place: Place) -> None:
    before = place.read("state", "checkpoint.json")
    place.path("log.jsonl").unlink()
    with pytest.raises(InputGoneError, match="are gone"):
        replayed(place)
    assert place.read("state", "checkpoint.json") == before


def test_leftovers_of_a_died_replay_are_removed_by_the_next(place: Place) -> None:
    with owned_state(place.settings, place.environment):
        Replay(place.settings, place.environment).prepare(nobody_watches)
    assert leftovers(place)
    replayed(place)
    assert leftovers(place) == []


def test_a_state_with_an_owner_is_left_alone(place: Place) -> None:
    with owned_state(place.settings, place.environment), pytest.raises(LockedError, match="held by process"):
        replayed(place)


def test_a_reset_moves_everything_aside_and_the_next_start_begins_anew(place: Place) -> None:
    right, checkpoint, sink = place.comparable(), place.read("state", "checkpoint.json"), place.read("out", "ordered.jsonl")
    with owned_state(place.settings, place.environment):
        moves = Reset(place.settings, place.environment).apply()
    kept = {path.name for path in place.path("state").iterdir()}
    aside = next(name for name in kept if name.startswith("aside-"))
    assert kept == {"lock", "intake.jsonl", aside}
    assert place.read("state", aside, "checkpoint.json") == checkpoint
    assert [move.new_path for move in moves if move.path.endswith("ordered.jsonl")] == [
        str(place.path("out", f"ordered.jsonl.{aside}"))
    ]
    assert place.read("out", f"ordered.jsonl.{aside}") == sink
    place.run()
    assert place.comparable() == right
    assert place.read("out", "ordered.jsonl") == sink


def test_the_intake_stays_at_a_reset_and_is_read_again(place: Place) -> None:
    place.append(event_line("retried"), "state/intake.jsonl")
    place.run()
    with owned_state(place.settings, place.environment):
        Reset(place.settings, place.environment).apply()
    place.run()
    assert place.state()["counts"]["records"] == 10


def test_two_resets_in_one_second_go_to_two_folders(place: Place) -> None:
    for _ in range(2):
        with owned_state(place.settings, place.environment):
            assert Reset(place.settings, place.environment).apply()
        place.run()
    assert len([path for path in place.path("state").iterdir() if path.name.startswith("aside-")]) == 2


def test_where_nothing_is_there_is_nothing_to_reset(tmp_path: Path) -> None:
    place = Place.real(tmp_path)
    with owned_state(place.settings, place.environment):
        assert Reset(place.settings, place.environment).apply() == ()
