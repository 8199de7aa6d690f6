"""A file of what waits beside the state, so that a crash forgets none of it: added to at each commit, replaced when little of it waits still.

Owns: `state/held/` and `state/windows/`: the one append file in each, its name, and when replacing it is worth what that writes.
Always: what a commit adds stands behind what was there; what waits no more is never taken off, only left behind with its file. The file
before stays on disk while a checkpoint names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Final

from event_processor.storage.append_file import AppendFile, committed_lines
from event_processor.storage.durable import FileSystem, prepare_directory

__all__ = ["EVENTS_FOLDER", "WINDOWS_FOLDER", "HeldFile", "held_lines", "is_worth_replacing"]

EVENTS_FOLDER: Final = "held"
WINDOWS_FOLDER: Final = "windows"
REPLACED_BYTES_MIN: Final = 1_048_576
"""Below this a file is not worth replacing; above it, it is replaced when less than a quarter of it is still held."""


def is_worth_replacing(file_bytes: int, held_bytes: int) -> bool:
    """Whether a file of which so much is still held should be replaced by one that holds that alone."""
    return file_bytes > max(REPLACED_BYTES_MIN, 4 * held_bytes)


def held_lines(fs: FileSystem, directory: str, folder: str, appended: Mapping[str, int]) -> Iterator[bytes]:
    """The committed lines of a folder's file, in the order in which they were added. Raises `StateError`, `StorageError`."""
    named = ((name, length_bytes) for name, length_bytes in appended.items() if name.startswith(f"{folder}/"))
    blocks = (committed_lines(fs, f"{directory}/{name}", length_bytes) for name, length_bytes in named)
    return chain.from_iterable(chain.from_iterable(blocks))


class HeldFile:
    """The file of a folder, if there is one. Used by one commit at a time."""

    def __init__(
        self, fs: FileSystem, directory: str, folder: str, appended: Mapping[str, int], new_name: Callable[[str], str]
    ) -> None:
        """Takes up the file that `appended` names. `new_name` gives file names that are never used twice. Raises as `AppendFile` does."""
        self._fs: Final = fs
        self._directory: Final = directory
        self._folder: Final = folder
        self._new_name: Final = new_name
        self._name = ""
        self._file: AppendFile | None = None
        for name, length_bytes in appended.items():
            if name.startswith(f"{folder}/"):
                self._name = name
                self._file = AppendFile(fs, f"{directory}/{name}", length_bytes)

    @property
    def length_bytes(self) -> int:
        """How much was added to it; 0 where there is none."""
        return self._file.length_bytes if self._file else 0

    def add(self, content: bytes, *, anew: bool) -> None:
        """Makes `content` durable in the file; `anew`, in one that holds nothing else. Raises `StorageError`."""
        if self._file is None or anew:
            self.close()
            prepare_directory(self._fs, f"{self._directory}/{self._folder}")
            self._name = f"{self._folder}/{self._new_name(self._folder)}"
            self._file = AppendFile(self._fs, f"{self._directory}/{self._name}", 0)
        self._file.append(content)
        # If we die here, the committed length cuts off what was appended, or the checkpoint names the file before: it comes again from the log.
        self._file.sync()

    def appended(self) -> dict[str, int]:
        """The committed length of the file, if there is one."""
        return {self._name: self._file.length_bytes} if self._file else {}

    def close(self) -> None:
        """Gives the file back. If nothing is added any more, the next checkpoint names none, and the file goes when its predecessor does not either."""
        if self._file is not None:
            self._file.close()
        self._file = None
