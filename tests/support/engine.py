"""The engine over any file system, in one call: what the simulated runs and the machines drive."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Any

from event_processor.assembly import Environment, Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration, ConfiguredPath, StateOptions
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.deduplication.index import IndexLimits
from event_processor.deduplication.merge import Inline
from event_processor.engine.commit import CommitExecutor, InlineCommits
from event_processor.model.contracts import Wakeup
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileSystem

HISTORY_KEYS = ("state_id", "ids", "appended", "staged", "outbox", "lanes", "follows_journal")
"""What of `state` depends on history and is left out when states are compared."""


class FakeClock:
    """Time that passes only where somebody waits for it."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        self.now_s += max(timeout_s, 0.001)


def configuration(
    folder: str,
    *,
    batch_bytes: int = 1024,
    buffer_events: int = 8,
    sink: bool = True,
    record_bytes_max: int = 4096,
    **sections: Any,
) -> Configuration:
    """A pipeline over `folder`/log.jsonl with its state in `folder`/state and an ordered sink in `folder`/out."""
    source = FileSourceOptions(path=ConfiguredPath(f"{folder}/log.jsonl", "log.jsonl"), record_bytes_max=record_bytes_max)
    sinks = {"ordered": FileSinkOptions(path=ConfiguredPath(f"{folder}/out/ordered.jsonl", "out/ordered.jsonl"))}
    return Configuration.model_validate(
        {
            "sources": {"log": source},
            "sinks": sinks if sink else {},
            "batch": {"bytes_max": batch_bytes},
            "order": {"buffer_events": buffer_events, **sections.pop("order", {})},
            "state": StateOptions(dir=ConfiguredPath(f"{folder}/state", "state")),
            **sections,
        }
    )


def environment(
    fs: FileSystem,
    *,
    seed: int = 0,
    telemetry: Telemetry | None = None,
    limits: IndexLimits | None = None,
    committing: Callable[[], CommitExecutor] = InlineCommits,
) -> Environment:
    """Everything from outside, repeatable: names from a seed, time that stands still, merges and commits done at once."""
    random = Random(seed)
    return Environment(
        fs=fs,
        clock=FakeClock(),
        telemetry=telemetry or Telemetry(),
        random_bytes=random.randbytes,
        background=Inline,
        committing=committing,
        index_limits=limits or IndexLimits(seal_ids=16, merge_segments=2, merge_segments_above=2),
    )


def run(
    fs: FileSystem,
    settings: Configuration,
    *,
    seed: int = 0,
    drain: bool = False,
    telemetry: Telemetry | None = None,
    before: Callable[[], None] = lambda: None,
    committing: Callable[[], CommitExecutor] = InlineCommits,
) -> None:
    """One life of the engine: from the lock to the end of the log. `before` is called when the lock is held."""
    surroundings = environment(fs, seed=seed, telemetry=telemetry, committing=committing)
    with ExitStack() as cleanup:
        lock = lock_state(settings, surroundings)
        cleanup.callback(lock.release)
        before()
        processor = open_pipeline(settings, surroundings, Mode(once=True, drain=drain)).processor
        cleanup.callback(processor.close)
        processor.run()


def comparable(content: bytes) -> dict[str, Any]:
    """`state` of a checkpoint without what depends on history."""
    state = json.loads(content)["state"]
    for key in HISTORY_KEYS:
        state.pop(key, None)
    for source in state["sources"].values():
        for each in source["generations"]:
            del each["position"]["device"], each["position"]["inode"]
    return dict(state)
