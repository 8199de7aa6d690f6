"""`process` over any file system, and what its rows should be by the definition: the rows of the sorted input.

Owns: a run over finished input in one process, and the independent model of its windows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from event_processor.assembly import InputFormat, with_inputs
from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.engine.commit import CommitExecutor, InlineCommits
from event_processor.operations.processing import Processing
from event_processor.storage.durable import FileSystem
from support import engine
from support.window_model import NS, Occurrence, WindowModel

__all__ = ["Input", "Outcome", "configuration", "model_rows", "process"]

SIZE_S: Final = 60
EVERY_S: Final = 20


@dataclass(frozen=True)
class Input:
    """Events as (id, second, group, value), in the order of the input."""

    events: Sequence[tuple[int | str, int, str, float]]

    def content(self) -> bytes:
        """The input as JSON Lines."""
        return b"".join(
            json.dumps({"id": event_id, "category": group, "value": value, "timestamp": second, "note": f"n{value}"}).encode()
            + b"\n"
            for event_id, second, group, value in self.events
        )

    def in_order(self, by: str) -> Input:
        """The same events, sorted by the definition: integers before texts; equal timestamps in the order of the input."""
        if by == "timestamp":
            return Input(sorted(self.events, key=lambda event: event[1]))
        return Input(
            sorted(
                self.events,
                key=lambda event: (isinstance(event[0], str), event[0] if isinstance(event[0], int) else 0, str(event[0])),
            )
        )

    def shuffled(self, seed: int) -> Input:
        """A permutation."""
        events = list(self.events)
        Random(seed).shuffle(events)
        return Input(events)


def model_rows(ordered: Input) -> list[dict[str, Any]]:
    """The rows of the model for events that come in this order."""
    model = WindowModel(SIZE_S, EVERY_S, "left")
    for _, second, group, value in ordered.events:
        model.add(Occurrence(second * NS, group, value))
    model.finish()
    return [
        {"end": row * EVERY_S, "category": group, "n": count, "total": total, "first": f"n{first}", "last": f"n{last}"}
        for row, group, count, _, total, _, _, first, last, _ in model.rows
    ]


def configuration(
    folder: str = "/d",
    *,
    by: str = "timestamp",
    buffer_events: int = 4,
    batch_bytes: int = 1024,
    sink: bool = False,
    notes: bool = True,
) -> Configuration:
    """Windows over the inputs, and perhaps a sink of the events. `notes`: a measure reads a field that only the lines hold."""
    measures = {"n": "count", "total": "sum(value)"}
    if notes:
        measures |= {"first": "first(note)", "last": "last(note)"}
    window = {"size_s": SIZE_S, "every_s": EVERY_S, "start_as": "", "end_as": "end", "timestamp_format": "epoch_s"}
    sinks = {"ordered": FileSinkOptions(path=ConfiguredPath(f"{folder}/out/ordered.jsonl", "out/ordered.jsonl"))}
    made = engine.configuration(
        folder,
        batch_bytes=batch_bytes,
        buffer_events=buffer_events,
        order={"by": by},
        aggregates={"windows": {"group_by": ("category",), "measures": measures, "window": window}},
    )
    return made.model_copy(update={"sinks": sinks if sink else {}})


@dataclass(frozen=True)
class Outcome:
    """What one run gave."""

    rows: list[dict[str, Any]]
    late: int
    is_complete: bool


def process(
    fs: FileSystem,
    settings: Configuration,
    *,
    seed: int = 0,
    stop_after: int = 0,
    committing: Callable[[], CommitExecutor] = InlineCommits,
) -> Outcome:
    """One life of `process --state` over `/d/input`; `stop_after`: a signal after so many reports of progress."""
    inputs = with_inputs(settings, fs, ["/d/input"], InputFormat())
    processing = Processing(inputs, engine.environment(fs, seed=seed, committing=committing), is_kept=True)
    reports = 0

    def progress(_done: int, _size: int, _phase: str = "", /) -> None:
        nonlocal reports
        reports += 1
        if reports == stop_after:
            processing.stop()

    with processing.run(progress) as processed:
        lines = b"".join(processed.lines()).splitlines() if processed.is_complete else []
        return Outcome([json.loads(line) for line in lines], processed.counts.late, processed.is_complete)
