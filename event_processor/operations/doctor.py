"""Looks at everything that a configuration names, before anything runs: can it be read, written, reached?

Owns: the state directory, the lock, the disk and the clock; and the exit code of all findings.
Always: changes nothing, and sends no record. Works while a daemon runs, and then makes no request that could break a limit.
Never: knows a technology: connectors probe theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from event_processor.assembly import Environment, remote_sinks
from event_processor.assembly.probes import probes
from event_processor.configuration.configuration import Configuration
from event_processor.model.contracts import Clock
from event_processor.model.errors import EventProcessorError, ExitCode
from event_processor.model.probes import Finding
from event_processor.operations.lanes import lanes_status
from event_processor.operations.state_access import lock_owner, peek
from event_processor.storage.probes import free_bytes, unwritable

__all__ = ["examine", "exit_code_of"]

YEAR_MIN: Final = 2024
YEAR_MAX: Final = 2100
ROOM_BYTES: Final = 64 * 1_048_576
"""Less free space than this is too little for any pipeline."""


def examine(configuration: Configuration, environment: Environment) -> Iterator[Finding]:
    """Yields what is found, one after the other: probes of services may take their `timeout_s`."""
    directory = str(configuration.state.dir)
    yield _clock(environment.clock)
    if problem := unwritable(directory):
        yield Finding("state.dir", "wrong", problem, "make it writable for this user, or name another folder")
    else:
        yield Finding("state.dir", "ok", f"{directory} can be written")
    owner, fault = _owner(configuration, environment)
    if fault is not None:
        yield fault
    else:
        yield Finding("state.dir", "ok", f"owned by {owner}" if owner else "no process owns it")
    yield from _state(configuration, environment, owner)
    yield from probes(configuration, environment, may_request=owner is None)


def exit_code_of(findings: Iterable[Finding]) -> ExitCode:
    """78 if anything is wrong, otherwise 69 if anything is unreachable, otherwise 0."""
    states = {each.state for each in findings}
    if "wrong" in states:
        return ExitCode.CONFIGURATION
    return ExitCode.NOT_KEEPING_UP if "unreachable" in states else ExitCode.OK


def _clock(clock: Clock) -> Finding:
    before_s, now_ns, after_s = clock.monotonic_s(), clock.wall_ns(), clock.monotonic_s()
    now = datetime.fromtimestamp(now_ns / 1e9, UTC)
    if not YEAR_MIN <= now.year < YEAR_MAX:
        return Finding("clock", "wrong", f"it says {now:%Y-%m-%d}", "set the clock of this machine: timedatectl set-ntp true")
    if after_s < before_s:
        return Finding(
            "clock", "wrong", "the monotonic clock goes back", "this is a fault of the machine, or of its virtualisation"
        )
    return Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _owner(configuration: Configuration, environment: Environment) -> tuple[str | None, Finding | None]:
    try:
        return lock_owner(configuration, environment), None
    except EventProcessorError as error:
        return None, Finding("state.dir", "wrong", error.message, error.hint)


def _state(configuration: Configuration, environment: Environment, owner: str | None) -> Iterator[Finding]:
    """The checkpoint, and the room for what is still to be written to the outbox."""
    checkpoint = None
    try:
        checkpoint = peek(configuration, environment)
    except EventProcessorError as error:
        yield Finding("state.dir", "wrong", error.message, error.hint)
    else:
        if checkpoint is not None:
            yield Finding("state.dir", "ok", f"its checkpoint can be read: {checkpoint.state.counts.records:,} records")
    waiting = lanes_status(configuration, environment, checkpoint, owner).outbox.undelivered_bytes
    yield _disk(configuration, waiting)


def _disk(configuration: Configuration, waiting_bytes: int) -> Finding:
    """Whether the outbox may grow to its limit. `waiting_bytes` are on the disk already."""
    free = free_bytes(str(configuration.state.dir))
    has_outbox = bool(remote_sinks(configuration))
    wanted = max(ROOM_BYTES, configuration.outbox.bytes_max - waiting_bytes if has_outbox else 0)
    if free >= wanted:
        return Finding("disk", "ok", f"{free:,} bytes are free for the state")
    why = f"outbox.bytes_max allows {wanted:,} more" if has_outbox else f"at least {wanted:,} are wanted"
    remedy = "free some space, or lower outbox.bytes_max" if has_outbox else "free some space"
    return Finding("disk", "wrong", f"{free:,} bytes are free for the state, but {why}", remedy)
