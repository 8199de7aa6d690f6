"""The intake of a state: the source that only this program appends to.

Owns: where it is, how it is read, and how records are appended to it.
Always: every state has one, whatever the configuration says. Records are appended all or none, under the lock of the file. Each of
its files is a generation, in the order of their names.
Never: reads a record.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from event_processor.assembly.environment import Environment
from event_processor.configuration.configuration import RESERVED_SOURCE_NAME, Configuration
from event_processor.connectors.files.source_options import OwnLogOptions
from event_processor.model.contracts import Clock, Source
from event_processor.model.file_system import FileSystem
from event_processor.model.options import ConfiguredPath
from event_processor.storage.append_file import append_lines
from event_processor.storage.earlier_files import EARLIER_NAMES, earlier_folder
from event_processor.storage.shared_log import SharedLog, patiently

if TYPE_CHECKING:
    from event_processor.engine.outcomes import Outcomes
    from event_processor.engine.state import State

__all__ = [
    "INTAKE_NAME",
    "append_to_intake",
    "intake_generation",
    "intake_options",
    "make_intake",
    "open_outcomes",
    "shared_intake",
]

INTAKE_NAME: Final = "intake.jsonl"


def intake_options(directory: str) -> OwnLogOptions:
    """How the intake of the state in `directory` is read."""
    path = os.path.join(directory, INTAKE_NAME)
    return OwnLogOptions(
        path=ConfiguredPath(path, INTAKE_NAME),
        # After a reset the intake is read again, from its first file on.
        start="oldest",
        rotated=ConfiguredPath(os.path.join(glob.escape(earlier_folder(path)), f"{EARLIER_NAMES}*")),
        # A file that was set aside never grows. A person may compress it.
        retire_ms=0,
    )


def shared_intake(fs: FileSystem, directory: str, clock: Clock | None = None) -> SharedLog:
    """The intake of a state, for a process that reads it, or (with its clock) also appends to it."""
    return SharedLog(fs, os.path.join(directory, INTAKE_NAME), clock)


def make_intake(fs: FileSystem, directory: str) -> None:
    """Creates an empty intake if there is none, so that it is not reported as missing."""
    path = os.path.join(directory, INTAKE_NAME)
    if fs.status(path) is None:
        append_lines(fs, path, [])


def append_to_intake(fs: FileSystem, clock: Clock, directory: str, records: Sequence[bytes]) -> str:
    """Appends the records durably, all or none, for a process that does not own the state. Returns the path of the intake.

    Raises `LockedError` if other processes append without a pause, `StorageError`.
    """
    path = os.path.join(directory, INTAKE_NAME)
    if records:
        patiently(clock, lambda: append_lines(fs, path, records))
    return path


def intake_generation(sources: Mapping[str, Source], log: SharedLog | None) -> Callable[[], int]:
    """Returns the generation of what is appended to the intake now, as its open source numbers it; 0 if it is not open.

    A file is numbered when its first record is read, but a position is told before that. So the files that are not read yet are
    counted, compressed or not: each is read, in the order in which it was set aside, and becomes a generation. Called by the loop's thread before it
    reads; any thread may call the result. Raises `StorageError`.
    """
    from event_processor.connectors.files.following.source import FileSource  # noqa: PLC0415 - only to run

    source = sources.get(RESERVED_SOURCE_NAME)
    if not isinstance(source, FileSource) or log is None:
        return int
    first, seen = 0, -1
    while seen != log.files_set_aside:
        # After a reload, what was submitted before it may still be appended by another thread.
        seen = log.files_set_aside
        number, file, path = source.open_file()
        first = number + log.files_after(file, path) - seen

    def generation() -> int:
        number, file, _ = source.open_file()
        # If the reader is there, it knows better: something else may have happened to the file.
        return number if file is not None and file == log.file else first + log.files_set_aside

    return generation


def open_outcomes(configuration: Configuration, environment: Environment, state_id: str, state: State) -> Outcomes | None:
    """What the last records of the intake counted as, as of this committed state; None if no events are posted. Never raises."""
    if not configuration.intake.enabled:
        return None
    from event_processor.engine.outcomes import Outcomes  # noqa: PLC0415 - only if events are posted

    outcomes = Outcomes(environment.fs, str(configuration.state.dir), RESERVED_SOURCE_NAME, environment.telemetry)
    outcomes.begin(state_id, state.source(RESERVED_SOURCE_NAME))
    return outcomes
