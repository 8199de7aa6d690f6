"""A log of ours to which several processes append: how it grows, and how far a reader may trust it.

Owns: `SharedLog`: group appends, when a full file is set aside (`earlier_files.py` does it), the length that is durable, and what
its reader may see (`durable_view.py` shows it so).
Always: a reader sees only whole lines that were fsynced. An append is durable when it returns, or it raises. Each append takes the
file's lock and releases it, so other processes append in between.
Never: appends, syncs or shows more after a write or an fsync failed; trusts bytes of which it does not know that they are durable.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Lock
from typing import Final, TypeVar

from event_processor.model.clock import SystemWakeup
from event_processor.model.contracts import Clock
from event_processor.model.errors import LockedError, StorageError
from event_processor.storage.append_file import PRESENCE_HINT, whole_lines_bytes
from event_processor.storage.durable import FileStatus, FileSystem, storage_call, write_all
from event_processor.storage.earlier_files import is_compressed, number_of, numbered_files, set_aside

__all__ = ["SharedLog", "patiently"]

LOCK_TRIES: Final = 200
LOCK_RETRY_S: Final = 0.05
PACE_S: Final = 0.2
"""Each look that shows more makes a commit, which keeps the disk busy. Appends would wait for it."""
Value = TypeVar("Value")


def patiently(clock: Clock, append: Callable[[], Value]) -> Value:
    """Calls `append` again while another process holds the lock of the file, for about ten seconds. Raises what it raises."""
    for _ in range(LOCK_TRIES - 1):
        try:
            return append()
        except LockedError:
            clock.wait(SystemWakeup(), LOCK_RETRY_S)
    return append()


class SharedLog:
    """The log at one path, for one process. One thread appends, another one reads through `look`; other processes append too.

    `durable_bytes` are fsynced, and end with a line. What is beyond is of an append that did not return, here or elsewhere.
    """

    def __init__(self, fs: FileSystem, path: str, clock: Clock | None = None) -> None:
        """`clock`: if it is given, the reader is shown what this process appends at most every `PACE_S`."""
        self.path: Final = path
        self._fs: Final = fs
        self._clock: Final = clock
        self._shown_s = -math.inf
        self._busy: Final = Lock()
        """Held by the thread of ours that works on the file. The lock of the file keeps other processes away."""
        self.durable_bytes = 0
        self._file: tuple[int, int] | None = None
        """Device and inode of the file to which `durable_bytes` belong."""
        self._name_is_durable = False
        self.file_bytes_max: int | None = None
        """A file of this size is set aside before the next append; None: never. Only the process that owns the log may set it."""
        self.files_set_aside = 0
        """How many files this process has set aside."""
        self._written_end: int | None = None
        """The end of the file after the last append of this process."""
        self._set_aside_last: tuple[int, int] | None = None
        self._failure: StorageError | None = None
        self._shown: FileStatus | None = None
        self._torn: FileStatus | None = None
        """The file with a tail that is no line, as it was seen last."""

    def require(self) -> None:
        """Raises `StorageError` if a write or an fsync failed: nothing can be appended any more."""
        if self._failure is not None:
            raise self._failure

    def append(self, content: bytes) -> int:
        """Appends whole lines and makes them durable. Returns the offset of the first.

        Raises `LockedError` if another process is appending: try again. Raises `StorageError` if the disk fails, now and at every
        later call. Then the lines are cut off again, or beyond what is known to be durable.
        """
        with self._busy:
            self.require()
            try:
                return self._append(content)
            except StorageError as error:
                self._failure = error
                raise

    def _append(self, content: bytes) -> int:
        with self._locked() as descriptor:
            offset = self._whole_end(descriptor)
            # Only if its end was written and synced by us. Of an end that others left, an earlier fsync may have failed: the cache may
            # show it without a torn line that the disk has. The next append writes over that, and then the file can be set aside.
            is_full = self.file_bytes_max is not None and offset >= self.file_bytes_max and offset == self._written_end
            if not is_full:
                return self._write(descriptor, offset, content)
            self._set_aside(descriptor)
        with self._locked() as descriptor:
            return self._write(descriptor, self._whole_end(descriptor), content)

    def _whole_end(self, descriptor: int) -> int:
        """Where the next line begins. Cuts off a torn line."""
        found = self._fs.status_of(descriptor)
        self._require_presence(found)
        offset = found.size_bytes
        if offset != self.durable_bytes:
            # Another process appended, or died within its append and left a torn line: it was never acknowledged.
            offset = whole_lines_bytes(self._fs, descriptor, found.size_bytes)
            if offset < found.size_bytes:
                with storage_call("truncate", self.path):
                    self._fs.truncate(descriptor, offset)
        return offset

    def _write(self, descriptor: int, offset: int, content: bytes) -> int:
        try:
            write_all(self._fs, descriptor, self.path, content)
            # If we die before this, some of the lines may be there. They were not acknowledged, and their ids are known if
            # they are sent again.
            self._sync(descriptor)
        except StorageError:
            with suppress(OSError):
                # After a failed fsync the cache may show bytes that no disk has. The next start must not count them.
                self._fs.truncate(descriptor, offset)
            raise
        found = self._fs.status_of(descriptor)
        self._file, self.durable_bytes = (found.device, found.inode), offset + len(content)
        self._written_end = self.durable_bytes
        return offset

    def _set_aside(self, descriptor: int) -> None:
        """Begins another file. All of this one is durable: readers see all of it from now on."""
        full = self._fs.status_of(descriptor)
        self._set_aside_last = (full.device, full.inode)
        try:
            created = set_aside(self._fs, self.path, full)
        except StorageError:
            self._set_aside_last = None
            raise
        # If we die here, the next process knows no file to be durable, and syncs what it finds.
        self.durable_bytes, self._file, self._name_is_durable = 0, (created.device, created.inode), False
        self._written_end = None
        self.files_set_aside += 1

    def _require_presence(self, found: FileStatus) -> None:
        """Raises `StorageError` if the file was replaced or cut: what was acknowledged is gone."""
        if self._file is None or (found.device, found.inode) == self._file:
            if found.size_bytes >= self.durable_bytes:
                return
            reason = f"it was cut to {found.size_bytes} bytes, but {self.durable_bytes} were written"
        else:
            reason = "another file was put in its place while this process appends to it"
        raise StorageError("write", self.path, 0, reason, hint=PRESENCE_HINT)

    def _sync(self, descriptor: int) -> None:
        with storage_call("fsync", self.path):
            self._fs.sync(descriptor)
        if not self._name_is_durable:
            folder = os.path.dirname(self.path) or "."
            with storage_call("fsync", folder):
                self._fs.sync_directory(folder)
            self._name_is_durable = True

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """A descriptor with the lock of the file. Raises `LockedError`, `StorageError`."""
        with storage_call("open", self.path):
            descriptor = self._fs.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            with storage_call("lock", self.path):
                if not self._fs.lock(descriptor):
                    raise LockedError(
                        f"{self.path}: another process is appending to this file", hint="try again when it has finished"
                    )
            with storage_call("access", self.path):
                yield descriptor
        finally:
            self._fs.close(descriptor)

    # For the reader.

    def look(self) -> FileStatus | None:
        """The status of the file as far as it is durable; None if there is none. Used by the reader's thread alone.

        If another process has appended, or one that ended, this makes it durable first. Raises `StorageError` if that fails.
        """
        found = self._fs.status(self.path)
        if found is None or not found.is_regular:
            self._shown = None
            return found
        size_bytes = self._durable_size(found)
        shown = self._shown
        if shown is None or (shown.device, shown.inode, shown.size_bytes) != (found.device, found.inode, size_bytes):
            is_growth = (
                shown is not None and (shown.device, shown.inode) == (found.device, found.inode) and size_bytes > shown.size_bytes
            )
            if is_growth and not self.is_due:
                return shown
            self._shown_s = self._now_s()
            # What is not durable yet has changed the time of the file, but not what a reader sees of it.
            self._shown = replace(found, size_bytes=size_bytes)
        return self._shown

    def _durable_size(self, found: FileStatus) -> int:
        """How much of the file at the path may be shown."""
        file = (found.device, found.inode)
        if file == self._set_aside_last:
            # It was set aside since we looked, or is about to be: all of it is durable.
            return found.size_bytes
        if file != self._file or found.size_bytes != self.durable_bytes:
            self._extend(found)
        return min(found.size_bytes, self.durable_bytes) if file == self._file else 0

    @property
    def file(self) -> tuple[int, int] | None:
        """Device and inode of the file to which the next append goes, unless it is full; None if that is not known yet."""
        return self._file

    def files_after(self, file: tuple[int, int] | None, path: str = "") -> int:
        """How many files follow this one, up to the file at the path; None: how many precede the file at the path.

        `path`: where it is, or was until a person compressed it. 0 if there is no such file. Raises `StorageError`.
        """
        with storage_call("stat", self.path):
            found = [(each, self._fs.status(each)) for each in (*numbered_files(self._fs, self.path), self.path)]
        numbers: dict[tuple[int, int], int] = {}
        for each, status in found:
            if status is not None:
                numbers.setdefault((status.device, status.inode), number_of(each))
        if file is None:
            return max(0, len(numbers) - 1)
        order = list(numbers)
        if file not in numbers and (number := number_of(path)):
            file = next((each for each, its_number in numbers.items() if its_number == number), file)
        return len(order) - 1 - order.index(file) if file in numbers else 0

    def earlier_bytes(self, files_later: int) -> int:
        """The size of the file that is followed by so many, up to the file at the path; 0 if it is gone. Raises `StorageError`.

        If it is compressed, its size is not known, and this is more than any size.
        """
        earlier = numbered_files(self._fs, self.path)
        if files_later > len(earlier):
            return 0
        path = earlier[-files_later]
        with storage_call("stat", path):
            found = self._fs.status(path)
        if found is not None and is_compressed(path):
            return sys.maxsize
        return found.size_bytes if found else 0

    @property
    def is_due(self) -> bool:
        """Whether the next look shows everything that is durable. Any thread may ask."""
        return self._now_s() >= self._shown_s + PACE_S

    def _now_s(self) -> float:
        return math.inf if self._clock is None else self._clock.monotonic_s()

    def clipped(self, found: FileStatus) -> FileStatus:
        """The status of an open file, as the last `look` showed it."""
        shown = self._shown or self.look()
        return shown if shown is not None and (shown.device, shown.inode) == (found.device, found.inode) else found

    def _extend(self, found: FileStatus) -> None:
        """Makes durable what others appended, if none of them is appending now."""
        if found == self._torn or not self._busy.acquire(blocking=False):
            return
        try:
            if self._failure is not None:
                # The cache may show bytes that no disk has, and a second fsync would succeed without them. Nothing more is shown.
                return
            with self._locked() as descriptor:
                # A file that was cut or replaced is shown as it is. The source reports it.
                now = self._fs.status_of(descriptor)
                if (now.device, now.inode) != self._file or now.size_bytes < self.durable_bytes:
                    self._file, self.durable_bytes, self._name_is_durable = (now.device, now.inode), 0, False
                whole_bytes = whole_lines_bytes(self._fs, descriptor, now.size_bytes)
                self._torn = now if whole_bytes < now.size_bytes else None
                if whole_bytes > self.durable_bytes:
                    # If we die before this, the next start does the same: it knows nothing to be durable.
                    self._sync(descriptor)
                    self.durable_bytes = whole_bytes
        except LockedError:
            return
        except StorageError as error:
            self._failure = self._failure or error
            raise
        finally:
            self._busy.release()
