"""Replay, reset and purge, ended before and after each of their changes to the disk, by a kill and by a power cut."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import ConfigurationError, StateError
from event_processor.operations.dead_letters import purge_dead_letters
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.replay import Replay
from event_processor.operations.reset import Reset
from event_processor.operations.state_access import owned_state
from support import engine
from support.operated import lines
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import SimulatedFileSystem

LOG = lines([3, 1, 2, "x", 1]) + b"bad\n" + lines(range(10, 40), "b")
BEFORE = engine.configuration("/d", buffer_events=2)
AFTER = engine.configuration("/d", buffer_events=2, event={"value": ""})
CALLS_MAX = 400

Operation = Callable[[SimulatedFileSystem, int], None]
Outcome = tuple[dict[str, Any], bytes | None, bytes | None]


def started(seed: int) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed, short_io_odds=0.0)
    fs.plant("/d/log.jsonl", LOG)
    engine.run(fs, BEFORE, seed=1)
    return fs


def finished(fs: SimulatedFileSystem, settings: Configuration, seed: int) -> Outcome:
    """What a run to the end of the log leaves: the state, the sink's committed bytes, the dead letters."""
    engine.run(fs, settings, seed=seed)
    checkpoint = fs.content("/d/state/checkpoint.json")
    assert checkpoint is not None
    return engine.comparable(checkpoint), fs.content("/d/out/ordered.jsonl"), fs.content("/d/state/dead_letters.jsonl")


def undisturbed(settings: Configuration) -> Outcome:
    fs = SimulatedFileSystem(0)
    fs.plant("/d/log.jsonl", LOG)
    return finished(fs, settings, 1)


def replay(fs: SimulatedFileSystem, seed: int) -> None:
    surroundings = engine.environment(fs, seed=seed)
    with owned_state(AFTER, surroundings):
        one = Replay(AFTER, surroundings)
        one.prepare(nobody_watches)
        one.swap_in()


def reset(fs: SimulatedFileSystem, seed: int) -> None:
    surroundings = engine.environment(fs, seed=seed)
    with owned_state(BEFORE, surroundings):
        Reset(BEFORE, surroundings).apply()


def purge(fs: SimulatedFileSystem, seed: int) -> None:
    surroundings = engine.environment(fs, seed=seed)
    with owned_state(BEFORE, surroundings):
        purge_dead_letters(BEFORE, surroundings)


def ended(operation: Operation, nth: int, *, after: bool, power_cut: bool) -> tuple[SimulatedFileSystem, bool]:
    """The next life of a disk on which `operation` was ended at its `nth` change; whether there was one so late."""
    fs = started(nth)
    fs.crash_at(nth, after=after)
    try:
        operation(fs, 1000 + nth)
    except SimulatedCrash:
        return (fs.crash() if power_cut else fs.kill()), True
    fs.stop_failing()
    return fs, False


def every_end(operation: Operation, judge: Callable[[SimulatedFileSystem, int], None], *, power_cut: bool) -> int:
    """Judges each of them; how many there were."""
    chance = Random(7)
    for nth in range(1, CALLS_MAX):
        fs, was_ended = ended(operation, nth, after=chance.random() < 0.5, power_cut=power_cut)
        judge(fs, nth)
        if not was_ended:
            return nth - 1
    raise AssertionError("the operation never came to its end")


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_replay_that_dies_anywhere_leaves_the_old_state_or_the_new_one_whole(*, power_cut: bool) -> None:
    expected = {False: undisturbed(BEFORE), True: undisturbed(AFTER)}
    swapped = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        try:
            outcome = finished(fs, BEFORE, 2000 + nth)
            is_new = False
        except ConfigurationError:
            outcome = finished(fs, AFTER, 3000 + nth)
            is_new = True
        swapped.append(is_new)
        assert outcome == expected[is_new], fs.journal()

    assert every_end(replay, judge, power_cut=power_cut) > 30
    assert swapped[0] is False
    assert swapped[-1] is True


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_reset_that_dies_anywhere_can_be_ended_and_nothing_is_lost(*, power_cut: bool) -> None:
    expected = undisturbed(BEFORE)

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        kept = [fs.content(path) or b"" for path in fs.paths() if path.endswith("/checkpoint.json")]
        assert expected[0] in map(engine.comparable, kept)
        try:
            outcome = finished(fs, BEFORE, 2000 + nth)
        except (StateError, ConfigurationError):
            reset(fs, 4000 + nth)
            outcome = finished(fs, BEFORE, 3000 + nth)
        assert outcome == expected, fs.journal()

    assert every_end(reset, judge, power_cut=power_cut) > 10


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_purge_that_dies_anywhere_leaves_all_letters_or_none(*, power_cut: bool) -> None:
    state, sink, letters = undisturbed(BEFORE)
    purged = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        found = finished(fs, BEFORE, 2000 + nth)
        assert found[:2] == (state, sink), fs.journal()
        assert found[2] in (letters, b""), fs.journal()
        purged.append(found[2] == b"")

    assert every_end(purge, judge, power_cut=power_cut) > 10
    assert (purged[0], purged[-1]) == (False, True)
