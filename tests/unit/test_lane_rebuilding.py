"""`sinks attach` and `deliver --from`: what a lane gets from the log again, what is refused, and a death at every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.connectors.python.options import PythonSinkOptions
from event_processor.engine.delivery.cursor import LaneCounts
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.delivery.progress import LaneIdentity, Progress
from event_processor.model.errors import InputGoneError, StateError, UsageError
from event_processor.model.transactions import FailedRecord
from event_processor.operations.lane_rebuilding import lane_rebuilding
from event_processor.operations.log_reader import nobody_watches
from event_processor.operations.sinks import list_sinks
from event_processor.operations.verification import verify
from support import engine
from support.detached_lanes import MIB, configured, expected_chains, grow, life, sequences, state_of
from support.outbox import CommittedSeries
from support.remote_shell import RemoteShell, remote_shell_in
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import SimulatedFileSystem

CALLS_MAX = 1500
ONE, TWO = configured("slow"), configured("slow", "fast")


def detached(seed: int, *names: str) -> SimulatedFileSystem:
    """Seven records were released; "slow" is detached after 3."""
    fs = SimulatedFileSystem(seed, short_io_odds=0.0)
    settings = configured(*names)
    grow(fs, 1, 2, 3)
    life(fs, settings, 1)
    grow(fs, 4, 5)
    life(fs, settings, 2, slow=MIB, **dict.fromkeys(names[1:], 0))
    grow(fs, 6, 7)
    life(fs, settings, 3)
    return fs


def attach(fs: SimulatedFileSystem, settings: Any = ONE, seed: int = 50) -> tuple[int, int]:
    with lane_rebuilding(settings, engine.environment(fs, seed=seed)) as lanes:
        done = lanes.attach("slow", nobody_watches)
    return done.pending, done.from_log


def answered(fs: SimulatedFileSystem, through: int, *failed: int, skipped: tuple[int, ...] = (), ahead: int = 0) -> None:
    """The lane has answered the records up to `through`, and `ahead` more after a gap of one."""
    state = state_of(fs)
    lane = state["lanes"]["slow"]
    progress = Progress(fs, "/d/state", LaneIdentity("slow", "events", state["state_id"], lane["target"], 0, ""))
    chains = expected_chains(20)
    letters = [
        FailedRecord(
            "slow", each, f"{state['state_id']}:slow:log:1:{each}", {}, "skipped" if each in skipped else "deliver",
            "422", "no", 1, "2026-01-01T00:00:00Z", msgspec.Raw(b"{}"),
        )
        for each in sorted({*failed, *skipped})
    ]  # fmt: skip
    beyond = ((through + 2, through + 1 + ahead, chains[through + ahead]),) if ahead else ()
    counts = LaneCounts(through + ahead - len(letters), len(failed), len(skipped))
    document = msgspec.structs.replace(
        progress.document, sequence=through, chain=chains[through - 1], answered=beyond, counts=counts
    )
    progress.save(document, letters)
    progress.close()


def deliver(fs: SimulatedFileSystem, first: int, settings: Any = ONE, seed: int = 60) -> tuple[int, int, int]:
    """Sends again from `first` on. Returns what the preview said."""
    with lane_rebuilding(settings, engine.environment(fs, seed=seed)) as lanes:
        resend = lanes.preview("slow", first)
        lanes.send_again(resend, nobody_watches)
    return resend.delivered, resend.failed, resend.skipped


def counts(fs: SimulatedFileSystem) -> tuple[int, int, int, int]:
    (found, *_) = list_sinks(ONE, engine.environment(fs))
    assert found.released - found.started_after == found.delivered + found.failed + found.skipped + found.pending
    return found.delivered, found.failed, found.skipped, found.pending


def failed_sequences(fs: SimulatedFileSystem) -> list[int]:
    cursor = read_cursor(fs, "/d/state", "slow")
    assert cursor is not None
    content = (fs.content("/d/state/delivery/slow.failed.jsonl") or b"")[: cursor.failed_bytes]
    return [json.loads(line)["sequence"] for line in content.splitlines()]


def read_whole(fs: SimulatedFileSystem) -> CommittedSeries:
    return CommittedSeries.read(fs.content, "/d", "events")


def test_an_attached_lane_has_every_line_that_it_did_not_get_with_the_same_chain() -> None:
    fs = detached(1, "slow")
    assert sequences(fs) == [1, 2, 3]
    assert counts(fs) == (0, 0, 4, 3)
    assert attach(fs) == (7, 4)
    assert counts(fs) == (0, 0, 0, 7)
    assert read_whole(fs).chains == expected_chains(7)
    state = state_of(fs)
    assert "detached" not in state["lanes"]["slow"]
    assert "sealed_after" not in state["outbox"]["events"]
    # The next process goes on in the last file, and removes nothing that is needed.
    grow(fs, 8)
    life(fs, ONE, 9)
    assert read_whole(fs).chains == expected_chains(8)
    assert not [path for path in fs.paths() if "rebuild-" in path]
    assert verify(ONE, engine.environment(fs, seed=77), progress=nobody_watches).is_ok


def test_what_other_lanes_have_in_the_outbox_is_not_made_again() -> None:
    fs = detached(1, "slow", "fast")
    before = set(state_of(fs)["appended"])
    assert attach(fs, TWO) == (7, 0)
    assert {name for name in state_of(fs)["appended"] if name.startswith("outbox/")} <= before
    assert read_whole(fs).chains == expected_chains(7)


def test_only_the_lines_between_those_that_are_there_are_made_again() -> None:
    fs = detached(1, "slow", "fast")
    pipeline = open_pipeline(TWO, engine.environment(fs, seed=5), Mode(once=True))
    pipeline.series["events"].drop_before(7, [(0, 3)])
    grow(fs, 8)
    pipeline.processor.run()
    pipeline.processor.close()
    life(fs, TWO, 6)
    assert sequences(fs) == [1, 2, 3, 8]
    assert attach(fs, TWO) == (8, 4)
    assert read_whole(fs).chains == expected_chains(8)
    assert read_whole(fs).files == 3


def test_a_file_between_two_gaps_is_replaced_by_what_is_made_again() -> None:
    names = ("slow", "other", "middle", "fast")
    settings, fs = configured(*names), SimulatedFileSystem(1, short_io_odds=0.0)
    grow(fs, 1, 2, 3)
    life(fs, settings, 1)
    for seed, (name, ids) in enumerate((("slow", (4, 5)), ("other", (6, 7)), ("middle", (8, 9))), start=2):
        grow(fs, *ids)
        life(fs, settings, seed, **{name: MIB})
    pipeline = open_pipeline(settings, engine.environment(fs, seed=5), Mode(once=True))
    pipeline.series["events"].drop_before(9, [(0, 3), (5, 7)])
    grow(fs, 10)
    pipeline.processor.run()
    pipeline.processor.close()
    life(fs, settings, 6)
    assert sequences(fs) == [1, 2, 3, 6, 7, 10]
    assert attach(fs, settings) == (10, 6)
    assert read_whole(fs).chains == expected_chains(10)
    life(fs, settings, 8)
    assert [found.pending for found in list_sinks(settings, engine.environment(fs))] == [10, 5, 7, 10]


def test_held_events_and_another_input_come_from_the_log_in_the_order_of_the_journal() -> None:
    """With an order buffer, the releases depend on all events before; rejected records have a series of their own."""
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    letters = PythonSinkOptions.model_validate({"type": "python", "class": "a:B", "input": "dead_letters"})
    settings = engine.configuration(
        "/d",
        buffer_events=3,
        sink=False,
        sinks={"slow": configured("slow").sinks["slow"], "letters": letters},
        outbox={"bytes_max": MIB, "when_full": "detach"},
    )
    for number, ids in enumerate(([5, 3, 1, 2, 9], [4, 8, 11, 10], [7, 15, 12, 13, 14])):
        grow(fs, *ids)
        fs.plant("/d/log.jsonl", (fs.content("/d/log.jsonl") or b"") + b"bad\n")
        surroundings = engine.environment(fs, seed=number)
        lock = lock_state(settings, surroundings)
        pipeline = open_pipeline(settings, surroundings, Mode(once=True))
        for series in pipeline.series.values():
            full = {"slow": (MIB, series.view)} if series.input == "events" else {"letters": (MIB, series.view)}
            series.note_waiting(full if number == 1 else {})
        pipeline.processor.run()
        pipeline.processor.close()
        lock.release()
    state = state_of(fs)
    assert [state["lanes"][name]["detached"]["after"] for name in ("slow", "letters")] == [2, 1]
    assert state["order"]["held"] == 3
    for seed, name in enumerate(("slow", "letters")):
        with lane_rebuilding(settings, engine.environment(fs, seed=70 + seed)) as lanes:
            lanes.attach(name, nobody_watches)
    # The series agrees with its own chain, which the model computes from the lines.
    assert len(CommittedSeries.read(fs.content, "/d", "events").records) == 11
    assert len(CommittedSeries.read(fs.content, "/d", "dead_letters").records) == 3


def test_a_lane_that_is_not_detached_or_not_there_is_refused() -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    grow(fs, 1)
    life(fs, ONE, 1)
    with pytest.raises(UsageError, match="slow: is not detached"):
        attach(fs)
    with (
        lane_rebuilding(ONE, engine.environment(fs)) as lanes,
        pytest.raises(UsageError, match="none: this sink has no lane"),
    ):
        lanes.attach("none", nobody_watches)


def test_bytes_of_the_log_that_are_gone_are_named_and_nothing_changes() -> None:
    fs = detached(1, "slow")
    before = fs.content("/d/state/checkpoint.json")
    fs.plant("/d/log.jsonl", (fs.content("/d/log.jsonl") or b"")[:100])
    with pytest.raises(InputGoneError, match=r"bytes \d+ to \d+ are gone") as raised:
        attach(fs)
    assert raised.value.exit_code == 66
    assert fs.content("/d/state/checkpoint.json") == before
    assert not [path for path in fs.paths() if "rebuild-" in path]


def test_a_log_with_other_records_is_65_and_nothing_changes() -> None:
    fs = detached(1, "slow")
    grow(fs, *range(100, 500))
    life(fs, ONE, 4)
    before = fs.content("/d/state/checkpoint.json")
    # In the middle: the first and the last bytes say which file it is.
    fs.plant("/d/log.jsonl", (fs.content("/d/log.jsonl") or b"").replace(b'"id": 300', b'"id": 999'))
    with pytest.raises(StateError, match="the log gives other records of events") as raised:
        attach(fs)
    assert raised.value.exit_code == 65
    assert fs.content("/d/state/checkpoint.json") == before
    assert sequences(fs) == [1, 2, 3]


def running(seed: int) -> SimulatedFileSystem:
    """Seven records were released; 5 were answered, of which the second failed and the fourth was skipped; 7 was answered ahead."""
    fs = SimulatedFileSystem(seed, short_io_odds=0.0)
    grow(fs, 1, 2, 3, 4, 5, 6, 7)
    life(fs, ONE, 1)
    answered(fs, 5, 2, skipped=(4,), ahead=1)
    return fs


@pytest.mark.parametrize(
    ("first", "again", "left"),
    [
        (1, (4, 1, 1), (0, 0, 0, 7)),
        (3, (3, 0, 1), (1, 1, 0, 5)),
        (5, (2, 0, 0), (2, 1, 1, 3)),
        (6, (1, 0, 0), (3, 1, 1, 2)),
    ],
)
def test_what_is_sent_again_is_taken_back_from_the_counts(
    first: int, again: tuple[int, int, int], left: tuple[int, int, int, int]
) -> None:
    fs = running(1)
    assert counts(fs) == (4, 1, 1, 1)
    assert deliver(fs, first) == again
    assert counts(fs) == left
    cursor = read_cursor(fs, "/d/state", "slow")
    assert cursor is not None
    assert (cursor.sequence, cursor.chain, cursor.answered) == (first - 1, ["", *expected_chains(7)][first - 1], ())
    assert failed_sequences(fs) == [each for each in (2, 4) if each < first]
    aside = [fs.content(path) or b"" for path in fs.paths() if ".failed.resent-" in path]
    assert [json.loads(line)["sequence"] for each in aside for line in each.splitlines()] == [
        each for each in (2, 4) if each >= first
    ]
    # The next process goes on from there.
    life(fs, ONE, 9)
    assert counts(fs) == left


def test_sending_again_twice_counts_each_failed_record_once() -> None:
    fs = running(1)
    deliver(fs, 2)
    answered(fs, 5, 3)
    assert deliver(fs, 2, seed=61) == (3, 1, 0)
    assert counts(fs)[:3] == (1, 0, 0)


def test_records_that_the_outbox_has_no_more_come_from_the_log() -> None:
    fs = running(1)
    answered(fs, 7, 2, skipped=(4,))
    pipeline = open_pipeline(ONE, engine.environment(fs, seed=5), Mode(once=True))
    pipeline.series["events"].drop_before(7)
    grow(fs, 8)
    pipeline.processor.run()
    pipeline.processor.close()
    life(fs, ONE, 6)
    assert sequences(fs) == [8]
    deliver(fs, 3)
    assert sequences(fs) == [3, 4, 5, 6, 7, 8]
    cursor = read_cursor(fs, "/d/state", "slow")
    assert cursor is not None
    assert (cursor.sequence, cursor.chain) == (2, expected_chains(2)[-1])
    life(fs, ONE, 8)
    assert sequences(fs) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("first", "words"),
    [(7, "the records from 6 on wait already"), (9, "the records from 6 on wait already")],
)
def test_records_that_wait_are_not_sent_again(first: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        deliver(running(1), first)


def test_records_before_the_lane_began_are_refused() -> None:
    fs = running(1)
    life(fs, configured("slow", "late"), 7)
    with (
        lane_rebuilding(configured("slow", "late"), engine.environment(fs)) as lanes,
        pytest.raises(UsageError, match="record 7 was released before this sink started; its first one is 8"),
    ):
        lanes.preview("late", 7)


def every_end(
    start: Callable[[int], SimulatedFileSystem],
    operation: Callable[[SimulatedFileSystem, int], object],
    judge: Callable[[SimulatedFileSystem, int], None],
    *,
    power_cut: bool,
    step: int,
) -> int:
    """Judges the disk after each end of `operation`. Returns how many calls it makes."""
    chance = Random(7)
    for nth in range(1, CALLS_MAX, step):
        fs = start(nth)
        fs.crash_at(nth, after=chance.random() < 0.5)
        try:
            operation(fs, 1000 + nth)
        except SimulatedCrash:
            judge(fs.crash() if power_cut else fs.kill(), nth)
            continue
        fs.stop_failing()
        judge(fs, nth)
        return nth
    raise AssertionError("the operation never came to its end")


@pytest.mark.parametrize("power_cut", [False, True])
def test_an_attach_that_dies_anywhere_is_done_or_was_never_begun(*, power_cut: bool) -> None:
    results = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        life(fs, ONE, 2000 + nth)
        is_detached = "detached" in state_of(fs)["lanes"]["slow"]
        results.append(is_detached)
        assert counts(fs) == ((0, 0, 4, 3) if is_detached else (0, 0, 0, 7)), fs.journal()
        assert sequences(fs) == list(range(1, 4 if is_detached else 8)), fs.journal()
        if is_detached:
            attach(fs, seed=3000 + nth)
        assert read_whole(fs).chains == expected_chains(7), fs.journal()

    assert (
        every_end(lambda nth: detached(nth, "slow"), lambda fs, seed: attach(fs, seed=seed), judge, power_cut=power_cut, step=1)
        > 20
    )
    assert (results[0], results[-1]) == (True, False)


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_resend_that_dies_anywhere_is_done_or_was_never_begun(*, power_cut: bool) -> None:
    results = []

    def judge(fs: SimulatedFileSystem, nth: int) -> None:
        life(fs, ONE, 2000 + nth)
        cursor = read_cursor(fs, "/d/state", "slow")
        assert cursor is not None
        is_done = cursor.sequence == 2
        results.append(is_done)
        assert counts(fs) == ((1, 1, 0, 5) if is_done else (4, 1, 1, 1)), fs.journal()
        assert failed_sequences(fs) == ([2] if is_done else [2, 4]), fs.journal()
        assert fs.content("/d/state/lane-change.json") is None

    assert every_end(running, lambda fs, seed: deliver(fs, 3, seed=seed), judge, power_cut=power_cut, step=1) > 15
    assert (results[0], results[-1]) == (False, True)


# The commands.


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    return remote_shell_in(tmp_path, monkeypatch, capsys)


def test_deliver_says_how_many_asks_and_the_next_run_sends_them_under_the_same_keys(shell: RemoteShell) -> None:
    shell.deliver_all()
    before = shell.taken()
    assert shell.call("deliver", "--from", "2", "--sink", "remote") == 64
    assert "--yes" in shell.err
    assert shell.call("deliver", "--from", "2", "--sink", "remote", "--yes") == 0, shell.err
    assert "remote: from record 2 on, 4 delivered, 1 failed, 0 skipped; they are sent again under the same keys" in shell.out
    assert "remote: 5 records wait again, for the next daemon" in shell.out
    (found,) = shell.json("sinks", "list")["sinks"]
    assert (found["delivered"], found["failed"], found["pending"]) == (1, 0, 5)
    assert shell.json("dead-letters", "list", "--sink", "remote")["count"] == 0
    shell.deliver_all()
    assert sorted(shell.taken()) == sorted([*before, *(each for each in before if each[1] != 1)])
    (found,) = shell.json("sinks", "list")["sinks"]
    assert (found["delivered"], found["failed"], found["pending"]) == (5, 1, 0)
    assert shell.call("deliver", "--from", "7", "--sink", "remote", "--yes") == 64
    assert shell.call("deliver", "--from", "1", "--sink", "none", "--yes") == 64
    assert "the remote sinks are: remote" in shell.err


def test_both_commands_need_the_daemon_stopped(shell: RemoteShell) -> None:
    shell.deliver_all()
    with shell.daemon():
        assert shell.call("sinks", "attach", "remote") == 75
        assert shell.call("deliver", "--from", "1", "--sink", "remote", "--yes") == 75
