"""The live pipeline: `python streaming.py` makes the topic, starts the pipeline, sends the transactions of the file, and checks the tables.

Owns: the topic, the division of its partitions among processes, and the processes.
Always: each process has partitions, a state and a name of its own, so none disturbs another, and each may be killed. They stay until `stop`.
Never: writes a table, or a position. Only event-processor does.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import ml_service
from background import HERE, WORK, Background
from batch import CSV, StepError, call, environment, print_figures
from check import STREAMING
from topic import PARTITIONS, TOPIC, TopicError, make_topic, remove_topic

RECORDS: Final = WORK / "transactions.jsonl"
LOOK_S: Final = 0.5
SETTLED_S: Final = 600.0
SAID_S: Final = 15.0
"""While it waits, it says after each such time what for."""
NOT_THERE: Final = 69


@dataclass(frozen=True, slots=True)
class Live:
    """Where the pipeline reads, asks and writes. `api`: "" for the prediction service of this machine."""

    database: str
    brokers: str
    api: str
    processes: int

    def names(self) -> Iterator[str]:
        """What distinguishes the processes: nothing if there is one, otherwise "-1-of-2" and "-2-of-2"."""
        yield from ("",) if self.processes == 1 else (f"-{number}-of-{self.processes}" for number in range(1, self.processes + 1))

    def state(self, name: str) -> str:
        """The folder of a process's state. Each database has its own place in the topic."""
        return f"{state_prefix(self.database)}{name}"

    def background(self, name: str) -> Background:
        """A process."""
        return background_of(self.state(name))

    def program(self, name: str, *command: str) -> list[str]:
        """A command of event-processor for one process."""
        settings = [word for each in ("event-processor", "live", self.database) for word in ("--config", f"{each}.toml")]
        values = {
            "sources.transactions.brokers": self.brokers,
            "services.ml.base_url": self.api or f"http://127.0.0.1:{ml_service.PORT}",
            "state.name": f"transactions-live{name}",
        }
        if name:
            values["sources.transactions.partitions"] = json.dumps(self.share(name))
        changed = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        return ["-m", "event_processor", *settings, *changed, "--state", self.state(name), *command]

    def share(self, name: str) -> list[int]:
        """The partitions of a process. All together have each once."""
        place = list(self.names()).index(name)
        return [each for each in range(PARTITIONS) if each * self.processes // PARTITIONS == place]


def state_prefix(database: str) -> str:
    """How the names of a database's states begin."""
    return "state-live" if database == "sqlite" else f"state-live-{database}"


def background_of(state: str) -> Background:
    """The process of a state."""
    return Background(state.replace("state-live", "streaming"), word=state)


def started() -> list[Background]:
    """Every process that was started here, for each database."""
    return [background_of(path.stem.replace("streaming", "state-live")) for path in sorted(WORK.glob("streaming*.pid"))]


def divided(database: str) -> int:
    """By how many processes the topic was read so far; 0 if by none."""
    found = (re.fullmatch(rf"{state_prefix(database)}(?:-\d+-of-(\d+))?", path.name) for path in HERE.glob("state-live*"))
    return max((int(each[1] or 1) for each in found if each), default=0)


def start(live: Live) -> None:
    """Starts what does not run. Raises `StepError` or `TopicError`."""
    before = divided(live.database)
    if before not in (0, live.processes):
        print(
            f"streaming: the topic was read with PROCESSES={before}. Another number would read it from its beginning, and write each row "
            f"again: keep the number, or begin anew with 'make clean'"
        )
        raise StepError(78)
    make_topic(live.brokers, is_divided=live.processes > 1)
    if not live.api and (code := ml_service.start()):
        raise StepError(code)
    # The folders say by how many processes the topic is read. If we die here, or a process dies before its first commit, they still say it.
    for name in live.names():
        (HERE / live.state(name)).mkdir(mode=0o750, exist_ok=True)
    for name in live.names():
        process = live.background(name)
        if process.number() is None:
            process.keep(process.start([sys.executable, *live.program(name, "run")], environment=environment()))
            print(f"{process.name}: started; its log is {process.log}")
        else:
            print(f"{process.name}: runs already")


def produce(live: Live, rate: str) -> None:
    """Sends the file's transactions to the topic. The id is the key, so one transaction is always in one partition. Raises `StepError`."""
    make_topic(live.brokers, is_divided=False)
    if not CSV.exists():
        call("generate.py")
    call("stream.py", "--csv", str(CSV), "--output", str(RECORDS))
    options = ["--topic", TOPIC, "--brokers", live.brokers, "--key", "id", *(["--rate", rate] if rate else [])]
    call(*live.program(next(live.names()), "produce", str(RECORDS), *options))


def settle(live: Live) -> None:
    """Waits until every record of the topic is read, and every sink has answers to all. Raises `StepError`."""
    deadline = time.monotonic() + SETTLED_S
    said_at = time.monotonic()
    left = list(live.names())
    while left:
        words, is_alive = _unsettled(live, left[0])
        process = live.background(left[0])
        if not words:
            left.pop(0)
        elif (is_alive or process.number() is not None) and time.monotonic() < deadline:
            if time.monotonic() > said_at + SAID_S:
                said_at = time.monotonic()
                print(f"{process.name}: {words}", flush=True)
            time.sleep(LOOK_S)
        else:
            print(f"{process.name}: {words}\n{process.log_end()}")
            raise StepError(NOT_THERE)


def _unsettled(live: Live, name: str) -> tuple[str, bool]:
    """What a process has still to do, in words; "" if nothing. And whether it runs."""
    finished = subprocess.run(
        [sys.executable, *live.program(name, "status", "--json")], cwd=HERE, env=environment(), check=False, capture_output=True
    )
    try:
        found = json.loads(finished.stdout)
    except ValueError:
        return finished.stderr.decode(errors="replace"), False
    committed, waiting = found["committed"], sum(lane["pending"] for lane in found["lanes"])
    words = ""
    if committed is None:
        words = "nothing is committed yet"
    elif committed["lag_unknown"] or committed["lag_records"]:
        words = f"{committed['lag_records']} records are unread"
    elif waiting:
        words = f"{waiting} records wait for a sink"
    return words, found["alive"]


def check(live: Live) -> None:
    """Waits, then makes the views, prints figures and compares the tables with the file. Raises `StepError`."""
    settle(live)
    call("views.py", "--database", live.database)
    print_figures(live.database, STREAMING)
    call("check.py", "--csv", str(CSV), "--database", live.database, "--processing-type", STREAMING)


def status(live: Live) -> None:
    """Prints what each process says of itself. Raises `StepError` with the highest exit code."""
    if not divided(live.database):
        print("streaming: never started here")
        raise StepError(NOT_THERE)
    code = 0
    for name in live.names():
        print(f"streaming{name}: partitions {live.share(name) if name else 'all'}, {live.state(name)}", flush=True)
        for command in ("status", "sinks"):
            finished = subprocess.run(
                [sys.executable, *live.program(name, command, *(["list"] if command == "sinks" else []))],
                cwd=HERE,
                env=environment(),
                check=False,
            )
            code = max(code, finished.returncode)
    if code:
        raise StepError(code)


def logs(_live: Live) -> None:
    """Prints the end of each log."""
    for process in started():
        print(process.log_end())


def stop(_live: Live) -> None:
    """Stops the processes. They go on where they were at the next start."""
    for process in started():
        print(f"{process.name}: {process.stop()}")


def run(live: Live) -> None:
    """Becomes the one process, in the foreground: for a container. Does not return."""
    make_topic(live.brokers, is_divided=False)
    os.chdir(HERE)
    os.execve(sys.executable, [sys.executable, *live.program("", "run")], environment())  # noqa: S606 - no shell


def everything(live: Live, rate: str) -> None:
    """Starts, sends, waits, checks. Raises `StepError` or `TopicError`."""
    start(live)
    produce(live, rate)
    check(live)


def perform(command: str, live: Live, rate: str) -> None:
    """Carries out one command. Raises `StepError` or `TopicError`."""
    plain = {"start": start, "check": check, "status": status, "logs": logs, "stop": stop, "run": run}
    if command == "all":
        everything(live, rate)
    elif command == "produce":
        produce(live, rate)
    elif command == "clean":
        stop(live)
        remove_topic()
    else:
        plain[command](live)


def main(words: Sequence[str] | None = None) -> int:
    """Carries out a command; the exit code."""
    commands = ("all", "start", "produce", "check", "status", "logs", "stop", "clean", "run")
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("command", choices=commands, nargs="?", default="all", help="default: %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite", help="default: %(default)s")
    brokers = os.environ.get("KAFKA_BROKERS") or "127.0.0.1:9092"
    parser.add_argument("--brokers", default=brokers, help="default: KAFKA_BROKERS of the environment, or 127.0.0.1:9092")
    api = os.environ.get("ML_API_URL") or ""
    parser.add_argument("--api", default=api, help="a prediction service that runs; default: ML_API_URL, or one on this machine")
    parser.add_argument("--processes", type=int, default=0, help=f"1 to {PARTITIONS}; default: as many as before, or 1")
    parser.add_argument("--rate", default="", help="such as 100/s; default: as fast as it goes")
    parser.add_argument("--if-there", action="store_true", help="without a broker, the exit code is 0")
    arguments = parser.parse_args(words)
    if not 0 <= arguments.processes <= PARTITIONS:
        parser.error(f"--processes is from 1 to {PARTITIONS}: a partition has one reader")
    processes = arguments.processes or divided(arguments.database) or 1
    live = Live(arguments.database, arguments.brokers, arguments.api, processes)
    try:
        perform(arguments.command, live, arguments.rate)
    except TopicError as error:
        print(f"streaming: {error}")
        return 0 if arguments.if_there else NOT_THERE
    except KeyboardInterrupt:
        print("streaming: interrupted; what was started goes on: python streaming.py stop")
        return 130
    except StepError as error:
        if arguments.command != "status":
            print(f"streaming: failed; its logs are in {WORK}")
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
