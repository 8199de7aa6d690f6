"""How a file is found again: by device and inode, and by its content at the head and before the offset.

Owns: `FileIdentity` (what the state keeps about a file) and `Samples` (the same bytes, while the file is read).
Always: a path proves nothing. An inode proves nothing either, because a new file may get it. Only the content does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import xxhash

from event_processor.connectors.files.content import Content
from event_processor.model.errors import StateError
from event_processor.model.event import Json
from event_processor.storage.durable import FileStatus

__all__ = ["SAMPLE_BYTES", "FileIdentity", "Samples", "hash_of"]

SAMPLE_BYTES: Final = 4096
"""The number of bytes to compare at a file's head, and before the offset."""


def hash_of(sample: bytes) -> str:
    """The hash of a sample in the state: xxh3_128, in hexadecimal."""
    return xxhash.xxh3_128_hexdigest(sample)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file was read, and how far.

    `head_hash` is of its first min(4096, offset) bytes, `tail_hash` of the last ones before `offset`. `path` is the label of the
    path at which the file was created, whatever its name is now.
    """

    path: str
    device: int
    inode: int
    offset: int
    head_hash: str
    tail_hash: str

    @classmethod
    def of(cls, position: Mapping[str, Json]) -> FileIdentity:
        """The identity in a `Chunk.position`. Raises `StateError` for anything else."""
        try:
            return msgspec.convert(dict(position), cls)
        except msgspec.ValidationError as error:
            raise StateError(
                f"the state has an invalid position of a file: {error}",
                hint="rebuild the state from the log: event-processor replay",
            ) from error

    def position(self) -> dict[str, Json]:
        """The identity in the form of the state."""
        return {
            "path": self.path,
            "device": self.device,
            "inode": self.inode,
            "offset": self.offset,
            "head_hash": self.head_hash,
            "tail_hash": self.tail_hash,
        }

    def has_inode_of(self, status: FileStatus) -> bool:
        """Whether `status` has the same inode. Its content may still differ."""
        return (self.device, self.inode) == (status.device, status.inode)

    def samples_in(self, content: Content) -> Samples | None:
        """The samples at `offset` if `content` holds this file's first `offset` bytes, as far as the samples show; else None.

        Raises `OSError`. For compressed content everything before the offset is decoded, if the head agrees.
        """
        size_bytes = min(SAMPLE_BYTES, self.offset)
        head = content.read(size_bytes, 0)
        if len(head) < size_bytes or hash_of(head) != self.head_hash:
            return None
        tail = content.read(size_bytes, self.offset - size_bytes)
        if len(tail) < size_bytes or hash_of(tail) != self.tail_hash:
            return None
        return Samples(head, tail)


@dataclass(frozen=True, slots=True)
class Samples:
    """The first bytes of a file, and the last before an offset; min(4096, offset) bytes each."""

    head: bytes = b""
    tail: bytes = b""

    def after(self, content: bytes) -> Samples:
        """The samples after `content` was read too."""
        head = self.head
        if len(head) < SAMPLE_BYTES:
            head += content[: SAMPLE_BYTES - len(head)]
        tail = content[-SAMPLE_BYTES:] if len(content) >= SAMPLE_BYTES else (self.tail + content)[-SAMPLE_BYTES:]
        return Samples(head, tail)
