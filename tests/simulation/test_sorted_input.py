"""`process` over input that is not in order, on a simulated disk: killed, powered off and failed at any call, it ends the same.

Each test takes every `STRIDE`th call, from its own first one on; SORTED_STRIDE=1 takes them all, in six minutes.
"""

from __future__ import annotations

import errno
import os
from typing import Any
from unittest.mock import Mock

import pytest

from event_processor.engine.sorting import blocks, runs
from event_processor.model.errors import StorageError
from event_processor.storage.durable import create_file
from support.engine import comparable
from support.finished_input import Input, configuration, model_rows, process
from support.simulated_fs import Fault, SimulatedCrash, SimulatedFileSystem

STRIDE = int(os.environ.get("SORTED_STRIDE", "9"))
EVENTS = Input([(number, number * 7 % 90, "ab"[number % 2], number / 4) for number in range(60)])
GIVEN = EVENTS.shuffled(3)
SORTED_ROWS = model_rows(GIVEN.in_order("timestamp"))


@pytest.fixture(autouse=True, scope="module")
def small_runs() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 600)
        patch.setattr(runs, "RUNS_MAX", 3)
        yield


def new_disk(seed: int) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed)
    fs.plant("/d/input", GIVEN.content())
    return fs


def results(fs: SimulatedFileSystem) -> tuple[dict[str, Any], bytes]:
    checkpoint = fs.content("/d/state/checkpoint.json")
    assert checkpoint is not None
    return comparable(checkpoint), fs.content("/d/out/ordered.jsonl") or b""


@pytest.fixture(scope="module", params=[False, True], ids=["without a sink", "with a sink of the events"])
def sink(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def undisturbed(sink: bool) -> tuple[dict[str, Any], bytes]:
    fs = new_disk(0)
    with pytest.MonkeyPatch.context() as patch:
        merges = Mock(wraps=create_file)
        patch.setattr(runs, "create_file", merges)
        assert process(fs, configuration(sink=sink)).rows == SORTED_ROWS
    assert merges.called, "runs are merged to larger ones"
    state, ordered = results(fs)
    assert ordered == (GIVEN.in_order("timestamp").content() if sink else b"")
    assert (state["order"]["sorting"], state["order"]["held"], state["counts"]["late"]) == ("lines", 0, 0)
    return state, ordered


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("power_cut", [False, True])
def test_a_death_at_any_call_leaves_the_rows_of_the_sorted_input(
    sink: bool, undisturbed: tuple[dict[str, Any], bytes], after: bool, power_cut: bool
) -> None:
    settings = configuration(sink=sink)
    for nth in range(1 + (2 * after + power_cut) % STRIDE, 10_000, STRIDE):
        fs = new_disk(nth)
        fs.crash_at(nth, after=after)
        try:
            process(fs, settings, seed=nth)
        except SimulatedCrash:
            revived = fs.crash() if power_cut else fs.kill()
        else:
            break
        outcome = process(revived, settings, seed=nth + 1)
        assert (outcome.rows, results(revived)) == (SORTED_ROWS, undisturbed), f"nth={nth}\n{fs.journal()}"
    assert nth > 200


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_is_a_stop_and_the_next_run_completes(
    sink: bool, undisturbed: tuple[dict[str, Any], bytes], number: int
) -> None:
    settings, told = configuration(sink=sink), set()
    for nth in range(1, 10_000, STRIDE):
        fs = new_disk(nth)
        fs.fail(
            Fault(nth=nth, errno=number, lasting=bool(nth % 2), kinds=frozenset({"write", "sync", "create", "sync_directory"}))
        )
        try:
            process(fs, settings, seed=nth)
        except StorageError as error:
            told.add(str(error))
        else:
            break
        fs.stop_failing()
        revived = fs.kill()
        assert process(revived, settings, seed=nth + 1).rows == SORTED_ROWS
        assert results(revived) == undisturbed, f"nth={nth}\n{fs.journal()}"
    words = "the input is sorted on disk"
    assert any(words in each and "--state or $TMPDIR" in each for each in told) == (number == errno.ENOSPC)


@pytest.mark.parametrize("stop_after", range(1, 12))
def test_a_run_that_a_signal_stops_anywhere_is_resumed(
    sink: bool, undisturbed: tuple[dict[str, Any], bytes], stop_after: int
) -> None:
    fs = new_disk(stop_after)
    process(fs, configuration(sink=sink), stop_after=stop_after)
    revived = fs.kill()
    assert process(revived, configuration(sink=sink), seed=1).rows == SORTED_ROWS
    assert results(revived) == undisturbed
