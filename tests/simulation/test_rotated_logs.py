"""Rotations through the whole engine that once sent it round in circles, each found by the machine and cut down by hand."""

from __future__ import annotations

import gzip

import pytest

from support.committed import Committed, read_committed
from support.engine import configuration, run
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/pipeline"
LOG = f"{FOLDER}/log.jsonl"


def events(*ids: int | str) -> bytes:
    return b"".join(b'{"id": "%s", "category": "c", "value": 1}\n' % str(each).encode() for each in ids)


def outcome(fs: SimulatedFileSystem) -> Committed:
    committed = read_committed(fs.content, FOLDER)
    assert committed is not None
    committed.assert_sound()
    return committed


@pytest.mark.parametrize("dedup", [False, True])
def test_logs_that_all_begin_with_the_same_header_are_told_apart(dedup: bool) -> None:
    settings = configuration(FOLDER, dedup={"enabled": dedup})
    fs = SimulatedFileSystem(0)
    fs.plant(LOG, events("header", 1, 2))
    run(fs, settings, seed=1)
    fs.rename(LOG, f"{LOG}.1")
    fs.plant(LOG, events("header"))
    run(fs, settings, seed=2)
    fs.rename(f"{LOG}.1", f"{LOG}.2")
    fs.rename(LOG, f"{LOG}.1")
    fs.plant(LOG, events("header", 3))
    run(fs, settings, seed=3, drain=True)
    counts = outcome(fs).counts
    assert counts["records"] == 6
    assert (counts["accepted"], counts["duplicate"]) == ((4, 2) if dedup else (6, 0))


def test_an_empty_compressed_file_is_passed_over_once() -> None:
    settings = configuration(FOLDER)
    fs = SimulatedFileSystem(0)
    fs.plant(LOG, events(1, 2))
    run(fs, settings, seed=1)
    fs.rename(LOG, f"{LOG}.3")
    fs.plant(f"{LOG}.2.gz", gzip.compress(b""))
    run(fs, settings, seed=2)
    assert outcome(fs).counts["records"] == 2
    fs.plant(LOG, events(3))
    run(fs, settings, seed=3, drain=True)
    assert outcome(fs).counts["accepted"] == 3
