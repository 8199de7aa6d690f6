"""The committed index, read from its first byte to its last: for `verify`.

Owns: opening what one checkpoint names, and the check of every block.
Always: the files stay open, so a daemon may replace them meanwhile. Memory is bounded by the filters and a few blocks.
Never: answers which id is known; writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from event_processor.deduplication.generations import read_active
from event_processor.deduplication.segment_format import Manifest
from event_processor.deduplication.segments import Segment
from event_processor.model.event import Json
from event_processor.storage.durable import FileSystem

__all__ = ["CommittedIndex"]

BLOCKS_AT_ONCE: Final = 256


class CommittedIndex:
    """The segments and the active file of a manifest."""

    def __init__(self, fs: FileSystem, directory: str, manifest: Mapping[str, Json], committed: Mapping[str, int]) -> None:
        """Opens everything; checks headers, filters and the active file. An empty `manifest` has no files.

        `directory` is `<state>/ids`; `committed` is the checkpoint's `appended`. Raises `StateError` with file and place if
        something is not as it was written, `StorageError`; then nothing stays open.
        """
        self._segments: Final[list[Segment]] = []
        self.is_kept: Final = bool(manifest)
        self.ids = 0
        """The number of ids in all files."""
        if not manifest:
            return
        entries = Manifest.of(manifest)
        with ExitStack() as opened:
            for entry in entries.segments:
                segment = Segment(fs, directory, entry)
                opened.callback(segment.close)
                self._segments.append(segment)
                self.ids += entry.ids
            if entries.active:
                committed_bytes = committed.get(f"ids/{entries.active}", 0)
                read_active(fs, os.path.join(directory, entries.active), committed_bytes, entries.active_ids)
                self.ids += entries.active_ids
            opened.pop_all()

    def check(self) -> None:
        """Reads every block of every segment, and compares it with its checksum. Raises `StateError`, `StorageError`."""
        for segment in self._segments:
            row = 0
            while count := len(segment.rows_from(row, BLOCKS_AT_ONCE)):
                row += count

    def close(self) -> None:
        """Closes the files."""
        for segment in self._segments:
            segment.close()
