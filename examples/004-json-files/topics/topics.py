"""Example 004 over topics: `python topics.py up [NAME…] | assign FILE… | status | down [--drain] | clean`.

Owns: the processes that it starts: their numbers (work/NAME.pid) and what they say (work/NAME.log).
Always: a process that runs is left as it is, so `up` also replaces one that died. Only processes that were started here are stopped.
Never: moves a record. Stages do that, each of them event-processor with a configuration beside this file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from clients import UNREACHABLE, KafkaException, are_ready, make_topics, remove_topics, require_brokers
from controller import assign, columns, known, table
from stages import BROKERS, HERE, WORK, Stage, counts_of, environment, stages

WORKERS: Final = 2
READY_S: Final = 120.0
STOP_S: Final = 60.0
POLL_S: Final = 0.05


def commands() -> Mapping[str, Sequence[str]]:
    """The command line of each process, by name, in the order in which records pass them."""
    workers = {
        f"worker-{number + 1}": [sys.executable, str(HERE / "worker.py"), f"worker-{number + 1}"] for number in range(WORKERS)
    }
    return {**workers, **{stage.name: stage.command() for stage in stages()}}


def process_of(name: str) -> int | None:
    """The number of a process that was started here, if it runs."""
    try:
        number = int((WORK / f"{name}.pid").read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    # Another process may have the number by now.
    return number if [os.fsencode(word) for word in commands()[name]] == command[:-1] else None


def up(names: Sequence[str]) -> int:
    """Makes the topics that are missing, and starts the processes with these names that do not run. Without a name: all.

    69 if the workers are not ready in time.
    """
    admin = require_brokers()
    make_topics(admin)
    WORK.mkdir(exist_ok=True)
    named = {name: command for name, command in commands().items() if name in names or not names}
    for name, command in named.items():
        number = process_of(name)
        words = f"runs already, process {number}"
        if number is None:
            with (WORK / f"{name}.log").open("ab") as log:
                started = subprocess.Popen(
                    command, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
            started.returncode = 0  # it outlives this process, which does not wait for it
            (WORK / f"{name}.pid").write_text(f"{started.pid}\n")
            words = f"process {started.pid}"
        print(f"{name}: {words}", flush=True)
    deadline = time.monotonic() + READY_S
    while not are_ready(admin, sum(name.startswith("worker-") for name in named)):
        if time.monotonic() > deadline:
            print(f"the workers are not ready; see {WORK}/worker-1.log")
            return UNREACHABLE
        time.sleep(POLL_S)
    return 0


def status() -> int:
    """Shows the processes and the files. 0 if all processes run, otherwise 69."""
    require_brokers()
    print("\n".join(table(known().values())))
    print()
    numbers = {name: process_of(name) for name in commands()}
    rows = [("process", "state", "records", "accepted", "duplicate", "rejected", "")]
    counted = {stage.name: counts_of(stage) for stage in stages()}
    for name, number in numbers.items():
        counts = counted.get(name)
        shown = [counts.records, counts.accepted, counts.duplicate, counts.rejected] if counts else [""] * 4
        rows.append((name, f"runs ({number})" if number else "does not run", *map(str, shown), ""))
    print("\n".join(columns(rows)))
    return 0 if all(numbers.values()) else UNREACHABLE


def down(*, drain: bool) -> int:
    """Stops all processes. With `drain`, every stage first reads what is left for it, and the last array is closed.

    69 if files are still being read (then nothing is stopped), or if a process does not stop; otherwise the greatest exit code of a stage.
    """
    if drain:
        require_brokers()
        unfinished = [report for report in known().values() if not report.is_last]
        if unfinished:
            print("\n".join(["not drained, because not every file is read:", *map(str, unfinished)]))
            return UNREACHABLE
    if not stop():
        return UNREACHABLE
    if not drain:
        return 0
    *transformers, writer = stages()
    return max(*finish(transformers), *finish([writer]))


def stop() -> bool:
    """Stops all processes. Whether none runs now."""
    running = {name: number for name in commands() if (number := process_of(name)) is not None}
    for number in running.values():
        os.kill(number, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while any(map(process_of, running)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    for name in commands():
        words = "does not stop" if process_of(name) else "stopped" if name in running else "does not run"
        print(f"{name}: {words}")
    return not any(map(process_of, running))


def finish(ending: Sequence[Stage]) -> list[int]:
    """Lets stages read everything that is left for them, and shows their counts. Their exit codes."""
    started = []
    for stage in ending:
        with (WORK / f"{stage.name}.log").open("ab") as log:
            started.append(subprocess.Popen(stage.command(*stage.at_the_end), env=environment(), stdout=log, stderr=log))
    codes = [process.wait() for process in started]
    for stage, code in zip(ending, codes, strict=True):
        counts = counts_of(stage)
        outcomes = f"{counts.accepted} accepted, {counts.duplicate} duplicate, {counts.rejected} rejected"
        failure = f"; exit code {code}, see {WORK / stage.name}.log" if code else ""
        print(f"{stage.name}: {counts.records} records: {outcomes}{failure}", flush=True)
    return codes


def clean() -> int:
    """Stops all processes, and removes the topics, the states and the results."""
    admin = require_brokers()
    if not stop():
        return UNREACHABLE
    remove_topics(admin)
    for folder in (WORK, HERE / "out"):
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Example 004 over topics of Kafka. KAFKA_BROKERS says where the brokers are.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    starting = subparsers.add_parser("up", help="make the topics and start two workers, two transformers and the writer")
    starting.add_argument("names", nargs="*", metavar="NAME", help="only these: worker-1, writer, …")
    assigning = subparsers.add_parser("assign", help="assign files to workers, and show their progress")
    assigning.add_argument("files", nargs="+", metavar="FILE")
    subparsers.add_parser("status", help="show files and processes")
    stopping = subparsers.add_parser("down", help="stop all processes")
    stopping.add_argument("--drain", action="store_true", help="first read everything that is left, and close the last array")
    subparsers.add_parser("clean", help="stop all processes; remove topics, states and results")
    called = parser.parse_args()
    if called.command == "up" and (unknown := set(called.names) - set(commands())):
        parser.error(f"no process is called {', '.join(sorted(unknown))}; there are {', '.join(commands())}")
    try:
        if called.command == "assign":
            require_brokers()
            return assign(called.files)
        if called.command == "down":
            return down(drain=called.drain)
        if called.command == "up":
            return up(called.names)
        return status() if called.command == "status" else clean()
    except (KafkaException, TimeoutError) as error:
        print(f"the brokers at {BROKERS}: {error.args[0].str() if error.args else 'no answer in time'}")
        return UNREACHABLE
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
