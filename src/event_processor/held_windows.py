"""What the windows hold, on disk: `state/windows/`, so that a crash forgets none of it.

Owns: one append file of window entries, and its replacement by a shorter one.
Always: an entry stands in the file as it was at the last commit, behind what it was before. What left the windows is never taken
off, only left behind with its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from event_processor.aggregation.aggregates import AggregatesCommit
from event_processor.durable import AppendFile, FileSystem, prepare_directory, read_file

__all__ = ["WINDOWS_FOLDER", "HeldWindows", "read_held_windows"]

WINDOWS_FOLDER: Final = "windows"


def read_held_windows(fs: FileSystem, directory: str, appended: Mapping[str, int]) -> list[bytes]:
    """The committed lines of the file that `appended` names, if any. Raises `StorageError`."""
    lines: list[bytes] = []
    for name, length_bytes in appended.items():
        if name.startswith(f"{WINDOWS_FOLDER}/"):
            content = read_file(fs, f"{directory}/{name}") or b""
            lines += content[:length_bytes].splitlines()
    return lines


class HeldWindows:
    """The file that window entries are appended to. Used by one commit at a time."""

    def __init__(self, fs: FileSystem, directory: str, appended: Mapping[str, int], new_name: Callable[[str], str]) -> None:
        """Takes up the file that `appended` names, if any. `new_name` gives file names that are never used twice."""
        self._fs: Final = fs
        self._directory: Final = directory
        self._new_name: Final = new_name
        self._name = ""
        self._file: AppendFile | None = None
        for name, length_bytes in appended.items():
            if name.startswith(f"{WINDOWS_FOLDER}/"):
                self._name = name
                self._file = AppendFile(fs, f"{directory}/{name}", length_bytes)

    def write(self, taken: AggregatesCommit) -> None:
        """Makes durable what the windows hold. Raises `StorageError`."""
        if not taken.holds:
            # The checkpoint names no file, and this one goes when its predecessor names it no more.
            self.close()
            return
        if not taken.lines:
            return
        if self._file is None or taken.anew:
            self._start_anew()
        assert self._file is not None
        self._file.append(b"\n".join([*taken.lines, b""]))
        # If we die here, the committed length cuts off what was appended, or names the file before: the events come again.
        self._file.sync()

    def appended(self) -> dict[str, int]:
        """The committed length of the file, if there is one."""
        return {self._name: self._file.length_bytes} if self._file else {}

    def close(self) -> None:
        """Gives the file back."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _start_anew(self) -> None:
        """A new file in the place of the present one, which stays on disk while a checkpoint names it."""
        self.close()
        prepare_directory(self._fs, f"{self._directory}/{WINDOWS_FOLDER}")
        self._name = f"{WINDOWS_FOLDER}/{self._new_name('windows')}"
        self._file = AppendFile(self._fs, f"{self._directory}/{self._name}", 0)
