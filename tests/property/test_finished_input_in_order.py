"""Finished input in any order, over any buffers, batches and ends: the rows are those of the sorted input."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.engine.sorting import blocks, runs
from support.finished_input import Input, configuration, model_rows, process
from support.simulated_fs import SimulatedCrash, SimulatedFileSystem


@pytest.fixture(autouse=True, scope="module")
def small_runs() -> object:
    """Runs of a few blocks, and merges of a few runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 400)
        patch.setattr(runs, "RUNS_MAX", 3)
        yield


def disk_with(content: bytes) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(0)
    fs.plant("/d/input", content)
    return fs


def sink_of(fs: SimulatedFileSystem) -> bytes:
    return fs.content("/d/out/ordered.jsonl") or b""


integers = st.integers(0, 10**6)
inputs = st.lists(
    st.tuples(
        integers | integers.map(str),
        st.integers(-100, 300),
        st.sampled_from("ab"),
        st.integers(0, 9).map(lambda tenths: tenths / 4),
    ),
    min_size=1,
    max_size=120,
    unique_by=lambda event: (isinstance(event[0], str), event[0]),
).map(Input)


@given(
    inputs,
    st.sampled_from(["id", "timestamp"]),
    st.integers(0, 20),
    st.sampled_from([1024, 2048, 65_536]),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, 150), max_size=4),
    st.integers(0, 9),
)
@settings(max_examples=150)
def test_the_rows_are_those_of_the_sorted_input_whatever_its_order_and_wherever_it_is_killed(
    given_input: Input, by: str, buffer_events: int, batch_bytes: int, sink: bool, notes: bool, deaths: list[int], seed: int
) -> None:
    made = configuration(by=by, buffer_events=buffer_events, batch_bytes=batch_bytes, sink=sink, notes=notes)
    fs = disk_with(given_input.content())
    for number, nth in enumerate(deaths):
        fs.crash_at(nth, after=bool(nth % 2))
        with suppress(SimulatedCrash):
            process(fs, made, seed=10 * seed + number)
        fs = fs.crash() if nth % 3 else fs.kill()
    outcome = process(fs, made, seed=10 * seed + 9)
    ordered = given_input.in_order(by)
    expected = model_rows(ordered)
    if not notes:
        expected = [{name: row[name] for name in ("end", "category", "n", "total")} for row in expected]
    assert (outcome.rows, outcome.late, outcome.is_complete) == (expected, 0, True)
    if sink and buffer_events:
        assert sink_of(fs) == ordered.content()
