"""When earlier files of the intake are removed: only if nothing needs them to go on."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from event_processor.assembly import Environment
from event_processor.engine.state import Counts, GenerationState, SourceState, State, fresh_state
from event_processor.model.telemetry import Telemetry
from event_processor.service.intake_files import COMMITS, DAY_NS, LOOK_S, IntakeFiles
from event_processor.storage.earlier_files import earlier_files
from event_processor.storage.shared_log import SharedLog
from support.file_source import ManualClock
from support.simulated_fs import Fault, SimulatedFileSystem

PATH = "/state/intake.jsonl"
COMMIT = {"records": 1, "accepted": 1, "duplicate": 0, "rejected": 0, "released": 0, "content_bytes": 1}


class Reports(Telemetry):
    def __init__(self) -> None:
        self.removed: list[int] = []
        self.kept: list[str] = []

    def intake_files_removed(self, *, count: int, first: str, last: str, keep_days: int) -> None:
        assert first <= last
        assert keep_days == 2
        self.removed.append(count)

    def intake_files_kept(self, *, path: str, reason: str) -> None:
        assert path == PATH
        self.kept.append(reason)


class World:
    """Five earlier files and a present one; the state reads the third of them."""

    def __init__(self, keep_days: int = 2) -> None:
        self.fs = SimulatedFileSystem(1)
        self.fs.plant(PATH, b"")
        log = SharedLog(self.fs, PATH)
        log.file_bytes_max = 1
        for number in range(6):
            log.append(b"%d\n" % number)
        self.clock = ManualClock()
        newest = max(self.fs.status(each).modified_ns for each in self.earlier())  # type: ignore[union-attr]
        self.clock.now_s = newest / 10**9 + 2 * DAY_NS / 10**9 + 1
        self.reports = Reports()
        self.state: State = fresh_state(0)
        self.files = IntakeFiles()
        environment = Environment(fs=self.fs, clock=self.clock, telemetry=self.reports)
        self.files.follow(environment, PATH, keep_days=keep_days, state=lambda: self.state)

    def earlier(self) -> list[str]:
        return list(earlier_files(self.fs, PATH))

    def reads(self, path: str) -> None:
        """Commits a state whose intake resumes in this file."""
        status = self.fs.status(path)
        position: dict[str, Any] = {"offset": 1, "device": status.device if status else 0, "inode": status.inode if status else 0}
        source = SourceState((GenerationState(1, 1, position),), counts=Counts(records=1))
        self.state = State(sources={"intake": source}, counts=Counts(), categories=self.state.categories, order=self.state.order)
        self.files.batch_committed(**COMMIT)
        self.files.progressed()


def test_files_before_the_oldest_that_any_checkpoint_needs_are_removed() -> None:
    world = World()
    first, second, third, *later = world.earlier()
    world.reads(second)
    world.reads(third)
    assert world.earlier() == [first, second, third, *later]
    world.reads(third)
    assert world.earlier() == [second, third, *later]
    world.clock.now_s += LOOK_S
    world.reads(third)
    assert world.earlier() == [third, *later]
    assert world.reports.removed == [1, 1]


def test_young_files_stay_and_so_do_all_without_the_key_or_if_a_place_is_not_known() -> None:
    world = World()
    world.clock.now_s -= 3 * DAY_NS / 10**9
    for _ in range(COMMITS):
        world.reads(PATH)
    assert len(world.earlier()) == 5
    world = World(keep_days=0)
    for _ in range(COMMITS):
        world.reads(PATH)
    assert len(world.earlier()) == 5
    world = World()
    for path in (PATH, "/state/gone.jsonl", PATH):
        world.reads(path)
    assert len(world.earlier()) == 5
    assert world.reports.removed == []


def test_a_file_that_cannot_be_removed_is_reported_and_tried_again() -> None:
    world = World()
    world.fs.fail(Fault(errno=errno.EPERM, kinds={"unlink"}))
    for _ in range(COMMITS):
        world.reads(PATH)
    assert len(world.reports.kept) == 1
    assert len(world.earlier()) == 5
    world.clock.now_s += LOOK_S
    world.files.progressed()
    assert world.earlier() == []
    assert world.reports.removed == [5]


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_after_a_start_nothing_is_removed_before_both_checkpoints_are_of_this_process(commits: int) -> None:
    world = World()
    for _ in range(commits):
        world.reads(PATH)
    assert len(world.earlier()) == 5
