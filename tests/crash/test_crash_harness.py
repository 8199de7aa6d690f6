"""The crash tests themselves, tried on a small honest job, in which they must find nothing, and on flawed ones, which they must find out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support import counting_job
from support.crash_trial import CrashTrial, Program
from support.ext4 import ext4_image
from support.faults import CALLS, sweep
from support.live_trial import live_trial
from support.processes import Committed, Pipeline

pytestmark = pytest.mark.crash

COMMAND = (sys.executable, "-S", counting_job.__file__)
LOG = b"".join(b"line %d\n" % number for number in range(200))
LONG_LOG = b"".join(b"line %d\n" % number for number in range(10_000))


def explain(committed: Committed, log: bytes) -> None:
    """The counting job counts lines, and copies them."""
    assert committed.sink == log[: committed.offset]
    assert committed.records == committed.sink.count(b"\n")


def trial_of(root: Path, flaw: str = "") -> CrashTrial:
    return CrashTrial(root, LOG, explain, Program(COMMAND, COMMAND, {"COUNTING_JOB_FLAW": flaw}))


def test_every_call_of_the_honest_job_is_found_and_survives_a_kill(tmp_path: Path) -> None:
    trial = trial_of(tmp_path)
    # By hand: 1,690 bytes are two batches; each writes and syncs the sink and the checkpoint, renames it and syncs its folder.
    assert {(site.call, site.file): count for site, count in trial.calls(*CALLS).items()} == {
        ("mkdir", "out"): 1,
        ("mkdir", "state"): 1,
        ("ftruncate", "out/ordered.jsonl"): 1,
        ("write", "out/ordered.jsonl"): 2,
        ("fsync", "out/ordered.jsonl"): 2,
        ("write", "state/checkpoint.tmp"): 2,
        ("fsync", "state/checkpoint.tmp"): 2,
        ("rename", "state/checkpoint.json"): 2,
        ("fsync", "state"): 2,
    }
    assert sweep(trial.calls(*CALLS), trial.kill) == 15


def test_every_call_of_the_honest_job_may_fail(tmp_path: Path) -> None:
    trial = trial_of(tmp_path)
    assert sweep(trial.calls(*CALLS), lambda site, when: trial.fail(site, when, "EIO from then on")) == 15


def test_a_failed_fsync_that_is_ignored_is_found(tmp_path: Path) -> None:
    trial = trial_of(tmp_path, "ignores-fsync")
    with pytest.raises(AssertionError, match="exit_code=0"):
        sweep(trial.calls("fsync"), lambda site, when: trial.fail(site, when, "EIO once"))


@pytest.mark.parametrize(("flaw", "found"), [("keeps-tail", "the end differs"), ("overwrites", "checkpoint.json: torn")])
def test_a_flaw_that_a_kill_brings_out_is_found(tmp_path: Path, flaw: str, found: str) -> None:
    trial = trial_of(tmp_path, flaw)
    with pytest.raises(AssertionError, match=found):
        sweep(trial.calls(*CALLS), trial.kill)


def power_cuts(root: Path, cuts: int, seed: int) -> Committed:
    """Cuts the power of the counting job, `cuts` times, and lets it finish."""
    with ext4_image(root / "disk.img", root / "disk") as disk:
        pipeline = Pipeline(root / "live", disk.folder, COMMAND)
        with live_trial(pipeline, LONG_LOG, seed=seed, explain=explain) as trial:
            for _ in range(cuts):
                trial.cut_power_once(disk)
            return trial.finish()


def test_the_honest_job_survives_a_storm_of_kills(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path / "live", tmp_path / "live" / "durable", COMMAND)
    with live_trial(pipeline, LONG_LOG, seed=3, explain=explain) as trial:
        for _ in range(10):
            trial.kill_once()
        assert trial.finish().sink == LONG_LOG


@pytest.mark.root
def test_the_honest_job_survives_power_cuts(tmp_path: Path) -> None:
    assert power_cuts(tmp_path, cuts=5, seed=4).sink == LONG_LOG


@pytest.mark.root
def test_a_forgotten_fsync_is_found_by_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTING_JOB_FLAW", "forgets-fsync")
    with pytest.raises(AssertionError, match="were committed, now it is"):
        power_cuts(tmp_path, cuts=20, seed=5)
