"""The durable side of the index: what one commit appends, seals or replaces, and the manifest that results.

Owns: the active file and the manifest as of the last write.
Always: writes run one at a time, in the order in which they were taken; each may run in another thread. When `write` returns,
every id of the manifest is durable.
Never: unlinks a file. A checkpoint on disk may still name a file that the manifest no longer names. The owner of the checkpoint
removes it when none does.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from event_processor.deduplication.generations import Generation, encode_frame
from event_processor.deduplication.merge import joined_sections
from event_processor.deduplication.runs import Run
from event_processor.deduplication.segment_format import Geometry, Header, Manifest, SegmentEntry
from event_processor.deduplication.segments import Segment, create_segment
from event_processor.model.event import Json
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import FileSystem

__all__ = ["Commit", "IndexWriter", "Mint", "Replacement", "mint_name"]

Mint: TypeAlias = Callable[[str], str]
"""Returns a new file name of this kind, never used before."""


def mint_name(kind: str) -> str:
    """Returns `kind` and 64 random bits."""
    return f"{kind}-{secrets.token_hex(8)}"


@dataclass(frozen=True, slots=True)
class Replacement:
    """A finished merge: the new segment, already durable, and the file names of its inputs."""

    output: SegmentEntry
    inputs: frozenset[str]


class IndexWriter:
    """Appends, seals and replaces. Used by one thread at a time: the one that writes the commit."""

    def __init__(
        self, fs: FileSystem, directory: str, *, manifest: Manifest, committed_bytes: int, geometry: Geometry, mint: Mint
    ) -> None:
        """Cuts the manifest's active file to its committed length, `committed_bytes`. Raises as `AppendFile` does."""
        self._fs: Final = fs
        self._directory: Final = directory
        self._geometry: Final = geometry
        self._mint: Final = mint
        self._manifest = manifest
        self._active = self._open_active(manifest.active, committed_bytes) if manifest.active else None

    def replace(self, replacement: Replacement) -> None:
        """Replaces the inputs by the merged segment in the manifest."""
        kept = [entry for entry in self._manifest.segments if entry.file not in replacement.inputs]
        self._change(segments=(*kept, replacement.output))

    def seal(self, generation: Generation) -> Segment:
        """Makes a whole frozen generation a segment, which replaces the active file. Raises `StorageError`, `StateError`."""
        header = Header(level=0, ids=generation.ids, geometry=self._geometry)
        # If we die here, or anywhere before the checkpoint that names the segment, the active file still holds the committed
        # ids of these. It is closed, but unchanged.
        sections = joined_sections(generation.runs, self._geometry.section_rows)
        entry = create_segment(self._fs, self._directory, self._mint("segment"), header, sections)
        segment = Segment(self._fs, self._directory, entry)
        self.close()
        self._change(active="", active_ids=0, segments=(*self._manifest.segments, entry))
        return segment

    def append(self, runs: Sequence[Run]) -> None:
        """Appends to the active file, or to a new one if none is open, and makes it durable. Raises `StorageError`."""
        if self._active is None:
            name = self._mint("active")
            self._active = self._open_active(name, 0)
            self._change(active=name)
        for run in runs:
            self._active.append(encode_frame(run, self._active.length_bytes))
        # If we die here, these frames lie beyond the committed length, or in a file that no checkpoint names. The next start
        # cuts them off, or removes the file. Then the same records give the same ids again.
        self._active.sync()
        self._change(active_ids=self._manifest.active_ids + sum(map(len, runs)))

    def raise_marks(self, greatest_ids: Sequence[int | str] | None) -> None:
        """Stores in the manifest the greatest of all ids that were appended, per kind."""
        self._change(greatest_ids=None if greatest_ids is None else tuple(greatest_ids))

    def manifest(self) -> Mapping[str, Json]:
        """The manifest as of the last write."""
        return self._manifest.to_json()

    def appended(self) -> Mapping[str, int]:
        """The active file's length in bytes, by its path below the state directory; empty if there is none."""
        if self._active is None:
            return {}
        return {f"{os.path.basename(self._directory)}/{self._manifest.active}": self._active.length_bytes}

    def close(self) -> None:
        """Closes the active file."""
        active, self._active = self._active, None
        if active is not None:
            active.close()

    def _open_active(self, name: str, committed_bytes: int) -> AppendFile:
        return AppendFile(self._fs, os.path.join(self._directory, name), committed_bytes)

    def _change(self, **fields: object) -> None:
        self._manifest = msgspec.structs.replace(self._manifest, **fields)


class Commit:
    """What was observed between two calls of `take`. It shares with the index only what no longer changes.

    `write` may run in another thread while the index observes more ids.
    """

    def __init__(
        self,
        writer: IndexWriter,
        *,
        replacement: Replacement | None,
        frozen: Sequence[Generation],
        unwritten: Sequence[Run],
        greatest_ids: Sequence[int | str] | None,
        sealed: Callable[[Generation, Segment], None],
    ) -> None:
        """`sealed` is called in the writing thread, for each of the `frozen` generations once it is a segment."""
        self._writer: Final = writer
        self._replacement: Final = replacement
        self._frozen: Final = frozen
        self._unwritten: Final = unwritten
        self._greatest_ids: Final = greatest_ids
        self._sealed: Final = sealed

    def write(self) -> Mapping[str, Json]:
        if self._replacement is not None:
            self._writer.replace(self._replacement)
        for generation in self._frozen:
            self._sealed(generation, self._writer.seal(generation))
        if self._unwritten:
            self._writer.append(self._unwritten)
        self._writer.raise_marks(self._greatest_ids)
        return self._writer.manifest()

    def appended(self) -> Mapping[str, int]:
        return self._writer.appended()
