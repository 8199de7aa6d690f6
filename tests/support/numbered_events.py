"""Events that are their number, and what a pipeline in a folder has committed of them.

Owns: `event`; `CommittedEvents`: the committed state, the committed part of the sink `out/ordered.jsonl`, and the comparison of totals.
Always: expected values come from the numbers of the events alone.
Never: imports the package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.processes import Finished

__all__ = ["CATEGORIES", "OUTPUT", "CommittedEvents", "event", "succeeded"]

CATEGORIES: Final = 3
OUTPUT: Final = """\
[order]
buffer_events = 0
[batch]
bytes_max = 4096
[state]
dir = "state"
[sinks.ordered]
type = "file"
path = "out/ordered.jsonl"
"""
"""The sections that a pipeline of this kind has after its source."""


def event(number: int) -> bytes:
    """An event. Its value is a multiple of 1/4, so sums are exact in any order."""
    return json.dumps({"id": number, "category": f"c{number % CATEGORIES}", "value": number / 4}).encode()


@dataclass(frozen=True)
class CommittedEvents:
    """The pipeline in `folder`, as its files say."""

    folder: Path

    @property
    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "state" / "checkpoint.json").read_bytes())["state"])

    @property
    def records(self) -> int:
        """How many records are committed; 0 without a checkpoint."""
        try:
            return int(self.state["counts"]["records"])
        except FileNotFoundError:
            return 0

    @property
    def written(self) -> list[int]:
        """The ids in the committed part of the sink."""
        (length,) = [length for name, length in self.state["appended"].items() if name.endswith("ordered.jsonl")]
        content = (self.folder / "out" / "ordered.jsonl").read_bytes() if length else b""
        return [json.loads(line)["id"] for line in content[:length].splitlines()]

    def require_totals(self, numbers: Iterable[int]) -> None:
        """Fails unless the totals are of exactly these events."""
        values: dict[str, list[float]] = {}
        for number in numbers:
            values.setdefault(f"c{number % CATEGORIES}", []).append(number / 4)
        found = {name: (each["count"], each["sum"]) for name, each in self.state["categories"].items()}
        assert found == {name: (len(each), sum(each)) for name, each in values.items()}


def succeeded(finished: Finished) -> str:
    """What a command said that ended well."""
    assert finished.exit_code == 0, finished.stderr
    return finished.stderr
