"""Windows in a pipeline that is ended before and after each of its changes to the disk, by a kill and by a power cut."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.storage import replaced_file as held_file
from support import engine
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import SimulatedFileSystem

CALLS_MAX = 2_000
STRIDE = 41
PAD = "x" * 300
SETTINGS_OF_AGGREGATES = {
    "hours": {
        "group_by": ("category",),
        "measures": {"n": "count", "sum": "sum(value)"},
        "window": {"size_s": 120, "every_s": 60},
    },
    "holes": {"measures": {"last": "last(id)"}, "window": {"size_s": 15, "every_s": 60}},
    "all": {"measures": {"n": "count"}},
}


def log(minutes: range) -> bytes:
    """Three events a minute, one of which comes behind a later one; a gap in the middle."""
    records = []
    for minute in minutes:
        for number, second in enumerate((3, 50, 20)):
            at = 60 * minute + second + (100_000 if minute >= 12 else 0)
            records.append(
                {"id": 3 * minute + number, "category": f"c{number % 2}", "value": 0.1 * number, "timestamp": at, "pad": PAD}
            )
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def settings(folder: str = "/d") -> Configuration:
    sinks = {
        name: FileSinkOptions(path=ConfiguredPath(f"{folder}/out/{name}", f"out/{name}"), input=f"aggregates.{name}")
        for name in ("hours", "holes")
    }
    return engine.configuration(
        folder,
        batch_bytes=1024,
        buffer_events=2,
        order={"by": "timestamp"},
        aggregates=SETTINGS_OF_AGGREGATES,
        sinks=sinks,
    )


LOG = log(range(24))
SETTINGS = settings()


def started() -> SimulatedFileSystem:
    fs = SimulatedFileSystem(0, short_io_odds=0.0)
    fs.plant("/d/log.jsonl", LOG)
    return fs


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the windows is written anew every few commits."""
    monkeypatch.setattr(held_file, "REPLACED_BYTES_MIN", 400)


def outcome(fs: SimulatedFileSystem) -> tuple[dict[str, Any], bytes | None, bytes | None]:
    checkpoint = fs.content("/d/state/checkpoint.json")
    assert checkpoint is not None
    return engine.comparable(checkpoint), fs.content("/d/out/hours"), fs.content("/d/out/holes")


def undisturbed() -> tuple[dict[str, Any], bytes | None, bytes | None]:
    fs = started()
    engine.run(fs, SETTINGS, seed=1, drain=True)
    return outcome(fs)


def ended(nth: int, *, after: bool, power_cut: bool) -> tuple[SimulatedFileSystem, bool]:
    """The next life of a disk on which a run was ended at its `nth` change; whether there was one so late."""
    fs = started()
    fs.crash_at(nth, after=after)
    try:
        engine.run(fs, SETTINGS, seed=1, drain=True)
    except SimulatedCrash:
        return (fs.crash() if power_cut else fs.kill()), True
    fs.stop_failing()
    return fs, False


def window_files(fs: SimulatedFileSystem) -> list[str]:
    return [path for path in fs.paths() if path.startswith("/d/state/windows/")]


def test_the_undisturbed_run_writes_the_windows_anew_and_has_rows_behind_the_gap() -> None:
    """Else what follows shows nothing."""
    state, hours, holes = undisturbed()
    assert state["aggregates"]["hours"]["counts"] == {"events": 72, "late_window": 0, "unfit": 0, "over_limit": 0}
    assert hours is not None
    ends = [json.loads(line)["window_end"] for line in hours.splitlines()]
    assert ends[0] == "1970-01-01T00:01:00Z"
    assert len([end for end in ends if end.startswith("1970-01-02T")]) > 10
    assert holes is not None
    assert [json.loads(line)["last"] for line in holes.splitlines()][:3] == [1, 4, 7]


@pytest.mark.parametrize("falls_back", [False, True])
@pytest.mark.parametrize("power_cut", [False, True])
def test_windows_are_the_same_wherever_the_run_was_ended(*, power_cut: bool, falls_back: bool) -> None:
    """`falls_back`: the checkpoint is torn besides, so that its predecessor, with its own windows, is what is resumed."""
    expected, chance, fallen = undisturbed(), Random(5), 0
    names: set[str] = set()
    # Each of the four ways meets other calls.
    for nth in range(1 + 2 * power_cut + falls_back, CALLS_MAX, STRIDE):
        fs, was_ended = ended(nth, after=chance.random() < 0.5, power_cut=power_cut)
        names |= set(window_files(fs))
        if falls_back and fs.content("/d/state/checkpoint.previous.json") and fs.content("/d/state/checkpoint.json"):
            # The two may be one file yet, where the run was ended between the link and the rename.
            fs.unlink("/d/state/checkpoint.json")
            fs.plant("/d/state/checkpoint.json", b"torn")
            fallen += 1
        engine.run(fs, SETTINGS, seed=1000 + nth, drain=True)
        assert outcome(fs) == expected, f"{nth}: {fs.journal()}"
        assert len(window_files(fs)) <= 2
        if not was_ended:
            break
    else:
        raise AssertionError("the run never came to its end")
    assert nth > 100
    assert len(names) > 1, "the file was written anew"
    assert (fallen > 3) == falls_back
