"""The outbox of a whole engine on a simulated disk: whatever dies, its committed records are those that were released, in order."""

from __future__ import annotations

import errno
import json
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import pytest

from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.engine.commit import InlineCommits
from event_processor.model.errors import StorageError
from event_processor.storage.outbox import OutboxSeries
from support.commits import Committing, LateCommits, RandomCommits
from support.engine import comparable, configuration, run
from support.logs import adversarial_log
from support.outbox import CommittedSeries, FakeRemoteOptions, place_of
from support.reference import Options, evaluate
from support.simulated_fs import Fault, SimulatedCrash, SimulatedFileSystem

FOLDER = "/pipeline"
LOG = adversarial_log(30, 11)
INPUTS = ("events", "dead_letters")


def with_sinks(settings: Configuration, sinks: dict[str, Any]) -> Configuration:
    return settings.model_copy(update={"sinks": {**settings.sinks, **sinks}})


SETTINGS = with_sinks(configuration(FOLDER), {"api": FakeRemoteOptions(), "letters": FakeRemoteOptions(input="dead_letters")})
REFERENCE = evaluate(LOG, Options(record_bytes_max=4096, buffer_events=8, drained=False), source="log")


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the outbox is full after a few batches."""
    defaults = OutboxSeries.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "file_bytes_max", 1500)


def new_disk(seed: int, content: bytes = LOG) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed)
    fs.plant(f"{FOLDER}/log.jsonl", content)
    return fs


def series(fs: SimulatedFileSystem, input_name: str = "events") -> CommittedSeries:
    return CommittedSeries.read(fs.content, FOLDER, input_name)


def expected_records(fs: SimulatedFileSystem) -> dict[str, list[tuple[bytes, bytes]]]:
    """By input, the place and the object of each record; the places by the independent model."""
    letters = (fs.content(f"{FOLDER}/state/dead_letters.jsonl") or b"").splitlines()
    return {
        "events": [
            (place_of(offset, line, source), record)
            for (source, _, offset, line), record in zip(REFERENCE.released_places, REFERENCE.released, strict=True)
        ],
        "dead_letters": [
            (place_of(each.offset, each.line, each.source), letter)
            for each, letter in zip(REFERENCE.rejected, letters, strict=True)
        ],
    }


def assert_right(fs: SimulatedFileSystem) -> None:
    expected = expected_records(fs)
    for name in INPUTS:
        assert series(fs, name).records == expected[name]


def assert_sound(fs: SimulatedFileSystem) -> None:
    """What is committed now is the beginning of what must be there in the end."""
    if fs.content(f"{FOLDER}/state/checkpoint.json") is not None:
        released = series(fs).records
        wanted = zip(REFERENCE.released_places, REFERENCE.released, strict=True)
        assert (
            released
            == [(place_of(offset, line, source), record) for (source, _, offset, line), record in wanted][: len(released)]
        )


def committing_of(seed: int) -> Committing:
    return (InlineCommits, LateCommits, partial(RandomCommits, seed))[seed % 3]


@pytest.mark.parametrize("committing", [InlineCommits, LateCommits, partial(RandomCommits, 3)])
def test_the_outbox_has_what_was_released_with_its_places_in_files_of_bounded_size(committing: Committing) -> None:
    fs = new_disk(0)
    run(fs, SETTINGS, committing=committing)
    assert_right(fs)
    assert series(fs).files > 2
    assert len(series(fs).records) > 20
    assert len(series(fs, "dead_letters").records) > 3
    # The same records go to the sink within the commit.
    assert [record for _, record in series(fs).records] == (fs.content(f"{FOLDER}/out/ordered.jsonl") or b"").splitlines()


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_death_at_any_call_leaves_the_same_outbox(power_cut: bool) -> None:
    whole = new_disk(0)
    run(whole, SETTINGS)
    wanted = comparable(whole.content(f"{FOLDER}/state/checkpoint.json") or b"")
    points = 0
    # Every call takes minutes; a different quarter of them with and without a power cut.
    for nth in range(1 + power_cut, 10_000, 4):
        fs = new_disk(nth)
        fs.crash_at(nth, after=nth % 8 > 3)
        try:
            run(fs, SETTINGS, seed=nth, committing=committing_of(nth // 4))
        except SimulatedCrash:
            points += 1
        else:
            break
        revived = fs.crash() if power_cut else fs.kill()
        assert_sound(revived)
        run(revived, SETTINGS, seed=nth + 1)
        assert_right(revived)
        assert comparable(revived.content(f"{FOLDER}/state/checkpoint.json") or b"") == wanted, f"nth={nth}\n{revived.journal()}"
    assert points > 50


def test_deaths_by_chance_in_runs_and_in_recoveries_leave_the_same_outbox() -> None:
    for seed in range(100):
        random = Random(seed)
        fs = new_disk(seed)
        for death in range(random.randint(1, 4)):
            fs.crash_at(random.randint(1, 300), after=random.random() < 0.5)
            with suppress(SimulatedCrash):
                run(fs, SETTINGS, seed=seed * 10 + death, committing=committing_of(seed + death))
            fs = fs.crash() if random.random() < 0.6 else fs.kill()
            assert_sound(fs)
        run(fs, SETTINGS, seed=seed * 10 + 9)
        assert_right(fs)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failure_of_any_call_stops_and_the_next_run_leaves_the_same_outbox(number: int) -> None:
    points = 0
    for nth in range(1, 10_000, 37):
        fs = new_disk(nth)
        fs.fail(Fault(nth=nth, errno=number, lasting=nth % 2 == 0))
        try:
            run(fs, SETTINGS, seed=nth, committing=committing_of(nth))
        except StorageError:
            points += 1
        if sum(fs.calls.values()) < nth:
            break
        fs.stop_failing()
        revived = fs.crash() if nth % 3 else fs.kill()
        assert_sound(revived)
        run(revived, SETTINGS, seed=nth + 1)
        assert_right(revived)
    assert points > 10


@pytest.mark.parametrize("committing", [InlineCommits, LateCommits])
@pytest.mark.parametrize("transforms", [(), ({"set": {"added": "x"}},)])
@pytest.mark.parametrize(("by", "buffer_events"), [("id", 0), ("id", 7), ("timestamp", 7), ("timestamp", 1000)])
def test_a_place_is_that_of_the_line_in_the_log_whatever_the_order(
    committing: Committing, transforms: tuple[Any, ...], by: str, buffer_events: int
) -> None:
    random = Random(5)
    order = sorted(range(200), key=lambda n: n + random.randint(0, 5))
    log = b"".join(
        json.dumps({"id": n, "category": "c", "value": 1, "timestamp": n, "pad": "x" * random.randint(0, 9)}).encode() + b"\n"
        for n in order
    )
    sections: dict[str, Any] = {"transforms": transforms, "order": {"by": by}}
    settings = configuration(FOLDER, sink=False, buffer_events=buffer_events, **sections)
    fs = new_disk(0, log)
    run(fs, with_sinks(settings, {"api": FakeRemoteOptions()}), committing=committing, drain=True)
    records = series(fs).records
    assert len(records) == 200
    for place, record in records:
        found = json.loads(place)
        line = log[found["offset"] :].partition(b"\n")[0]
        assert found["line"] == log[: found["offset"]].count(b"\n") + 1
        assert json.loads(line)["id"] == json.loads(record)["id"]
        assert ("added" in json.loads(record)) == bool(transforms)


def windows(*, lane: bool = True) -> Configuration:
    """Rows of two groups, in local time, and a sink that gets the same rows within the commit."""
    aggregate = {
        "group_by": ("category",),
        "measures": {"events": "count"},
        "window": {"size_s": 60, "timestamp_format": "datetime", "end_as": "end"},
    }
    settings = configuration(
        FOLDER, sink=False, aggregates={"minutes": aggregate}, event={"timestamp_zone": "Europe/Lisbon"}, buffer_events=3
    )
    rows = FileSinkOptions(path=ConfiguredPath(f"{FOLDER}/out/rows.jsonl", "out/rows.jsonl"), input="aggregates.minutes")
    lanes = {"api": FakeRemoteOptions(input="aggregates.minutes")} if lane else {}
    return with_sinks(settings, {"rows": rows, **lanes})


def minutes_log() -> bytes:
    """One event every 30 s around the hour that Lisbon has twice (2024-10-27, until 01:00 UTC), of the categories a and b:c."""
    first = 1_729_987_200 + 3600 - 300
    events = [{"id": n, "category": ("a", "b:c")[n // 3 % 2], "value": 1, "timestamp": first + 30 * n} for n in range(280)]
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def test_rows_have_the_window_and_the_group_as_their_place_across_deaths() -> None:
    whole = new_disk(0, minutes_log())
    run(whole, windows())
    found = series(whole, "aggregates.minutes")
    rows = (whole.content(f"{FOLDER}/out/rows.jsonl") or b"").splitlines()
    assert [record for _, record in found.records] == rows
    places = [json.loads(place) for place, _ in found.records]
    assert places[0] == {"aggregate": "minutes", "end": places[0]["end"], "group": ["a"]}
    assert [place["group"] for place in places] == [[json.loads(row)["category"]] for row in rows]
    # Local times repeat in this night; places do not.
    assert len({json.loads(row)["end"] for row in rows}) < len({place["end"] for place in places})
    assert len({place for place, _ in found.records}) == len(rows) > 150
    for seed in range(20):
        fs = new_disk(seed, minutes_log())
        fs.crash_at(30 + 9 * seed)
        with suppress(SimulatedCrash):
            run(fs, windows(), seed=seed)
        fs = fs.crash()
        run(fs, windows(), seed=seed + 100)
        assert series(fs, "aggregates.minutes").records == found.records


def test_a_lane_that_is_added_later_gets_what_is_released_after_that() -> None:
    log = minutes_log()
    cut = log.index(b'{"id": 100,')
    fs = new_disk(1, log[:cut])
    run(fs, windows(lane=False))
    before = len((fs.content(f"{FOLDER}/out/rows.jsonl") or b"").splitlines())
    state = json.loads(fs.content(f"{FOLDER}/state/checkpoint.json") or b"")["state"]
    assert "outbox" not in state
    assert "lanes" not in state
    fs.plant(f"{FOLDER}/log.jsonl", log)
    run(fs, windows(), seed=2)
    rows = (fs.content(f"{FOLDER}/out/rows.jsonl") or b"").splitlines()
    assert 0 < before < len(rows)
    assert [record for _, record in series(fs, "aggregates.minutes").records] == rows[before:]
