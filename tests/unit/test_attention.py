"""When notices rest and when they are wanted, by a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from event_processor.engine.attention import BUSY_S, LOOK_AGAIN_S, QUIET_S, Attention
from event_processor.model.contracts import Wakeup


@dataclass
class World:
    """A clock, notices, and what was done with them. `gives` is how long the next waits take, if less than asked for."""

    now_s: float = 100.0
    attending: bool = True
    waits: list[float] = field(default_factory=list)
    gives: list[float] = field(default_factory=list)

    def wall_ns(self) -> int:
        raise AssertionError

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, _wakeup: Wakeup, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        self.now_s += min(timeout_s, self.gives.pop(0)) if self.gives else timeout_s

    def rest(self) -> None:
        assert self.attending
        self.attending = False

    def attend(self) -> None:
        assert not self.attending
        self.attending = True


class Unused:
    def wait(self, timeout: float | None = None) -> bool:
        raise AssertionError

    def clear(self) -> None:
        raise AssertionError

    def set(self) -> None:
        raise AssertionError


def attention(world: World) -> Attention:
    made = Attention(world, Unused())
    made.rely_on(world)
    return made


def keep_busy(world: World, made: Attention, commit_s: float = 0.002) -> None:
    for _ in range(int(BUSY_S / commit_s) + 2):
        world.now_s += commit_s
        made.found()


def test_notices_rest_when_the_log_has_been_busy_for_a_while_and_not_before() -> None:
    world = World()
    made = attention(world)
    made.found()
    world.now_s += BUSY_S / 2
    made.found()
    assert world.attending
    world.now_s += BUSY_S / 2 + 0.001
    made.found()
    assert not world.attending


def test_a_log_that_pauses_between_commits_keeps_its_notices() -> None:
    world = World()
    made = attention(world)
    for _ in range(1000):
        world.gives = [2 * QUIET_S]
        made.wait(1.0)
        world.now_s += 0.002
        made.found()
    assert world.attending
    assert set(world.waits) == {1.0}


def test_while_they_rest_it_looks_again_soon_and_wants_them_back_before_it_waits_for_long() -> None:
    world = World()
    made = attention(world)
    keep_busy(world, made)
    assert not world.attending
    for _ in range(10):
        if not world.attending:
            made.wait(0.2)
    assert world.attending
    assert set(world.waits) == {LOOK_AGAIN_S}
    assert QUIET_S <= sum(world.waits) <= QUIET_S + 2 * LOOK_AGAIN_S
    looked = len(world.waits)
    made.wait(0.2)
    # The wait in which they came back was none: what came meanwhile is looked for first.
    assert world.waits[looked:] == [0.2]


def test_a_timeout_that_is_shorter_is_kept() -> None:
    world = World()
    made = attention(world)
    keep_busy(world, made)
    made.wait(LOOK_AGAIN_S / 4)
    assert world.waits == [LOOK_AGAIN_S / 4]


def test_without_notices_it_only_waits() -> None:
    world = World()
    made = Attention(world, Unused())
    keep_busy(world, made)
    made.wait(0.2)
    assert (world.attending, world.waits) == (True, [0.2])


@given(st.lists(st.one_of(st.just("found"), st.floats(0, 0.3)), max_size=200))
def test_it_never_waits_long_without_notices(steps: list[str | float]) -> None:
    world = World()
    made = attention(world)
    for step in steps:
        world.now_s += 0.003
        if step == "found":
            made.found()
            continue
        waited, was_attending = len(world.waits), world.attending
        made.wait(float(step))
        if was_attending or not world.attending:
            assert len(world.waits) == waited + 1
            assert was_attending or world.waits[-1] <= LOOK_AGAIN_S
        else:
            assert len(world.waits) == waited


def never() -> bool:
    return False


class Cleared(Unused):
    """A wakeup that may be cleared."""

    def clear(self) -> None:
        pass


def test_a_hold_waits_out_its_time_and_pauses_the_notices_at_the_first_one() -> None:
    world = World(gives=[0.125, 0.125])
    made = Attention(world, Cleared())
    made.rely_on(world)
    made.hold(0.5, never)
    assert world.waits == [0.5, 0.375, 0.25]
    assert world.now_s == 100.5
    assert not world.attending
    # Nothing was found after it: the notices come back before the next wait, without a look each millisecond.
    made.wait(1.0)
    assert world.attending
    assert len(world.waits) == 3


def test_a_hold_without_a_notice_leaves_them_as_they_are() -> None:
    world = World()
    made = Attention(world, Cleared())
    made.rely_on(world)
    for _ in range(10):
        made.hold(0.25, never)
        made.found()
    assert world.attending
    made.wait(0.2)
    assert world.waits == [*[0.25] * 10, 0.2]


def test_a_stop_ends_a_hold() -> None:
    world = World(gives=[0.125])
    made = Attention(world, Cleared())
    made.hold(60.0, lambda: world.now_s > 100.1)
    assert world.now_s == 100.125
    made.hold(60.0, lambda: True)
    assert world.now_s == 100.125
