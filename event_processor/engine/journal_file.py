"""The file of the reading journal, as commits write it: closed entries, and beyond the committed length what a fallback needs.

Owns: `journal.jsonl` while a pipeline is open; the open run and the tail that are beyond its committed length.
Always: if there are lanes, the open run of a checkpoint is in the file before that checkpoint. It does not count there: a start takes it
from the checkpoint. While a fallback follows the tail, an entry that is made again only moves the committed length over the entry
that is already there, so the rest of the tail stays on the disk until it is made again too.
Never: reads the log, or decides what is read next (`following.py` does).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Final

from event_processor.engine.journal import (
    JournalEntry,
    JournalRun,
    LossesAcknowledged,
    LossFound,
    RetiredGeneration,
    encode_entries,
    entries_until_torn,
)
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem, read_range, storage_call

__all__ = ["JournalFile"]

LOSSES: Final = (LossFound, LossesAcknowledged)


class JournalFile:
    """Used by one thread at a time, the thread of the commit."""

    def __init__(
        self,
        fs: FileSystem,
        path: str,
        committed_bytes: int,
        *,
        open_run: JournalRun | None,
        has_lanes: bool,
        follows: bool,
    ) -> None:
        """Continues after `committed_bytes`. `open_run`: of the checkpoint that is resumed.

        With `follows`, the tail is kept: the whole lines after the committed length, until the first that is no entry. Otherwise only
        the open run is kept, and only if there are lanes. The rest is cut off. Raises as `AppendFile` does.
        """
        self.path: Final = path
        self._has_lanes: Final = has_lanes
        beyond = _beyond(fs, path, committed_bytes) if follows or has_lanes else b""
        self._tail: Final[deque[tuple[JournalEntry, bytes]]] = deque(entries_until_torn(beyond) if follows else ())
        line = self._line_of(open_run)
        self._line: bytes | None = b"" if follows or not beyond.startswith(line) else line
        """The open run as it is in the file; None if something else may be there."""
        kept_bytes = sum(len(each) for _, each in self._tail) + len(self._line or b"")
        self._file: Final = AppendFile(fs, path, committed_bytes, kept_bytes=kept_bytes)

    @property
    def length_bytes(self) -> int:
        """The length that the next checkpoint commits."""
        return self._file.length_bytes

    @property
    def tail(self) -> tuple[JournalEntry, ...]:
        """The entries beyond the committed length that were not made again yet, in order. The last one may be an open run."""
        return tuple(entry for entry, _ in self._tail)

    def write(self, closed: Sequence[JournalEntry], open_run: JournalRun | None) -> None:
        """Appends the `closed` entries, and writes the open run after them if there are lanes. Durable after `sync`.

        An entry that the tail has at this place is not written again. If the tail has another one, the rest of the tail is left.
        Raises `StorageError`.
        """
        new = deque(closed)
        while self._tail and new:
            kept, line = self._tail[0]
            if _says_the_same(kept, new[0]):
                self._file.count_kept(len(line))
                self._tail.popleft()
                new.popleft()
            elif isinstance(new[0], LOSSES):
                self._insert(new.popleft())
            else:
                self.leave_tail()
        if self._tail:
            if self.tail == (open_run,):
                # Everything was made again. What is left is the open run, which the checkpoint has.
                self._line = self._tail.popleft()[1]
            return
        line = self._line_of(open_run)
        if new or line != self._line:
            # If we die before the checkpoint, the next start cuts off the entries and the line; the log gives them again. If in
            # that moment the present checkpoint broke too, only the run that was open in it is missing from the tail.
            self._file.append(encode_entries(new) + line, kept_bytes=len(line))
            self._line = line

    def leave_tail(self) -> None:
        """The log is no longer read as the tail says: the next `write` replaces the rest of it."""
        if self._tail:
            self._tail.clear()
            self._line = None

    def sync(self) -> None:
        """Makes what was written, and what is kept, durable. Costs nothing if nothing was written. Raises `StorageError`."""
        self._file.sync()

    def require_presence(self) -> None:
        """See `AppendFile.require_presence`."""
        self._file.require_presence()

    def close(self) -> None:
        """Releases the file."""
        self._file.close()

    def _insert(self, entry: JournalEntry) -> None:
        """Writes an entry before the tail: a loss has no place among the records.

        If we die before the next checkpoint, the tail is there, or it is lost: then the start reads on as if there had been none.
        """
        rest = b"".join(line for _, line in self._tail)
        self._file.append(encode_entries([entry]) + rest, kept_bytes=len(rest))

    def _line_of(self, open_run: JournalRun | None) -> bytes:
        return encode_entries([open_run]) if open_run and self._has_lanes else b""


def _beyond(fs: FileSystem, path: str, committed_bytes: int) -> bytes:
    """The bytes of a file after its committed length; empty if there is no file. Raises `StorageError`."""
    with storage_call("read", path):
        status = fs.status(path)
        if status is None or not status.is_regular or status.size_bytes <= committed_bytes:
            return b""
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            return read_range(fs, descriptor, status.size_bytes - committed_bytes, committed_bytes)
        finally:
            fs.close(descriptor)


def _says_the_same(kept: JournalEntry, made: JournalEntry) -> bool:
    """Whether both are one entry. A generation may be retired at another path: its file was renamed once more meanwhile."""
    if isinstance(kept, RetiredGeneration) and isinstance(made, RetiredGeneration):
        return (kept.source, kept.generation, kept.end_offset()) == (made.source, made.generation, made.end_offset())
    return kept == made
