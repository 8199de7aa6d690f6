"""Windows whose time is moved only by the events that `where` selects: as if the other events had never come."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.aggregation.measures import EventMeasurer
from event_processor.aggregation.windows.rows import RowForm, RowPieces
from event_processor.aggregation.windows.windows import SlidingWindows, WindowSummary
from event_processor.columns.event_slices import EventSlice
from event_processor.configuration.aggregates import AggregateOptions
from event_processor.configuration.configuration import Configuration, EventOptions
from event_processor.configuration.parts import config_parts

NS = 1_000_000_000
Event = tuple[int, dict[str, Any]]
"""Seconds, and the record."""
KINDS: list[dict[str, Any]] = [{"kind": "a"}, {}, {"kind": None}, {"kind": "b"}, {"kind": 1}, {"kind": ["a"]}, {"kind": {"x": 1}}]
events = st.lists(st.tuples(st.integers(0, 90), st.sampled_from(KINDS)), max_size=25)


def options(**keys: Any) -> AggregateOptions:
    window = {"size_s": 20, "every_s": 10, "closed": "right", "empty": 0, "timestamp_format": "epoch_s", **keys.pop("window", {})}
    return AggregateOptions.model_validate({"measures": {"n": "count", "s": "sum(v)"}, "window": window, **keys})


def rows(given_options: AggregateOptions, found: list[Event], sizes: list[int]) -> tuple[list[dict[str, Any]], int]:
    """The rows of finished input, and how many events were too late for a window. Restored after each batch."""
    form, summary, held = RowForm(given_options, "UTC"), WindowSummary(), list[bytes]()
    written: list[dict[str, Any]] = []
    begin = 0
    turn = 0
    while True:
        batch = found[begin : begin + sizes[turn % len(sizes)]]
        windows = SlidingWindows(
            "a", given_options, EventMeasurer(given_options, EventOptions(value="", category="")), form, summary
        )
        windows.restore(held)
        if batch:
            lines = b"".join(json.dumps({"v": second, **record}).encode() + b"\n" for second, record in batch)
            runs = windows.add(
                EventSlice(len(batch), lambda lines=lines: lines, None),  # type: ignore[misc]
                np.array([second * NS for second, _ in batch], np.int64),
            )
        else:
            runs = windows.finish()
        written += [json.loads(line) for piece in RowPieces(form, runs) for line in piece.splitlines()]
        summary, held = windows.summary(), list(windows.lines())
        begin, turn = begin + len(batch), turn + 1
        if not batch:
            return written, summary.counts.late_window


@settings(max_examples=300, deadline=None)
@given(
    events, st.booleans(), st.lists(st.integers(1, 9), min_size=1, max_size=3), st.sampled_from(["left", "right", "both", "none"])
)
@example([(0, {"kind": "b"}), (50, {"kind": "a"}), (90, {"kind": "b"})], False, [1], "right")
def test_other_events_neither_open_nor_extend_the_rows(
    found: list[Event], takes_missing: bool, sizes: list[int], closed: str
) -> None:
    missing = "measure" if takes_missing else "leave_out"
    selecting = options(where={"kind": "a"}, where_missing=missing, window={"time_from": "measured", "closed": closed})
    selected = [
        (second, record)
        for second, record in found
        if record.get("kind") == "a" or (takes_missing and record.get("kind") is None)
    ]
    assert rows(selecting, found, sizes) == rows(options(window={"closed": closed}), selected, [7])


def test_by_default_all_events_move_the_time() -> None:
    found: list[Event] = [(5, {"kind": "a"}), (47, {"kind": "b"})]
    ends = [row["window_end"] for row in rows(options(where={"kind": "a"}), found, [1])[0]]
    assert ends == [0, 10, 20, 30, 40, 50]
    ends = [row["window_end"] for row in rows(options(where={"kind": "a"}, window={"time_from": "measured"}), found, [1])[0]]
    assert ends == [0, 10]


@pytest.mark.parametrize("keys", [{}, {"window": {"time_from": "all"}, "where_missing": "leave_out"}])
def test_the_defaults_are_no_part_of_the_hash_so_that_earlier_states_continue(keys: dict[str, Any]) -> None:
    configuration = Configuration.model_validate({"sources": {}, "aggregates": {"a": options(**keys)}})
    parts = config_parts(configuration)
    window = parts["aggregates.a.window"]
    assert isinstance(window, dict)
    assert "time_from" not in window
    assert "aggregates.a.where_missing" not in parts
    changed = Configuration.model_validate(
        {"sources": {}, "aggregates": {"a": options(where_missing="measure", window={"time_from": "measured"})}}
    )
    assert config_parts(changed)["aggregates.a.where_missing"] == "measure"
