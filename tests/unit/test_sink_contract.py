"""What every sink promises, held on each kind of it: all that was released, in order, once, whatever dies and whenever."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration, ConfiguredPath, DedupOptions, StateOptions
from event_processor.engine.commit import CommitThread
from event_processor.model.errors import ConfigurationError, LockedError, StorageError
from event_processor.model.telemetry import Telemetry
from support import engine
from support.commits import Committing, LateCommits, RandomCommits
from support.reference import Options, evaluate
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import Fault, SimulatedFileSystem
from support.sink_kinds import KINDS, NAME, PART_EVENTS, PART_KINDS, SinkKind, shown

FOLDER = "/d"
BUFFER_EVENTS = 4
CALLS_MAX = 500
EVERY_CALL = {"lines", "json parts"}
"""One growing file and one kind of parts. How the other kinds differ from them is what they write, not when."""
SAMPLE_STEP = 5
EVENTS = 50
NOTES = ("plain", 'a "quoted", one', "two\nlines", None, "", "ä€", "semi;colon")


def log(start: int, count: int) -> bytes:
    """Events out of order, some twice, some not events at all, with notes that every format must take care of."""
    lines = []
    for number in range(start, start + count):
        event_id = number + 2 if number % 5 == 0 else number
        note = NOTES[number % len(NOTES)]
        lines.append(json.dumps({"id": event_id, "category": f"c{number % 3}", "value": 1, "payload": {"note": note}}))
        if number % 11 == 0:
            lines.append("no event")
    return "".join(f"{line}\n" for line in lines).encode()


LOG = log(0, EVENTS)


def configured(kind: SinkKind, **more: Any) -> Configuration:
    return engine.configuration(FOLDER, buffer_events=BUFFER_EVENTS, batch_bytes=1500, sinks=kind.sink(FOLDER, **more))


def started(seed: int, content: bytes = LOG, *, short_io_odds: float = 0.05) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed, short_io_odds=short_io_odds)
    fs.plant(f"{FOLDER}/log.jsonl", content)
    return fs


def released(content: bytes, *, drained: bool = True) -> list[dict[str, Any]]:
    """What the independent model says that sinks get."""
    model = evaluate(content, Options(buffer_events=BUFFER_EVENTS, drained=drained))
    records = model.released + (model.held if drained else [])
    return [shown(json.loads(record)) for record in dict.fromkeys(records)]


def told(kind: SinkKind, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same as this kind can tell it: an empty cell of CSV is read as null here."""
    is_csv = kind.options.get("format") == "csv"
    return [{**row, "note": row["note"] or None} for row in rows] if is_csv else rows


def written(kind: SinkKind, fs: SimulatedFileSystem) -> list[dict[str, Any]]:
    return [row for content in kind.files(fs, FOLDER).values() for row in kind.rows(content)]


def state(fs: SimulatedFileSystem) -> dict[str, Any]:
    content = fs.content(f"{FOLDER}/state/checkpoint.json")
    return dict(json.loads(content)["state"]) if content else {"appended": {}}


def open_part(kind: SinkKind, fs: SimulatedFileSystem) -> int:
    """The number of the open part by the word of the checkpoint; 1 where there is none."""
    names = [key.rpartition("/.")[2] for key in state(fs)["appended"] if key.startswith(f"sinks.{NAME}:")]
    numbers = [kind.number(name.removesuffix(".pending")) for name in names]
    return numbers[0] or 1 if numbers else 1


def hidden(fs: SimulatedFileSystem) -> list[str]:
    return [path for path in fs.paths() if "/out/." in path]


def calls_of(name: str) -> Iterator[int]:
    """Which calls are tried on this kind: every one; or the first and each fifth, other ones for each kind."""
    step = 1 if name in EVERY_CALL else SAMPLE_STEP
    place = list(KINDS).index(name)
    return (nth for nth in range(1, CALLS_MAX) if nth == 1 or nth % step == place % step)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_is_what_was_released_in_order(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    engine.run(fs, configured(kind), drain=True)
    expected = released(LOG)
    assert written(kind, fs) == told(kind, expected)
    assert len(expected) > 5 * PART_EVENTS
    sizes = [len(kind.rows(content)) for content in kind.files(fs, FOLDER).values()]
    if kind.writes_parts:
        assert sizes[:-1] == [PART_EVENTS] * (len(sizes) - 1)
        assert list(kind.files(fs, FOLDER)) == list(range(1, len(sizes) + 1))


@pytest.mark.parametrize("power_cut", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_dies_anywhere_ends_with_the_same_bytes_and_publishes_nothing_before_its_commit(
    name: str, *, power_cut: bool
) -> None:
    kind = KINDS[name]
    undisturbed = started(0)
    engine.run(undisturbed, configured(kind), drain=True)
    expected = kind.files(undisturbed, FOLDER)

    def judge(fs: SimulatedFileSystem) -> None:
        if kind.writes_parts:
            assert [number for number in kind.files(fs, FOLDER) if number >= open_part(kind, fs)] == [], fs.journal()
            assert all(expected[number] == content for number, content in kind.files(fs, FOLDER).items()), fs.journal()

    def finish(fs: SimulatedFileSystem) -> None:
        engine.run(fs, configured(kind), seed=7, drain=True)
        assert kind.files(fs, FOLDER) == expected, fs.journal()

    chance = Random(3)
    for nth in calls_of(name):
        fs = started(nth)
        fs.crash_at(nth, after=chance.random() < 0.5)
        try:
            engine.run(fs, configured(kind), drain=True)
        except SimulatedCrash:
            fs = fs.crash() if power_cut else fs.kill()
            judge(fs)
            finish(fs)
        else:
            break
    assert 60 < nth < CALLS_MAX - SAMPLE_STEP, "it was tried up to the end of the run"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kinds", [{"write"}, {"sync"}, {"rename"}, {"sync_directory"}, {"unlink"}, {"create"}])
def test_a_call_that_fails_is_a_stop_and_the_next_run_completes(name: str, kinds: set[str]) -> None:
    kind = KINDS[name]
    undisturbed = started(0)
    engine.run(undisturbed, configured(kind), drain=True)
    failures = 0
    for nth in calls_of(name):
        fs = started(nth)
        fs.fail(Fault(errno=errno.ENOSPC, nth=nth, kinds=kinds, lasting=True))
        try:
            engine.run(fs, configured(kind), drain=True)
            break
        except StorageError:
            failures += 1
        fs.stop_failing()
        fs = fs.kill()
        engine.run(fs, configured(kind), seed=7, drain=True)
        assert kind.files(fs, FOLDER) == kind.files(undisturbed, FOLDER), fs.journal()
    assert failures


@pytest.mark.parametrize("name", KINDS)
def test_lives_that_end_by_chance_in_runs_and_in_the_recoveries_from_them_end_with_the_same_bytes(name: str) -> None:
    kind = KINDS[name]
    undisturbed = started(0)
    engine.run(undisturbed, configured(kind), drain=True)
    for seed in range(25):
        chance, fs, deaths = Random(seed), started(seed), 0
        while True:
            fs.crash_at(chance.randint(1, 60 + 30 * deaths), after=chance.random() < 0.5)
            try:
                engine.run(fs, configured(kind), seed=seed * 100 + deaths, drain=True, committing=lambda: RandomCommits(seed))  # noqa: B023
                break
            except SimulatedCrash:
                deaths += 1
                fs = fs.crash() if chance.random() < 0.5 else fs.kill()
        assert kind.files(fs, FOLDER) == kind.files(undisturbed, FOLDER), f"seed {seed}: {fs.journal()}"


def test_a_start_makes_the_checkpoint_durable_before_it_publishes_and_the_names_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed right behind the rename of a checkpoint: a power cut might still take its name back."""
    kind, looked = KINDS["json parts"], 0
    # An index of ids would make the same names durable when it is opened.
    settings = configured(kind).model_copy(update={"dedup": DedupOptions(enabled=False)})
    for nth in range(1, CALLS_MAX):
        fs = started(nth)
        fs.crash_at(nth, after=True)
        with suppress(SimulatedCrash):
            engine.run(fs, settings, drain=True)
        if not fs.crashed:
            break
        (end,) = [line for line in fs.journal().splitlines() if "the end, after it" in line]
        if "checkpoint.json.tmp to" not in end:
            continue
        fs = fs.kill()
        calls = recorded(fs, monkeypatch)
        waiting = len([path for path in hidden(fs) if path.endswith(".complete")])
        engine.run(fs, settings, seed=2)
        if waiting:
            first = calls.index("rename")
            assert f"{FOLDER}/state" in calls[:first]
            assert calls[first : first + waiting + 1] == ["rename"] * waiting + [f"{FOLDER}/out"]
            looked += 1
    assert looked > 1


def recorded(fs: SimulatedFileSystem, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From here on, in order: the folders whose names are made durable, and the renames."""
    calls: list[str] = []
    sync_directory, rename = fs.sync_directory, fs.rename

    def sync_and_note(path: str) -> None:
        calls.append(path)
        sync_directory(path)

    def rename_and_note(path: str, new_path: str) -> None:
        calls.append("rename")
        rename(path, new_path)

    monkeypatch.setattr(fs, "sync_directory", sync_and_note)
    monkeypatch.setattr(fs, "rename", rename_and_note)
    return calls


@pytest.mark.parametrize("committing", [LateCommits, CommitThread])
@pytest.mark.parametrize("name", KINDS)
def test_commits_behind_the_loop_write_the_same(name: str, committing: Committing) -> None:
    kind = KINDS[name]
    inline, behind = started(0, log(0, 400)), started(0, log(0, 400))
    engine.run(inline, configured(kind), drain=True)
    engine.run(behind, configured(kind), drain=True, committing=committing)
    assert kind.files(behind, FOLDER) == kind.files(inline, FOLDER)


@pytest.mark.parametrize("name", PART_KINDS)
def test_a_file_that_comes_to_stand_at_the_name_of_a_part_is_not_written_over(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    path = f"{FOLDER}/out/{kind.file.replace('{n}', '3')}"

    class Somebody(Telemetry):
        def batch_committed(self, **_: int) -> None:
            if fs.content(path) is None:
                fs.plant(path, b"somebody's work")

    with pytest.raises(StorageError, match="did not write") as raised:
        engine.run(fs, configured(kind), drain=True, telemetry=Somebody())
    assert path in raised.value.message
    fs = fs.kill()
    with pytest.raises(ConfigurationError, match="did not write"):
        engine.run(fs, configured(kind), seed=2, drain=True)
    assert fs.content(path) == b"somebody's work"
    fs.unlink(path)
    engine.run(fs, configured(kind), seed=3, drain=True)
    assert written(kind, fs) == told(kind, released(LOG))


@pytest.mark.parametrize("name", KINDS)
def test_two_states_do_not_write_one_sink(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    other = configured(kind).model_copy(update={"state": StateOptions(dir=ConfiguredPath(f"{FOLDER}/other", "other"))})

    def open_the_other() -> None:
        with pytest.raises(LockedError, match="another process is appending"):
            engine.run(fs, other, seed=5)

    surroundings = engine.environment(fs)
    lock = lock_state(configured(kind), surroundings)
    processor = open_pipeline(configured(kind), surroundings, Mode(once=True)).processor
    open_the_other()
    processor.close()
    lock.release()


@pytest.mark.parametrize("name", PART_KINDS)
def test_the_last_part_waits_until_the_input_is_finished_and_a_later_run_goes_on_behind_it(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    engine.run(fs, configured(kind))
    whole = len(released(LOG, drained=False)) // PART_EVENTS
    assert list(kind.files(fs, FOLDER)) == list(range(1, whole + 1))
    engine.run(fs, configured(kind), seed=2, drain=True)
    drained = kind.files(fs, FOLDER)
    assert written(kind, fs) == told(kind, released(LOG))
    engine.run(fs, configured(kind), seed=3, drain=True)
    assert kind.files(fs, FOLDER) == drained
    fs.plant(f"{FOLDER}/log.jsonl", LOG + log(1000, 3))
    engine.run(fs, configured(kind), seed=4, drain=True)
    last = len(drained) + 1
    assert list(kind.files(fs, FOLDER)) == [*drained, last]
    assert [row["id"] for row in kind.rows(kind.files(fs, FOLDER)[last])] == [1001, 1002]


@pytest.mark.parametrize("name", PART_KINDS)
def test_a_part_that_was_taken_away_is_never_asked_for_nor_written_again(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    taken: dict[int, bytes] = {}

    def take() -> None:
        for number, content in kind.files(fs, FOLDER).items():
            assert number not in taken
            taken[number] = content
            fs.unlink(f"{FOLDER}/out/{kind.file.replace('{n}', str(number))}")

    for part in range(1, 6):
        fs.plant(f"{FOLDER}/log.jsonl", b"".join(LOG.splitlines(keepends=True)[: part * 12]))
        engine.run(fs, configured(kind), seed=part, drain=part == 5)
        take()
    assert [row for _, content in sorted(taken.items()) for row in kind.rows(content)] == told(kind, released(LOG))


@pytest.mark.parametrize("name", PART_KINDS)
def test_two_commits_later_nothing_is_left_of_a_part_but_its_file(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    engine.run(fs, configured(kind), drain=True)
    for seed in (2, 3):
        fs.plant(f"{FOLDER}/log.jsonl", LOG + log(1000 * seed, 1))
        engine.run(fs, configured(kind), seed=seed, drain=True)
    fs.plant(f"{FOLDER}/log.jsonl", LOG + log(3000, 1) + log(9000, 2))
    engine.run(fs, configured(kind), seed=5)
    assert len(hidden(fs)) <= 2, hidden(fs)


@pytest.mark.parametrize("name", PART_KINDS)
def test_a_file_at_the_name_of_the_next_part_is_refused_and_stands(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    engine.run(fs, configured(kind), drain=True)
    path = f"{FOLDER}/out/{kind.file.replace('{n}', str(len(kind.files(fs, FOLDER)) + 1))}"
    fs.plant(path, b"somebody's work")
    with pytest.raises(ConfigurationError, match="this state did not write") as raised:
        engine.run(fs, configured(kind), seed=2, drain=True)
    assert path in raised.value.message
    assert fs.content(path) == b"somebody's work"


@pytest.mark.parametrize("name", KINDS)
def test_a_state_that_is_missing_where_its_sink_is_not_is_refused(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    engine.run(fs, configured(kind))
    for path in [path for path in fs.paths() if path.startswith(f"{FOLDER}/state/")]:
        fs.unlink(path)
    for number in kind.files(fs, FOLDER):
        if number:
            fs.unlink(f"{FOLDER}/out/{kind.file.replace('{n}', str(number))}")
    with pytest.raises(ConfigurationError, match="this state did not write"):
        engine.run(fs, configured(kind), seed=2)


@pytest.mark.parametrize("name", PART_KINDS)
def test_behind_a_fallback_parts_that_the_predecessor_does_not_cover_are_moved_by_hand_and_written_again(name: str) -> None:
    kind, fs = KINDS[name], started(1)
    engine.run(fs, configured(kind), drain=True)
    expected = kind.files(fs, FOLDER)
    fs.plant(f"{FOLDER}/state/checkpoint.json", b"torn")
    with pytest.raises(ConfigurationError, match="this state did not write"):
        engine.run(fs, configured(kind), seed=2, drain=True)
    first = open_part(kind, fs) if fs.content(f"{FOLDER}/state/checkpoint.json") else predecessor_part(kind, fs)
    for number in expected:
        if number >= first:
            fs.unlink(f"{FOLDER}/out/{kind.file.replace('{n}', str(number))}")
    engine.run(fs, configured(kind), seed=3, drain=True)
    assert kind.files(fs, FOLDER) == expected


def predecessor_part(kind: SinkKind, fs: SimulatedFileSystem) -> int:
    content = fs.content(f"{FOLDER}/state/checkpoint.previous.json")
    assert content is not None
    (key,) = [key for key in json.loads(content)["state"]["appended"] if key.startswith(f"sinks.{NAME}:")]
    return kind.number(key.rpartition("/.")[2].removesuffix(".pending")) or 0


@pytest.mark.parametrize("part_events", [1, 3, 11])
def test_the_size_of_parts_may_change_and_what_is_pending_is_cut_by_the_new_one(part_events: int) -> None:
    kind, fs = KINDS["json parts"], started(1)
    engine.run(fs, configured(kind))
    before = kind.files(fs, FOLDER)
    engine.run(fs, configured(kind, part_events=part_events), seed=2)
    pending = len(released(LOG, drained=False)) % PART_EVENTS
    assert len(kind.files(fs, FOLDER)) - len(before) == pending // part_events
    engine.run(fs, configured(kind, part_events=part_events), seed=3, drain=True)
    assert written(kind, fs) == released(LOG)


@pytest.mark.parametrize("name", KINDS)
def test_a_sink_that_is_added_later_is_known_to_a_checkpoint_before_it_writes(name: str) -> None:
    kind = KINDS[name]
    beside = engine.configuration(FOLDER, buffer_events=BUFFER_EVENTS, batch_bytes=1500)
    both = configured(kind)
    both = both.model_copy(update={"sinks": {**beside.sinks, **kind.sink(f"{FOLDER}/second")}})
    more = LOG + log(100, 30)

    before = started(0)
    engine.run(before, beside)
    before.plant(f"{FOLDER}/log.jsonl", more)
    for nth in calls_of(name):
        fs = before.copy(nth)
        fs.crash_at(nth)
        try:
            engine.run(fs, both, seed=2, drain=True)
        except SimulatedCrash:
            fs = fs.kill()
            engine.run(fs, both, seed=3, drain=True)
            later = [row for content in kind.files(fs, f"{FOLDER}/second").values() for row in kind.rows(content)]
            assert later == told(kind, released(more))[-len(later) :]
            assert later
        else:
            return
    raise AssertionError("the run never came to its end")
