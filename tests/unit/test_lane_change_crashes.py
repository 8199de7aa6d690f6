"""Drop, rename, skip, retry and replay, ended before and after each of their changes to the disk, by a kill and by a power cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import msgspec
import pytest

from event_processor.configuration.configuration import Configuration
from event_processor.connectors.python.options import PythonSinkOptions
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.progress import LaneIdentity, Progress
from event_processor.engine.delivery.retries import Retry, append_retries
from event_processor.model.errors import ConfigurationError, UsageError
from event_processor.model.transactions import FailedRecord
from event_processor.operations.lane_changes import lane_changes
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.replay import Replay
from event_processor.operations.replayed_lanes import Choice
from event_processor.operations.sinks import list_sinks, skip_records
from event_processor.operations.state_access import owned_state
from support import engine
from support.operated import lines
from support.outbox import CommittedSeries
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import SimulatedFileSystem

LOG = lines(range(1, 9))
CALLS_MAX = 400
FAILED_BYTES = 300
"""Above the length of the one failed record."""

Operation = Callable[[SimulatedFileSystem, int], None]


def configured(*names: str) -> Configuration:
    sinks = {name: PythonSinkOptions.model_validate({"type": "python", "class": "a:B"}) for name in names}
    return (
        engine.configuration("/d", buffer_events=0, sink=False, sinks=sinks)
        if sinks
        else engine.configuration("/d", buffer_events=0, sink=False)
    )


OLD, NEW = configured("old"), configured("new")
OTHER = OLD.model_copy(update={"event": OLD.event.model_copy(update={"value": ""})})
"""Another meaning of the records: the state must be rebuilt."""


def state_of(fs: SimulatedFileSystem) -> dict[str, Any]:
    content = fs.content("/d/state/checkpoint.json")
    assert content is not None
    return dict(json.loads(content)["state"])


def started(seed: int) -> SimulatedFileSystem:
    """Eight records were released; two were answered, of which the second failed; one was retried; the sink is paused."""
    fs = SimulatedFileSystem(seed, short_io_odds=0.0)
    fs.plant("/d/log.jsonl", LOG)
    engine.run(fs, OLD, seed=1)
    state = state_of(fs)
    lane = state["lanes"]["old"]
    progress = Progress(fs, "/d/state", LaneIdentity("old", "events", state["state_id"], lane["target"], 0, ""))
    letter = FailedRecord("old", 2, "key of 2", {}, "deliver", "422", "no", 1, "2026-01-01T00:00:00Z", msgspec.Raw(b"{}"))
    chain = "0123456789abcdef0123456789abcdef"
    (outbox,) = [path for path in fs.paths() if "/outbox/" in path]
    chain = json.loads((fs.content(outbox) or b"").splitlines()[1])["chain"]
    counts = msgspec.structs.replace(progress.document.counts, delivered=1, failed=1)
    progress.save(msgspec.structs.replace(progress.document, sequence=2, chain=chain, counts=counts), [letter])
    progress.close()
    retry(fs, "key of 2")
    fs.plant("/d/state/delivery/old.paused", b"")
    return fs


def retry(fs: SimulatedFileSystem, *keys: str) -> None:
    def choose(last: Mapping[str, int]) -> list[Retry]:
        return [Retry(key, 1, {}, msgspec.Raw(b"{}")) for key in keys if key not in last]

    append_retries(fs, "/d/state", "old", choose, "2026-01-01T00:00:00Z")


def rename(fs: SimulatedFileSystem, seed: int) -> None:
    with lane_changes(NEW, engine.environment(fs, seed=seed)) as changes:
        changes.rename("old", "new")


def drop(fs: SimulatedFileSystem, seed: int) -> None:
    with lane_changes(OLD, engine.environment(fs, seed=seed)) as changes:
        changes.drop("old")


def skip(fs: SimulatedFileSystem, seed: int) -> None:
    skip_records(OLD, engine.environment(fs, seed=seed), "old", [4, 6])


def replay(settings: Configuration, **choices: Choice) -> Operation:
    def operation(fs: SimulatedFileSystem, seed: int) -> None:
        surroundings = engine.environment(fs, seed=seed)
        with owned_state(settings, surroundings):
            one = Replay(settings, surroundings, choices=choices)
            one.prepare(nobody_watches).require_decisions()
            one.swap_in()

    return operation


def every_end(operation: Operation, judge: Callable[[SimulatedFileSystem, int], None], *, power_cut: bool) -> int:
    """Judges the disk after each end of `operation`. Returns how many there were."""
    chance = Random(7)
    for nth in range(1, CALLS_MAX):
        fs = started(nth)
        fs.crash_at(nth, after=chance.random() < 0.5)
        try:
            operation(fs, 1000 + nth)
        except SimulatedCrash:
            judge(fs.crash() if power_cut else fs.kill(), nth)
            continue
        fs.stop_failing()
        judge(fs, nth)
        return nth - 1
    raise AssertionError("the operation never came to its end")


def names_of(fs: SimulatedFileSystem, name: str) -> set[str]:
    folder = "/d/state/delivery/"
    return {path.removeprefix(folder + name) for path in fs.paths() if path.startswith(f"{folder}{name}.")}


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_rename_that_dies_anywhere_is_finished_or_was_never_begun(*, power_cut: bool) -> None:
    renamed = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        # A start finishes what was begun. If nothing was, the old configuration goes on, and the new one is refused.
        try:
            engine.run(fs, NEW, seed=2000 + nth)
            name, gone = "new", "old"
        except ConfigurationError:
            engine.run(fs, OLD, seed=3000 + nth)
            name, gone = "old", "new"
        renamed.append(name == "new")
        assert set(state_of(fs)["lanes"]) == {name}, fs.journal()
        assert names_of(fs, name) >= {".json", ".failed.jsonl", ".retry.jsonl", ".paused"}, fs.journal()
        assert names_of(fs, gone) <= {".json.partial"}, fs.journal()
        cursor = read_cursor(fs, "/d/state", name)
        assert cursor is not None
        assert (cursor.sequence, cursor.counts.delivered, cursor.counts.failed) == (2, 1, 1)
        assert [cursor.name_of(each, name) for each in (1, 8, 9)] == ["old", "old", name]
        (found,) = list_sinks(configured(name), engine.environment(fs))
        assert (found.state, found.pending, found.retried and found.retried.pending) == ("paused", 6, 1)
        assert fs.content("/d/state/lane-change.json") is None

    assert every_end(rename, judge, power_cut=power_cut) > 20
    assert (renamed[0], renamed[-1]) == (False, True)


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_drop_that_dies_anywhere_is_finished_or_was_never_begun(*, power_cut: bool) -> None:
    dropped = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        letters = fs.content("/d/state/delivery/old.failed.jsonl")
        assert letters
        engine.run(fs, OLD, seed=2000 + nth)
        lane = state_of(fs)["lanes"]["old"]
        dropped.append(lane["from"] == 8)
        assert fs.content("/d/state/delivery/old.failed.jsonl") == letters
        aside = {name for name in names_of(fs, "old") if name.startswith((".dropped", ".retry.dropped"))}
        if dropped[-1]:
            assert len(aside) == 2, fs.journal()
            assert not names_of(fs, "old") & {".json", ".retry.jsonl"}
            # The lane that begins anew keeps the failed records of the one before.
            identity = LaneIdentity("old", "events", state_of(fs)["state_id"], lane["target"], 8, lane["chain"])
            progress = Progress(fs, "/d/state", identity)
            assert progress.document.failed_bytes == len(letters)
            progress.close()
        else:
            assert not aside
            assert lane["from"] == 0
            cursor = read_cursor(fs, "/d/state", "old")
            assert cursor is not None
            assert cursor.sequence == 2

    assert every_end(drop, judge, power_cut=power_cut) > 15
    assert (dropped[0], dropped[-1]) == (False, True)


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_skip_that_dies_anywhere_skips_all_or_none_and_can_be_repeated(*, power_cut: bool) -> None:
    skipped = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        (found,) = list_sinks(OLD, engine.environment(fs))
        assert (found.skipped, found.pending) in ((0, 6), (2, 4)), fs.journal()
        skipped.append(found.skipped)
        if found.skipped:
            with pytest.raises(UsageError, match="record 4 was answered already"):
                skip(fs, 2000 + nth)
        else:
            skip(fs, 2000 + nth)
        cursor = read_cursor(fs, "/d/state", "old")
        assert cursor is not None
        committed = (fs.content("/d/state/delivery/old.failed.jsonl") or b"")[: cursor.failed_bytes]
        assert [json.loads(line)["sequence"] for line in committed.splitlines()] == [2, 4, 6]

    assert every_end(skip, judge, power_cut=power_cut) > 4
    assert (skipped[0], skipped[-1]) == (0, 2)


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_retry_that_dies_anywhere_and_is_repeated_adds_each_record_once(*, power_cut: bool) -> None:
    def add(fs: SimulatedFileSystem, _seed: int) -> None:
        retry(fs, "key of 3", "key of 4", "key of 5")

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        add(fs, nth)
        found = [json.loads(line) for line in (fs.content("/d/state/delivery/old.retry.jsonl") or b"").splitlines()]
        assert [each["sequence"] for each in found] == [1, 2, 3, 4], fs.journal()
        assert sorted(each["place"]["key"] for each in found) == [f"key of {each}" for each in range(2, 6)]

    assert every_end(add, judge, power_cut=power_cut) >= 2


def judged_lane(fs: SimulatedFileSystem, settings: Configuration) -> tuple[int, int, int]:
    """Where the lane of a stopped daemon is: the records that wait, those answered, and the last one released."""
    (found,) = list_sinks(settings, engine.environment(fs))
    assert found.state == "paused", found
    return found.pending, found.delivered + found.failed, found.released


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_replay_that_dies_anywhere_leaves_the_lane_where_it_was(*, power_cut: bool) -> None:
    before = state_of(started(1))["state_id"]

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        engine.run(fs, OLD, seed=2000 + nth)
        assert state_of(fs)["state_id"] == before
        assert judged_lane(fs, OLD) == (6, 2, 8), fs.journal()
        assert len(CommittedSeries.read(fs.content, "/d", "events").records) == 8

    assert every_end(replay(OLD), judge, power_cut=power_cut) > 20


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_replay_with_a_decision_that_dies_anywhere_leaves_the_old_lane_or_the_new_one(*, power_cut: bool) -> None:
    before = state_of(started(1))["state_id"]
    swapped = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        letters = fs.content("/d/state/delivery/old.failed.jsonl")
        try:
            engine.run(fs, OTHER, seed=2000 + nth)
            swapped.append(True)
        except ConfigurationError:
            engine.run(fs, OLD, seed=3000 + nth)
            swapped.append(False)
        assert (state_of(fs)["state_id"] != before) == swapped[-1]
        assert judged_lane(fs, OTHER if swapped[-1] else OLD) == ((8, 0, 8) if swapped[-1] else (6, 2, 8)), fs.journal()
        assert {name for name in names_of(fs, "old") if ".aside-" in name} == set() or swapped[-1]
        assert fs.content("/d/state/delivery/old.failed.jsonl") == letters
        assert fs.content("/d/state/lane-change.json") is None

    assert every_end(replay(OTHER, old="again"), judge, power_cut=power_cut) > 20
    assert (swapped[0], swapped[-1]) == (False, True)
