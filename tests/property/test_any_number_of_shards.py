"""Any log, read by any number of shards: together they say what one process says, whatever they have in common."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.engine import configuration, run
from support.logs import is_plain, logs
from support.simulated_fs import SimulatedFileSystem

FOLDER: Final = "/pipeline"
EXAMPLES: Final = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 30
SECTIONS: Final[Mapping[str, dict[str, Any]]] = {
    "plain": {},
    "keyed": {"dedup": {"fingerprint": "blake2b"}},
    "all count": {"dedup": {"enabled": False}},
    "by position": {"event": {"id": "@position"}},
    "of two fields": {"event": {"id": ("category", "id")}},
    "of one field as a list": {"event": {"id": ("id",)}},
    "given by a transform": {"transforms": ({"uuid5": {"id": "category"}},)},
    "by timestamp": {"order": {"by": "timestamp"}},
    "in threads": {"engine": {"workers": 2}},
}


def committed(
    log: bytes, sections: Mapping[str, Any], *, shard: str = "", batch_bytes: int = 4096, drain: bool = True
) -> dict[str, Any]:
    """What a process commits, beside the places of its dead letters and what its sink got."""
    fs = SimulatedFileSystem(0)
    fs.plant(f"{FOLDER}/log.jsonl", log)
    engine = {**sections.get("engine", {}), "shard": shard}
    run(fs, configuration(FOLDER, batch_bytes=batch_bytes, **{**sections, "engine": engine}), drain=drain)
    letters = [json.loads(line) for line in (fs.content(f"{FOLDER}/state/dead_letters.jsonl") or b"").splitlines()]
    return {
        "state": json.loads(fs.content(f"{FOLDER}/state/checkpoint.json") or b"")["state"],
        "letters": Counter((letter["line"], letter["offset"], letter["reason"]) for letter in letters),
        "released": Counter((fs.content(f"{FOLDER}/out/ordered.jsonl") or b"").splitlines()),
    }


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs().filter(is_plain), st.integers(1, 8), st.sampled_from(sorted(SECTIONS)), st.sampled_from([1024, 4096]))
def test_each_record_is_counted_in_exactly_one_shard_with_its_outcome(
    log: bytes, count: int, kind: str, batch_bytes: int
) -> None:
    one = committed(log, SECTIONS[kind])
    shards = [committed(log, SECTIONS[kind], shard=f"{n}/{count}", batch_bytes=batch_bytes) for n in range(1, count + 1)]
    counts, categories, letters, released = Counter[str](), Counter[str](), Counter[Any](), Counter[bytes]()
    for each in shards:
        read = each["state"]["counts"]
        assert read["records"] + read.get("foreign", 0) == one["state"]["counts"]["records"]
        assert read["records"] == read["accepted"] + read["duplicate"] + read["rejected"] + read["blank"]
        counts.update(read)
        categories.update({name: total["count"] for name, total in each["state"]["categories"].items()})
        letters += each["letters"]
        released += each["released"]
    for outcome in ("records", "accepted", "duplicate", "rejected", "blank"):
        assert counts[outcome] == one["state"]["counts"][outcome]
    assert categories == {name: total["count"] for name, total in one["state"]["categories"].items()}
    assert letters == one["letters"]
    assert released == one["released"]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(60).filter(is_plain), st.integers(1, 3), st.sampled_from(["plain", "by timestamp", "by position"]))
def test_what_a_shard_commits_does_not_depend_on_its_batches(log: bytes, number: int, kind: str) -> None:
    found = [committed(log, SECTIONS[kind], shard=f"{number}/3", batch_bytes=size, drain=False) for size in (1024, 1 << 20)]
    for each in found:
        for key in ("state_id", "ids", "appended"):
            del each["state"][key]
    assert found[0] == found[1]
