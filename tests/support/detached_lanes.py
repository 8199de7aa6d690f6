"""A log whose records are small, lanes over it, and processes that are told what waits for each lane."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration
from event_processor.connectors.python.options import PythonSinkOptions
from support import engine
from support.outbox import chains
from support.simulated_fs import SimulatedFileSystem

__all__ = ["MIB", "configured", "expected_chains", "grow", "life", "sequences", "state_of"]

MIB = 1 << 20


def configured(*names: str, when_full: str = "detach") -> Configuration:
    options = PythonSinkOptions.model_validate({"type": "python", "class": "a:B"})
    return engine.configuration(
        "/d",
        buffer_events=0,
        sink=False,
        sinks=dict.fromkeys(names, options),
        outbox={"bytes_max": MIB, "when_full": when_full},
    )


def grow(fs: SimulatedFileSystem, *ids: int) -> None:
    before = fs.content("/d/log.jsonl") or b""
    fs.plant("/d/log.jsonl", before + b"".join(b'{"id": %d, "category": "c", "value": 1}\n' % each for each in ids))


def life(fs: SimulatedFileSystem, settings: Configuration, seed: int, **waiting: int) -> None:
    """One process to the end of the log. `waiting`: the bytes that its lanes say wait for them."""
    surroundings = engine.environment(fs, seed=seed)
    with ExitStack() as cleanup:
        lock = lock_state(settings, surroundings)
        cleanup.callback(lock.release)
        pipeline = open_pipeline(settings, surroundings, Mode(once=True))
        cleanup.callback(pipeline.processor.close)
        series = pipeline.series["events"]
        if waiting:
            series.note_waiting({name: (size_bytes, series.view) for name, size_bytes in waiting.items()})
        pipeline.processor.run()


def state_of(fs: SimulatedFileSystem) -> dict[str, Any]:
    return dict(json.loads(fs.content("/d/state/checkpoint.json") or b"")["state"])


def sequences(fs: SimulatedFileSystem) -> list[int]:
    names = sorted(name for name in state_of(fs)["appended"] if name.startswith("outbox/"))
    content = b"".join((fs.content(f"/d/state/{name}") or b"")[: state_of(fs)["appended"][name]] for name in names)
    return [json.loads(line)["sequence"] for line in content.splitlines()]


def expected_chains(count: int) -> list[str]:
    """The chain of each record of a log of `grow`, computed beside the program."""
    records, offset = [], 0
    for number in range(1, count + 1):
        record = b'{"id": %d, "category": "c", "value": 1}' % number
        place = b'{"source":"log","generation":1,"offset":%d,"line":%d}' % (offset, number)
        records.append((place, record))
        offset += len(record) + 1
    return chains(records)
