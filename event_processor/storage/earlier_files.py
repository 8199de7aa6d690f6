"""The earlier files of a log of ours, in a folder beside it.

Owns: how a full file goes there, and the names there.
Always: the path of the log has a file at every moment. Names ascend in the order in which the files were full, and each of them is
found again, whatever the clock said. A file in the folder never grows, and everything in it is durable.
Never: decides when a file is full, or when it may be removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final

from event_processor.model.errors import StorageError
from event_processor.storage.durable import FileStatus, FileSystem, storage_call

__all__ = ["EARLIER_NAMES", "earlier_files", "earlier_folder", "is_compressed", "number_of", "numbered_files", "set_aside"]

NUMBER_MIN: Final = 1_000_000_000_000
"""Names are milliseconds since 1970, so that the source reads them in their order; a wrong clock must not make another kind of them."""
CLOCK_MAX: Final = 1_999_000_000_000
"""A time after this (in 2033) names no file: the next number does. So a clock that is ahead leaves names for a thousand million files."""
NUMBER_MAX: Final = 1_999_999_999_999
_NAME: Final = re.compile(r"1\d{12}\.jsonl")
_NAME_COMPRESSED: Final = re.compile(rf"{_NAME.pattern}(\.(gz|zst|xz|bz2))?")
"""A person may compress such a file. The source reads these, and a plain file instead of a compressed one that has its number."""
EARLIER_NAMES: Final = f"1{'[0-9]' * 12}.jsonl"
"""The same as a glob."""


def earlier_folder(path: str) -> str:
    """The folder of the earlier files of the log at `path`: its name without the extension."""
    return os.path.splitext(path)[0]


def earlier_files(fs: FileSystem, path: str) -> Sequence[str]:
    """The paths of the earlier files of the log at `path`, oldest first, without compressed ones. Raises `StorageError`."""
    return _matching(fs, path, _NAME)


def numbered_files(fs: FileSystem, path: str) -> Sequence[str]:
    """As `earlier_files`, with compressed ones: one path for each file that was set aside and is still there."""
    by_number: dict[int, str] = {}
    for each in _matching(fs, path, _NAME_COMPRESSED):
        by_number.setdefault(number_of(each), each)  # a plain name sorts before a compressed one
    return list(by_number.values())


def _matching(fs: FileSystem, path: str, pattern: re.Pattern[str]) -> Sequence[str]:
    folder = earlier_folder(path)
    with storage_call("list", folder):
        return [os.path.join(folder, name) for name in fs.names(folder) if pattern.fullmatch(name)]


def number_of(path: str) -> int:
    """The number that an earlier file has by its name; 0 if `path` is no such name."""
    found = _NAME_COMPRESSED.fullmatch(os.path.basename(path))
    return int(found[0].partition(".")[0]) if found else 0


def is_compressed(path: str) -> bool:
    """Whether an earlier file is compressed, by its name."""
    return _NAME.fullmatch(os.path.basename(path)) is None


def set_aside(fs: FileSystem, path: str, full: FileStatus) -> FileStatus:
    """Moves the file at `path` to the earlier ones, and puts an empty file in its place. Returns the status of that.

    The caller holds the lock of the file, and everything in it is durable. What it appends to the new file is durable only after it
    has synced the folder of `path`. Raises `StorageError`.
    """
    earlier = numbered_files(fs, path)
    with storage_call("link", path):
        last = fs.status(earlier[-1]) if earlier else None
        if last is None or (last.device, last.inode) != (full.device, full.inode):
            _link(fs, path, full, earlier)
    # If we die here, the file has two names. A reader takes it for the file at the path, and the next call goes on here.
    fresh = f"{path}.new"
    with storage_call("create", fresh):
        descriptor = fs.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            created = fs.status_of(descriptor)
        finally:
            fs.close(descriptor)
    with storage_call("rename", path):
        # If the power fails before the folder is synced, the path may have the full file again. Nothing after it was acknowledged.
        fs.rename(fresh, path)
    return created


def _link(fs: FileSystem, path: str, full: FileStatus, earlier: Sequence[str]) -> None:
    folder = earlier_folder(path)
    if fs.status(folder) is None:
        fs.make_directory(folder)
        fs.sync_directory(os.path.dirname(folder) or ".")
    after = number_of(earlier[-1]) + 1 if earlier else NUMBER_MIN
    if after > NUMBER_MAX:
        # Only a file that we did not name has the last number. Under any other kind of name, the records would never be read.
        raise StorageError("link", folder, 0, "no name is left after the last one", hint=f"give {earlier[-1]} a lower number")
    by_clock = full.modified_ns // 1_000_000
    fs.link(path, os.path.join(folder, f"{max(after, by_clock) if by_clock <= CLOCK_MAX else after}.jsonl"))
    # If we die before this, the path has the file, whatever became of the second name.
    fs.sync_directory(folder)
