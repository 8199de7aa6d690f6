"""A pipeline as people run it: a folder, a configuration, and real processes on it.

Owns: how the main job is started, killed and waited for, and how what it committed is read back and compared.
Always: every process has a session of its own and is stopped by the number it was started with; every wait is bounded.
A process is forked from a Python that has imported the program (`warm_python.py`), unless `Pipeline.warm` is False, it is started under another program than
strace, or it gets variables that count at the start of Python.
Never: nothing here imports the package; what is on the disk is read as any stranger would read it.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from support.warm_command import make_commands
from support.warm_python import WarmProcess, WarmPython

__all__ = [
    "BUFFER_EVENTS",
    "DEADLINE_S",
    "MAIN_JOB",
    "Committed",
    "Daemon",
    "Finished",
    "Json",
    "Pipeline",
    "environment_of_runs",
    "kill_on_the_way",
    "until",
    "wait_until",
    "warm_commands",
    "warm_job",
    "warm_python",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MAIN_JOB: Final = (sys.executable, "-m", "event_processor")
DEADLINE_S: Final = 60.0
"""No wait lasts longer: far above what a slow machine needs, so that only a process that hangs reaches it."""
POLL_S: Final = 0.002
LEFT_OUT: Final = frozenset({"state_id", "ids", "appended", "device", "inode"})
"""What may differ between two right states: bookkeeping of files, and what the host chose."""

LEFT_OUT_OF_ENVIRONMENTS: Final = ("EVENT_PROCESSOR_", "COVERAGE_", "PYTEST_CURRENT_TEST")

BUFFER_EVENTS: Final = 8
CONFIGURATION: Final = f"""\
[sources.events]
type = "file"
path = "events.jsonl"
[order]
buffer_events = {BUFFER_EVENTS}
idle_release_ms = 0
[batch]
bytes_max = {{batch_bytes_max}}
pace_ms = {{pace}}
[state]
dir = "{{durable}}/state"
[sinks.ordered]
type = "file"
input = "events"
path = "{{durable}}/out/ordered.jsonl"
"""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Returns as soon as `condition` holds. Raises `TimeoutError`, naming `what`, where it does not within the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {DEADLINE_S:.0f} s: {what}")
        time.sleep(POLL_S)


async def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """As `wait_until`, for what a task of this loop makes true."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(POLL_S)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended: its exit code (negative: the signal that killed it) and what it said."""

    exit_code: int
    stderr: str


@dataclass(frozen=True, slots=True)
class Committed:
    """What the checkpoint on disk covers: the comparable state, and the committed bytes of the sink and the dead letters."""

    state: dict[str, Json]
    sink: bytes
    dead_letters: bytes

    @property
    def offset(self) -> int:
        """How many bytes of the one log are counted."""
        return sum(_number(file["offset"]) for file in _files(self.state))

    @property
    def records(self) -> int:
        """How many records are counted."""
        counts = self.state["counts"]
        assert isinstance(counts, dict)
        return _number(counts["records"])


class Daemon:
    """A process that was started and not waited for."""

    def __init__(self, log_path: Path, start: Callable[[BinaryIO], subprocess.Popen[bytes] | WarmProcess]) -> None:
        """`start` starts it in a session of its own; what it says is appended to `log_path`."""
        self._log_path = log_path
        with log_path.open("ab") as log:
            self._said_before_bytes = log.tell()
            self._process = start(log)

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def process_id(self) -> int:
        """Its number, which its session has too."""
        return self._process.pid

    def send(self, signal_number: signal.Signals) -> None:
        """Sends a signal to it and to whatever it started. Nothing happens where it is gone."""
        if self.alive:
            os.killpg(self._process.pid, signal_number)

    def wait(self) -> Finished:
        """Waits for its end; one that hangs is killed, and `TimeoutError` raised."""
        try:
            exit_code = self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise TimeoutError(f"still running after {DEADLINE_S:.0f} s; it said: {self.said()}") from error
        return Finished(exit_code, self.said())

    def kill(self) -> Finished:
        """Kills it and waits for its end."""
        self.send(signal.SIGKILL)
        return Finished(self._process.wait(DEADLINE_S), self.said())

    def said(self) -> str:
        """What it wrote on its standard output and error so far."""
        with self._log_path.open("rb") as log:
            log.seek(self._said_before_bytes)
            return log.read().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline: the folder of its log and configuration, the folder of what it writes, and the program that runs it."""

    folder: Path
    durable: Path
    command: tuple[str, ...] = MAIN_JOB
    batch_bytes_max: int = 1024
    pace: str = '"auto"'
    warm: bool = True

    @property
    def log(self) -> Path:
        """The log that is read."""
        return self.folder / "events.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The commit point."""
        return self.durable / "state" / "checkpoint.json"

    def prepare(self, log: bytes) -> None:
        """Writes the configuration, with relative paths where it can, and `log` as the log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.durable.mkdir(parents=True, exist_ok=True)
        inside = self.durable.is_relative_to(self.folder)
        durable = self.durable.relative_to(self.folder) if inside else self.durable
        text = CONFIGURATION.format(durable=durable, batch_bytes_max=self.batch_bytes_max, pace=self.pace)
        (self.folder / "pipeline.toml").write_text(text)
        self.log.write_bytes(log)

    def copy_to(self, folder: Path) -> None:
        """Makes `folder` a copy of this pipeline. The log is a second link: a copy of it would be another file."""
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(self.log.name))
        os.link(self.log, folder / self.log.name)

    def start(self, *options: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Daemon:
        """Starts `run` with `options`; `prefix` is a program to run it under, `environment` is added to our own."""
        return self._start(self._called("run", *options), environment or {}, prefix)

    def run(self, *options: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Finished:
        """Runs with `options`, by default to the end of the log and drained, and waits."""
        return self.start(*(options or ("--once", "--drain")), prefix=prefix, environment=environment).wait()

    def verify(self) -> Finished:
        """Has the program itself recompute everything from the log and compare."""
        return self.command_of("verify")

    def command_of(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Finished:
        """Runs a command of the program on this pipeline, and waits."""
        return self._start(self._called(*arguments), environment or {}).wait()

    def _called(self, *arguments: str) -> list[str]:
        return [*self.command, "--config", str(self.folder / "pipeline.toml"), *arguments]

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str], prefix: Sequence[str] = ()) -> Daemon:
        whole = {**environment_of_runs(), **environment}
        is_warm = self.warm and arguments[0] == sys.executable and WarmPython.can_start(arguments[1:])
        if is_warm and (not prefix or prefix[0] == "strace") and warm_python().can_have(whole):
            return Daemon(self._said, lambda log: warm_python().start(arguments[1:], log, prefix, environment=whole))
        called = [*prefix, *arguments]
        return Daemon(
            self._said,
            lambda log: subprocess.Popen(
                called, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=whole, start_new_session=True
            ),
        )

    @property
    def _said(self) -> Path:
        return self.folder / "said.log"

    def committed(self) -> Committed | None:
        """What the checkpoint covers, or None where there is none yet. Asserts that what it covers is there."""
        try:
            content = self.checkpoint.read_bytes()
        except FileNotFoundError:
            return None
        assert content.endswith((b"}\n", b"}")), f"{self.checkpoint}: torn: {content!r}"
        checkpoint = json.loads(content)
        appended = checkpoint["state"]["appended"]
        state = _comparable(checkpoint["state"], str(self.folder))
        assert isinstance(state, dict)
        return Committed(
            state=state,
            sink=_committed_bytes(self.durable / "out" / "ordered.jsonl", appended),
            dead_letters=_committed_bytes(self.durable / "state" / "dead_letters.jsonl", appended),
        )

    def progress(self) -> int:
        """How many bytes of the log are committed; 0 where nothing is. Cheap, to be asked often."""
        try:
            return sum(_number(file["offset"]) for file in _files(json.loads(self.checkpoint.read_bytes())["state"]))
        except FileNotFoundError:
            return 0


def environment_of_runs() -> dict[str, str]:
    """Our own environment without what is for tests. Numerical libraries are kept to one thread: they start one a core otherwise, for nothing."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT_OF_ENVIRONMENTS)}
    return {**inherited, "OPENBLAS_NUM_THREADS": "1"}


@cache
def warm_python() -> WarmPython:
    """The server of this test process."""
    return WarmPython(environment_of_runs())


@cache
def warm_commands() -> Path:
    """A folder with the program's commands, which this server runs. They may not be used by a test that kills them and goes on at once."""
    folder = tempfile.mkdtemp(prefix="commands-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    installed = Path(sys.executable).parent
    make_commands(folder, warm_python().address, *(str(installed / name) for name in ("event-processor", "unbabel_cli")))
    return Path(folder)


def warm_job() -> tuple[str, ...]:
    """The main job as `MAIN_JOB`, run by the warm Python: for a test that waits for its end, or ends it by a signal that it can take."""
    return (str(warm_commands() / "event-processor"),)


def kill_on_the_way(pipeline: Pipeline, log_bytes: int, *, kills: int) -> None:
    """Runs to the end `kills` times, and kills each run when a further part of the `log_bytes` is committed; the last one past the middle."""
    for part in range(1, kills + 1):
        daemon = pipeline.start("--once", "--drain")
        offset = part * log_bytes // (2 * kills)
        wait_until(lambda daemon=daemon, offset=offset: pipeline.progress() > offset or not daemon.alive, "a part is committed")  # type: ignore[misc]
        daemon.kill()


def _committed_bytes(path: Path, appended: Mapping[str, int]) -> bytes:
    """The bytes of `path` that the checkpoint covers: its committed length stands under a name that ends as the path does."""
    lengths = [length for name, length in appended.items() if Path(name).name == path.name]
    if not lengths or not lengths[0]:
        return b""
    content = path.read_bytes()
    assert len(content) >= lengths[0], f"{path}: {lengths[0]} bytes are committed, {len(content)} are there"
    return content[: lengths[0]]


def _comparable(value: Json, folder: str) -> Json:
    """`value` without what may differ between two right states, and without the name of the folder it was made in."""
    if isinstance(value, dict):
        return {key: _comparable(held, folder) for key, held in value.items() if key not in LEFT_OUT}
    if isinstance(value, list):
        return [_comparable(held, folder) for held in value]
    return value.replace(folder, "") if isinstance(value, str) else value


def _files(state: dict[str, Json]) -> list[dict[str, Json]]:
    """The files of the one source, open or retired."""
    sources = state["sources"]
    assert isinstance(sources, dict)
    source = sources.get("events", {"generations": []})
    assert isinstance(source, dict)
    files = source["generations"]
    assert isinstance(files, list)
    positions = [file["position"] for file in files if isinstance(file, dict)]
    return [position for position in positions if isinstance(position, dict)]


def _number(value: Json) -> int:
    assert isinstance(value, int)
    return value
