"""The part sink: released lines in numbered files of a fixed number of events; a file is whole as soon as it has its name.

Owns: the pending file of the open part, and the renaming of whole parts. Lines gather in the pending file under a committed
length. With its last line, a part is written whole under a hidden name; the commit covers that; then the file is renamed to its
own name. The columns and format of a line are applied when the part is written.
Always: a part has its name only if a durable checkpoint covers its last line. It is renamed once, and never looked for again:
readers may remove it. At the start, parts that were committed but not renamed are renamed, and uncommitted ones are removed. A
pending file stays until neither checkpoint on disk names it.
Never: overwrites a file that this state did not write.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final

import numpy as np

from event_processor.connectors.files.growing_sink import SinkIdentity
from event_processor.connectors.files.part_files import FoundParts, PartNames
from event_processor.model.contracts import Released
from event_processor.model.errors import ConfigurationError, StorageError
from event_processor.records.writing.outputs import PartOutput
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem, create_file, prepare_directory, read_range, remove_files, storage_call

__all__ = ["PartSink", "committed_part"]

BLOCK_BYTES: Final = 1_048_576
_LINE_FEED: Final = ord("\n")


def committed_part(identity: SinkIdentity, committed: Mapping[str, int]) -> tuple[int, int] | None:
    """The open part's number, and the committed length of its pending file; None if no checkpoint knows this sink."""
    names = PartNames(identity.path.written)
    for key, length_bytes in committed.items():
        number = names.number_of_pending(key.removeprefix(identity.key_prefix)) if key.startswith(identity.key_prefix) else None
        if number is not None:
            return number, length_bytes
    return None


class PartSink:
    """Writes numbered files."""

    def __init__(
        self, identity: SinkIdentity, output: PartOutput, *, part_events: int, fs: FileSystem, committed: Mapping[str, int]
    ) -> None:
        """Continues from `committed` (the checkpoint's `appended`).

        Raises `ConfigurationError` if a name that will be used is taken by a file that this state did not write, `StateError` if
        the pending file is shorter than its committed length, `LockedError`, `StorageError`.
        """
        self.name: Final = identity.name
        self.input: Final = identity.input
        self._key_prefix: Final = identity.key_prefix
        self._names: Final = PartNames(identity.path)
        self._written_names: Final = PartNames(identity.path.written)
        self._output: Final = output
        self._part_events: Final = part_events
        self._fs: Final = fs
        known = committed_part(identity, committed)
        self._number, length_bytes = known or (1, 0)
        prepare_directory(fs, self._names.folder)
        found = self._names.found(fs)
        self._require_free_names(found, is_new=known is None)
        self._pending = AppendFile(fs, self._names.pending(self._number), length_bytes)
        self._unpublished: list[int] = []
        """Parts that are written whole and still have a hidden name."""
        self._closed: list[str] = []
        """Pending files that the next checkpoint does not name, but its predecessor may."""
        self._obsolete: list[str] = []
        """Pending files that neither checkpoint names once the next one is durable."""
        try:
            self._count = sum(block.count(b"\n") for block in self._pending_blocks())
            self._sort_out(found)
        except BaseException:
            self._pending.close()
            raise

    @property
    def has_open_part(self) -> bool:
        return self._count > 0

    def write(self, released: Released) -> None:
        if self._count + released.count < self._part_events:
            for piece in released.pieces:
                self._pending.append(piece)
            self._count += released.count
        else:
            self._cut(chain(self._pending_blocks(), released.pieces), closes=False)

    def require_presence(self) -> None:
        """See `NoticesRemoval.require_presence`. Only for the file of the open part: readers may take the others."""
        self._pending.require_presence()

    def finish(self) -> None:
        if self._count:
            self._cut(self._pending_blocks(), closes=True)

    def sync(self) -> None:
        # If we die here, no checkpoint counts the new pending lines or complete parts: the next start cuts off the lines and
        # removes the parts.
        self._pending.sync()
        if self._unpublished:
            self._sync_folder()

    def appended(self) -> Mapping[str, int]:
        return {self._key_prefix + self._written_names.pending(self._number): self._pending.length_bytes}

    def publish(self) -> None:
        for number in self._unpublished:
            # If we die between two of them, the checkpoint says that the open part is a later one, and the next start renames the
            # rest.
            self._rename(number)
        if self._unpublished:
            self._sync_folder()
        self._unpublished.clear()
        # If we die here, the next start finds these pending files too, and removes them after its first commit.
        remove_files(self._fs, self._obsolete)
        self._obsolete, self._closed = self._closed, []

    def close(self) -> None:
        self._output.close()
        self._pending.close()

    def _require_free_names(self, found: FoundParts, *, is_new: bool) -> None:
        """Raises `ConfigurationError` if a name to be used is taken, or if files exist of a sink that no checkpoint knows."""
        taken = [self._names.published(number) for number in found.published if number >= self._number]
        taken += [
            self._names.published(number) for number in found.complete if number < self._number and number in found.published
        ]
        if is_new:
            taken += map(self._names.complete, found.complete)
            taken += [path for path in map(self._names.pending, found.pending) if self._holds_something(path)]
        if taken:
            raise ConfigurationError(
                f"{taken[0]}: sink {self.name!r} would write here, but there is a file that this state did not write",
                hint="move it and the later parts aside, name another path, or restore the state that wrote them",
            )

    def _holds_something(self, path: str) -> bool:
        status = self._fs.status(path)
        return status is not None and status.size_bytes > 0

    def _sort_out(self, found: FoundParts) -> None:
        """Removes uncommitted files, and notes the parts to publish. The pending file is ours, because we hold its lock."""
        self._unpublished = [number for number in found.complete if number < self._number]
        # The predecessor may name one of these.
        self._closed = [self._names.pending(number) for number in found.pending if number < self._number]
        uncommitted = [self._names.complete(number) for number in found.complete if number >= self._number]
        uncommitted += [self._names.pending(number) for number in found.pending if number > self._number]
        # If we die here, the next start removes the rest.
        remove_files(self._fs, uncommitted)

    def _cut(self, pieces: Iterable[bytes], *, closes: bool) -> None:
        """Writes the parts that `pieces` fill. All pending lines come first in `pieces`; the rest goes to the next part.

        With `closes` the rest becomes a part too, though a short one.
        """
        first, old = self._number, self._pending
        gathered: list[bytes] = []
        gathered_count = 0
        for piece in pieces:
            ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == _LINE_FEED) + 1
            taken, offset = 0, 0
            while gathered_count + len(ends) - taken >= self._part_events:
                taken += self._part_events - gathered_count
                end = int(ends[taken - 1])
                self._complete([*gathered, piece[offset:end]])
                offset, gathered, gathered_count = end, [], 0
            gathered.append(piece[offset:])
            gathered_count += len(ends) - taken
        if closes and gathered_count:
            self._complete(gathered)
            gathered, gathered_count = [], 0
        assert self._number > first, "there was a part to be cut"
        # The lines added to the old pending file since its last commit are in a whole part now. No checkpoint will count them
        # there.
        self._closed.append(old.path)
        self._pending = AppendFile(self._fs, self._names.pending(self._number), 0)
        old.close()
        for piece in gathered:
            self._pending.append(piece)
        self._count = gathered_count

    def _complete(self, pieces: list[bytes]) -> None:
        """Writes the open part whole under its hidden name. Then the next part is the open one."""
        create_file(self._fs, self._names.complete(self._number), self._output.content([piece for piece in pieces if piece]))
        self._unpublished.append(self._number)
        self._number += 1

    def _pending_blocks(self) -> Iterator[bytes]:
        """The content of the pending file, in blocks of whole lines."""
        with storage_call("open", self._pending.path):
            descriptor = self._fs.open(self._pending.path, os.O_RDONLY)
        try:
            rest, offset, end = b"", 0, self._pending.length_bytes
            while offset < end:
                with storage_call("read", self._pending.path):
                    block = read_range(self._fs, descriptor, min(BLOCK_BYTES, end - offset), offset)
                if not block:
                    raise StorageError("read", self._pending.path, 0, f"it ends at {offset} bytes, but {end} were written")
                offset += len(block)
                whole = block.rfind(b"\n") + 1
                if whole:
                    yield rest + block[:whole]
                    rest = block[whole:]
                else:
                    rest += block
        finally:
            self._fs.close(descriptor)

    def _rename(self, number: int) -> None:
        path = self._names.published(number)
        with storage_call("rename", path):
            if self._fs.status(path) is not None:
                reason = "this state did not write the file at this path"
                raise StorageError("rename", path, errno.EEXIST, reason, hint="move it aside, then start again")
            self._fs.rename(self._names.complete(number), path)

    def _sync_folder(self) -> None:
        with storage_call("fsync", self._names.folder):
            self._fs.sync_directory(self._names.folder)
