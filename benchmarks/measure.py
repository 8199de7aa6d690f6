"""How a command is measured, and how several are compared.

Owns: `Usage`, what one run cost; `Running`, a command under way; `slopes`, contestants in turns at two sizes.
Always: CPU time, memory and bytes are those of the process, all its threads and every process that it waited for; what was dirty in the
page cache is written back before a run begins. Contestants take turns (A B C A B C), so that a noisy minute hits all alike, and
ratios are taken within a turn. The slope between two sizes leaves start-up out.
Never: a run without a time limit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Final, Self

from benchmarks.progress import Progress

__all__ = ["ROOT", "Contestant", "MeasurementError", "Running", "Slope", "Usage", "run", "slopes"]

ROOT: Final = Path(__file__).resolve().parents[1]
LAUNCHER: Final = Path(__file__).with_name("launch.py")
TIME_LIMIT_S: Final = 3_600.0
SAID_BYTES_MAX: Final = 64_000


class MeasurementError(Exception):
    """A command failed, took too long, or did not do the work: what it took means nothing."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run cost. `written_bytes` went through `write` and its like; `dirtied_bytes` in whole pages, as the disk sees it."""

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    written_bytes: int
    write_calls: int
    dirtied_bytes: int


class Running:
    """A command under way, its output in a file. As a context it is killed where it is left by an exception."""

    def __init__(self, command: Sequence[str], *, cgroup: str = "") -> None:
        """Raises `MeasurementError` where it cannot be started."""
        self._command: Final = command
        self._output: Final[IO[bytes]] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), cgroup, *command]
        # Programs that are installed keep their compiled modules, so what is measured keeps them too.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = {**kept, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(":")}
        # Without a buffer: if the command has ended already, the line after the first one stays for `wait`, which reads the pipe itself.
        self._launcher: Final = subprocess.Popen(
            launcher, bufsize=0, stdout=subprocess.PIPE, stderr=self._output, env=environment
        )
        assert self._launcher.stdout
        first = self._launcher.stdout.readline()
        if not first.strip().isdigit():
            self._launcher.communicate()
            said = self.said()
            self._output.close()
            raise MeasurementError(f"could not be started: {' '.join(command)}\n{said}")
        self.process_id: Final = int(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._launcher.poll() is None:
            self.send(signal.SIGKILL)
            self._launcher.communicate()
        assert self._launcher.stdout
        self._launcher.stdout.close()  # still open if the command ended before it was waited for
        self._output.close()

    def send(self, number: signal.Signals) -> None:
        """A signal to the command; nothing where it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.process_id, number)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._launcher.poll() is None

    def wait(self, limit_s: float = TIME_LIMIT_S) -> Usage:
        """Until it ends. Raises `MeasurementError` where it fails or takes longer; it is killed then."""
        try:
            told, _ = self._launcher.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._launcher.communicate()
            raise MeasurementError(f"took more than {limit_s:.0f} s: {' '.join(self._command)}") from None
        usage = Usage(**json.loads(told))
        if usage.exit_code:
            raise MeasurementError(f"ended with {usage.exit_code}: {' '.join(self._command)}\n{self.said()}")
        return usage

    def said(self) -> str:
        """The end of what it has written to its standard output and standard error."""
        size_bytes = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size_bytes - SAID_BYTES_MAX))
        return self._output.read().decode("utf-8", "replace")


def run(command: Sequence[str], *, cgroup: str = "", limit_s: float = TIME_LIMIT_S) -> tuple[Usage, str]:
    """Runs a command to its end: its cost and the end of what it said. Raises `MeasurementError`."""
    os.sync()
    with Running(command, cgroup=cgroup) as running:
        usage = running.wait(limit_s)
        return usage, running.said()


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of a comparison. `sizes` are records, small and large; `run_once` does the work for one, checks it, and tells the cost.

    `run_once` raises `MeasurementError` where the work was not done.
    """

    name: str
    sizes: tuple[int, int]
    run_once: Callable[[int], Usage]


@dataclass(frozen=True, slots=True)
class Slope:
    """What one more event costs, in each turn: nanoseconds of wall clock and of CPU. The rest is of the large runs."""

    records: int
    wall_ns: tuple[float, ...]
    cpu_ns: tuple[float, ...]
    peak_bytes: int
    written_bytes: int
    startup_s: float

    def ratio(self, other: Slope) -> float:
        """How many times the other's wall time: the median of the ratios within a turn."""
        return median(self.ratios(other))

    def ratios(self, other: Slope) -> list[float]:
        """How many times the other's wall time, turn by turn."""
        return [mine / theirs for mine, theirs in zip(self.wall_ns, other.wall_ns, strict=True)]

    def to_json(self) -> dict[str, object]:
        """As it stands in the results: medians, and the extremes beside them."""
        return {
            "records": self.records,
            "wall_ns": round(median(self.wall_ns), 1),
            "wall_ns_min": round(min(self.wall_ns), 1),
            "wall_ns_max": round(max(self.wall_ns), 1),
            "cpu_ns": round(median(self.cpu_ns), 1),
            "peak_bytes": self.peak_bytes,
            "written_bytes_per_event": round(self.written_bytes / self.records, 1),
            "startup_s": round(self.startup_s, 3),
            "turns": len(self.wall_ns),
        }


def slopes(contestants: Sequence[Contestant], turns: int, progress: Progress) -> tuple[Mapping[str, Slope], Mapping[str, str]]:
    """Every contestant at both its sizes, `turns` times in turns: the slope by name, and by name why there is none."""
    runs: dict[str, list[tuple[Usage, Usage]]] = {contestant.name: [] for contestant in contestants}
    failures: dict[str, str] = {}
    for turn in range(turns):
        for contestant in contestants:
            if contestant.name in failures:
                continue
            progress.say(f"turn {turn + 1} of {turns}: {contestant.name}")
            try:
                runs[contestant.name].append((contestant.run_once(contestant.sizes[0]), contestant.run_once(contestant.sizes[1])))
            except MeasurementError as error:
                failures[contestant.name] = str(error)
                progress.keep(f"{contestant.name}: {error}")
    found = {each.name: _slope(each.sizes, runs[each.name]) for each in contestants if each.name not in failures}
    return found, failures


def _slope(sizes: tuple[int, int], runs: Sequence[tuple[Usage, Usage]]) -> Slope:
    small, large = sizes
    scale = 1e9 / (large - small)
    wall_ns = [(after.wall_s - before.wall_s) * scale for before, after in runs]
    return Slope(
        records=large,
        wall_ns=tuple(wall_ns),
        cpu_ns=tuple((after.cpu_s - before.cpu_s) * scale for before, after in runs),
        peak_bytes=int(median(after.peak_bytes for _, after in runs)),
        written_bytes=int(median(after.written_bytes for _, after in runs)),
        startup_s=median(before.wall_s for before, _ in runs) - median(wall_ns) * small / 1e9,
    )
