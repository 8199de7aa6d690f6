"""The daemon over a backlog, `run --once`: what one more event costs, for every kind of log and configuration.

Always: the yardstick (`decode_only`) of the same log runs in the same turns, and so does the plain row that others are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from benchmarks.generate import LogShape
from benchmarks.measure import slopes
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import Logs, daemon, decode_only, knows_key

__all__ = ["PLAIN", "SHARES", "measure_shares", "measure_whole"]

PLAIN: Final = LogShape()
WORKERS: Final = "[engine]\nworkers = {}\n"
ORDERED_SINK: Final = '[sinks.ordered]\npath = "out/ordered.jsonl"\n'
TRANSFORM: Final = """\
[[transforms]]
rename = { kind = "category" }
set = { origin = "import" }
keep = ["id", "kind", "value", "timestamp", "origin"]
[event]
category = "kind"
"""
WINDOWS: Final = """\
[order]
by = "timestamp"
[aggregates.mean]
measures = { mean = "mean(value)" }
[aggregates.mean.window]
size_s = 60
every_s = 1
empty = 0
[sinks.means]
input = "aggregates.mean"
path = "out/means.jsonl"
"""
"""A thousand events come between one row and the next."""
OWN_MODEL: Final = '[event]\nmodel = "benchmarks.models:PricedEvent"\n'


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its log, its configuration, what it is compared with, and `part` of the records where the whole takes too long.

    `kernels` is false where the numpy twins do their work.
    """

    name: str
    shape: LogShape
    extra: str = ""
    against: str = ""
    part: float = 1.0
    kernels: bool = True


ROWS: Final = (
    Row("rising strings", PLAIN),
    Row("rising strings, two workers", PLAIN, WORKERS.format(2), "rising strings"),
    Row("rising strings, no kernels", PLAIN, against="rising strings", kernels=False),
    Row("rising integers", LogShape(ids="integer")),
    Row("rising integers, two workers", LogShape(ids="integer"), WORKERS.format(2), "rising integers"),
    Row("UUID4", LogShape(ids="uuid4")),
    Row("UUID4, two workers", LogShape(ids="uuid4"), WORKERS.format(2), "UUID4"),
    Row("UUID4, no kernels", LogShape(ids="uuid4"), against="UUID4", kernels=False),
    Row("500 bytes a record", LogShape(size="long"), part=0.4),
    Row("500 bytes a record, two workers", LogShape(size="long"), WORKERS.format(2), "500 bytes a record", part=0.4),
    Row("10,000 categories", LogShape(categories=10_000), against="rising strings"),
    Row("1 % bad lines", LogShape(bad_share=0.01), against="rising strings"),
    Row("an ordered file sink", PLAIN, ORDERED_SINK, "rising strings"),
    Row("a mean over the last minute, every second", PLAIN, WINDOWS, "rising strings"),
    Row("a transform", PLAIN, TRANSFORM, "rising strings", part=0.3),
    Row("a model with a validator", PLAIN, OWN_MODEL, "rising strings", part=0.1),
)
"""Rows whose keys the configuration does not know are left out. The yardstick decodes clean lines only, so the bad ones take the plain log's."""


SHARES: Final = ("10,000 categories", "1 % bad lines", "an ordered file sink")
"""What takes a share of the plain row's speed: smaller than what two runs may differ by, so it needs more turns than the others."""
SHARE_TURNS: Final = 4
"""So many times the turns of the other rows."""


def measure_shares(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """The rows of `SHARES` beside the plain one, in more turns: the middle half of the ratios stands beside their median."""
    return measure_whole(folder, sizes, SHARE_TURNS * turns, progress, only=("rising strings", *SHARES))


def measure_whole(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress, *, only: Sequence[str] = ()) -> Json:
    """Every row, or those of `only`, and its yardstick: the results, by row."""
    logs = Logs(folder)
    chosen = [row for row in ROWS if not only or row.name in only]
    rows = [row for row in chosen if not row.extra or knows_key(folder / "probe", row.extra)]
    yardsticks = {_yardstick(row): LogShape(ids=row.shape.ids, size=row.shape.size) for row in rows}
    parts = {_yardstick(row): row.part for row in sorted(rows, key=lambda row: row.part)}
    contestants = [decode_only(name, logs, shape, _sizes(sizes, parts[name])) for name, shape in yardsticks.items()]
    contestants += [daemon(row.name, logs, row.shape, _sizes(sizes, row.part), row.extra, kernels=row.kernels) for row in rows]
    found, failures = slopes(contestants, turns, progress)
    results: dict[str, Json] = {}
    for row in rows:
        if row.name not in found:
            results[row.name] = {"failed": failures[row.name]}
            continue
        told = found[row.name].to_json()
        if _yardstick(row) in found:
            told["times_decode_only"] = round(found[row.name].ratio(found[_yardstick(row)]), 2)
        if row.against in found:
            ratios = found[row.name].ratios(found[row.against])
            told["times_plain"] = round(median(ratios), 3)
            told["times_plain_middle"] = [round(float(ratio), 3) for ratio in np.quantile(ratios, (0.25, 0.75))]
            told["plain"] = row.against
        results[row.name] = told
    for name in yardsticks:
        results[name] = found[name].to_json() if name in found else {"failed": failures[name]}
    return results


def _yardstick(row: Row) -> str:
    return f"decode only: {row.shape.ids}, {row.shape.size}"


def _sizes(sizes: tuple[int, int], part: float) -> tuple[int, int]:
    return max(1, round(sizes[0] * part)), max(2, round(sizes[1] * part))
