"""Verify, replay and reset where a sink writes parts."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from event_processor.model.errors import ConfigurationError
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.replay import Replay
from event_processor.operations.reset import Reset
from event_processor.operations.state_access import owned_state
from event_processor.operations.verification import SinkVerification, Verification, verify
from support import engine
from support.operated import Place, lines
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import SimulatedFileSystem
from support.sink_kinds import KINDS, PART_KINDS, SinkKind

LOG = lines([3, 1, 2, 5, 1]) + b"bad\n" + lines(range(10, 40), "b")
RELEASED_COUNT = 34
CALLS_MAX = 500


def place_of(kind: SinkKind, path: Path, **sections: Any) -> Place:
    return Place.real(path, buffer_events=2, sinks=kind.sink(str(path), **sections))


@pytest.fixture(params=PART_KINDS)
def kind(request: pytest.FixtureRequest) -> SinkKind:
    return KINDS[request.param]


@pytest.fixture
def place(kind: SinkKind, tmp_path: Path) -> Place:
    place = place_of(kind, tmp_path)
    place.append(LOG)
    place.run()
    return place


def verified(place: Place) -> Verification:
    return verify(place.settings, place.environment, progress=nobody_watches)


def sink_of(verification: Verification) -> SinkVerification:
    (sink,) = verification.sinks
    return sink


def part(place: Place, kind: SinkKind, number: int) -> Path:
    return place.path("out", kind.file.replace("{n}", str(number)))


def bytes_of_parts(place: Place, kind: SinkKind) -> dict[int, bytes]:
    return kind.files(place.fs, place.folder)


def open_file(place: Place) -> Path:
    """The pending file of the open part."""
    (key,) = [key for key in place.state()["appended"] if key.startswith("sinks.")]
    return place.path(key.partition(":")[2])


def test_parts_and_what_is_pending_are_what_the_log_gives(place: Place) -> None:
    verification = verified(place)
    assert verification.is_ok, verification.differences
    sink = sink_of(verification)
    assert (sink.parts, sink.parts_gone) == (4, 0)
    assert sink.size_bytes > 0


def test_parts_that_were_cut_short_at_an_end_of_the_input_are_right_wherever_they_end(place: Place) -> None:
    for start in (100, 200, 300):
        place.run(drain=True)
        place.append(lines(range(start, start + 10)))
        place.run()
    verification = verified(place)
    assert verification.is_ok, verification.differences
    assert sink_of(verification).parts == 10


def test_a_part_that_was_taken_away_and_those_before_it_are_said_to_be_gone(place: Place, kind: SinkKind) -> None:
    part(place, kind, 2).unlink()
    verification = verified(place)
    assert verification.is_ok, verification.differences
    assert (sink_of(verification).parts, sink_of(verification).parts_gone) == (2, 2)


def test_a_part_with_other_lines_is_a_difference(place: Place, kind: SinkKind) -> None:
    part(place, kind, 3).write_bytes(part(place, kind, 2).read_bytes())
    (difference,) = verified(place).differences
    assert str(part(place, kind, 3)) in difference.path


def test_what_is_no_part_at_its_place_is_a_difference(place: Place, kind: SinkKind) -> None:
    part(place, kind, 3).write_bytes(b"x")
    (difference,) = verified(place).differences
    assert str(part(place, kind, 3)) in difference.path


def test_pending_lines_that_were_changed_are_a_difference(place: Place) -> None:
    pending = open_file(place)
    pending.write_bytes(pending.read_bytes().replace(b"b", b"c", 1))
    (difference,) = verified(place).differences
    assert "line 1" in difference.path


def test_pending_lines_that_are_gone_are_a_difference(place: Place) -> None:
    pending = open_file(place)
    pending.unlink()
    (difference,) = verified(place).differences
    assert "bytes that are there" in difference.path


def test_an_event_that_a_part_lacks_is_a_difference(place: Place, kind: SinkKind) -> None:
    part(place, kind, 1).write_bytes(part(place, kind, 2).read_bytes())
    assert not verified(place).is_ok


def test_verify_beside_a_daemon_that_goes_on_compares_what_its_checkpoint_covers(place: Place) -> None:
    went_on: list[bool] = []

    def go_on(*_: object) -> None:
        if not went_on:
            went_on.append(True)
            for start in (500, 600, 700):
                place.append(lines(range(start, start + 20)))
                place.run()

    verification = verify(place.settings, place.environment, progress=go_on)
    assert went_on
    assert verification.is_ok, verification.differences
    assert sink_of(verification).parts == 4


def replayed(place: Place) -> None:
    environment = place.environment
    with owned_state(place.settings, environment):
        replay = Replay(place.settings, environment)
        replay.prepare(nobody_watches)
        replay.swap_in()


def test_a_replay_writes_the_parts_anew_and_keeps_the_old_ones_beside(place: Place, kind: SinkKind) -> None:
    before = bytes_of_parts(place, kind)
    replayed(place)
    assert bytes_of_parts(place, kind) == {}
    assert verified(place).is_ok
    place.run()
    assert bytes_of_parts(place, kind) == before
    aside = [path for path in place.path("out").iterdir() if ".aside-" in path.name]
    assert sorted(path.read_bytes() for path in aside) == sorted(before.values())
    assert verified(place).is_ok
    place.append(lines([50]))
    place.run(drain=True)
    assert sum(len(kind.rows(content)) for content in bytes_of_parts(place, kind).values()) == RELEASED_COUNT + 1
    assert list(place.path().rglob("*replay-*")) == []


def test_a_replay_after_a_drain_fills_the_part_that_was_cut_short(tmp_path: Path) -> None:
    kind = KINDS["json parts"]
    place = place_of(kind, tmp_path)
    for start in (0, 10):
        place.append(lines(range(start, start + 10)))
        place.run(drain=True)
    assert [len(kind.rows(content)) for content in bytes_of_parts(place, kind).values()] == [7, 3, 7, 3]
    replayed(place)
    place.run(drain=True)
    assert [len(kind.rows(content)) for content in bytes_of_parts(place, kind).values()] == [7, 7, 6]


def test_a_replay_that_is_discarded_leaves_the_parts_alone(place: Place, kind: SinkKind) -> None:
    before = {path: path.read_bytes() for path in place.path("out").iterdir()}
    with owned_state(place.settings, place.environment):
        replay = Replay(place.settings, place.environment)
        replay.prepare(nobody_watches)
        replay.discard()
    assert {path: path.read_bytes() for path in place.path("out").iterdir()} == before


def test_a_reset_moves_parts_and_what_is_pending_aside(place: Place, kind: SinkKind) -> None:
    before = bytes_of_parts(place, kind)
    with owned_state(place.settings, place.environment):
        Reset(place.settings, place.environment).apply()
    assert bytes_of_parts(place, kind) == {}
    place.run()
    assert bytes_of_parts(place, kind) == before


# A replay that dies, on a simulated disk.

JSON = KINDS["json parts"]
BEFORE = engine.configuration("/d", buffer_events=2, sinks=JSON.sink("/d"))
AFTER = engine.configuration("/d", buffer_events=2, sinks=JSON.sink("/d"), event={"value": ""})


def started(seed: int) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed, short_io_odds=0.0)
    fs.plant("/d/log.jsonl", LOG)
    engine.run(fs, BEFORE, seed=1)
    return fs


def everything(fs: SimulatedFileSystem) -> list[Any]:
    """All that parts hold, those that were moved aside among them, each number once."""
    found = JSON.files(fs, "/d")
    for name in fs.names("/d/out"):
        original, aside, _ = name.partition(".aside-")
        number = JSON.number(original)
        if aside and number is not None and number not in found:
            found[number] = fs.content(f"/d/out/{name}") or b""
    return [row["id"] for _, content in sorted(found.items()) for row in json.loads(content)]


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_replay_that_dies_anywhere_leaves_all_parts_of_the_old_state_or_of_the_new_one(*, power_cut: bool) -> None:
    undisturbed = started(0)
    engine.run(undisturbed, BEFORE, seed=2, drain=True)
    expected = everything(undisturbed)
    assert len(expected) == RELEASED_COUNT
    chance, swapped = Random(7), []
    for nth in range(1, CALLS_MAX):
        fs = started(nth)
        fs.crash_at(nth, after=chance.random() < 0.5)
        try:
            surroundings = engine.environment(fs, seed=1000 + nth)
            with owned_state(AFTER, surroundings):
                one = Replay(AFTER, surroundings)
                one.prepare(nobody_watches)
                one.swap_in()
        except SimulatedCrash:
            fs = fs.crash() if power_cut else fs.kill()
        else:
            break
        try:
            engine.run(fs, BEFORE, seed=2000 + nth, drain=True)
            assert everything(fs) == expected, fs.journal()
            swapped.append(False)
        except ConfigurationError:
            engine.run(fs, AFTER, seed=3000 + nth, drain=True)
            assert [row["id"] for content in JSON.files(fs, "/d").values() for row in JSON.rows(content)] == expected, (
                fs.journal()
            )
            swapped.append(True)
    assert len(swapped) > 30
    assert (swapped[0], swapped[-1]) == (False, True)


@pytest.mark.parametrize("name", KINDS)
def test_a_sink_that_was_added_later_is_compared_with_the_end_of_what_was_released(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    beside = Place.real(tmp_path, buffer_events=2)
    beside.append(LOG)
    beside.run()
    place = beside.configured(buffer_events=2, sinks={**beside.settings.sinks, **kind.sink(str(tmp_path / "second"))})
    place.append(lines(range(100, 120)))
    place.run()
    verification = verified(place)
    assert verification.is_ok, verification.differences
    (path,) = [path for path in place.path("second", "out").iterdir() if path.name == kind.file.replace("{n}", "1")]
    path.write_bytes(path.read_bytes().replace(b"101", b"107").replace(b"PAR1", b"PAR0"))
    assert not verified(place).is_ok
