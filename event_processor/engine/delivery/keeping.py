"""How long records stay in the outbox after every lane has passed them.

Owns: when the lanes of each input passed which sequence, and its file, so that a restart does not begin the time anew.
Always: a record is kept for at least `keep_s` after the last lane passed it, by the wall clock. If the file is gone, it is kept longer.
Never: removes a file (the commit leaves it out).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER
from event_processor.model.errors import EventProcessorError
from event_processor.storage.durable import FileSystem, publish_file, read_file

__all__ = ["Keeping"]

KEEPING_NAME: Final = "passed.json"
MARKS_MAX: Final = 100
Marks = dict[str, list[tuple[float, int]]]
"""By input: wall seconds, and the sequence that every lane had passed then; ascending."""


class Keeping:
    """The marks of one state. Used by one thread."""

    def __init__(self, fs: FileSystem, directory: str, keep_s: float, wall_ns: Callable[[], int]) -> None:
        """Reads the marks of the process before. Raises `StorageError`."""
        self._fs: Final = fs
        self._path: Final = os.path.join(directory, DELIVERY_FOLDER, KEEPING_NAME)
        self._keep_s: Final = keep_s
        self._wall_ns: Final = wall_ns
        self._marks: Final[Marks] = _marks(read_file(fs, self._path))

    def passed(self, input_name: str, sequence: int) -> int:
        """Every lane of the input has passed `sequence` now. Returns the sequence up to which nothing need be kept; 0 if none."""
        now_s = self._wall_ns() / 1e9
        marks = self._marks.setdefault(input_name, [])
        # A lane that begins anew, or a restored state, may be behind what was passed once.
        while marks and marks[-1][1] > sequence:
            marks.pop()
        is_new = not marks or marks[-1][1] < sequence
        if is_new and (not marks or now_s - marks[-1][0] >= self._keep_s / MARKS_MAX):
            marks.append((now_s, sequence))
            self._write()
        spare = 0
        while marks and now_s - marks[0][0] >= self._keep_s:
            spare = marks[0][1]
            if len(marks) == 1:
                break
            marks.pop(0)
        return spare

    def _write(self) -> None:
        """If we die before, or it fails, records are kept longer than they need be."""
        with suppress(EventProcessorError, OSError):
            publish_file(self._fs, self._path, msgspec.json.encode(self._marks) + b"\n")


def _marks(content: bytes | None) -> Marks:
    try:
        return msgspec.json.decode(content or b"{}", type=Marks)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return {}
