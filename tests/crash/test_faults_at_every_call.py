"""Every call of a run that changes the disk fails, once or from then on: the job stops, says where, counts nothing false, and resumes."""

from __future__ import annotations

from typing import Final, get_args

import pytest

from support.crash_trial import CrashTrial
from support.faults import CALLS, READING_CALLS, Failure, sweep
from support.tally import SCALE, Tally

pytestmark = pytest.mark.crash


FAILURES: Final[tuple[Failure, ...]] = ("EIO once", "ENOSPC from then on") if SCALE == 1 else get_args(Failure)
"""Both errors and both ways at every call; the other two pairings are for those who ask for more."""


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", CALLS)
def test_a_failed_call_is_a_stop_and_the_next_run_completes(trial: CrashTrial, kind: str, failure: Failure, tally: Tally) -> None:
    points = sweep(trial.calls(kind), lambda site, when: trial.fail(site, when, failure))
    tally(f"{failure} at the Nth call, for every N", kind, points)


def test_a_failed_call_while_ids_are_sealed_and_merged_is_a_stop(index_trial: CrashTrial, tally: Tally) -> None:
    places = index_trial.calls(*CALLS, folder="state/ids")
    points = sweep(places, lambda site, when: index_trial.fail(site, when, "EIO once"))
    tally("EIO once at the Nth call on the index, for every N", "any", points)


@pytest.mark.parametrize("kind", READING_CALLS)
def test_a_disk_that_cannot_be_read_is_a_stop_and_the_next_run_completes(
    resumed_trial: CrashTrial, kind: str, tally: Tally
) -> None:
    points = sweep(resumed_trial.calls(kind), lambda site, when: resumed_trial.fail(site, when, "EIO once"))
    tally("EIO once at the Nth call of a recovery, for every N", kind, points)
