"""Shards of finished input, merged: to the byte what one process says, whatever the log and the number of shards."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import encode_checkpoint
from event_processor.operations.merging import MergedState, merge_states
from support.engine import configuration, environment
from support.logs import is_plain, logs
from support.simulated_fs import SimulatedFileSystem

FOLDER: Final = "/pipeline"
EXAMPLES: Final = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 20
MEASURES: Final = {
    "events": "count",
    "total": "sum(value)",
    "mean": "mean(value)",
    "least": "min(value)",
    "greatest": "max(value)",
    "first": "first(id)",
    "last": "last(id)",
}
GROUPS: Final = {"all": {"measures": MEASURES}, "by_category": {"group_by": ("category",), "measures": MEASURES}}
BY_ID: Final[Mapping[str, dict[str, Any]]] = {
    "plain": {"aggregates": GROUPS},
    "all count": {"dedup": {"enabled": False}, "aggregates": GROUPS},
    "by position": {"event": {"id": "@position"}, "aggregates": GROUPS},
    "of two fields": {"event": {"id": ("category", "id")}},
    "a value may be missing": {"event": {"value_missing": "count_only"}, "aggregates": GROUPS},
    "one total": {"event": {"category": ""}},
}


def finished(fs: SimulatedFileSystem, settings_: Configuration) -> None:
    """One run over finished input, as `process` does it."""
    surroundings = environment(fs)
    lock = lock_state(settings_, surroundings)
    mode = Mode(once=True, drain=True, puts_in_order="sort")
    processor = open_pipeline(settings_, surroundings, mode).processor
    processor.run()
    processor.close()
    lock.release()


def run_all(log: bytes, count: int, sections: Mapping[str, Any], *, sink: str = "") -> tuple[dict[str, Any], MergedState, bytes]:
    """The state of one process, that of `count` shards merged, and what the sink of one process got."""
    fs = SimulatedFileSystem(0)
    directories = []
    for shard in ("", *(f"{number}/{count}" for number in range(1, count + 1))):
        folder = f"{FOLDER}{shard.replace('/', '-')}"
        fs.plant(f"{folder}/log.jsonl", log)
        own = configuration(folder, batch_bytes=2048, sink=bool(sink), engine={"shard": shard}, **dict(sections))
        if sink:
            ordered = own.sinks["ordered"].model_copy(update={"input": sink})
            own = own.model_copy(update={"sinks": {"ordered": ordered}})
        finished(fs, own)
        directories.append(f"{folder}/state")
    merged = merge_states(directories[1:], environment(fs), partial=False)
    one = json.loads(fs.content(f"{FOLDER}/state/checkpoint.json") or b"")["state"]
    return one, merged, fs.content(f"{FOLDER}/out/ordered.jsonl") or b""


def state_of(merged: MergedState) -> dict[str, Any]:
    return dict(json.loads(encode_checkpoint(merged.checkpoint))["state"])


def category_bytes(state: Mapping[str, Any]) -> bytes:
    return json.dumps(state["categories"], sort_keys=True).encode()


def groups_of(state: Mapping[str, Any]) -> Any:
    """The aggregates without windows. The keys of first and last values are numbers of events in one process, of records in shards."""
    found = {}
    for name, each in state["aggregates"].items():
        if each["kind"] == "groups":
            rows = [(group["group"], group["measures"], [field[:4] for field in group["entry"][1]]) for group in each["groups"]]
            found[name] = (each["counts"], each["rows"], each["left_out"], rows)
    return found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs().filter(is_plain), st.integers(1, 8), st.sampled_from(sorted(BY_ID)))
def test_merged_totals_and_groups_are_those_of_one_process(log: bytes, count: int, kind: str) -> None:
    one, merged, _ = run_all(log, count, BY_ID[kind])
    state = state_of(merged)
    assert state["counts"] == one["counts"]
    assert category_bytes(state) == category_bytes(one)
    assert groups_of(state) == groups_of(one)
    assert {name: each["counts"] for name, each in state["sources"].items()} == {
        name: each["counts"] for name, each in one["sources"].items()
    }
    assert merged.notes == ()


TIMED: Final = st.one_of(
    st.builds(
        lambda event_id, category, value, time_s: (
            json.dumps({"id": event_id, "category": category, "value": value, "timestamp": time_s}).encode() + b"\n"
        ),
        st.one_of(st.integers(0, 40), st.integers(0, 40).map(str)),
        st.sampled_from("abc"),
        st.sampled_from([1, 0.1, 1e15, -3.3, "no number"]),
        st.one_of(st.integers(0, 30), st.integers(0, 60).map(lambda half: half / 2)),
    ),
    st.sampled_from([b"\n", b"bad\n", b'{"id": 1, "category": "a", "value": 1}\n']),
)
"""Events of half a minute, with duplicates of both types of ids, and records that are none."""
WINDOWS: Final = st.fixed_dictionaries(
    {
        "size_s": st.sampled_from([1, 2, 5]),
        "every_s": st.sampled_from([1, 2, 3]),
        "closed": st.sampled_from(["left", "right", "both", "none"]),
    }
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TIMED, max_size=40).map(b"".join), st.integers(1, 6), WINDOWS, st.booleans())
def test_merged_windows_of_finished_input_are_those_of_one_process(
    log: bytes, count: int, window: dict[str, Any], by_group: bool
) -> None:
    measures = {name: text for name, text in MEASURES.items() if name not in ("first", "last")}
    options: dict[str, Any] = {"measures": measures, "window": window, **({"group_by": ("category",)} if by_group else {})}
    if not by_group:
        options["window"] = {**window, "empty": 0}
    one, merged, rows = run_all(log, count, {"aggregates": {"w": options}}, sink="aggregates.w")
    state = state_of(merged)
    assert merged.notes == ()
    assert b"".join(merged.rows["w"]) == rows
    left_out = ("left_out",)
    assert without(state["aggregates"]["w"], left_out) == without(one["aggregates"]["w"], left_out)
    assert category_bytes(state) == category_bytes(one)


def without(document: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in keys}
