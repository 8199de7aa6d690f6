"""How far a one-shot run is, in a file that other processes read.

Owns: `ProgressFile`, its form, and how often it is written.
Always: a reader sees a whole file or none. It is written at most once in `WRITTEN_S`, and at a change of the phase.
Never: waits for the disk; ends a run because it cannot be written: nothing relies on it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgspec

from event_processor.assembly import Environment
from event_processor.model.errors import StorageError
from event_processor.operations.processing import PhasedProgress
from event_processor.storage.durable import publish_file, read_file

__all__ = ["ProgressFile", "RunProgress", "read_progress"]

WRITTEN_S: Final = 0.2


class RunProgress(msgspec.Struct, frozen=True):
    """Bytes of the input that are done, of so many (0: unknown). `phase`: "sorting" or "merging" if the input is sorted, otherwise empty."""

    done_bytes: int = 0
    size_bytes: int = 0
    phase: str = ""


class ProgressFile:
    """Shows progress as `shown` does, and keeps it in a file. A `PhasedProgress`."""

    def __init__(self, environment: Environment, path: str, shown: PhasedProgress) -> None:
        self._environment: Final = environment
        self._path: Final = path
        self._shown: Final = shown
        self._next_s = 0.0
        self._phase: str | None = None

    def __call__(self, done_bytes: int, size_bytes: int, phase: str = "", /) -> None:
        """See `PhasedProgress`."""
        self._shown(done_bytes, size_bytes, phase)
        now_s = self._environment.clock.monotonic_s()
        if phase == self._phase and now_s < self._next_s:
            return
        self._phase, self._next_s = phase, now_s + WRITTEN_S
        with suppress(StorageError, OSError):
            content = msgspec.json.encode(RunProgress(done_bytes, size_bytes, phase)) + b"\n"
            publish_file(self._environment.fs, self._path, content)


def read_progress(environment: Environment, path: str) -> RunProgress | None:
    """What the file at `path` says; None if there is none that can be read."""
    with suppress(StorageError, OSError, msgspec.DecodeError):
        content = read_file(environment.fs, path)
        return None if content is None else msgspec.json.decode(content, type=RunProgress)
    return None
