"""Which calls of the file system a live log costs: while nothing comes, and for one event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.connectors.files.following.identity import SAMPLE_BYTES
from event_processor.engine.checkpoint_document import Checkpoint, decode_checkpoint
from event_processor.engine.loop import Processor
from event_processor.model.contracts import Wakeup
from event_processor.model.errors import StorageError
from support.engine import FakeClock, configuration, environment
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/pipeline"
LOG = f"{FOLDER}/log.jsonl"


class Counted(FakeClock):
    """A clock that notes at each wait which calls came since the one before; at the end it stops the loop."""

    def __init__(self, fs: SimulatedFileSystem, actions: Sequence[Callable[[], None]]) -> None:
        super().__init__()
        self._fs, self._actions = fs, list(actions)
        self._before: Counter[str] = Counter()
        self.processor: Processor | None = None
        self.between: list[dict[str, int]] = []

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        super().wait(wakeup, timeout_s)
        self.between.append(dict(self._fs.calls - self._before))
        if self._actions:
            self._actions.pop(0)()
        elif self.processor is not None:
            self.processor.stop()
        self._before = self._fs.calls.copy()


def lived(
    fs: SimulatedFileSystem, actions: Sequence[Callable[[], None]], *, sink: bool = False, **sections: Any
) -> list[dict[str, int]]:
    """The calls between each two waits of one life."""
    settings = configuration(FOLDER, sink=sink, **sections)
    clock = Counted(fs, actions)
    surroundings = replace(environment(fs), clock=clock)
    lock = lock_state(settings, surroundings)
    clock.processor = open_pipeline(settings, surroundings, Mode()).processor
    clock.processor.run()
    clock.processor.close()
    lock.release()
    return clock.between


def event(number: int) -> bytes:
    return b'{"id": %d, "category": "a", "value": 1}\n' % number


def nothing() -> None:
    """Nothing happens meanwhile."""


def grown(fs: SimulatedFileSystem, number: int) -> Callable[[], None]:
    return lambda: fs.plant(LOG, (fs.content(LOG) or b"") + event(number))


def test_an_idle_log_costs_one_stat_of_each_file_at_each_poll() -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    fs.plant(LOG, event(1))
    _, *idle = lived(fs, [nothing] * 25)
    # The log, and the intake, which is a source too.
    polls = [calls for calls in idle if calls == {"status": 2}]
    # Once a second, the journal and the dead letters are looked at: are they the files that we have open?
    looks = [calls for calls in idle if calls == {"status": 4, "status_of": 2}]
    assert len(polls) + len(looks) == len(idle) == 25
    assert 4 <= len(looks) <= 5


def test_an_event_is_committed_without_a_look_at_files_that_get_nothing() -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    # Longer than the samples that tell a log from another: as long as it is shorter, a copy of it is looked for as well.
    fs.plant(LOG, event(1) + b"bad" * SAMPLE_BYTES + b"\n")
    first, *waits = lived(fs, [grown(fs, 2), grown(fs, 3), grown(fs, 4)], batch={"pace_ms": 0})
    assert first["unlink"] == 4, "two saves look for what a process that died left"
    for calls in waits[1:]:
        # Ids and checkpoint are written and synced, then the folder; no other file of ours is touched.
        written = {name: calls.pop(name) for name in ("create", "write", "sync", "sync_directory", "link", "rename", "close")}
        assert written == {"create": 1, "write": 2, "sync": 2, "sync_directory": 1, "link": 1, "rename": 2, "close": 1}
        # Two looks at the sources: one finds the event, and reads it and the two samples; the one after the commit finds nothing more.
        assert calls == {"status": 4, "status_of": 4, "read": 5}


@pytest.mark.parametrize(("name", "record"), [("state/dead_letters.jsonl", b"bad\n"), ("out/ordered.jsonl", event(2))])
def test_a_commit_that_adds_to_a_file_sees_that_it_is_gone_within_the_second_in_which_nothing_looks(
    name: str, record: bytes
) -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    fs.plant(LOG, event(1) + b"bad\n")

    def gone_and_grown() -> None:
        fs.unlink(f"{FOLDER}/{name}")
        fs.plant(LOG, (fs.content(LOG) or b"") + record)

    with pytest.raises(StorageError, match="it was removed while this process appends to it"):
        lived(fs, [gone_and_grown], sink=True, buffer_events=0, batch={"pace_ms": 0})
    found = decode_checkpoint(fs.content(f"{FOLDER}/state/checkpoint.json") or b"", "checkpoint.json")
    assert isinstance(found, Checkpoint)
    assert found.state.counts.records == 2
