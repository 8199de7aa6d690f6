"""How long records are kept after every lane has passed them, against a list of all moments."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.engine.delivery.keeping import Keeping
from event_processor.storage.durable import OperatingSystem
from support.simulated_fs import SimulatedFileSystem

KEEP_S = 1000.0


class Wall:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def ns(self) -> int:
        return round(self.now_s * 1e9)


steps = st.lists(st.tuples(st.floats(0, 400), st.integers(0, 20), st.booleans()), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_nothing_is_spared_earlier_than_its_time_and_nothing_is_kept_for_ever(moves: list[tuple[float, int, bool]]) -> None:
    fs, wall = SimulatedFileSystem(0), Wall()
    fs.plant("/state/delivery/x", b"")
    keeping = Keeping(fs, "/state", KEEP_S, wall.ns)
    sequence, passed = 0, [(wall.now_s, 0)]
    for wait_s, more, restarts in moves:
        wall.now_s += wait_s
        sequence += more
        passed.append((wall.now_s, sequence))
        if restarts:
            keeping = Keeping(fs, "/state", KEEP_S, wall.ns)
        spare = keeping.passed("events", sequence)
        old_enough = max((each for at_s, each in passed if at_s <= wall.now_s - KEEP_S), default=0)
        assert spare <= old_enough
    wall.now_s += KEEP_S + 11
    keeping.passed("events", sequence)
    wall.now_s += KEEP_S + 11
    assert keeping.passed("events", sequence) == sequence


def test_a_lane_that_begins_anew_takes_back_what_was_passed(tmp_path: Path) -> None:
    tmp_path.joinpath("delivery").mkdir()
    wall = Wall()
    keeping = Keeping(OperatingSystem(), str(tmp_path), KEEP_S, wall.ns)
    keeping.passed("events", 50)
    wall.now_s += 20
    keeping.passed("events", 5)
    wall.now_s += KEEP_S + 1
    assert keeping.passed("events", 5) == 5
    assert Keeping(OperatingSystem(), str(tmp_path), KEEP_S, wall.ns).passed("events", 6) == 5


def test_marks_that_cannot_be_read_keep_everything_longer(tmp_path: Path) -> None:
    tmp_path.joinpath("delivery").mkdir()
    tmp_path.joinpath("delivery", "passed.json").write_text('{"events": [[0.0, 99')
    wall = Wall()
    keeping = Keeping(OperatingSystem(), str(tmp_path), KEEP_S, wall.ns)
    assert keeping.passed("events", 99) == 0
    wall.now_s += KEEP_S
    assert keeping.passed("events", 120) == 99
