"""A file of events or window entries that wait beside the state, so that a crash loses none of them.

Each commit appends to it. It is replaced when only a small part of it still waits.
Owns: `state/held/` and `state/windows/`: the one append file in each, its name, and when it is worth replacing. In a shard also
`state/closed/`, which is never replaced.
Always: a commit appends after what is there. The previous file stays on disk while a checkpoint names it.
Never: removes a single entry that no longer waits; the whole file is replaced instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Final

from event_processor.storage.append_file import AppendFile, committed_lines
from event_processor.storage.durable import FileSystem, prepare_directory

__all__ = ["CLOSED_FOLDER", "EVENTS_FOLDER", "WINDOWS_FOLDER", "HeldFile", "held_lines", "is_worth_replacing"]

EVENTS_FOLDER: Final = "held"
WINDOWS_FOLDER: Final = "windows"
CLOSED_FOLDER: Final = "closed"
REPLACED_BYTES_MIN: Final = 1_048_576
"""A smaller file is not worth replacing. A larger one is replaced when less than a quarter of it is still held."""


def is_worth_replacing(file_bytes: int, held_bytes: int) -> bool:
    """Whether to replace a file of which only `held_bytes` are still held."""
    return file_bytes > max(REPLACED_BYTES_MIN, 4 * held_bytes)


def held_lines(fs: FileSystem, directory: str, folder: str, appended: Mapping[str, int]) -> Iterator[bytes]:
    """Yields the committed lines of a folder's file, oldest first. Raises `StateError`, `StorageError`."""
    named = ((name, length_bytes) for name, length_bytes in appended.items() if name.startswith(f"{folder}/"))
    blocks = (committed_lines(fs, f"{directory}/{name}", length_bytes) for name, length_bytes in named)
    return chain.from_iterable(chain.from_iterable(blocks))


class HeldFile:
    """The file of a folder, if there is one. Used by one commit at a time."""

    def __init__(
        self, fs: FileSystem, directory: str, folder: str, appended: Mapping[str, int], new_name: Callable[[str], str]
    ) -> None:
        """Opens the file that `appended` names. `new_name` returns names that are never used twice. Raises as `AppendFile` does."""
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
        """Bytes added to the file; 0 if there is none."""
        return self._file.length_bytes if self._file else 0

    def add(self, content: bytes, *, anew: bool) -> None:
        """Makes `content` durable in the file; with `anew`, in a new file that holds nothing else. Raises `StorageError`."""
        if self._file is None or anew:
            self.close()
            prepare_directory(self._fs, f"{self._directory}/{self._folder}")
            self._name = f"{self._folder}/{self._new_name(self._folder)}"
            self._file = AppendFile(self._fs, f"{self._directory}/{self._name}", 0)
        self._file.append(content)
        # If we die here, the committed length cuts off what was appended, or the checkpoint names the previous file. The same
        # content comes again from the log.
        self._file.sync()

    def appended(self) -> dict[str, int]:
        """The committed length of the file by name, if there is a file."""
        return {self._name: self._file.length_bytes} if self._file else {}

    def close(self) -> None:
        """Closes the file. If nothing more is added, the next checkpoint names no file.

        The file is removed when that checkpoint's predecessor does not name it either.
        """
        if self._file is not None:
            self._file.close()
        self._file = None
