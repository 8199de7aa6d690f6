"""The daemon as its users meet it: a million ids, a restart, the time from an append to its checkpoint, and idleness.

    python benchmarks/bench_daemon.py [--ids 1000000] [--appends 200]

Prints one line a figure. Times are wall clock and so the machine's of that minute; the median fsync of the same file system
stands beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PROGRAM = (sys.executable, "-m", "event_processor")
RESTARTS = 5
IDLE_S = 10.0
DEADLINE_S = 20.0


def write_log(path: Path, ids: int) -> None:
    """Rising string ids, eight categories, about 90 bytes a record."""
    with path.open("w") as log:
        for number in range(ids):
            log.write(f'{{"id":"evt-{number:010d}","category":"category-{number % 8}","value":{number % 997}.25}}\n')


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    called = [*PROGRAM, "--config", str(folder / "pipeline.toml"), "run", *options]
    return subprocess.Popen(called, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def append_and_wait(folder: Path, line: str, begin: float | None = None) -> float:
    """Seconds from the append (or from `begin`) to another checkpoint in the place of the present one."""
    checkpoint = folder / "state" / "checkpoint.json"
    before = checkpoint.stat().st_ino
    with (folder / "log.jsonl").open("a") as log:
        started = time.perf_counter() if begin is None else begin
        log.write(line)
    while checkpoint.stat().st_ino == before:
        if time.perf_counter() - started > DEADLINE_S:
            raise TimeoutError("no new checkpoint")
    return time.perf_counter() - started


def cpu_s(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def fsync_ms(folder: Path) -> float:
    times = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 100)
            started = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return median(times) * 1000


def first_run(folder: Path, ids: int) -> None:
    started = time.perf_counter()
    process = start(folder, "--once")
    _, _, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    print(
        f"run --once, {ids} ids: {wall_s:.2f} s wall, {usage.ru_utime + usage.ru_stime:.2f} s CPU, {usage.ru_maxrss / 1024:.0f} MB at most"
    )
    state = folder / "state"
    accepted = json.loads((state / "checkpoint.json").read_bytes())["state"]["counts"]["accepted"]
    rest = sum(path.stat().st_size for path in state.rglob("*") if path.is_file() and path.parent.name != "ids")
    print(f"accepted {accepted}; checkpoint.json {(state / 'checkpoint.json').stat().st_size} bytes; state but ids {rest} bytes")


def restarts(folder: Path) -> None:
    times = []
    for number in range(RESTARTS):
        begin = time.perf_counter()
        process = start(folder)
        times.append(append_and_wait(folder, f'{{"id":"restart-{number}","category":"a","value":1}}\n', begin))
        process.terminate()
        process.wait()
    print("restart to the first new commit, s:", " ".join(f"{each:.3f}" for each in sorted(times)))


def live(folder: Path, appends: int) -> None:
    process = start(folder)
    append_and_wait(folder, '{"id":"live","category":"a","value":1}\n')
    times = sorted(append_and_wait(folder, f'{{"id":"live-{number}","category":"a","value":1}}\n') for number in range(appends))
    print(f"append to checkpoint: median {median(times) * 1000:.2f} ms, p99 {times[int(appends * 0.99) - 1] * 1000:.2f} ms")
    time.sleep(1.0)
    before = cpu_s(process.pid)
    time.sleep(IDLE_S)
    print(f"idle: {(cpu_s(process.pid) - before) / IDLE_S * 100:.2f} % of a core")
    process.terminate()
    print(f"stopped with {process.wait()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=1_000_000)
    parser.add_argument("--appends", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_log(folder / "log.jsonl", options.ids)
        (folder / "pipeline.toml").write_text('[sources.events]\npath = "log.jsonl"\n')
        first_run(folder, options.ids)
        restarts(folder)
        live(folder, options.appends)
        print(f"fsync of this file system: median {fsync_ms(folder):.2f} ms")


if __name__ == "__main__":
    main()
