"""Events that are their number, and what a pipeline in a folder has committed of them.

Owns: `event`; `CommittedEvents`: the committed state, the committed part of the sink `out/ordered.jsonl`, and the comparison of totals.
Always: expected values come from the numbers of the events alone.
Never: imports the package.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
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
        return list(self.each_written())

    def each_written(self) -> Iterator[int]:
        """The same, one after the other: there may be millions."""
        (length,) = [length for name, length in self.state["appended"].items() if name.endswith("ordered.jsonl")]
        if not length:
            return
        with (self.folder / "out" / "ordered.jsonl").open("rb") as lines:
            for line in lines:
                length -= len(line)
                if length < 0:
                    return
                yield json.loads(line)["id"]

    def require_totals(self, numbers: Iterable[int]) -> None:
        """Fails unless the totals are of exactly these events."""
        counts: Counter[str] = Counter()
        quarters: Counter[str] = Counter()
        for number in numbers:
            category = f"c{number % CATEGORIES}"
            counts[category] += 1
            quarters[category] += number
        found = {name: (each["count"], each["sum"]) for name, each in self.state["categories"].items()}
        assert found == {name: (counts[name], quarters[name] / 4) for name in counts}


def succeeded(finished: Finished) -> str:
    """What a command said that ended well."""
    assert finished.exit_code == 0, finished.stderr
    return finished.stderr
