"""A lane that is detached because the outbox was full: in the checkpoint, on disk, and in every command."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from event_processor.assembly import Mode, open_pipeline
from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.outbox import Detached, LaneDocument
from event_processor.service.conditions import Conditions
from event_processor.storage.outbox_reader import OutboxReader
from support import engine
from support.detached_lanes import MIB, configured, expected_chains, grow, life, sequences, state_of
from support.outbox import CommittedSeries
from support.remote_shell import RemoteShell, remote_shell_in
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import SimulatedFileSystem

CALLS_MAX = 400


def started(seed: int, *names: str) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed, short_io_odds=0.0)
    grow(fs, 1, 2, 3)
    life(fs, configured(*names), 1)
    return fs


def test_the_slowest_lane_is_detached_after_the_last_record_before_the_commit() -> None:
    fs = started(1, "slow", "fast")
    grow(fs, 4, 5)
    life(fs, configured("slow", "fast"), 2, slow=MIB, fast=MIB - 1)
    state = state_of(fs)
    assert state["lanes"]["slow"]["detached"] == {"after": 3, "chain": expected_chains(3)[-1], "records": 3}
    assert "detached" not in state["lanes"]["fast"]
    assert (state["outbox"]["events"]["sequence"], state["outbox"]["events"]["sealed_after"]) == (5, 3)
    assert sequences(fs) == [1, 2, 3, 4, 5]
    assert len(CommittedSeries.read(fs.content, "/d", "events").records) == 5
    assert sorted(name.split(".")[1] for name in state["appended"] if name.startswith("outbox/")) == [
        "000000000001",
        "000000000004",
    ]


@pytest.mark.parametrize(("waiting", "when_full"), [({}, "detach"), ({"slow": MIB - 1}, "detach"), ({"slow": 3}, "pause")])
def test_nothing_is_detached_before_it_is_known_that_the_outbox_is_full(waiting: dict[str, int], when_full: str) -> None:
    fs = started(1, "slow")
    grow(fs, 4)
    life(fs, configured("slow", when_full=when_full), 2, **waiting)
    assert "detached" not in state_of(fs)["lanes"]["slow"]
    assert "sealed_after" not in state_of(fs)["outbox"]["events"]


def test_what_the_lanes_have_not_looked_at_yet_detaches_nothing() -> None:
    """At a start, files that every lane has passed may be larger than the limit."""
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    pad = b"x" * 3500
    fs.plant("/d/log.jsonl", b"".join(b'{"id": %d, "category": "c", "value": 1, "pad": "%b"}\n' % (n, pad) for n in range(300)))
    life(fs, configured("slow"), 1)
    assert sum(len(fs.content(path) or b"") for path in fs.paths() if "/outbox/" in path) > MIB
    grow(fs, 1000)
    life(fs, configured("slow"), 2)
    assert "detached" not in state_of(fs)["lanes"]["slow"]


def test_the_condition_lasts_over_a_restart_until_the_lane_knows_that_it_is_attached() -> None:
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    fs.plant("/d/state/lock", b"")
    first = Conditions(fs, "/d/state", "one", engine.FakeClock())
    first.lane_detached(sink="slow", sequence=4, remedy="attach it")
    first.progressed()
    later = Conditions(fs, "/d/state", "two", engine.FakeClock())
    for _ in range(3):
        later.progressed()
    assert [each.kind for each in later.failures] == ["lane_detached"]
    later.lane_checked(sink="slow", is_sending=False)
    assert later.failures == ()


def test_a_commit_that_releases_nothing_detaches_nothing() -> None:
    fs = started(1, "slow")
    fs.plant("/d/log.jsonl", (fs.content("/d/log.jsonl") or b"") + b"\n")
    life(fs, configured("slow"), 2, slow=MIB)
    assert "detached" not in state_of(fs)["lanes"]["slow"]


def test_with_every_lane_detached_only_sequence_and_chain_go_on_and_a_new_lane_begins_a_new_file() -> None:
    fs = started(1, "slow", "slower")
    grow(fs, 4, 5)
    life(fs, configured("slow", "slower"), 2, slow=MIB, slower=2 * MIB)
    state = state_of(fs)
    assert [state["lanes"][name]["detached"]["after"] for name in ("slow", "slower")] == [3, 3]
    assert sequences(fs) == [1, 2, 3]
    grow(fs, 6)
    life(fs, configured("slow", "slower"), 3)
    assert (state_of(fs)["outbox"]["events"]["sequence"], sequences(fs)) == (6, [1, 2, 3])
    assert state_of(fs)["outbox"]["events"]["chain"] == expected_chains(6)[-1]
    life(fs, configured("slow", "slower", "new"), 4)
    grow(fs, 7, 8)
    life(fs, configured("slow", "slower", "new"), 5)
    assert state_of(fs)["lanes"]["new"]["from"] == 6
    assert sequences(fs) == [1, 2, 3, 7, 8]
    assert state_of(fs)["outbox"]["events"]["chain"] == expected_chains(8)[-1]


def test_a_reader_of_a_detached_lane_stops_at_its_last_record_also_if_the_file_goes_on() -> None:
    fs = started(1, "slow", "fast")
    pipeline = open_pipeline(configured("slow", "fast"), engine.environment(fs, seed=5), Mode(once=True))
    with closing(pipeline.processor):
        view = pipeline.series["events"].view
        bounded = replace(view, detached={"slow": (2, "c")}).for_lane("slow")
        assert (bounded.sequence, bounded.chain, bounded.total) == (2, "c", 3)
        reader = OutboxReader(fs, bounded, 0)
        assert [record.sequence for record, _ in reader.read(1 << 20)] == [1, 2]
        assert reader.read(1 << 20) == []
        reader.close()


def test_files_that_no_lane_needs_go_also_between_those_that_one_needs() -> None:
    fs = started(1, "slow", "fast")
    settings = configured("slow", "fast")
    grow(fs, 4, 5)
    life(fs, settings, 2, slow=MIB, fast=0)
    pipeline = open_pipeline(settings, engine.environment(fs, seed=3), Mode(once=True))
    with closing(pipeline.processor):
        series = pipeline.series["events"]
        # The fast lane has passed everything; the slow one still needs what was for it.
        assert series.drop_before(5, [(1, 3)])
        grow(fs, 6)
        pipeline.processor.run()
        grow(fs, 7)
        pipeline.processor.run()
        assert sequences(fs) == [1, 2, 3, 6, 7]
        # It has passed that too.
        assert series.drop_before(5, [(3, 3)])
        grow(fs, 8)
        pipeline.processor.run()
        assert sequences(fs) == [6, 7, 8]


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_process_that_dies_anywhere_leaves_the_lane_attached_or_detached(*, power_cut: bool) -> None:
    chance, found = Random(3), []
    for nth in range(1, CALLS_MAX):
        fs = started(nth, "slow")
        grow(fs, 4, 5)
        fs.crash_at(nth, after=chance.random() < 0.5)
        is_whole = False
        try:
            life(fs, configured("slow"), 1000 + nth, slow=MIB)
            fs.stop_failing()
            is_whole = True
        except SimulatedCrash:
            fs = fs.crash() if power_cut else fs.kill()
        # The next process does not know yet what waits, and goes on as the checkpoint says.
        life(fs, configured("slow"), 2000 + nth)
        state = state_of(fs)
        after = state["lanes"]["slow"].get("detached", {}).get("after")
        assert after in (None, 3), fs.journal()
        assert sequences(fs) == ([1, 2, 3] if after else [1, 2, 3, 4, 5]), fs.journal()
        series = state["outbox"]["events"]
        assert (series["sequence"], series["chain"]) == (5, expected_chains(5)[-1]), fs.journal()
        assert series.get("sealed_after") == after
        found.append(after)
        if is_whole:
            break
    assert len(found) > 15
    # The first death comes before the commit, and the last life has none.
    assert (found[0], found[-1]) == (None, 3)


@pytest.mark.parametrize(
    ("sequence", "answered", "shares"),
    [
        (2, (), (3, 5)),
        (5, (), (0, 5)),
        (2, ((4, 4, "c"),), (2, 5)),
        # After a fallback, the cursor may be ahead of where the lane was detached.
        (7, (), (0, 3)),
        (2, ((4, 7, "c"),), (1, 3)),
    ],
)
def test_what_waits_and_what_is_skipped_add_up(
    sequence: int, answered: tuple[tuple[int, int, str], ...], shares: tuple[int, int]
) -> None:
    """By hand: ten records were released, and the lane was detached after the fifth."""
    lane = LaneDocument("events", 0, "", {}, Detached(5, "c", 5))
    cursor = CursorDocument("id", "events", {}, 0, sequence, "c", answered)
    assert lane.shares(cursor, 10) == shares
    count = sequence + sum(last - first + 1 for first, last, _ in answered)
    assert count + sum(shares) == 10


# The commands.

MORE = """
[outbox]
bytes_max = 1_048_576
when_full = "{when_full}"
once_wait_s = {once_wait_s}
"""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    shell = remote_shell_in(tmp_path, monkeypatch, capsys)
    path = shell.path("event-processor.toml")
    path.write_text(path.read_text().replace("[outbox]\nonce_wait_s = 0\n", ""), encoding="utf-8")
    shell.path("base.toml").write_text(path.read_text(), encoding="utf-8")
    options(shell)
    return shell


def options(shell: RemoteShell, when_full: str = "detach", once_wait_s: int = 0) -> None:
    base = shell.path("base.toml").read_text()
    shell.path("event-processor.toml").write_text(base + MORE.format(when_full=when_full, once_wait_s=once_wait_s))


def append_large(shell: RemoteShell, first: int, count: int, size_bytes: int) -> None:
    with shell.path("log.jsonl").open("a", encoding="utf-8") as log:
        for each in range(first, first + count):
            log.write(json.dumps({"id": each, "category": "a", "value": each, "pad": "x" * size_bytes}) + "\n")


def detached(shell: RemoteShell) -> None:
    """Of the log's 11 records, 5 are at the sink and 1 failed; 8 is the last one for the lane. Three are skipped."""
    options(shell, once_wait_s=60)
    assert shell.run_once() == 0, shell.err
    options(shell)
    shell.path("down").touch()
    append_large(shell, 7, 2, 600_000)
    assert shell.run_once() == 69
    shell.append(9, 3)
    assert shell.run_once() == 69


def figures(shell: RemoteShell) -> tuple[str, int, int, int, int]:
    (found,) = shell.json("sinks", "list")["sinks"]
    return found["state"], found["delivered"], found["failed"], found["skipped"], found["pending"]


def test_a_run_detaches_a_sink_that_is_down_and_every_command_shows_it(shell: RemoteShell) -> None:
    detached(shell)
    assert (
        "sink remote: 5 delivered, 1 failed, 3 skipped, 2 pending; detached: the outbox was full: records from 9 on" in shell.out
    )
    assert figures(shell) == ("detached", 5, 1, 3, 2)
    (found,) = shell.json("sinks", "list")["sinks"]
    assert (found["released"], found["detached_after"]) == (11, 8)
    assert "event-processor sinks attach remote" in found["remedy"]
    assert shell.call("status", "--json") == 69
    document = json.loads(shell.out)
    (lane,) = document["lanes"]
    assert (lane["state"], lane["skipped"], lane["pending"], lane["detached_after"]) == ("detached", 3, 2, 8)
    assert document["outbox"]["undelivered_bytes"] == 0
    assert any("sink remote is detached" in each for each in document["shortfalls"])
    assert shell.call("verify") == 0, shell.out
    assert shell.call("validate") == 0
    shell.call("doctor")
    assert "checkpoint can be read: 11 records" in shell.out
    assert shell.call("sinks", "skip", "remote", "9") == 64
    assert "record 9 is skipped already: the sink was detached after 8" in shell.err
    assert shell.call("sinks", "skip", "remote", "7") == 0
    assert figures(shell) == ("detached", 5, 1, 4, 1)


def test_what_was_for_the_sink_is_delivered_and_a_record_after_it_is_explained(shell: RemoteShell) -> None:
    detached(shell)
    shell.path("down").unlink()
    options(shell, once_wait_s=60)
    assert shell.run_once() == 69
    assert figures(shell) == ("detached", 7, 1, 3, 0)
    assert [event_id for _, event_id, _ in shell.taken()] == [1, 2, 4, 5, 6, 7, 8]
    (explained,) = [each for each in shell.json("explain", "10")["ids"] if each["id"] == 10]
    (lane,) = explained["lanes"]
    assert (lane["result"], lane["reason"], lane["sequence"]) == ("skipped", "the sink was detached", None)
    assert shell.call("explain", "10") == 0
    assert "remote     skipped: the sink was detached" in shell.out
    (explained,) = [each for each in shell.json("explain", "8")["ids"] if each["id"] == 8]
    assert explained["lanes"][0]["result"] == "delivered"


def test_an_attached_sink_gets_what_was_skipped(shell: RemoteShell) -> None:
    detached(shell)
    shell.path("down").unlink()
    assert shell.call("sinks", "attach", "remote") == 0, shell.err
    attached, excess = shell.out.splitlines()
    assert attached == "remote: attached; 5 records wait for it, 3 of them from the log again"
    waiting_bytes = sum(
        len(line) + 1
        for path in shell.path("state", "outbox").iterdir()
        for line in path.read_bytes().splitlines()
        if json.loads(line)["sequence"] > 6
    )
    assert excess.startswith(f"they are {waiting_bytes - MIB:,} bytes more than outbox.bytes_max")
    assert figures(shell) == ("not running", 5, 1, 0, 5)
    options(shell, "pause", once_wait_s=60)
    shell.append(12, 1)
    assert shell.run_once() == 0, shell.err
    assert figures(shell) == ("not running", 11, 1, 0, 0)
    assert [event_id for _, event_id, _ in shell.taken()] == [1, 2, *range(4, 13)]
    assert len({key for key, _, _ in shell.taken()}) == 11
    assert shell.call("verify") == 0
    (explained,) = [each for each in shell.json("explain", "10")["ids"] if each["id"] == 10]
    assert (explained["lanes"][0]["result"], explained["lanes"][0]["sequence"]) == ("delivered", 10)
    assert shell.call("sinks", "attach", "remote") == 64
    assert "remote: is not detached" in shell.err


def test_while_a_daemon_runs_status_fails_with_the_way_out(shell: RemoteShell) -> None:
    detached(shell)
    with shell.running():
        shell.waits_for(state="detached", skipped=3, pending=2)
        shell.append(12, 2)
        shell.waits_for(skipped=5, pending=2, released=13)
        assert shell.call("status", "--json") == 69
        (condition,) = [each for each in json.loads(shell.out)["conditions"] if each["kind"] == "lane_detached"]
        assert condition["source"] == "remote"
        assert "records from 9 on are skipped" in condition["problem"]
        assert "event-processor sinks attach remote" in condition["remedy"]
        assert shell.call("top", "--count", "1") == 0
        assert "detached" in shell.out


def test_a_detached_lane_cannot_be_removed_by_an_edit_and_can_be_renamed_or_dropped(shell: RemoteShell) -> None:
    detached(shell)
    base = shell.path("base.toml").read_text()
    shell.path("base.toml").write_text(base.replace("[sinks.remote]", "[sinks.other]"))
    options(shell)
    assert shell.run_once() == 78
    assert "but 5 records of events still wait for it, or were skipped while it was detached" in shell.err
    assert shell.call("sinks", "rename", "remote", "other") == 0
    assert figures(shell) == ("detached", 5, 1, 3, 2)
    assert shell.call("sinks", "drop", "other", "--yes") == 0
    assert "2 pending records given up" in shell.out
    assert "3 records that were skipped while it was detached are given up too" in shell.out
    shell.path("down").unlink()
    options(shell, once_wait_s=60)
    shell.append(12, 1)
    assert shell.run_once() == 0, shell.err
    assert figures(shell) == ("not running", 1, 0, 0, 0)
    assert shell.taken()[-1][1] == 12
