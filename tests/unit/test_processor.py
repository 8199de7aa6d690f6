"""The loop, live: what it does while the log grows, falls silent, and when it is told to stop."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration
from event_processor.engine.loop import Processor, StopReason
from event_processor.engine.pace import Pace
from event_processor.model.contracts import Wakeup
from event_processor.model.telemetry import Telemetry
from support.engine import FakeClock, configuration, environment
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/pipeline"
LOG = f"{FOLDER}/log.jsonl"


class Script(FakeClock):
    """A clock whose every wait takes the next action; when there is none left, the processor is stopped."""

    def __init__(self, actions: list[Callable[[], None]]) -> None:
        super().__init__()
        self._actions = actions
        self.waits: list[float] = []
        self.slices_s = math.inf
        """No wait takes longer than this: then something sets the wakeup."""
        self.processor: Processor | None = None

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        super().wait(wakeup, min(timeout_s, self.slices_s))
        self.waits.append(timeout_s)
        if self._actions:
            self._actions.pop(0)()
        elif self.processor is not None:
            self.processor.stop()


class Commits(Telemetry):
    """Remembers what each commit said."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []
        self.idle_releases: list[int] = []

    def batch_committed(self, *, records: int, released: int, **_: int) -> None:
        self.batches.append((records, released))

    def order_idle_released(self, *, events: int) -> None:
        self.idle_releases.append(events)


@contextmanager
def opened(fs: SimulatedFileSystem, settings: Configuration, script: Script, commits: Telemetry) -> Iterator[Processor]:
    surroundings = replace(environment(fs, telemetry=commits), clock=script)
    lock = lock_state(settings, surroundings)
    processor = open_pipeline(settings, surroundings, Mode()).processor
    script.processor = processor
    yield processor
    processor.close()
    lock.release()


def event(number: int) -> bytes:
    return b'{"id": %d, "category": "a", "value": 1}\n' % number


def append(fs: SimulatedFileSystem, content: bytes) -> Callable[[], None]:
    def act() -> None:
        fs.plant(LOG, (fs.content(LOG) or b"") + content)

    return act


def checkpoint(fs: SimulatedFileSystem) -> dict[str, Any]:
    return dict(json.loads(fs.content(f"{FOLDER}/state/checkpoint.json") or b"{}")["state"])


def live(actions: list[Callable[[], None]], fs: SimulatedFileSystem, **sections: Any) -> tuple[Commits, Script, StopReason]:
    script, commits = Script(actions), Commits()
    with opened(fs, configuration(FOLDER, **sections), script, commits) as processor:
        reason = processor.run()
    return commits, script, reason


def test_a_live_log_is_followed_and_each_append_is_a_commit_of_its_own() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    commits, _, reason = live(
        [append(fs, event(2)), append(fs, event(3) + b'{"id": 4, '), append(fs, b'"category": "a", "value": 1}\n')], fs
    )
    assert [records for records, _ in commits.batches] == [1, 1, 1, 1]
    assert checkpoint(fs)["counts"]["accepted"] == 4
    assert reason is StopReason.SIGNAL


def test_a_torn_line_is_no_record_while_the_log_lives() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1) + b'{"id": 2, "category": "a", "value": 1}')
    live([], fs)
    assert checkpoint(fs)["counts"]["records"] == 1


def test_a_silent_log_lets_go_of_what_is_held_once_and_the_journal_says_when() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(2) + event(1))
    nothing: list[Callable[[], None]] = [lambda: None] * 30
    commits, _, _ = live(nothing, fs, order={"idle_release_ms": 2000})
    assert commits.idle_releases == [2]
    assert fs.content(f"{FOLDER}/out/ordered.jsonl") == event(1) + event(2)
    journal = [json.loads(line) for line in (fs.content(f"{FOLDER}/state/journal.jsonl") or b"").splitlines()]
    assert [entry["what"] for entry in journal] == ["order_started", "read", "idle_release"]
    assert journal[2]["records"] == 2
    assert checkpoint(fs)["order"]["held"] == 0


def test_idle_release_may_be_off() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(2) + event(1))
    commits, _, _ = live([lambda: None] * 100, fs, order={"idle_release_ms": 0})
    assert commits.idle_releases == []
    assert checkpoint(fs)["order"]["held"] == 2


def test_an_event_behind_an_idle_release_is_late_and_not_lost() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(5))
    live([lambda: None] * 20 + [append(fs, event(4))], fs, order={"idle_release_ms": 1000})
    assert fs.content(f"{FOLDER}/out/ordered.jsonl") == event(5) + event(4)
    assert checkpoint(fs)["counts"]["late"] == 1


def test_the_loop_never_waits_longer_than_it_must_show_that_it_lives() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    _, script, _ = live([lambda: None] * 10, fs)
    assert max(script.waits) <= 1.0
    assert min(script.waits) >= 0.0


@pytest.mark.parametrize("key", ["pace_ms", "linger_ms"])
def test_a_pace_gathers_what_comes_meanwhile_into_one_commit_but_not_the_first_event(key: str) -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    script, commits = Script([append(fs, event(2)), append(fs, event(3)), append(fs, event(4))]), Commits()
    script.slices_s = 0.125
    with opened(fs, configuration(FOLDER, batch={key: 375}), script, commits) as processor:
        processor.run()
    assert [records for records, _ in commits.batches] == [1, 3]


def test_a_stop_while_a_commit_is_held_commits_what_came_meanwhile() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    commits, script, _ = live([append(fs, event(2))], fs, batch={"pace_ms": 60_000})
    assert [records for records, _ in commits.batches] == [1, 1]
    assert len(script.waits) == 2
    assert max(script.waits) <= 1.0


def test_a_stop_at_the_very_end_of_a_hold_commits_what_came_meanwhile() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    script, commits = Script([]), Commits()

    def append_and_stop() -> None:
        append(fs, event(2))()
        assert script.processor is not None
        script.processor.stop()

    script._actions.append(append_and_stop)
    with opened(fs, configuration(FOLDER, batch={"pace_ms": 500}), script, commits) as processor:
        processor.run()
    assert script.waits == [0.5]
    assert [records for records, _ in commits.batches] == [1, 1]


@pytest.mark.parametrize(("commit_s", "held_s"), [(0.0004, 0.04), (0.001, 0.1), (0.002, 0.2), (0.004, 0.25), (5.0, 0.25)])
def test_by_itself_a_commit_is_held_for_a_hundred_times_what_one_takes_up_to_a_quarter_of_a_second(
    commit_s: float, held_s: float
) -> None:
    pace = Pace(None)
    pace.committed(50.0, commit_s)
    assert pace.held_s(50.0) == pytest.approx(held_s)
    assert pace.held_s(50.0 + held_s / 2) == pytest.approx(held_s / 2)
    assert pace.held_s(50.0 + held_s) == 0.0


def test_one_slow_commit_changes_the_pace_by_a_quarter_of_its_time() -> None:
    pace = Pace(None)
    for commit_s in (0.0004, 0.0004, 0.0012):
        pace.committed(1.0, commit_s)
    assert pace.held_s(1.0) == pytest.approx(0.06)


def test_a_backlog_is_never_held() -> None:
    pace = Pace(60.0)
    pace.committed(1.0, 0.004)
    pace.has_backlog()
    assert pace.held_s(1.0) == 0.0
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, b"".join(map(event, range(300))))
    script, commits = Script([]), Commits()
    with opened(fs, configuration(FOLDER, batch={"bytes_max": 1024, "pace_ms": 60_000}), script, commits) as processor:
        processor.run()
    assert sum(records for records, _ in commits.batches) == 300
    # Only the rest, smaller than a quarter of a batch, may be followed by a hold: nothing waits before it.
    assert len(script.waits) == 1


def test_while_a_source_is_not_at_its_end_no_commit_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a bucket with many small objects: few bytes are known to be unread, and a held commit would delay them all."""
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    script, commits = Script([append(fs, event(2)), append(fs, event(3))]), Commits()
    with opened(fs, configuration(FOLDER, batch={"pace_ms": 60_000}), script, commits) as processor:
        monkeypatch.setattr(processor._sources, "waits_s", lambda: [0.05])
        processor.run()
    assert [records for records, _ in commits.batches] == [1, 1, 1]
    assert max(script.waits) <= 0.05


def test_a_stop_asked_for_before_the_loop_began_commits_nothing_and_ends() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    script, commits = Script([]), Commits()
    with opened(fs, configuration(FOLDER), script, commits) as processor:
        processor.stop()
        assert processor.run() is StopReason.SIGNAL
    assert commits.batches == []


def test_a_reload_ends_the_loop_but_a_stop_goes_before_it() -> None:
    fs = SimulatedFileSystem(1)
    script, commits = Script([]), Commits()
    with opened(fs, configuration(FOLDER), script, commits) as processor:
        processor.reload()
        assert processor.run() is StopReason.RELOAD
        processor.stop()
        assert processor.run() is StopReason.SIGNAL


def test_without_dedup_every_event_counts_and_no_index_is_kept() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1) + event(1))
    live([], fs, dedup={"enabled": False})
    assert checkpoint(fs)["counts"]["accepted"] == 2
    assert fs.names(f"{FOLDER}/state/ids") == []


def test_without_a_sink_the_order_stage_holds_nothing() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(2) + event(1))
    live([], fs, sink=False)
    nothing = {"active": False, "held": 0, "held_hash": "", "released": 0, "last_released": None, "sorting": ""}
    assert checkpoint(fs)["order"] == nothing


def test_a_category_too_many_is_a_dead_letter_and_reserves_no_id() -> None:
    fs = SimulatedFileSystem(1)
    lines = [
        b'{"id": 1, "category": "a", "value": 1}',
        b'{"id": 2, "category": "b", "value": 1}',
        b'{"id": 2, "category": "a", "value": 1}',
    ]
    fs.plant(LOG, b"\n".join(lines) + b"\n")
    live([], fs, totals={"categories_max": 1})
    state = checkpoint(fs)
    assert (state["counts"]["accepted"], state["counts"]["rejected"]) == (2, 1)
    letter = json.loads(fs.content(f"{FOLDER}/state/dead_letters.jsonl") or b"")
    assert (letter["line"], letter["stage"], letter["reason"]) == (2, "totals", "category limit")


def test_a_duplicate_opens_no_category() -> None:
    fs = SimulatedFileSystem(1)
    lines = [
        b'{"id": 1, "category": "a", "value": 1}',
        b'{"id": 1, "category": "b", "value": 1}',
        b'{"id": 2, "category": "c", "value": 1}',
        b'{"id": 3, "category": "d", "value": 1}',
    ]
    fs.plant(LOG, b"\n".join(lines) + b"\n")
    live([], fs, totals={"categories_max": 2})
    state = checkpoint(fs)
    assert sorted(state["categories"]) == ["a", "c"]
    assert (state["counts"]["accepted"], state["counts"]["duplicate"], state["counts"]["rejected"]) == (2, 1, 1)


class BusyLog(Commits):
    """A log that grew by one event whenever a commit is done, which takes 2 ms; and notices that only remember what they are told."""

    def __init__(self, fs: SimulatedFileSystem, script: Script, events: int) -> None:
        super().__init__()
        self._fs, self._script, self._left = fs, script, events
        self.told: list[tuple[str, int]] = []

    def batch_committed(self, *, records: int, released: int, **facts: int) -> None:
        super().batch_committed(records=records, released=released, **facts)
        self._script.now_s += 0.002
        if self._left:
            self._left -= 1
            append(self._fs, event(1000 + self._left))()

    def rest(self) -> None:
        self.told.append(("rest", len(self.batches)))

    def attend(self) -> None:
        self.told.append(("attend", len(self.batches)))


def test_notices_rest_while_the_log_is_busy_and_come_back_before_a_long_wait() -> None:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    script = Script([append(fs, event(2)), lambda: None, lambda: None, lambda: None, lambda: None, lambda: None])
    log = BusyLog(fs, script, 100)
    with opened(fs, configuration(FOLDER, batch={"pace_ms": 0}), script, log) as processor:
        processor.rely_on(log)
        processor.run()
    assert checkpoint(fs)["counts"]["records"] == 102
    (first, busy_commits), (second, all_commits) = log.told
    assert (first, second) == ("rest", "attend")
    assert 40 < busy_commits < 60
    assert all_commits == 102
    # What came while they rested was found without them, by looking again; then the loop waits as long as ever.
    assert script.waits[0] <= 0.001
    assert script.waits[-1] > 0.1


def test_the_pace_counts_everything_from_the_look_at_the_log_to_the_report() -> None:
    """Here only the report takes time, 2 ms: a hundred times that is between two commits."""
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, event(1))
    script = Script([lambda: None] * 6)
    with opened(fs, configuration(FOLDER), script, BusyLog(fs, script, 3)) as processor:
        processor.run()
    assert checkpoint(fs)["counts"]["records"] == 4
    assert script.waits[:3] == pytest.approx([0.2] * 3)


def test_the_log_is_not_silent_while_a_rotated_file_may_still_grow_and_its_successor_waits() -> None:
    """An ordinary rotation by renaming: the buffer is not flushed before the new file is read, so nothing in it is late."""
    fs = SimulatedFileSystem(0)
    fs.plant(LOG, event(2) + event(9))

    def rotate() -> None:
        fs.rename(LOG, f"{LOG}.1")
        fs.plant(LOG, event(3) + event(4))

    waits: list[Callable[[], None]] = [lambda: None] * 40
    commits, _, _ = live([rotate, *waits], fs, order={"idle_release_ms": 2000})
    counts = checkpoint(fs)["counts"]
    assert (counts["accepted"], counts["late"]) == (4, 0)
    assert commits.idle_releases == [4]
