"""A pipeline over a topic, as people run it, and what must come out of it.

Owns: its configuration, the events that tests write, and the comparison of what was committed with what was written.
Always: expected values come from the numbers of the events alone.
Never: imports the package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from support.numbered_events import OUTPUT, CommittedEvents, event, succeeded
from support.processes import Pipeline

__all__ = ["TopicPipeline", "event", "events", "succeeded"]


def events(begin: int, end: int) -> list[bytes]:
    return [event(number) for number in range(begin, end)]


@dataclass(frozen=True)
class TopicPipeline(CommittedEvents):
    """The pipeline of one test, in `folder`. Its source is `events`, its sink `out/ordered.jsonl`."""

    address: str
    topic: str
    keys: str = ""
    sections: str = ""

    def prepare(self) -> Pipeline:
        """Writes the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "pipeline.toml").write_text(
            f'[sources.events]\ntype = "kafka"\nbrokers = "{self.address}"\ntopic = "{self.topic}"\npoll_interval_ms = 20\n{self.keys}\n'
            f"{OUTPUT}{self.sections}\n"
        )
        return Pipeline(self.folder, self.folder)

    @property
    def letters(self) -> list[dict[str, Any]]:
        path = self.folder / "state" / "dead_letters.jsonl"
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def holds(self, numbers: Iterable[int]) -> None:
        """Fails unless exactly these events were accepted, each written once, and the totals are theirs."""
        expected = list(numbers)
        assert sorted(self.written) == sorted(expected)
        self.require_totals(expected)
