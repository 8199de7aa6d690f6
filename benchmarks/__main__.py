"""`python -m benchmarks`: measures what is asked for, keeps the results, writes the page.

`quick` is small and rough, a minute or so; `full` is what the page shows; `all` is `full` and the hundred million ids.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.decode import measure_decode
from benchmarks.deliver import DeliverPlan, measure_deliver
from benchmarks.generate import LogShape, write_log
from benchmarks.intake import measure_intake
from benchmarks.kafka import measure_kafka
from benchmarks.live import LivePlan, measure_live
from benchmarks.order import measure_order
from benchmarks.progress import Progress
from benchmarks.quiet import QuietPlan, measure_quiet
from benchmarks.report import PAGE, write_report
from benchmarks.results import RESULTS, Json, machine, save_results
from benchmarks.s3 import measure_s3
from benchmarks.scale import ScalePlan, measure_scale
from benchmarks.side_by_side import measure_side_by_side
from benchmarks.siege import measure_siege
from benchmarks.sql import measure_sql
from benchmarks.stages import measure_stages
from benchmarks.watch import Stolen
from benchmarks.whole import measure_shares, measure_whole

PARTS: Final = (
    "peers",
    "whole",
    "shares",
    "order",
    "stages",
    "decode",
    "live",
    "quiet",
    "deliver",
    "sql",
    "kafka",
    "s3",
    "intake",
    "siege",
    "scale",
)
DECODED_EVENTS: Final = 10_000
DECODE_PASSES: Final = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: the parts, the two sizes of a slope in records, the turns, and the plans of the longer parts."""

    parts: Sequence[str]
    sizes: tuple[int, int]
    turns: int
    live: LivePlan
    quiet: QuietPlan
    scale: ScalePlan
    deliver: DeliverPlan
    sql: tuple[int, int] = (50_000, 300_000)
    kafka: tuple[int, int] = (100_000, 600_000)
    intake_requests: int = 3_000
    s3: tuple[int, int] = (1_000_000, 4_000_000)
    siege_s: float = 10.0


PLANS: Final = {
    "quick": Plan(
        PARTS[:-1],
        (100_000, 300_000),
        1,
        LivePlan(rates=((20, 3.0), (1_000, 3.0)), idle_s=2.0, files=(1, 100), restart_records=100_000),
        QuietPlan(rates=((10, 3.0), (1_000, 2.0)), staged=((10, "auto"),), staged_s=3.0, singles=3, starts=1),
        ScalePlan(records=1_000_000, runs=1),
        DeliverPlan(load_s=12.0, unlimited_records=(500, 2_000), commit_records=(10_000, 50_000)),
        (5_000, 25_000),
        (5_000, 25_000),
        300,
        (20_000, 100_000),
        2.0,
    ),
    "full": Plan(PARTS[:-1], (1_000_000, 3_000_000), 5, LivePlan(), QuietPlan(), ScalePlan(), DeliverPlan()),
    "all": Plan(PARTS, (1_000_000, 3_000_000), 5, LivePlan(), QuietPlan(), ScalePlan(), DeliverPlan()),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure", help="measure, keep the results, write the page")
    measure.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (those of the plan)")
    measure.add_argument("--plan", choices=sorted(PLANS), default="full")
    measure.add_argument("--turns", type=int, help="how often the contestants take turns")
    measure.add_argument("--records", type=int, help="the larger size of a slope; the smaller is a third of it")
    measure.add_argument("--ids", type=int, help="how many records the part `scale` has")
    measure.add_argument("--dir", type=Path, help="where logs and states are made: its file system is what is measured")
    measure.add_argument("--results", type=Path, default=RESULTS, help="where the results go")
    measure.add_argument("--no-report", action="store_true", help="leave the page as it is")
    report = commands.add_parser("report", help="write the page from the results that are there")
    report.add_argument("--results", type=Path, default=RESULTS, help="where the results are")
    generate = commands.add_parser("generate", help="append records of a log to a file")
    generate.add_argument("file", type=Path)
    generate.add_argument("--records", type=int, default=1_000_000, help="how many (1,000,000)")
    generate.add_argument("--start", type=int, default=0, help="the number of the first one")
    generate.add_argument("--ids", choices=["integer", "string", "uuid4"], default="string")
    generate.add_argument("--size", choices=["short", "long"], default="short")
    generate.add_argument("--categories", type=int, default=8)
    generate.add_argument("--bad-share", type=float, default=0.0)
    generate.add_argument("--duplicate-share", type=float, default=0.02)
    generate.add_argument("--seed", type=int, default=7)
    return top


def measure(options: argparse.Namespace, progress: Progress) -> None:
    """Measures the parts that were asked for, one after the other; each one's results are kept as soon as they are there."""
    plan = PLANS[options.plan]
    sizes = (options.records // 3, options.records) if options.records else plan.sizes
    turns = options.turns or plan.turns
    scale = ScalePlan(records=options.ids) if options.ids else plan.scale
    measurements: dict[str, Callable[[Path], Json]] = {
        "peers": lambda folder: measure_side_by_side(folder, sizes, turns, progress),
        "whole": lambda folder: measure_whole(folder, sizes, turns, progress),
        "shares": lambda folder: measure_shares(folder, sizes, turns, progress),
        "order": lambda folder: measure_order(folder, sizes, turns, progress),
        "stages": lambda folder: measure_stages(folder, sizes[1], progress),
        "decode": lambda _: measure_decode(DECODED_EVENTS, DECODE_PASSES, progress),
        "live": lambda folder: measure_live(folder, plan.live, progress),
        "quiet": lambda folder: measure_quiet(folder, plan.quiet, turns, progress),
        "deliver": lambda folder: measure_deliver(folder, plan.deliver, turns, progress),
        "sql": lambda folder: measure_sql(folder, plan.sql, turns, progress),
        "kafka": lambda folder: measure_kafka(folder, plan.kafka, turns, progress),
        "s3": lambda folder: measure_s3(folder, plan.s3, turns, progress),
        "intake": lambda folder: measure_intake(folder, plan.intake_requests, turns, progress),
        "siege": lambda folder: measure_siege(folder, plan.siege_s, turns, progress),
        "scale": lambda folder: measure_scale(folder, scale, progress),
    }
    if options.dir is not None:
        os.makedirs(options.dir, exist_ok=True)
    for part in options.parts or plan.parts:
        with tempfile.TemporaryDirectory(prefix="event-processor-benchmark-", dir=options.dir) as name:
            stolen = Stolen()
            results = measurements[part](Path(name))
            save_results(part, results, machine(Path(name)) | {"stolen_share": stolen.share()}, options.results)
        progress.keep(f"{part}: done")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command."""
    top = parser()
    options = top.parse_args(arguments)
    progress = Progress()
    if options.command == "generate":
        shape = LogShape(options.ids, options.size, options.categories, options.bad_share, options.duplicate_share, options.seed)
        write_log(options.file, shape, options.start, options.start + options.records)
        return 0
    if options.command == "measure":
        if unknown := set(options.parts) - set(PARTS):
            top.error(f"no such part: {', '.join(sorted(unknown))}")
        measure(options, progress)
        if options.no_report:
            return 0
    parts = write_report(options.results)
    progress.keep(f"{PAGE.name}: {', '.join(parts)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
