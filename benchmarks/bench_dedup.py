"""What the index of seen ids costs: nanoseconds an id for `observe` and for `write`, and anonymous memory, as the ids grow."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from event_processor.deduplication.background import BackgroundThreads
from event_processor.deduplication.fingerprint import mint_fingerprinter, open_fingerprinter
from event_processor.deduplication.index import DedupIndex
from event_processor.durable import OperatingSystem
from event_processor.event import Json
from event_processor.telemetry import Telemetry


def main() -> None:
    """Runs one measurement and prints a line for each million ids."""
    options = parse()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        directory = str(Path(folder) / "ids")
        manifest, committed_bytes = fill(directory, options)
        start_s = time.perf_counter()
        open_index(directory, manifest, committed_bytes).close()
        print(f"reopened in {time.perf_counter() - start_s:.3f} s")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=40_000)
    parser.add_argument("--kind", choices=["rising", "random", "integer"], default="rising")
    parser.add_argument("--dir", default=None, help="where the index is made (a temporary folder)")
    return parser.parse_args()


def open_index(directory: str, manifest: dict[str, Json] | None, committed_bytes: int) -> DedupIndex:
    fingerprinter = mint_fingerprinter("xxh3") if manifest is None else open_fingerprinter("xxh3", str(manifest["seed"]))
    return DedupIndex(
        OperatingSystem(),
        directory,
        manifest=manifest,
        committed_bytes=committed_bytes,
        fingerprinter=fingerprinter,
        telemetry=Telemetry(),
        executor=BackgroundThreads(),
    )


def fill(directory: str, options: argparse.Namespace) -> tuple[dict[str, Json], int]:
    """Observes and writes every batch; returns what a checkpoint would keep."""
    index = open_index(directory, None, 0)
    observe_s = write_s = slowest_s = 0.0
    done = reported = 0
    manifest: dict[str, Json] = {}
    appended: dict[str, int] = {}
    base_kib = anonymous_kib()
    for ids in batches(options):
        start_s = time.perf_counter()
        index.observe(ids)
        observed_s = time.perf_counter()
        commit = index.take()
        manifest, appended = dict(commit.write()), dict(commit.appended())
        end_s = time.perf_counter()
        observe_s += observed_s - start_s
        write_s += end_s - observed_s
        slowest_s = max(slowest_s, end_s - start_s)
        done += len(ids)
        if done - reported >= 1_000_000 or done >= options.ids:
            scale = 1e9 / (done - reported)
            memory_mib = (anonymous_kib() - base_kib) / 1024
            print(
                f"{done:>12,} ids: observe {observe_s * scale:6.1f} ns, take and write {write_s * scale:6.1f} ns an id, "
                f"slowest batch {slowest_s * 1e3:6.1f} ms, {memory_mib:6.1f} MiB, {len(str(manifest))} bytes of manifest"
            )
            observe_s = write_s = slowest_s = 0.0
            reported = done
    index.close()
    return manifest, sum(appended.values())


def batches(options: argparse.Namespace) -> Iterator[list[str] | list[int]]:
    numbers = random.Random(1)
    for start in range(0, options.ids, options.batch):
        end = min(start + options.batch, options.ids)
        if options.kind == "rising":
            yield [f"evt-{number:012d}" for number in range(start, end)]
        elif options.kind == "random":
            yield [f"{numbers.getrandbits(64):016x}" for _ in range(start, end)]
        else:
            yield list(range(start, end))


def anonymous_kib() -> int:
    """Anonymous resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
