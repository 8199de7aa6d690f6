"""A pipeline over a topic, as people run it, and what must come out of it.

Owns: its configuration, the events that tests write, and the comparison of what was committed with what was written.
Always: expected values come from the numbers of the events alone.
Never: imports the package.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import Finished, Pipeline

__all__ = ["TopicPipeline", "event", "events", "succeeded"]

CATEGORIES = 3


def event(number: int) -> bytes:
    """An event. Its value is a multiple of 1/4, so sums are exact in any order."""
    return json.dumps({"id": number, "category": f"c{number % CATEGORIES}", "value": number / 4}).encode()


def events(begin: int, end: int) -> list[bytes]:
    return [event(number) for number in range(begin, end)]


@dataclass(frozen=True)
class TopicPipeline:
    """The pipeline of one test, in `folder`. Its source is `events`, its sink `out/ordered.jsonl`."""

    folder: Path
    address: str
    topic: str
    keys: str = ""
    sections: str = ""

    def prepare(self) -> Pipeline:
        """Writes the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "pipeline.toml").write_text(
            f'[sources.events]\ntype = "kafka"\nbrokers = "{self.address}"\ntopic = "{self.topic}"\npoll_interval_ms = 20\n{self.keys}\n'
            "[order]\nbuffer_events = 0\n[batch]\nbytes_max = 4096\n"
            '[state]\ndir = "state"\n[sinks.ordered]\ntype = "file"\npath = "out/ordered.jsonl"\n'
            f"{self.sections}\n"
        )
        return Pipeline(self.folder, self.folder)

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

    @property
    def letters(self) -> list[dict[str, Any]]:
        path = self.folder / "state" / "dead_letters.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def holds(self, numbers: Iterable[int]) -> None:
        """Fails unless exactly these events were accepted, each written once, and the totals are theirs."""
        expected = list(numbers)
        assert sorted(self.written) == sorted(expected)
        counts = Counter(f"c{number % CATEGORIES}" for number in expected)
        sums = {name: sum(number for number in expected if f"c{number % CATEGORIES}" == name) / 4 for name in counts}
        found = self.state["categories"]
        assert {name: (each["count"], each["sum"]) for name, each in found.items()} == {
            name: (counts[name], sums[name]) for name in counts
        }


def succeeded(finished: Finished) -> str:
    """What a command said that ended well."""
    assert finished.exit_code == 0, finished.stderr
    return finished.stderr
