"""SIGKILL at every call of a run that changes the disk, and in the middle of every write; resumed, the end is an undisturbed run's."""

from __future__ import annotations

import pytest

from support.crash_trial import CrashTrial
from support.faults import CALLS, sweep
from support.tally import Tally

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("kind", CALLS)
def test_a_run_killed_at_any_call_and_resumed_ends_as_an_undisturbed_one(trial: CrashTrial, kind: str, tally: Tally) -> None:
    tally("SIGKILL at the Nth call, for every N", kind, sweep(trial.calls(kind), trial.kill))


@pytest.mark.parametrize("kind", CALLS)
def test_a_recovery_killed_at_any_call_and_resumed_ends_as_an_undisturbed_run(
    resumed_trial: CrashTrial, kind: str, tally: Tally
) -> None:
    tally("SIGKILL at the Nth call of a recovery, for every N", kind, sweep(resumed_trial.calls(kind), resumed_trial.kill))


def test_a_run_killed_while_ids_are_sealed_and_merged_ends_as_an_undisturbed_one(index_trial: CrashTrial, tally: Tally) -> None:
    places = index_trial.calls(*CALLS, folder="state/ids")
    assert any(site.kind == "unlink" for site in places), "segments that were merged are to go in this run"
    tally("SIGKILL at the Nth call on the index, for every N", "any", sweep(places, index_trial.kill))


def test_a_run_killed_in_the_middle_of_any_write_ends_as_an_undisturbed_one(trial: CrashTrial, tally: Tally) -> None:
    torn = 0
    while trial.tear_write(torn + 1):
        torn += 1
    assert torn > 0, "no write was torn"
    tally("SIGKILL halfway through the Nth write, for every N", "write", torn)


def test_a_run_whose_every_write_is_short_ends_as_any_other(trial: CrashTrial, tally: Tally) -> None:
    trial.shorten_writes(7)
    tally("every write takes at most 7 bytes", "write", 1)
