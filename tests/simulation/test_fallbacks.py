"""A fallback to the predecessor while there are lanes: the tail of the journal is followed, so the lost state comes again.

`FALLBACK_SEEDS=500` tries more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from random import Random

import pytest

from event_processor.configuration.configuration import Configuration
from event_processor.engine.following import Following
from event_processor.engine.journal import JournalEntry, JournalRun
from event_processor.model.event import Chunk
from support.fallbacks import (
    CHECKPOINT,
    JOURNAL,
    PREDECESSOR,
    Append,
    Happening,
    Reports,
    Silence,
    broken,
    committed_journal,
    happenings,
    live,
    log_path,
    outbox,
    settings,
    shown,
)
from support.simulated_fs import SimulatedCrash, SimulatedFileSystem

SEEDS = int(os.environ.get("FALLBACK_SEEDS", "12"))
CALLS_MAX = 1000


def lived(seed: int, configured: Configuration, *, rotates: bool = False) -> SimulatedFileSystem:
    """A disk after one or two lives, each to its clean end, in most cases with several entries of the journal in the last commit."""
    random, fs = Random(seed), SimulatedFileSystem(seed)
    # The predecessor knows both logs: files of a glob have no numbers before they were read.
    live(fs, configured, [Append("a", events(1)), Append("b", events(2)), Silence()], seed=seed + 500)
    fs = fs.kill()
    for life in range(random.randint(1, 2)):
        schedule = happenings(random, random.randint(2, 8), 40 * life, rotates=rotates)
        schedule += [each for each in happenings(random, 6, 40 * life + 30) if not isinstance(each, Silence)]
        live(fs, configured, schedule, seed=seed + 1000 * life)
        fs = fs.kill()
    return fs


def events(*ids: int) -> bytes:
    return b"".join(json.dumps({"id": number, "category": "c", "value": number}).encode() + b"\n" for number in ids)


def ids_in(fs: SimulatedFileSystem) -> list[int]:
    """What was released for the lane, in order."""
    return [json.loads(record)["id"] for _, record in outbox(fs).records]


def require_equal(fallen: SimulatedFileSystem, whole: SimulatedFileSystem) -> None:
    """The state, what was released for the lane with its chain, and the journal are what they were."""
    assert shown(fallen) == shown(whole)
    assert outbox(fallen).records == outbox(whole).records
    assert outbox(fallen).chains == outbox(whole).chains
    assert committed_journal(fallen) == committed_journal(whole)
    # The next start cuts the tail off again.
    assert "follows_journal" not in json.loads(fallen.content(CHECKPOINT) or b"")["state"]


def recover(fs: SimulatedFileSystem, configured: Configuration, seed: int, more: list[Happening] | None = None) -> Reports:
    """A life that reads on after a fallback."""
    reports = Reports()
    live(fs, configured, more or (), seed=seed, reports=reports, is_over=reports.has_said)
    return reports


@pytest.mark.parametrize("glob", [False, True])
@pytest.mark.parametrize("rotates", [False, True])
def test_the_state_after_a_fallback_is_the_lost_one(glob: bool, rotates: bool) -> None:
    configured = settings(glob=glob)
    entries = 0
    # 36: two paths rotate in the lost commit. 50: one is retired while the other one has more.
    for seed in {*range(SEEDS), *((36, 50) if glob and rotates else ())}:
        whole = lived(seed, configured, rotates=rotates)
        fallen = broken(whole, seed, "gone" if seed % 2 else "torn")
        reports = recover(fallen, configured, seed + 7000)
        try:
            assert [what for what, *_ in reports.said] == ["followed"]
            require_equal(fallen, whole)
        except BaseException as error:
            error.add_note(f"seed {seed}: {reports.said}")
            raise
        entries += reports.said[0][1]
    assert entries > 2 * SEEDS


def test_without_its_tail_another_state_would_often_come() -> None:
    """The test above would find it if the tail were not followed."""
    configured = settings()
    others = 0
    for seed in range(SEEDS):
        whole = lived(seed, configured)
        fallen = broken(whole, seed)
        fallen.plant(JOURNAL, (fallen.content(JOURNAL) or b"")[: committed_bytes(fallen, PREDECESSOR)])
        live(fallen, configured, seed=seed + 7000)
        others += outbox(fallen).records != outbox(whole).records
    assert others > SEEDS // 4


def committed_bytes(fs: SimulatedFileSystem, path: str = CHECKPOINT) -> int:
    return int(json.loads(fs.content(path) or b"")["state"]["appended"]["journal.jsonl"])


@pytest.mark.parametrize("glob", [False, True])
def test_what_comes_after_a_fallback_is_as_if_there_had_been_none(glob: bool) -> None:
    configured = settings(glob=glob)
    for seed in range(SEEDS // 2):
        whole = lived(seed, configured)
        fallen = broken(whole, seed)
        recover(fallen, configured, seed + 7000)
        more = happenings(Random(seed), 8, 200)
        for fs in (fallen, whole):
            live(fs.kill(), configured, more, seed=seed + 8000)
        require_equal(fallen, whole)


def test_an_idle_release_that_was_delivered_comes_before_the_late_event_again() -> None:
    fs = SimulatedFileSystem(1)
    live(fs, settings(), [Append("a", events(10, 20, 30)), Silence()], seed=1)
    assert ids_in(fs) == [10, 20, 30]
    chain = outbox(fs).chains
    fallen = broken(fs)
    assert json.loads(fallen.content(PREDECESSOR) or b"")["state"]["order"]["held"] == 3
    fallen.plant(log_path("a"), events(10, 20, 30, 5))
    reports = recover(fallen, settings(), 2, [Silence()])
    assert reports.said == [("followed", 2, "")]
    assert ids_in(fallen) == [10, 20, 30, 5]
    assert outbox(fallen).chains[:3] == chain
    assert shown(fallen)["counts"]["late"] == 1


def test_two_sources_are_read_in_the_same_order_again() -> None:
    fs = SimulatedFileSystem(1)
    # Of equal ids, the first one counts. Everything comes in one commit, while a batch is gathered.
    turns = [Append(name, events(number)) for number in range(1, 9) for name in ("b", "a")]
    configured = settings(buffer_events=0)
    live(fs, configured, turns, seed=1)
    released = [json.loads(place)["source"] for place, _ in outbox(fs).records]
    assert released == ["b"] * 8
    fallen = broken(fs)
    recover(fallen, configured, 2)
    require_equal(fallen, fs)
    # Read anew, the sources come in another order.
    anew = SimulatedFileSystem(2)
    for name in ("a", "b"):
        anew.plant(log_path(name), fs.content(log_path(name)) or b"")
    live(anew, configured, seed=3)
    assert {json.loads(place)["source"] for place, _ in outbox(anew).records} == {"a"}


def test_a_stop_in_the_recovery_while_a_commit_is_held_reads_nothing_but_the_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop in a hold is followed by one last look. What it finds may come in another order than the tail says."""
    fs = SimulatedFileSystem(1)
    turns = [Append(name, events(number)) for number in range(1, 7) for name in ("b", "a")]
    unpaced = settings(buffer_events=0)
    live(fs, unpaced, turns, seed=1)
    fallen, reports, read = broken(fs), Reports(), Following._read

    def read_and_stop(following: Following, run: JournalRun) -> Iterator[Chunk | JournalEntry]:
        yield from read(following, run)
        assert reports.processor is not None
        reports.processor.stop()

    paced = unpaced.model_copy(update={"batch": unpaced.batch.model_copy(update={"pace_ms": 60_000})})
    with monkeypatch.context() as patched:
        patched.setattr(Following, "_read", read_and_stop)
        live(fallen, paced, seed=2, reports=reports)
    assert reports.said == [], "it followed everything"
    seen = outbox(fallen).records
    assert seen == outbox(fs).records[: len(seen)]
    recover(fallen, paced, 3)
    require_equal(fallen, fs)


@pytest.mark.parametrize("seed", range(6))
def test_a_torn_line_ends_the_tail(seed: int) -> None:
    configured = settings()
    whole = lived(seed, configured)
    from_byte = committed_bytes(broken(whole), PREDECESSOR)
    content = whole.content(JOURNAL) or b""
    assert len(content) > from_byte, "the seed has no tail"
    for end in range(from_byte, len(content) + 1, 17):
        for rubbish in (b"", b"\0\0\0\n", b'{"what":"else"}\n'):
            fallen = broken(whole, seed)
            fallen.plant(JOURNAL, content[:end] + rubbish)
            reports = recover_by_itself(fallen, configured, seed + 7000)
            whole_lines = content[from_byte:end].count(b"\n")
            assert reports.said == ([("followed", whole_lines, "")] if whole_lines else [])
            # As far as the tail goes, the same was released; after that it may be other records.
            assert shown(fallen)["counts"]["records"] == shown(whole)["counts"]["records"]
            if whole_lines == content[from_byte:].count(b"\n"):
                require_equal(fallen, whole)


def recover_by_itself(fs: SimulatedFileSystem, configured: Configuration, seed: int) -> Reports:
    """As `recover`, also if there is nothing to follow."""
    reports = Reports()
    live(fs, configured, (), seed=seed, reports=reports)
    return reports


def test_a_log_that_was_cut_meanwhile_is_read_as_far_as_it_goes_and_that_is_reported() -> None:
    configured = settings(buffer_events=0)
    fs = SimulatedFileSystem(1)
    first = [Append("a", events(1)), Append("b", events(2))]
    live(fs, configured, first, seed=1)
    fs = fs.kill()
    live(fs, configured, [Append("b", events(3, 4)), Append("a", events(5)), Append("b", events(6))], seed=2)
    fallen = broken(fs)
    fallen.plant(log_path("b"), events(2, 3))
    reports = recover(fallen, configured, 3)
    ((what, followed, reason),) = reports.said
    assert (what, followed) == ("left", 0)
    assert reason == "source 'b' gives nothing more of generation 1"
    assert ids_in(fallen) == [1, 2, 3, 5]
    assert outbox(fallen).chains[:3] == outbox(fs).chains[:3]
    # It goes on, and the tail is gone.
    live(fallen.kill(), configured, [Append("a", events(7))], seed=4)
    assert ids_in(fallen) == [1, 2, 3, 5, 7]


def test_a_tail_that_starts_elsewhere_is_not_followed() -> None:
    configured = settings(buffer_events=0)
    fs = SimulatedFileSystem(1)
    live(fs, configured, [Append("a", events(1)), Append("b", events(2)), Append("a", events(3))], seed=1)
    fallen = broken(fs)
    length_bytes = committed_bytes(fallen, PREDECESSOR)
    gap = b'{"what":"read","source":"a","generation":1,"from":5000,"to":6000}\n'
    count = b'{"what":"idle_release","records":9}\n'
    unknown = b'{"what":"read","source":"z","generation":1,"from":0,"to":10}\n'
    for tail, reason in ((gap, "but the journal has"), (count, "after 9 records, but"), (unknown, "source 'z' gives nothing")):
        again = fallen.copy(5)
        again.plant(JOURNAL, (fallen.content(JOURNAL) or b"")[:length_bytes] + tail)
        ((what, followed, found),) = recover(again, configured, 2).said
        assert (what, followed) == ("left", 0)
        assert reason in found
        assert shown(again)["counts"]["records"] == 3
        assert tail not in (again.content(JOURNAL) or b"")


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("breaks_again", [False, True])
@pytest.mark.parametrize(("seed", "glob", "rotates"), [(3, False, False), (8, False, True), (11, True, True)])
def test_a_death_at_any_call_of_the_recovery_leads_to_the_same_end(
    seed: int, glob: bool, rotates: bool, power_cut: bool, breaks_again: bool
) -> None:
    configured = settings(glob=glob)
    whole = lived(seed, configured, rotates=rotates)
    points = 0
    for nth in range(1, CALLS_MAX):
        fallen = broken(whole, nth)
        fallen.crash_at(nth, after=nth % 2 == 0)
        reports = Reports()
        with suppress(SimulatedCrash):
            live(fallen, configured, seed=nth, reports=reports, is_over=reports.has_said)
        if not fallen.crashed:
            break
        points += 1
        fallen = fallen.crash() if power_cut else fallen.kill()
        if breaks_again and fallen.content(CHECKPOINT):
            fallen = broken(fallen, nth)
        follows = '"follows_journal": true' in (fallen.content(CHECKPOINT) or b"").decode()
        if follows or not fallen.content(CHECKPOINT) or breaks_again:
            recover(fallen, configured, nth + 5000)
        else:
            live(fallen, configured, seed=nth + 5000)
        try:
            require_equal(fallen, whole)
        except BaseException as error:
            error.add_note(f"call {nth}\n{fallen.journal()}")
            raise
    assert 20 < points < CALLS_MAX - 1


def is_used_up(looks: Iterator[int]) -> bool:
    return next(looks, None) is None


def test_a_stop_in_the_recovery_is_gone_on_with() -> None:
    configured = settings()
    for seed in range(3):
        whole = lived(seed, configured)
        fallen = broken(whole, seed)
        for life in range(60):
            # The stop is seen before the first chunk that is due after each number of looks.
            reports = Reports(stops=partial(is_used_up, iter(range(life))))
            live(fallen, configured, seed=life, reports=reports)
            if reports.said:
                break
        require_equal(fallen, whole)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_dies_what_lanes_may_have_sent_is_released_again(seed: int) -> None:
    """The process dies anywhere, and its checkpoint breaks: then what that checkpoint released is still the beginning."""
    configured = settings()
    fallbacks = 0
    for nth in range(40 + seed, 400, 9):
        fs, random = SimulatedFileSystem(nth), Random(seed)
        fs.crash_at(nth, after=nth % 3 == 0)
        with suppress(SimulatedCrash):
            live(fs, configured, happenings(random, 20), seed=seed)
        fs = fs.kill() if nth % 2 else fs.crash()
        if not fs.content(CHECKPOINT) or not fs.content(PREDECESSOR):
            continue
        fallen = broken(fs, nth)
        if not holds_the_open_run(fs):
            # It died between the two calls that replace the open run by entries.
            continue
        fallbacks += 1
        recover_by_itself(fallen, configured, nth + 3000)
        live(fallen.kill(), configured, [Silence()], seed=nth + 4000)
        sent = outbox(fs)
        again = outbox(fallen)
        assert again.records[: len(sent.records)] == sent.records, f"call {nth}\n{fs.journal()}"
        assert again.chains[: len(sent.chains)] == sent.chains
    assert fallbacks > 10


def holds_the_open_run(fs: SimulatedFileSystem) -> bool:
    """Whether the journal has, beyond its committed length, the run that is open in the present checkpoint."""
    run = json.loads(fs.content(CHECKPOINT) or b"")["state"]["journal"]
    if run is None:
        return True
    for line in (fs.content(JOURNAL) or b"")[committed_bytes(fs) :].split(b"\n")[:-1]:
        with suppress(ValueError):
            entry = json.loads(line)
            if {**entry, "to": 0} == {**run, "to": 0} and entry["to"] >= run["to"]:
                return True
    return False


def test_without_lanes_the_tail_is_cut_off() -> None:
    configured = settings(lane=False)
    fs = SimulatedFileSystem(1)
    live(fs, configured, [Append("a", events(10, 20, 30)), Silence()], seed=1)
    assert len(fs.content(JOURNAL) or b"") == committed_bytes(fs), "an open run costs nothing without lanes"
    fallen = broken(fs)
    fallen.plant(log_path("a"), events(10, 20, 30, 5))
    reports = recover_by_itself(fallen, configured, 2)
    assert reports.said == []
    assert shown(fallen)["counts"]["late"] == 0
    assert b"idle_release" not in b"".join(committed_journal(fallen))


def test_an_ordinary_restart_counts_the_open_run_once_and_keeps_it_for_a_fallback() -> None:
    configured = settings()
    fs = SimulatedFileSystem(1)
    live(fs, configured, [Append("a", events(1, 2))], seed=1)
    content, length_bytes = fs.content(JOURNAL) or b"", committed_bytes(fs)
    state = json.loads(fs.content(CHECKPOINT) or b"")["state"]
    assert json.loads(content[length_bytes:]) == state["journal"]
    fs = fs.kill()
    live(fs, configured, seed=2)
    assert fs.content(JOURNAL) == content
    live(fs.kill(), configured, [Append("a", events(3)), Append("b", events(4))], seed=3)
    entries = [json.loads(line) for line in (fs.content(JOURNAL) or b"").splitlines() if b"order" not in line]
    sizes = {name: len(fs.content(log_path(name)) or b"") for name in ("a", "b")}
    assert [(each["source"], each["from"], each["to"]) for each in entries] == [("a", 0, sizes["a"]), ("b", 0, sizes["b"])]
