"""Where the CPU time of a commit goes while a log is quiet, stage by stage, in a daemon like any other.

Owns: the seams of a live log, and the daemon whose seams are clocked: `python -m benchmarks.live_stages FIGURES OPTIONS…` runs the program with
these options, and at its end writes its figures to a file.
Always: a figure is the median over the commits of one run: CPU time of the loop's thread, and calls of the file system. A commit reaches from the
report of the one before to its own report, so the waiting before it is its too. Clocks cost about a microsecond for each call of a seam.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.results import Json
from benchmarks.stages import Clocks, Seams, timed_seams
from event_processor.storage.file_system import OperatingSystem

__all__ = ["COMMAND", "LIVE_SEAMS", "figures_in"]

COMMAND: Final = (sys.executable, "-m", "benchmarks.live_stages")
LIVE_SEAMS: Final[Seams] = (
    ("wait for input", "event_processor.engine.attention", "Attention.wait"),
    ("wait until a commit is due", "event_processor.engine.attention", "Attention.hold"),
    ("look for input, prove and read it", "event_processor.engine.source_turns", "SourceTurns.read"),
    ("decode and judge", "event_processor.records.json_lines.format", "JsonLinesFormat.decode"),
    ("look ids up", "event_processor.deduplication.index", "DedupIndex.observe"),
    ("totals", "event_processor.engine.step", "add_batch"),
    ("the rest of the step", "event_processor.engine.loop", "advance"),
    ("look at our own files", "event_processor.engine.commit", "CommitWriter._require_presence"),
    ("append ids, fsync", "event_processor.deduplication.writer", "Commit.write"),
    ("append the rest", "event_processor.engine.commit", "CommitWriter._append"),
    ("gather the checkpoint", "event_processor.engine.commit", "CommitWriter._checkpoint"),
    ("encode it", "event_processor.engine.checkpoint_document", "CheckpointEncoder.encode"),
    ("write it, fsync", "event_processor.engine.checkpoint", "create_file"),
    ("rename it, fsync of the folder", "event_processor.engine.checkpoint", "CheckpointStore.save"),
    ("report the commit", "event_processor.engine.batch", "Batch.report"),
    ("history", "event_processor.service.history", "History.progressed"),
)
REST: Final = "the rest of the loop"
CALLS: Final = tuple(name for name, each in vars(OperatingSystem).items() if callable(each) and not name.startswith("_"))


class _Commits:
    """The figures of each commit, as they come. Used in the loop's thread; calls in others are not counted."""

    def __init__(self, clocks: Clocks) -> None:
        self._clocks: Final = clocks
        self._calls: Counter[str] = Counter()
        self._before_ns: dict[str, int] = {}
        self._thread_ns = 0
        self._taken: list[tuple[dict[str, int], Counter[str]]] = []
        self._others_ns: list[int] = []

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The call of the file system, counted for the stage that makes it."""

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._calls[self._clocks.stage] += 1
            return function(*arguments, **named)

        return call

    def reported(self, function: Callable[..., None]) -> Callable[..., None]:
        """The report of a commit, after which the next one begins."""

        @wraps(function)
        def report(*arguments: Any, **named: Any) -> None:
            function(*arguments, **named)
            now_ns = {stage: spent for (stage, is_main), spent in self._clocks.spent_ns.items() if is_main}
            thread_ns, process_ns = time.thread_time_ns(), time.process_time_ns()
            spent = {stage: each - self._before_ns.get(stage, 0) for stage, each in now_ns.items()}
            spent[REST] = thread_ns - self._thread_ns - sum(spent.values())
            calls = Counter({stage or REST: count for stage, count in self._calls.items()})
            self._taken.append((spent, calls))
            self._before_ns, self._calls, self._thread_ns = now_ns, Counter(), thread_ns
            self._others_ns.append(process_ns - thread_ns)

        return report

    def figures(self) -> Json:
        """The medians. The first commits are left out: they open files and fill caches. Of the other threads, the mean."""
        taken = self._taken[len(self._taken) // 5 :]
        others_ns = self._others_ns[-1] - self._others_ns[-len(taken)]
        return {
            "commits": len(taken),
            "other_threads_us": round(others_ns / 1e3 / max(1, len(taken) - 1), 1),
            "stages": {
                stage: {
                    "cpu_us": round(median(spent.get(stage, 0) for spent, _ in taken) / 1e3, 1),
                    "calls": median(calls[stage] for _, calls in taken),
                }
                for stage in (*(stage for stage, _, _ in LIVE_SEAMS), REST)
            },
        }


def figures_in(path: Path) -> Json:
    """What a daemon left at its end."""
    found: Json = json.loads(path.read_bytes())
    return found


def main(figures: str, options: Sequence[str]) -> None:
    """Runs the program with these options, its seams clocked."""
    clocks = Clocks(time.thread_time_ns)
    commits = _Commits(clocks)
    for name in CALLS:
        setattr(OperatingSystem, name, commits.counted(getattr(OperatingSystem, name)))
    with ExitStack() as around:
        missing = around.enter_context(timed_seams(clocks, LIVE_SEAMS))
        from event_processor.cli import main as program  # noqa: PLC0415 - after the seams, as it imports the modules that use them
        from event_processor.engine.batch import Batch  # noqa: PLC0415

        Batch.report = commits.reported(Batch.report)  # type: ignore[method-assign]
        sys.argv = ["event-processor", *options]
        with suppress(SystemExit):
            program()
    Path(figures).write_text(json.dumps({**commits.figures(), "missing": missing}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
