"""Files that only grow: opened at their committed length, appended to, synced.

Owns: `AppendFile`, the reading of its committed lines, and whole lines added to a log of ours under its lock.
Always: bytes beyond the committed length were never committed. Opening cuts them off.
Never: repeats a failed fsync on the same descriptor: the kernel may have dropped the pages and would then report success.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final

from event_processor.model.errors import ConfigurationError, LockedError, StateError, StorageError
from event_processor.model.file_system import FileSystem
from event_processor.storage.durable import read_range, storage_call, write_all

__all__ = [
    "BEGUN_BYTES",
    "AppendFile",
    "append_lines",
    "append_made",
    "committed_lines",
    "count_lines",
    "last_line",
    "lines_with",
    "whole_bytes_of",
    "whole_lines_bytes",
]

READ_BYTES: Final = 1_048_576
FEW: Final = 8
"""So few texts are searched for one by one, which is faster than a pattern."""
PRESENCE_HINT: Final = (
    "put the file back, then start again; or rebuild it from the log: event-processor replay. "
    "To rotate the output of a sink, let the sink write parts"
)
BEGUN_BYTES: Final = 1_048_576


def append_lines(fs: FileSystem, path: str, lines: Sequence[bytes]) -> None:
    """Appends whole lines to a log of ours that others read: durably, under its lock, all of them or none.

    First cuts off a torn last line that a dead process left: it was never acknowledged, and no reader took it as a record.
    Raises `LockedError` if another process is appending, `StorageError`.
    """
    append_made(fs, path, lambda _whole_bytes: lines)


def append_made(fs: FileSystem, path: str, make: Callable[[int], Sequence[bytes]]) -> None:
    """As `append_lines`, for lines that depend on those before. `make` is called under the lock, with the length of these in bytes.

    Also raises what `make` raises; then nothing was appended.
    """
    with storage_call("open", path):
        descriptor = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        with storage_call("lock", path):
            if not fs.lock(descriptor):
                raise LockedError(f"{path}: another process is appending to this file", hint="try again when it has finished")
            opened, found = fs.status_of(descriptor), fs.status(path)
            if found is None or (found.device, found.inode) != (opened.device, opened.inode):
                # Its owner set it aside between our open and our lock. Nothing may be appended to it any more.
                raise LockedError(f"{path}: was replaced by another file meanwhile", hint="try again")
            whole_bytes = whole_lines_bytes(fs, descriptor, opened.size_bytes)
            if whole_bytes < opened.size_bytes:
                fs.truncate(descriptor, whole_bytes)
        lines = make(whole_bytes)
        try:
            write_all(fs, descriptor, path, b"".join(line + b"\n" for line in lines))
            with storage_call("fsync", path):
                # If we die before this, some of the lines may be there. They were not acknowledged, and may be added again.
                fs.sync(descriptor)
        except StorageError:
            with suppress(OSError):
                fs.truncate(descriptor, whole_bytes)
            raise
    finally:
        fs.close(descriptor)
    with storage_call("fsync", os.path.dirname(path) or "."):
        fs.sync_directory(os.path.dirname(path) or ".")


def whole_lines_bytes(fs: FileSystem, descriptor: int, size_bytes: int) -> int:
    """Returns the length of the whole lines in bytes: the offset after the last line feed."""
    end = size_bytes
    while end:
        start = max(0, end - 65_536)
        feed = read_range(fs, descriptor, end - start, start).rfind(b"\n")
        if feed >= 0:
            return start + feed + 1
        end = start
    return 0


def last_line(fs: FileSystem, descriptor: int, whole_bytes: int) -> bytes:
    """The last line of a file's first `whole_bytes`, which end with a line feed; without it. Raises `OSError`."""
    begin = whole_lines_bytes(fs, descriptor, whole_bytes - 1)
    return read_range(fs, descriptor, whole_bytes - 1 - begin, begin)


def whole_bytes_of(fs: FileSystem, path: str) -> int:
    """The length of the whole lines of a file in bytes; 0 if there is no file. Raises `StorageError`."""
    with storage_call("read", path):
        if fs.status(path) is None:
            return 0
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            return whole_lines_bytes(fs, descriptor, fs.status_of(descriptor).size_bytes)
        finally:
            fs.close(descriptor)


def committed_lines(fs: FileSystem, path: str, length_bytes: int, start_bytes: int = 0) -> Iterator[list[bytes]]:
    """Yields the lines of a file's first `length_bytes`, without line ends, in order. A line begins at `start_bytes`, the first one.

    They come in lists, one per block, so that a file of any size can be read.
    Raises `StateError` if the file is shorter, `StorageError`.
    """
    rest = b""
    for block in _blocks(fs, path, length_bytes, start_bytes):
        *lines, rest = (rest + block).split(b"\n")
        yield lines
    if rest:
        yield [rest]


def lines_with(
    fs: FileSystem, path: str, length_bytes: int, pattern: re.Pattern[bytes], wanted: Collection[bytes]
) -> Iterator[bytes]:
    """Yields the lines of a file's first `length_bytes` in which the first group of `pattern` matches one of `wanted`.

    Without line ends, in order. Only these lines are cut out, so that a large file is searched fast. Raises as `committed_lines` does.
    """
    rest = b""
    for block in _blocks(fs, path, length_bytes):
        whole, feed, rest = (rest + block).rpartition(b"\n")
        yield from _lines_with(whole + feed, pattern, wanted)
    yield from _lines_with(rest, pattern, wanted)


def _lines_with(content: bytes, pattern: re.Pattern[bytes], wanted: Collection[bytes]) -> Iterator[bytes]:
    if len(wanted) <= FEW and not any(each in content for each in wanted):
        return
    place = 0
    while found := pattern.search(content, place):
        place = found.end()
        if found[1] in wanted:
            end = content.find(b"\n", place)
            end = len(content) if end < 0 else end
            yield content[content.rfind(b"\n", 0, found.start()) + 1 : end]
            place = end


def _blocks(fs: FileSystem, path: str, length_bytes: int, start_bytes: int = 0) -> Iterator[bytes]:
    """Yields the first `length_bytes` of a file in blocks, without the first `start_bytes` of them."""
    if length_bytes <= start_bytes:
        return
    with storage_call("read", path):
        descriptor = fs.open(path, os.O_RDONLY) if fs.status(path) is not None else None
    if descriptor is None:
        raise _too_short(path, length_bytes)
    try:
        offset = start_bytes
        while offset < length_bytes:
            with storage_call("read", path):
                block = read_range(fs, descriptor, min(READ_BYTES, length_bytes - offset), offset)
            if not block:
                raise _too_short(path, length_bytes)
            offset += len(block)
            yield block
    finally:
        fs.close(descriptor)


def _too_short(path: str, length_bytes: int) -> StateError:
    return StateError(
        f"{path}: missing, or shorter than the {length_bytes} bytes that were committed",
        hint="put the file back, or rebuild the state from the log: event-processor replay",
    )


class AppendFile:
    """A file to which only we append. A checkpoint holds its committed length.

    Always: `length_bytes` counts what was appended, `synced_bytes` what of it is durable. Opening cuts off what lies beyond the
    committed length: it was never committed. The file is locked while it is open. After a failed write or fsync every later
    call fails. Bytes beyond `length_bytes` are kept only for a caller that asks for it, and the next `append` replaces them.
    """

    def __init__(self, fs: FileSystem, path: str, committed_bytes: int, *, kept_bytes: int = 0) -> None:
        """Opens the file and cuts it to `committed_bytes`. Creates it if it is missing and nothing was committed.

        `kept_bytes`: that many bytes after these are there, and are kept; `count_kept` makes them part of the length.

        Raises `StateError` if the file is shorter than `committed_bytes`, `ConfigurationError` if it is no regular file,
        `LockedError` if another process appends to it, `StorageError` if a call fails.
        """
        self.path: Final = path
        self._fs: Final = fs
        self._broken = False
        with storage_call("stat", path):
            found = fs.status(path)
        if committed_bytes and (found is None or found.size_bytes < committed_bytes):
            held = "is missing" if found is None else f"holds {found.size_bytes} bytes"
            raise StateError(
                f"{path}: {held}, but {committed_bytes} bytes were committed",
                hint="put the file back, or rebuild the state from the log: event-processor replay",
            )
        if found is not None and not found.is_regular:
            raise ConfigurationError(f"{path}: is not a regular file, so nothing can be appended to it", hint="name another path")
        # An existing file may come from a process that died before it synced the folder. Only a committed length proves that
        # the name survives a power cut.
        self._name_is_durable = committed_bytes > 0
        with storage_call("open", path):
            self._descriptor = fs.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            self._take(committed_bytes + kept_bytes)
        except BaseException:
            fs.close(self._descriptor)
            raise
        self.length_bytes = committed_bytes
        self.synced_bytes = committed_bytes
        self._kept_bytes = kept_bytes
        # A process that was killed may have written what is kept, but not synced it.
        self._kept_is_durable = not kept_bytes

    def _take(self, committed_bytes: int) -> None:
        """Locks the file and cuts off what no checkpoint covers."""
        with storage_call("lock", self.path):
            if not self._fs.lock(self._descriptor):
                raise LockedError(f"{self.path}: another process is appending to this file", hint="stop it, or name another path")
        with storage_call("truncate", self.path):
            if self._fs.status_of(self._descriptor).size_bytes > committed_bytes:
                # If we die here, the next start cuts the same bytes again. The cut needs no fsync of its own: a tail that
                # returns after a power cut is still beyond the committed length.
                self._fs.truncate(self._descriptor, committed_bytes)

    def append(self, content: bytes | memoryview, *, kept_bytes: int = 0) -> None:
        """Appends `content`. It is durable only after `sync`. Raises `StorageError`.

        Its last `kept_bytes` are written, but do not count: they are beyond `length_bytes`.
        """
        if self._broken:
            raise StorageError("write", self.path, 0, "an earlier write or fsync of this file failed")
        if not content and not self._kept_bytes:
            return
        self._broken = True
        if self._kept_bytes:
            with storage_call("truncate", self.path):
                # If we die here, what was kept is gone. No checkpoint counts it.
                self._fs.truncate(self._descriptor, self.length_bytes)
        write_all(self._fs, self._descriptor, self.path, content)
        self._broken = False
        self.length_bytes += len(content) - kept_bytes
        self._kept_bytes = kept_bytes
        self._kept_is_durable = not kept_bytes

    def count_kept(self, size_bytes: int) -> None:
        """Makes the first `size_bytes` of the kept bytes part of the length, as if they were appended now."""
        self.length_bytes += size_bytes
        self._kept_bytes -= size_bytes

    def require_presence(self) -> None:
        """Raises `StorageError` if the file was removed, replaced or cut while it is open here. Costs two system calls.

        What was written to such a file is gone, however many more writes succeed.
        """
        with storage_call("stat", self.path):
            opened, found = self._fs.status_of(self._descriptor), self._fs.status(self.path)
        if found is None:
            reason = "it was removed while this process appends to it"
        elif (found.device, found.inode) != (opened.device, opened.inode):
            reason = "another file was put in its place while this process appends to it"
        elif opened.size_bytes < self.length_bytes:
            reason = f"it was cut to {opened.size_bytes} bytes, but {self.length_bytes} were written"
        else:
            return
        raise StorageError("write", self.path, 0, reason, hint=PRESENCE_HINT)

    def begin_writing(self) -> None:
        """Asks the disk to start writing if at least `BEGUN_BYTES` are unsynced, so that `sync` waits less.

        Makes nothing durable.
        """
        if self.length_bytes - self.synced_bytes >= BEGUN_BYTES and not self._broken:
            self._fs.begin_writing(self._descriptor)

    def sync(self) -> None:
        """Makes what was appended durable, and the file's name if it is new. Costs nothing if nothing was appended.

        Raises `StorageError`.
        """
        if self._broken:
            raise StorageError("fsync", self.path, 0, "an earlier write or fsync of this file failed")
        if self.synced_bytes == self.length_bytes and self._kept_is_durable:
            return
        self._broken = True
        with storage_call("fsync", self.path):
            self._fs.sync(self._descriptor)
        if not self._name_is_durable:
            folder = os.path.dirname(self.path) or "."
            with storage_call("fsync", folder):
                self._fs.sync_directory(folder)
            self._name_is_durable = True
        self._broken = False
        self.synced_bytes = self.length_bytes
        self._kept_is_durable = True

    def close(self) -> None:
        """Releases the descriptor and the lock. What was not synced stays uncommitted."""
        self._fs.close(self._descriptor)


def count_lines(fs: FileSystem, path: str, length_bytes: int, start_bytes: int = 0) -> int:
    """How many lines a file's first `length_bytes` hold, from `start_bytes` on. Raises as `committed_lines` does."""
    return sum(map(len, committed_lines(fs, path, length_bytes, start_bytes)))
