"""Asks a running daemon to read its configuration again, and waits for its answer.

Owns: finding the daemon's process, the signal, and the wait.
Always: the signal goes only to the process that holds the lock of the state directory now. The wait is bounded, and ends if that
process ends.
Never: reads the configuration for the daemon.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from event_processor.assembly import LOCK_NAME, Environment
from event_processor.model.clock import SystemWakeup
from event_processor.model.errors import ConfigurationError, NotAnsweredError
from event_processor.operations.conditions import ReloadAnswer, read_conditions
from event_processor.operations.state_access import owner_of
from event_processor.storage.durable import storage_call

__all__ = ["reload_daemon"]

LOOK_S: Final = 0.05
OWNER: Final = re.compile(r"process (\d+) on (.+)")


def reload_daemon(directory: str, environment: Environment, *, timeout_s: float, main_process: str = "") -> ReloadAnswer:
    """Sends HUP to the daemon that owns the state `directory`. Returns its answer, unless it is a refusal.

    `main_process`: the id of the service's main process, as systemd gives it (`$MAINPID`); empty if unknown.

    Raises `ConfigurationError` with what was refused, `NotAnsweredError` if no daemon is running, if it ended, or if it did not
    answer within `timeout_s`; `StorageError`.
    """
    owner = owner_of(directory, environment)
    published = read_conditions(environment.fs, directory)
    if owner is None:
        raise NotAnsweredError(f"no process owns {directory}: nothing is running", hint="start it: event-processor run")
    if published is None or published.owner != owner:
        raise NotAnsweredError(f"{owner} owns {directory}, but it is not a daemon", hint="wait until it has finished")
    asked_s = environment.clock.monotonic_s()
    with storage_call("kill", owner):
        os.kill(_process_id(owner, directory, main_process), signal.SIGHUP)
    answer = _answer(directory, environment, owner, asked_s=asked_s, timeout_s=timeout_s)
    if answer.outcome == "refused":
        raise ConfigurationError(f"the reload was refused: {answer.reason}", hint="the present configuration stays in use")
    return answer


def _process_id(owner: str, directory: str, main_process: str) -> int:
    """The process of the lock's owner, if it is certain: a signal to another process could end it.

    Below systemd's `PrivateUsers=` we may not see what another process has open. There systemd says which process it is.
    """
    found = OWNER.fullmatch(owner)
    process_id = int(found[1]) if found and found[2] == os.uname().nodename else 0
    if process_id and str(process_id) == main_process:
        return process_id
    if not process_id or not any(_is_same_file(path, os.path.join(directory, LOCK_NAME)) for path in _open_files(process_id)):
        raise NotAnsweredError(
            f"{owner} owns {directory}, but no such process that has it open can be seen from here",
            hint="run this on the same machine and in the same container, as the user of the daemon or as root",
        )
    return process_id


def _open_files(process_id: int) -> Iterator[str]:
    """Yields the links to the open files of a process; none if we may not see them."""
    folder = f"/proc/{process_id}/fd"
    with suppress(OSError):
        yield from (os.path.join(folder, name) for name in os.listdir(folder))


def _is_same_file(path: str, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _answer(directory: str, environment: Environment, owner: str, *, asked_s: float, timeout_s: float) -> ReloadAnswer:
    """Waits for an answer of `owner` that it began to work on after `asked_s`. An earlier one may not know our change yet."""
    clock, wakeup = environment.clock, SystemWakeup()
    while True:
        published = read_conditions(environment.fs, directory)
        answer = published.reload if published and published.owner == owner else None
        if answer is not None and answer.started_s >= asked_s:
            return answer
        if owner_of(directory, environment) != owner:
            known = read_conditions(environment.fs, directory)
            why = "; ".join(each.problem for each in known.conditions if each.kind == "failed") if known else ""
            raise NotAnsweredError(
                f"{owner} ended during the reload: {why or 'see its log'}", hint="see 'event-processor status'"
            )
        if clock.monotonic_s() - asked_s >= timeout_s:
            raise NotAnsweredError(
                f"{owner} has not answered within {timeout_s:g} s", hint="see 'event-processor status'; it may still reload"
            )
        clock.wait(wakeup, LOOK_S)
