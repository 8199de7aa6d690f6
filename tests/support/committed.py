"""What a state directory and a sink say, read back as a stranger would, and held against the independent model.

Owns: the one check that every checkpoint must pass, whenever it is looked at: checksum, conservation, and that the files it
names hold what it counts.
Always: expected values come from the document itself or from `reference.py`; nothing of the program under test is imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from support.reference import Reference

__all__ = ["HISTORY_KEYS", "Committed", "canonical_state", "read_committed"]

HISTORY_KEYS: Final = frozenset({"state_id", "ids", "appended", "staged", "outbox", "lanes"})
"""What of `state` depends on its own history: it is left out when two states are compared."""
OUTCOMES: Final = ("accepted", "duplicate", "rejected", "blank")
SINK_KEY: Final = "sinks.ordered:out/ordered.jsonl"


@dataclass(frozen=True, slots=True)
class Committed:
    """One checkpoint, and the committed bytes of the sink (None where none is configured), dead letters and journal."""

    document: dict[str, Any]
    sink: bytes | None
    dead_letters: bytes
    journal: bytes

    @property
    def state(self) -> dict[str, Any]:
        """The checkpoint's `state`."""
        return dict(self.document["state"])

    @property
    def counts(self) -> dict[str, int]:
        """Records by outcome, in all."""
        return dict(self.state["counts"])

    @property
    def letters(self) -> list[dict[str, Any]]:
        """The dead letters, in their order."""
        return [json.loads(line) for line in self.dead_letters.splitlines()]

    @property
    def released(self) -> list[bytes]:
        """The records that the sink got."""
        assert self.sink is not None
        return self.sink.split(b"\n")[:-1]

    def assert_sound(self) -> None:
        """The checksum is that of version and state, and every number agrees with every other one."""
        state = self.state
        canonical = orjson.dumps({"state": state, "version": self.document["version"]}, option=orjson.OPT_SORT_KEYS)
        assert self.document["checksum"] == f"sha256:{hashlib.sha256(canonical).hexdigest()}"
        counts, by_source = self.counts, [source["counts"] for source in state["sources"].values()]
        for one in (counts, *by_source):
            assert one["records"] == sum(one[outcome] for outcome in OUTCOMES)
        for name in ("records", *OUTCOMES, "late"):
            assert counts[name] == sum(one[name] for one in by_source)
        for source in state["sources"].values():
            assert source["counts"]["records"] == source["retired"]["records"] + sum(
                file["line"] for file in source["generations"]
            )
        assert counts["accepted"] == sum(total["count"] for total in state["categories"].values())
        assert counts["rejected"] == len(self.letters)
        if self.sink is not None:
            assert counts["accepted"] == state["order"]["released"] + state["order"]["held"]
            assert state["order"]["released"] == len(self.released)
            assert not self.sink or self.sink.endswith(b"\n")

    def assert_is(self, expected: Reference) -> None:
        """Counts, totals, dead letters and sink are those of the independent model."""
        assert self.counts == expected.counts
        in_each = {name: source["counts"] for name, source in self.state["sources"].items() if source["counts"]["records"]}
        assert {
            name: {key: one[key] for key in ("records", *OUTCOMES)} for name, one in in_each.items()
        } == expected.source_counts
        totals = {name: asdict(total) for name, total in expected.categories.items()}
        assert _json(self.state["categories"]) == _json(totals)
        places = [(one["source"], one["generation"], one["line"], one["offset"]) for one in self.letters]
        assert places == [(one.source, one.generation, one.line, one.offset) for one in expected.rejected]
        if self.sink is not None:
            assert self.released == expected.released
            assert self.state["order"]["held"] == len(expected.held)


def read_committed(read: Callable[[str], bytes | None], folder: str, *, name: str = "checkpoint.json") -> Committed | None:
    """What `folder`/state/`name` covers; None where there is none. `read` gives a file's bytes, or None."""
    content = read(f"{folder}/state/{name}")
    if content is None:
        return None
    document = json.loads(content)
    appended = document["state"]["appended"]

    def committed(path: str, key: str) -> bytes:
        there = read(path) or b""
        assert len(there) >= appended[key], f"{path}: {appended[key]} bytes are committed, {len(there)} are there"
        return there[: appended[key]]

    return Committed(
        document=document,
        sink=committed(f"{folder}/out/ordered.jsonl", SINK_KEY) if SINK_KEY in appended else None,
        dead_letters=committed(f"{folder}/state/dead_letters.jsonl", "dead_letters.jsonl"),
        journal=committed(f"{folder}/state/journal.jsonl", "journal.jsonl"),
    )


def canonical_state(committed: Committed) -> bytes:
    """`state` in canonical bytes, without what depends on history or on the host's inodes."""
    state = {key: value for key, value in committed.state.items() if key not in HISTORY_KEYS}
    sources = json.loads(json.dumps(state["sources"]))
    for source in sources.values():
        for each in source["generations"]:
            del each["position"]["device"], each["position"]["inode"]
    return _json({**state, "sources": sources})


def _json(value: object) -> bytes:
    """Bytes that are equal exactly where the JSON is: 1 and 1.0 differ, and so do 0.0 and -0.0."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
