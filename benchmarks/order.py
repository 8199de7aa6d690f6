"""`process` over input in order and in random order, from a file and from a pipe: what a sort costs.

Always: the rows of every run are those of the run over the sorted file, byte for byte, before its time counts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

import numpy as np

from benchmarks.generate import LogShape
from benchmarks.measure import Contestant, MeasurementError, Usage, run, slopes
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM, Logs

__all__ = ["SORTED", "measure_order"]

SHAPE: Final = LogShape(duplicate_share=0.0)
"""Which of two equal ids is the duplicate depends on the order."""
SEED: Final = 3
CONFIGURATION: Final = """\
[aggregates.mean]
group_by = ["category"]
measures = { events = "count", mean = "mean(value)" }
window = { size_s = 60, every_s = 1 }
"""
LINES: Final = CONFIGURATION.replace('mean = "mean(value)"', 'last = "last(category)"')
"""`last` reads the lines, so a sort keeps them. In a group by category it is the same whatever the order of equal times."""
SORTED: Final = "sorted"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: whether its input is in order, whether it comes through a pipe, its configuration, and what it is compared with."""

    name: str
    in_order: bool
    piped: bool = False
    configuration: str = CONFIGURATION
    against: str = SORTED


ROWS: Final = (
    Row(SORTED, in_order=True),
    Row("sorted, through a pipe", in_order=True, piped=True),
    Row("random", in_order=False),
    Row("random, through a pipe", in_order=False, piped=True),
    Row("sorted, a measure reads the lines", in_order=True, configuration=LINES),
    Row("random, a measure reads the lines", in_order=False, configuration=LINES, against="sorted, a measure reads the lines"),
)


def measure_order(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """Every row: the results, by row."""
    logs = Logs(folder)
    found, failures = slopes([_contestant(row, logs, sizes) for row in ROWS], turns, progress)
    results: dict[str, Json] = {}
    for row in ROWS:
        if row.name not in found:
            results[row.name] = {"failed": failures[row.name]}
            continue
        told = found[row.name].to_json()
        if row.against in found and row.name != row.against:
            ratios = found[row.name].ratios(found[row.against])
            of_cpu = [mine / other for mine, other in zip(found[row.name].cpu_ns, found[row.against].cpu_ns, strict=True)]
            told["times_plain"], told["times_plain_cpu"] = round(median(ratios), 3), round(median(of_cpu), 3)
            told["times_plain_middle"] = [round(float(ratio), 3) for ratio in np.quantile(ratios, (0.25, 0.75))]
            told["plain"] = row.against
        results[row.name] = told
    return results


def _contestant(row: Row, logs: Logs, sizes: tuple[int, int]) -> Contestant:
    def run_once(records: int) -> Usage:
        usage, rows = _run(row, logs, records)
        kept = logs.folder / f"rows-{len(row.configuration)}-{records}"
        if not kept.exists():
            kept.write_bytes(_run(Row("", in_order=True, configuration=row.configuration), logs, records)[1])
        if rows != kept.read_bytes():
            raise MeasurementError(f"the rows of {row.name} are not those of the sorted file")
        return usage

    return Contestant(row.name, sizes, run_once)


def _run(row: Row, logs: Logs, records: int) -> tuple[Usage, bytes]:
    """The cost, and the rows."""
    configuration, output = logs.folder / "order.toml", logs.folder / "rows"
    configuration.write_text(row.configuration, encoding="utf-8")
    log = logs.log(SHAPE, records) if row.in_order else _shuffled(logs.log(SHAPE, records))
    program: Sequence[str] = (*PROGRAM, "--config", str(configuration), "process", "--output", str(output))
    if row.piped:
        usage, _ = run((sys.executable, "-c", PIPE, str(log), *program, "-"))
    else:
        usage, _ = run((*program, str(log)))
    return usage, output.read_bytes()


PIPE: Final = "import os, sys; os.dup2(os.open(sys.argv[1], os.O_RDONLY), 0); os.execv(sys.argv[2], sys.argv[2:])"
"""Becomes the program, with the file as its standard input."""


def _shuffled(log: Path) -> Path:
    """The same lines in random order."""
    path = log.with_suffix(".shuffled")
    if not path.exists():
        lines = log.read_bytes().splitlines(keepends=True)
        Random(SEED).shuffle(lines)
        path.write_bytes(b"".join(lines))
    return path
