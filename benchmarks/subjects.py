"""What is measured: the logs, the daemon over one of them, and the yardstick.

Owns: `Logs`, the files of a measurement; `Pipeline`, one configuration of the daemon, run and checked; the contestants made of them.
Always: each run of the daemon begins without a state, and its counts are compared with what the log was made of.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.decode_only import best_chunk_bytes
from benchmarks.generate import LogShape, Outcomes, outcomes, write_log
from benchmarks.measure import Contestant, MeasurementError, Usage, run
from event_processor import load
from event_processor.kernels.library import SWITCH
from event_processor.model.errors import ConfigurationError

__all__ = ["Logs", "Pipeline", "committed_state", "daemon", "decode_only", "knows_key"]

PROGRAM: Final = (sys.executable, "-m", "event_processor")


class Logs:
    """The logs of a measurement, each made when it is first asked for, in a folder that somebody else removes."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self._outcomes: Final[dict[Path, Outcomes]] = {}

    def log(self, shape: LogShape, records: int) -> Path:
        """The first `records` records of a log of this shape."""
        path = self.folder / f"{shape.name}-{records}.jsonl"
        if path not in self._outcomes:
            write_log(path, shape, 0, records)
            self._outcomes[path] = outcomes(shape, 0, records)
        return path

    def outcomes(self, shape: LogShape, records: int) -> Outcomes:
        """What must become of them."""
        return self._outcomes[self.log(shape, records)]

    def forget(self, shape: LogShape) -> None:
        """Removes the logs of this shape: no other measurement needs them."""
        for path in [path for path in self._outcomes if path.name.startswith(f"{shape.name}-")]:
            path.unlink()
            del self._outcomes[path]


@dataclass(frozen=True)
class Pipeline:
    """One configuration of the daemon in a folder of its own: `extra` is TOML behind the source and the state."""

    folder: Path
    log: Path
    extra: str = ""
    glob: str = ""
    kernels: bool = True
    configuration: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        object.__setattr__(self, "configuration", self.folder / "pipeline.toml")
        source = f'[sources.events]\npath = "{self.glob or self.log}"\n'
        self.configuration.write_text(source + self.extra, encoding="utf-8")

    @property
    def checkpoint(self) -> Path:
        """The file in which it commits."""
        return self.folder / "state" / "checkpoint.json"

    def command(self, *options: str) -> tuple[str, ...]:
        """The daemon over this configuration."""
        without = () if self.kernels else ("env", f"{SWITCH}=off")
        return (*without, *PROGRAM, "--config", str(self.configuration), "run", *options)

    def remove_state(self) -> None:
        """As if it had never run."""
        for name in ("state", "out"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def run_once(self, expected: Outcomes, cgroup: str = "") -> Usage:
        """The whole backlog, from no state at all. Raises `MeasurementError` where the counts are not those expected."""
        self.remove_state()
        usage, _ = run(self.command("--once"), cgroup=cgroup)
        check(self.checkpoint, expected)
        return usage


def committed_state(checkpoint: Path) -> dict[str, dict[str, int]]:
    """`state` of a checkpoint. Raises `OSError` where there is none."""
    document = json.loads(checkpoint.read_bytes())
    state: dict[str, dict[str, int]] = document["state"]
    return state


def check(checkpoint: Path, expected: Outcomes) -> None:
    """Raises `MeasurementError` where the checkpoint's counts are others."""
    counts = committed_state(checkpoint)["counts"]
    found = Outcomes(counts["records"], counts["accepted"], counts["duplicate"], counts["rejected"])
    if found != expected:
        raise MeasurementError(f"counted {found}, expected {expected}")


def daemon(
    name: str, logs: Logs, shape: LogShape, sizes: tuple[int, int], extra: str = "", *, kernels: bool = True
) -> Contestant:
    """`run --once` over a log of this shape; without `kernels` as where there is no compiler."""

    def run_once(records: int) -> Usage:
        pipeline = Pipeline(logs.folder / "pipeline", logs.log(shape, records), extra, kernels=kernels)
        usage = pipeline.run_once(logs.outcomes(shape, records))
        pipeline.remove_state()
        return usage

    return Contestant(name, sizes, run_once)


def decode_only(name: str, logs: Logs, shape: LogShape, sizes: tuple[int, int]) -> Contestant:
    """The yardstick over a log of this shape, in chunks of the size that suits it best."""

    @cache
    def command(records: int) -> Sequence[str]:
        best = best_chunk_bytes(logs.log(shape, sizes[1]), shape.ids)
        options = ("--ids", shape.ids, "--chunk-bytes", str(best))
        return (sys.executable, "-m", "benchmarks.decode_only", str(logs.log(shape, records)), *options)

    def run_once(records: int) -> Usage:
        called = command(records)
        usage, said = run(called)
        if json.loads(said)["records"] != records:
            raise MeasurementError(f"decoded {said}, expected {records}")
        return usage

    return Contestant(name, sizes, run_once)


def knows_key(folder: Path, extra: str) -> bool:
    """Whether the configuration has such keys: a measurement of what is not built is left out."""
    pipeline = Pipeline(folder, folder / "log.jsonl", extra)
    try:
        load(str(pipeline.configuration))
    except ConfigurationError:
        return False
    return True
