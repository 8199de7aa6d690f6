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

__all__ = ["SAMPLE_BYTES", "FileIdentity", "Samples", "hash_of", "prefix_hashes_of"]

SAMPLE_BYTES: Final = 4096
"""The number of bytes to compare at a file's head, and before the offset."""
PREFIX_HASH_DIGITS: Final = 4
PREFIX_SIZES: Final = (*range(1, 11), *(round(12 * 1.25**step) for step in range(27)))
"""The sizes of the prefixes whose hashes show that a file was shortened: each is at most a quarter longer than the one before."""


def hash_of(sample: bytes) -> str:
    """The hash of a sample in the state: xxh3_128, in hexadecimal."""
    return xxhash.xxh3_128_hexdigest(sample)


def prefix_hashes_of(head: bytes) -> str:
    """The short hashes of the prefixes of `head` in `PREFIX_SIZES`, one after the other, in hexadecimal."""
    sizes = (size for size in PREFIX_SIZES if size <= len(head))
    return "".join(xxhash.xxh3_64_hexdigest(head[:size])[:PREFIX_HASH_DIGITS] for size in sizes)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file was read, and how far.

    `head_hash` is of its first min(4096, offset) bytes, `tail_hash` of the last ones before `offset`. `path` is the label of the
    path at which the file was created, whatever its name is now. `prefix_hashes`: of ever longer prefixes of the head; empty in
    positions written before there was this key, and in those of finished input. `retired`, `left_out`, `forgotten`: the files
    before this one (`known.py`). `ended`: the file was removed, and everything that was in it is accounted for.
    Only for a log of ours, in which names decide: `named` is the name under which the file was set aside, without the suffix of a
    compression. Before that, `follows` is that name of the file before it, empty if there was none.
    """

    path: str
    device: int
    inode: int
    offset: int
    head_hash: str
    tail_hash: str
    prefix_hashes: str = ""
    retired: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    forgotten: bool = False
    ended: bool = False
    named: str = ""
    follows: str | None = None

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
        """The identity in the form of the state. Keys with nothing to say are left out."""
        position: dict[str, Json] = {
            "path": self.path,
            "device": self.device,
            "inode": self.inode,
            "offset": self.offset,
            "head_hash": self.head_hash,
            "tail_hash": self.tail_hash,
        }
        if self.prefix_hashes:
            position["prefix_hashes"] = self.prefix_hashes
        if self.retired:
            position["retired"] = list(self.retired)
        if self.left_out:
            position["left_out"] = list(self.left_out)
        if self.forgotten:
            position["forgotten"] = True
        if self.ended:
            position["ended"] = True
        if self.named:
            position["named"] = self.named
        elif self.follows is not None:
            position["follows"] = self.follows
        return position

    @property
    def is_by_name(self) -> bool:
        """Whether the names of the files say which one it is."""
        return bool(self.named) or self.follows is not None

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

    def is_of_shorter(self, content: Content, size_bytes: int) -> bool:
        """Whether `content`, of `size_bytes`, is this file cut to fewer bytes than were read. Raises `OSError`.

        Its prefixes must be those that were read. So a file that was cut to nothing and written again is not taken for it.
        """
        head = content.read(min(size_bytes, SAMPLE_BYTES), 0)
        if size_bytes >= self.offset or not head:
            return False
        if len(head) == SAMPLE_BYTES:
            return hash_of(head) == self.head_hash
        shown = prefix_hashes_of(head)
        return bool(shown) and self.prefix_hashes.startswith(shown)


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
