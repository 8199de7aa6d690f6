"""Shows it all: the API, four live streams, and the program between them; then compares what was made with what arrived.

`python run_streams.py` works in `work/`, which it empties first, and ends with 0 if nothing is missing and the limit was kept.
Owns: the processes that it starts. It stops each by its id, whatever happens.
Never: touches anything outside of `work/`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

HERE: Final = Path(__file__).resolve().parent
WORK: Final = HERE / "work"
PROGRAM: Final = (sys.executable, "-m", "event_processor")
READY_S: Final = 60.0
LOOK_S: Final = 0.05
STOP_S: Final = 30.0
FINISH_S: Final = 600.0
REQUESTS_PER_S: Final = 15
RATE_MIN: Final = 5.0


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block, at the latest."""
    process = subprocess.Popen(command, cwd=HERE, text=True, **options)
    try:
        yield process
    finally:
        stop(process)
        if process.stdout is not None:
            process.stdout.close()


def stop(process: subprocess.Popen[str]) -> None:
    """Asks it to end, and kills it if it does not."""
    if process.poll() is None:  # otherwise its id may be another process's
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(daemon: subprocess.Popen[str], log: IO[str]) -> None:
    """Returns when the daemon has published the figures of its sink: from then on, it also ends cleanly at a signal."""
    deadline_s = time.monotonic() + READY_S
    while not (WORK / "state" / "history" / "lanes.json").exists():
        if daemon.poll() is not None:
            raise SystemExit(f"event-processor ended with {daemon.returncode}; see {log.name}")
        if time.monotonic() > deadline_s:
            raise SystemExit(f"event-processor was not ready within {READY_S:g} s; see {log.name}")
        time.sleep(LOOK_S)


def play(rate: float, seconds: float, log: IO[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs everything. What the generator made, and the API's figures."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))}
    with started([sys.executable, "downstream_api.py", "--port", "0"], stdout=subprocess.PIPE) as api:
        assert api.stdout is not None
        address = api.stdout.readline().strip()
        if not address:
            raise SystemExit("the downstream API did not start")
        # A later file wins: the API has a free port here.
        (WORK / "address.toml").write_text(f'[services.api]\nbase_url = "{address}"\n', encoding="utf-8")
        settings = ("--config", str(WORK / "event-processor.toml"), "--config", str(WORK / "address.toml"))
        summary_of_daemon = (WORK / "daemon.txt").open("w", encoding="utf-8")
        with (
            summary_of_daemon,
            started([*PROGRAM, *settings, "run"], env=environment, stdout=summary_of_daemon, stderr=log) as daemon,
        ):
            wait_until_ready(daemon, log)
            make = [sys.executable, "make_streams.py", "--folder", str(WORK / "events"), "--live"]
            make += ["--rate", str(rate), "--seconds", str(seconds)]
            made: dict[str, Any] = json.loads(
                subprocess.run(make, cwd=HERE, check=True, text=True, stdout=subprocess.PIPE).stdout
            )
            if daemon.poll() is not None:
                raise SystemExit(f"event-processor ended with {daemon.returncode}; see {log.name}")
        # The daemon was stopped by SIGTERM. What is left goes out now: this ends when every record was answered.
        last = [*PROGRAM, *settings, "run", "--once", "--drain"]
        summary_of_last = (WORK / "last.txt").open("w", encoding="utf-8")
        with summary_of_last, started(last, env=environment, stdout=summary_of_last, stderr=log) as rest:
            try:
                code = rest.wait(FINISH_S)
            except subprocess.TimeoutExpired:
                raise SystemExit(f"event-processor did not end within {FINISH_S:g} s; see {log.name}") from None
            if code:
                raise SystemExit(f"event-processor ended with {code}; see {log.name}")
        with urllib.request.urlopen(f"{address}/figures") as answer:  # noqa: S310 - an address of this machine
            figures: dict[str, Any] = json.load(answer)
        with urllib.request.urlopen(f"{address}/arrivals") as answer:  # noqa: S310
            arrivals = json.load(answer)
    figures["seconds"] = (arrivals[-1] - arrivals[0]) / 1e9 if arrivals else 0.0
    return made, figures


def lines_of(path: Path) -> int:
    """The number of lines of a file; 0 if it does not exist."""
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def share(part: float, whole: float) -> float:
    """The part of the whole; 0 of nothing."""
    return part / whole if whole else 0.0


def faults(made: Mapping[str, Any], figures: Mapping[str, Any], dead: int, failed: int) -> list[str]:
    """What is not as it must be. `dead`: dead letters. `failed`: records that the API refused for good."""
    expected = (
        ("records that arrived", figures["distinct_keys"], made["valid"]),
        ("records that arrived, by source", figures["by_source"], made["valid_by_source"]),
        ("records that arrived, by priority", figures["by_priority"], made["valid_by_priority"]),
        ("records sent again with another body", figures["changed"], 0),
        ("dead letters", dead, made["rejected"]),
        ("records that the API refused", failed, made["refused"]),
        ("requests without a key", figures["refused_400"], 0),
    )
    found = [f"{what}: {value}, not {wanted}" for what, value, wanted in expected if value != wanted]
    if figures["worst_window"] > REQUESTS_PER_S:
        found.append(f"requests in one second: {figures['worst_window']}, more than {REQUESTS_PER_S}")
    if made["valid"] and share(figures["distinct_keys"], figures["seconds"]) < RATE_MIN:
        found.append(f"records a second: below {RATE_MIN:g}")
    return found


def summary(made: Mapping[str, Any], figures: Mapping[str, Any], dead: int, failed: int) -> list[str]:
    """The lines that are printed."""
    seconds, arrived, requests = figures["seconds"], figures["distinct_keys"], figures["requests"]
    failures = figures["failures"] + figures["limited_429"] + figures["closed"]
    faulty = made["rejected"] + made["refused"]
    missed = faults(made, figures, dead, failed)
    return [
        f"made:        {made['records']} records: {made['valid']} valid, {made['duplicates']} duplicate, {faulty} faulty",
        f"arrived:     {arrived} records, {figures['repeats']} of them repeated by the same key",
        f"rate:        {share(arrived, seconds):.1f} records a second, in {requests} requests",
        f"mean time:   {figures['mean_duration_ms']:.1f} ms a request",
        f"error rate:  {share(failures, requests):.1%} before retries, {share(made['valid'] - arrived, made['valid']):.1%} after",
        f"limit hits:  {figures['limited_429']}; at most {figures['worst_window']} requests in any second",
        f"rejected:    {dead} dead letters, and {failed} that the API refused",
        "by source:   " + ", ".join(f"{name} {count}" for name, count in figures["by_source"].items()),
        "by priority: " + ", ".join(f"{name}: {count}" for name, count in figures["by_priority"].items()),
        "everything is right" if not missed else "not right: " + "; ".join(missed),
    ]


def main() -> int:
    """Plays it, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Four live streams through event-processor to an API with a limit.")
    parser.add_argument("--rate", type=float, default=20.0, help="records a second, in all streams together (20)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for how long (20)")
    options = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    (WORK / "events").mkdir()  # so that it can be watched from the start
    shutil.copy(HERE / "event-processor.toml", WORK)
    with (WORK / "event-processor.log").open("w", encoding="utf-8") as log:
        made, figures = play(options.rate, options.seconds, log)
    dead = lines_of(WORK / "state" / "dead_letters.jsonl")
    failed = lines_of(WORK / "state" / "delivery" / "downstream.failed.jsonl")
    for title, name in (("the daemon, when it was stopped", "daemon.txt"), ("run --once, with what was left", "last.txt")):
        print(f"--- {title}:\n{(WORK / name).read_text(encoding='utf-8').rstrip()}")
    print("--- what was made, and what arrived:")
    print("\n".join(summary(made, figures, dead, failed)))
    return 1 if faults(made, figures, dead, failed) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
