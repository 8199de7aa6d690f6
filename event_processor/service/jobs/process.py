"""The process of a job: how it is called, how it is ended, and what it said at its end.

Owns: the command line; `StartedProcess` of this server and `FoundProcess` of an earlier one; how an exit code is read.
Always: a process that an earlier server started is known by the lock that it holds, also before its first step, and is signalled only if
its command line names the folder of the job.
Never: decides whether a job is tried again (`runner.py` does).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import orjson

from event_processor.assembly import Environment, process_name, this_process
from event_processor.model.errors import ExitCode, StorageError
from event_processor.operations.state_access import owner_of
from event_processor.service.jobs.job import JobFolder
from event_processor.storage.durable import read_range, storage_call
from event_processor.storage.lock import HANDED_LOCK, DirectoryLock

__all__ = ["NO_PROCESS", "Call", "End", "FoundProcess", "JobProcess", "StartedProcess", "end_of", "holds_lock", "start"]

NICENESS: Final = 10
"""The pipeline of the daemon goes first."""
SAID_BYTES: Final = 4_194_304
"""The end of what a process said: its last lines say how it ended. One of them, with the counts, may name hundreds of files."""
ARGUMENTS_BYTES: Final = 65_536
NOT_FOR_JOBS: Final = ("EVENT_PROCESSOR_CONFIG", "STATE_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")
SIGNAL_EXIT_BASE: Final = 128
NO_PROCESS: Final = 71
"""The system could not start a process (EX_OSERR)."""
ASKED: Final = frozenset({SIGNAL_EXIT_BASE + signal.SIGTERM, -signal.SIGTERM, -signal.SIGKILL})
"""How a process ends that was asked to."""
PERMANENT: Final = frozenset({ExitCode.USAGE, ExitCode.STATE, ExitCode.INPUT_GONE, ExitCode.CONFIGURATION})
"""Another try ends in the same way."""
STOPPED: Final = frozenset(
    code for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) for code in (-number, SIGNAL_EXIT_BASE + number)
)
"""How a process ends if it is asked by another than this server: systemd and terminals ask all processes of a service at once."""
TEMPORARY: Final = frozenset({ExitCode.NOT_KEEPING_UP, NO_PROCESS, ExitCode.STORAGE}) | STOPPED
"""It says nothing about the job: it was stopped, or a service, memory, room on a disk is missing. A later try may succeed, however
many failed."""
_OWNER: Final = re.compile(r"process (\d+) on ")


@dataclass(frozen=True, slots=True)
class Call:
    """What a process is to do. `settings`: for `--set`. `argument`: the input. `arriving`: the file that says how much of it counts."""

    pipeline_file: str
    settings: Sequence[str]
    argument: str
    arriving: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended. `exit_code`: negative: the signal that killed it; None: unknown, since another server started it."""

    exit_code: int | None
    error: str = ""
    hint: str = ""
    summary: Mapping[str, object] | None = None

    @property
    def is_permanent(self) -> bool:
        """Whether another try would end in the same way."""
        return self.exit_code in PERMANENT

    @property
    def is_temporary(self) -> bool:
        """Whether it says nothing about the job itself."""
        return self.exit_code in TEMPORARY

    @property
    def is_as_asked(self) -> bool:
        """Whether a process that was asked to end has ended for that reason."""
        return self.exit_code in ASKED

    @property
    def is_locked(self) -> bool:
        """Whether another process works in the folder."""
        return self.exit_code == ExitCode.LOCKED


class JobProcess(Protocol):
    """A process that works in the folder of a job."""

    def is_over(self) -> bool:
        """Whether it has ended. Returns at once."""
        ...

    def exit_code(self) -> int | None:
        """Its exit code, if it is known."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal. Nothing happens if it has ended."""
        ...


class StartedProcess:
    """A process that this server started."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process: Final = process

    def is_over(self) -> bool:
        return self._process.poll() is not None

    def exit_code(self) -> int | None:
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


class FoundProcess:
    """A process that holds the lock of a job, and that this server did not start."""

    def __init__(self, environment: Environment, folder: JobFolder) -> None:
        self._environment: Final = environment
        self._folder: Final = folder

    def is_over(self) -> bool:
        return not holds_lock(self._environment, self._folder)

    def exit_code(self) -> int | None:
        return None

    def send(self, number: signal.Signals) -> None:
        """Only if the owner that a lock file names is a process that was called with this folder."""
        asked: set[int] = set()
        for directory in (self._folder.path, self._folder.state):
            found = _OWNER.match(owner_of(directory, self._environment) or "")
            # Both locks may name one process, and a second signal would end it at once, in the middle of its batch.
            if found is not None and int(found[1]) not in asked:
                asked.add(int(found[1]))
                self._send(int(found[1]), number)

    def _send(self, process_id: int, number: signal.Signals) -> None:
        with suppress(OSError):
            # From here on the number cannot come to mean another process.
            descriptor = os.pidfd_open(process_id)
            try:
                if self._folder.state in _arguments_of(self._environment, process_id):
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


def holds_lock(environment: Environment, folder: JobFolder) -> bool:
    """Whether any process works in the folder of a job. Raises `StorageError`.

    It has the lock of the folder from before its first step, and that of the state later: this one alone, if it was started by hand.
    """
    return any(owner_of(directory, environment) is not None for directory in (folder.path, folder.state))


def start(environment: Environment, folder: JobFolder, call: Call) -> StartedProcess:
    """Starts the process of a job. It resumes what an earlier one left. Raises `OSError`, `StorageError`, `LockedError`."""
    arguments = _arguments(folder, call)
    fs = environment.fs
    # The process has this lock from before its first step until its end: it is the same lock, not one of its own. If we die before
    # the process is there, the kernel releases the lock. If we die after it, the next server finds the lock held, and waits.
    lock = DirectoryLock(fs, folder.lock, this_process())
    try:
        process = _spawned(environment, folder, arguments, lock)
    finally:
        lock.release()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
    return StartedProcess(process)


def _spawned(
    environment: Environment, folder: JobFolder, arguments: Sequence[str], lock: DirectoryLock
) -> subprocess.Popen[bytes]:
    fs = environment.fs
    with storage_call("open", folder.said):
        # Appended: standard output and error are one file, and neither may write over the other, whatever opens it anew.
        said = fs.open(folder.said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell; every argument was checked
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**_environment_of_jobs(), HANDED_LOCK: str(lock.descriptor)},
            pass_fds=[lock.descriptor],
        )
    finally:
        fs.close(said)
    with suppress(StorageError):
        # For the next server, which may want to end it. Without it, it is known as soon as it has named itself in its state.
        lock.name(process_name(process.pid))
    return process


def _arguments(folder: JobFolder, call: Call) -> Sequence[str]:
    arguments = [sys.executable, "-P", "-m", "event_processor", "--config", call.pipeline_file, "--state", folder.state]
    arguments += ["--log-format", "json", "--log-level", "error"]
    for setting in call.settings:
        arguments += ["--set", setting]
    arguments += ["process", "--json", "--no-sinks", "--output", folder.result, "--progress", folder.progress]
    if call.arriving:
        arguments += ["--arriving", call.arriving]
    return [*arguments, "--", call.argument]


def end_of(environment: Environment, folder: JobFolder, exit_code: int | None) -> End:
    """How a process ended, and what it said about it in its last lines."""
    said = [line for line in _last_lines(environment, folder.said) if isinstance(line, dict)]
    summary = next((line for line in reversed(said) if line.get("event") == "processed"), None)
    if exit_code == ExitCode.OK or exit_code is None:
        return End(exit_code, summary=_outcome(summary))
    failed = next((line for line in reversed(said) if line.get("event") == "failed"), None) or {}
    damaged = "; ".join(map(str, summary.get("damaged") or ())) if summary else ""
    words = str(failed.get("message") or damaged) or _words_of(exit_code)
    return End(exit_code, words, str(failed.get("hint") or ""), _outcome(summary))


def _outcome(summary: Mapping[str, object] | None) -> Mapping[str, object] | None:
    """The counts of a run, and what its result leaves out."""
    if summary is None:
        return None
    return {name: value for name, value in summary.items() if name not in ("level", "event", "message", "dead_letters")}


def _words_of(exit_code: int) -> str:
    if exit_code < 0:
        name = signal.Signals(-exit_code).name if -exit_code in set(signal.Signals) else str(-exit_code)
        return f"the process was ended by {name}"
    return f"the process ended with {exit_code}"


def _last_lines(environment: Environment, path: str) -> Sequence[object]:
    fs, lines = environment.fs, []
    with suppress(OSError):
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            size_bytes = fs.status_of(descriptor).size_bytes
            content = read_range(fs, descriptor, SAID_BYTES, max(0, size_bytes - SAID_BYTES))
        finally:
            fs.close(descriptor)
        for line in content.splitlines():
            with suppress(orjson.JSONDecodeError):
                lines.append(orjson.loads(line))
    return lines


def _arguments_of(environment: Environment, process_id: int) -> Sequence[str]:
    fs = environment.fs
    descriptor = fs.open(f"/proc/{process_id}/cmdline", os.O_RDONLY)
    try:
        return os.fsdecode(fs.read(descriptor, ARGUMENTS_BYTES, 0)).split("\0")
    finally:
        fs.close(descriptor)


def _environment_of_jobs() -> Mapping[str, str]:
    """Ours, without what is about this process alone. Modules are found where this process finds them."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_FOR_JOBS}
    return {**kept, "PYTHONPATH": os.pathsep.join(os.path.abspath(folder) for folder in sys.path)}
