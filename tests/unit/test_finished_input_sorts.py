"""When a run over finished input sorts, what it says meanwhile, and how it continues a state that does not sort."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from event_processor.assembly import InputFormat, with_inputs
from event_processor.model.errors import ConfigurationError
from event_processor.operations import processing
from event_processor.operations.processing import Processing
from support import engine
from support.finished_input import Input, configuration, model_rows, process
from support.simulated_fs import SimulatedFileSystem

RISING = Input([(number, number, "ab"[number % 2], number / 4) for number in range(100)])
EARLIEST_LAST = Input([*RISING.events[8:], *RISING.events[:8]])


def disk_with(given: Input) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(0)
    fs.plant("/d/input", given.content())
    return fs


def state(fs: SimulatedFileSystem) -> dict[str, Any]:
    return dict(json.loads(fs.content("/d/state/checkpoint.json") or b"")["state"])


def stopped(fs: SimulatedFileSystem, commits: int, **options: Any) -> SimulatedFileSystem:
    """The disk after a run that a signal stopped."""
    assert not process(fs, configuration(**options), stop_after=commits).is_complete
    return fs.kill()


@pytest.fixture
def runs_do_not_sort(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in earlier releases."""
    monkeypatch.setattr(processing, "ordering_of", lambda _configuration: "")
    return monkeypatch


@pytest.mark.parametrize(("options", "sorting"), [({}, ""), ({"sink": True}, "lines"), ({"sink": True, "notes": False}, "lines")])
def test_input_in_order_is_sorted_only_for_sinks(options: dict[str, Any], sorting: str) -> None:
    fs = disk_with(RISING)
    assert process(fs, configuration(**options)).rows[0]["end"] == 20
    assert state(fs)["order"]["sorting"] == sorting


def test_lines_are_kept_only_if_something_reads_them() -> None:
    fs = disk_with(EARLIEST_LAST)
    process(fs, configuration(notes=False))
    assert state(fs)["order"]["sorting"] == "columns"
    fs = disk_with(EARLIEST_LAST)
    assert process(fs, configuration(notes=True)).rows == model_rows(RISING)
    assert state(fs)["order"]["sorting"] == "lines"


@pytest.mark.parametrize("windows", [True, False])
def test_no_run_is_left_at_the_end(windows: bool) -> None:
    fs = disk_with(EARLIEST_LAST)
    made = configuration(sink=True)
    process(fs, made if windows else made.model_copy(update={"aggregates": {}}))
    assert state(fs)["order"]["sorting"] == "lines"
    assert fs.names("/d/state/sorted") == []


def test_a_finished_run_that_sorted_commits_nothing_when_it_is_called_again() -> None:
    fs = disk_with(EARLIEST_LAST)
    rows = process(fs, configuration()).rows
    again, before = fs.kill(), fs.content("/d/state/checkpoint.json")
    assert process(again, configuration(), seed=1).rows == rows
    assert again.content("/d/state/checkpoint.json") == before


def test_the_progress_says_that_it_sorts_and_merges() -> None:
    fs = disk_with(Input(Random(1).sample(RISING.events, len(RISING.events))))
    inputs = with_inputs(configuration(), fs, ["/d/input"], InputFormat())
    told: list[tuple[int, int, str]] = []
    with Processing(inputs, engine.environment(fs), is_kept=True).run(lambda *each: told.append((*each[:2], each[2]))):
        pass
    phases = [phase for _, _, phase in told]
    assert phases == sorted(phases, key=["", "sorting", "merging"].index)
    assert {"sorting", "merging"} <= set(phases)
    assert all(0 <= done <= size == len(fs.content("/d/input") or b"") for done, size, _ in told)


def test_a_sink_that_is_added_to_a_stopped_run_gets_all_events_in_order() -> None:
    fs = stopped(disk_with(EARLIEST_LAST), 2)
    assert state(fs)["order"]["sorting"] == ""
    assert process(fs, configuration(sink=True), seed=1).rows == model_rows(RISING)
    assert fs.content("/d/out/ordered.jsonl") == RISING.content()


def test_a_sink_of_events_that_were_not_kept_is_refused() -> None:
    fs = disk_with(Input(RISING.events[::-1]))
    fs = stopped(fs, 2, notes=False)
    assert state(fs)["order"]["sorting"] == "columns"
    with pytest.raises(ConfigurationError, match="a sink was added that reads events"):
        process(fs, configuration(sink=True, notes=False), seed=1)
    assert len(process(fs, configuration(notes=False), seed=2).rows) == len(model_rows(RISING))


@pytest.mark.parametrize("commits", [2, 0])
def test_a_state_with_late_events_of_an_earlier_release_is_read_again(runs_do_not_sort: pytest.MonkeyPatch, commits: int) -> None:
    fs = disk_with(Input(RISING.events[::-1]))
    before = process(fs, configuration(), stop_after=commits)
    assert before.late
    runs_do_not_sort.undo()
    after = process(fs.kill(), configuration(), seed=1)
    assert (after.rows, after.late) == (model_rows(RISING), 0)


def test_a_state_of_an_earlier_release_whose_sinks_have_output_is_refused_if_an_event_was_late(
    runs_do_not_sort: pytest.MonkeyPatch,
) -> None:
    fs = disk_with(EARLIEST_LAST)
    assert not process(fs, configuration(sink=True), stop_after=2).late
    runs_do_not_sort.undo()
    with pytest.raises(ConfigurationError, match="sink 'ordered' already has output in another order") as raised:
        process(fs.kill(), configuration(sink=True), seed=1)
    assert "--state" in raised.value.hint
    fs = disk_with(RISING)
    runs_do_not_sort.setattr(processing, "ordering_of", lambda _configuration: "")
    process(fs, configuration(sink=True), stop_after=2)
    runs_do_not_sort.undo()
    fs = fs.kill()
    assert process(fs, configuration(sink=True), seed=1).rows == model_rows(RISING)
    assert fs.content("/d/out/ordered.jsonl") == RISING.content()
