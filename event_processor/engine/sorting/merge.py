"""The merge of sorted runs.

Owns: the readers of runs, and the order in which their events come out.
Always: ascending by key. One block of each run is in memory. Events come out as soon as no run can hold an earlier one.
Never: writes.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import Final

from event_processor.columns.event_slices import SortKey
from event_processor.columns.event_tables import EventTable, joined
from event_processor.engine.sorting.blocks import read_block
from event_processor.storage.durable import FileSystem, storage_call

__all__ = ["merged"]


def merged(fs: FileSystem, runs: Mapping[str, int], after: SortKey | None) -> Generator[EventTable, None, None]:
    """Yields the events of all runs, ascending by key, in tables of one to a few blocks. Leaves out those up to `after`.

    `runs`: the length in bytes of each file, by its path. Raises `StorageError`.
    """
    with ExitStack() as opened:
        readers = []
        for path, length_bytes in runs.items():
            reader = _RunReader(fs, path, length_bytes)
            opened.callback(reader.close)
            readers.append(reader)
        readers = [reader for reader in readers if reader.fill(after)]
        while readers:
            # Unread blocks of a run hold only events above its last one in memory.
            bound = min((reader.last_key for reader in readers if reader.has_more), default=None)
            pieces = [piece for reader in readers if (piece := reader.take(bound)) is not None]
            yield joined(pieces).in_order()
            readers = [reader for reader in readers if reader.fill(None)]


class _RunReader:
    """One run, block by block."""

    def __init__(self, fs: FileSystem, path: str, length_bytes: int) -> None:
        self._fs: Final = fs
        self._path: Final = path
        self._length_bytes: Final = length_bytes
        self._offset = 0
        self._table: EventTable | None = None
        self._place = 0
        with storage_call("open", path):
            self._descriptor: Final = fs.open(path, os.O_RDONLY)

    @property
    def has_more(self) -> bool:
        """Whether there are blocks that are not in memory."""
        return self._offset < self._length_bytes

    @property
    def last_key(self) -> SortKey:
        """The last key in memory; there is an event in memory."""
        assert self._table is not None, "filled"
        return self._table.keys.at(len(self._table) - 1)

    def fill(self, after: SortKey | None) -> bool:
        """Makes sure that an event above `after` is in memory. Returns False if there is none."""
        while self._table is None or self._place == len(self._table):
            if not self.has_more:
                return False
            self._table, self._offset = read_block(self._fs, self._descriptor, self._path, (self._offset, self._length_bytes))
            self._place = 0 if after is None else self._table.keys.count_through(after)
        return True

    def take(self, bound: SortKey | None) -> EventTable | None:
        """Takes the events in memory up to `bound` (None: all); None if there is none."""
        assert self._table is not None, "filled"
        begin, self._place = self._place, len(self._table) if bound is None else self._table.keys.count_through(bound)
        return self._table.picked(slice(begin, self._place)) if self._place > begin else None

    def close(self) -> None:
        """Closes the file."""
        self._fs.close(self._descriptor)
