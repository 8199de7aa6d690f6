"""Reading a generation again, long after: for verification, replay and explanation.

Always: a file is what it holds. One whose bytes before the committed offset differ is never returned.
Never: nothing here follows a file or decides what is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from event_processor.connectors.files.content import Content, content_opener
from event_processor.connectors.files.following.identity import SAMPLE_BYTES, FileIdentity
from event_processor.connectors.files.following.rotation import Rotations
from event_processor.connectors.files.following.succession import find_file
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.event import Json
from event_processor.storage.durable import FileSystem, storage_call

__all__ = ["PartReader", "locate"]

COUNT_BLOCK_BYTES: Final = 1 << 20


class PartReader:
    """The bytes of one generation, at any offset. Read a compressed one forward: going back decodes it from its start."""

    def __init__(self, path: str, content: Content) -> None:
        """Owns `content` from here on; `path` is where it stands now. Raises `StorageError`."""
        self.path: Final = path
        self._content: Final = content
        try:
            with storage_call("read", path):
                # Now, since going back in a compressed file decodes it again.
                self.head: Final = content.read(SAMPLE_BYTES, 0)
        except BaseException:
            content.close()
            raise
        self._decoded_bytes: int | None = None

    def read(self, size_bytes: int, offset: int) -> bytes:
        """`size_bytes` from `offset`; less only where the file ends. Raises `StorageError`."""
        with storage_call("read", self.path):
            return self._content.read(size_bytes, offset)

    @property
    def size_bytes(self) -> int:
        """How much there is now; of a compressed file, decompressed, which decodes it once. Raises `StorageError`."""
        if not self._content.is_compressed:
            with storage_call("stat", self.path):
                return self._content.status().size_bytes
        if self._decoded_bytes is None:
            self._decoded_bytes = 0
            while block := self.read(COUNT_BLOCK_BYTES, self._decoded_bytes):
                self._decoded_bytes += len(block)
        return self._decoded_bytes

    def close(self) -> None:
        """Gives the file back. Nothing else may be called after it."""
        self._content.close()


def locate(part_identity: Mapping[str, Json], options: FileSourceOptions, fs: FileSystem) -> PartReader | None:
    """The file that held a generation, at its path or among the rotated ones, compressed or not; None where it is gone.

    `part_identity` is the `Chunk.position` of the generation's last chunk; where its offset is 0, only its inode can tell.
    Raises `StateError` where it is none, `StorageError` where the disk fails. The caller closes what it gets.
    """
    identity = FileIdentity.of(part_identity)
    path = options.path_of(identity.path)
    match = find_file(
        content_opener(fs, options.items), identity, Rotations(fs, path, options.rotated_pattern(path)).candidates()
    )
    return PartReader(match.candidate.path, match.content) if match else None
