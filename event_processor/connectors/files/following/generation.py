"""A generation that is followed: its tail, its number, and the path and status of its file when last seen.

Owns: the facts that decide what may be done with a generation.
Never: decides; `path.py` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from event_processor.connectors.files.content import Opener, content_opener
from event_processor.connectors.files.following.identity import FileIdentity, hash_of, prefix_hashes_of
from event_processor.connectors.files.following.obstacles import Obstacles
from event_processor.connectors.files.following.rotation import Candidate
from event_processor.connectors.files.following.tail import Tail
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.contracts import Clock
from event_processor.model.event import Chunk, Json
from event_processor.model.losses import Loss
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileStatus, FileSystem, storage_call

__all__ = ["FinishedGeneration", "Generation", "SourceContext", "follow", "retired_chunk"]


@dataclass(frozen=True, slots=True)
class SourceContext:
    """The context in which every file of a source is read.

    `last_commit_ns`: the time of the commit that is resumed, if known. `losses` gets what is found to be lost.
    """

    source: str
    options: FileSourceOptions
    fs: FileSystem
    clock: Clock
    telemetry: Telemetry
    finished: bool
    last_commit_ns: int | None
    obstacles: Obstacles
    losses: list[Loss]

    @property
    def open_content(self) -> Opener:
        """Opens a file of the source. Reports a file that cannot be opened."""
        return self.obstacles.reporting(content_opener(self.fs, self.options.items, self.telemetry.reading))

    @property
    def retire_s(self) -> float:
        """How long a rotated file must be quiet, in seconds."""
        return self.options.retire_ms / 1000


@dataclass(slots=True)
class Generation:
    """One open generation.

    `number`: the generation's number; None until its first bytes are delivered. `path`: the present path of its file. `is_live`:
    the file is at its lineage's path. `status`: as last seen. `quiet_since_s`: when it last changed, by the monotonic clock.
    `ends`: its present content is all it will ever have. `may_have_more`: it changed since it was read to its end.
    `awaits_quiet`: its successor is decided after it was quiet for long enough. `was_waited_for`: it had no record when it was
    found. `intact_ns`: the modification time at which its content was last proven. `seen_bytes`: the
    largest size that was seen. `prefix_hashes`: of the first `prefix_bytes`. `named`, `follows`: see `FileIdentity`.
    """

    tail: Tail
    path: str
    status: FileStatus
    quiet_since_s: float
    is_live: bool
    number: int | None = None
    ends: bool = False
    may_have_more: bool = True
    awaits_quiet: bool = False
    was_waited_for: bool = False
    intact_ns: int = field(init=False)
    seen_bytes: int = field(init=False)
    prefix_bytes: int = 0
    prefix_hashes: str = ""
    named: str = ""
    follows: str | None = None

    def __post_init__(self) -> None:
        self.intact_ns = self.status.modified_ns
        self.seen_bytes = self.status.size_bytes

    def has_inode_of(self, status: FileStatus) -> bool:
        """Whether `status` is of the same open file. An open file's inode is not reused."""
        return (self.status.device, self.status.inode) == (status.device, status.inode)

    def is_behind(self, first: Candidate) -> bool:
        """Whether it was written after `first`, the first unread file. The file at the path comes after all others."""
        if first.is_live or self.has_inode_of(first.status):
            return False
        return self.is_live or first.status.modified_ns < self.status.modified_ns

    def found_nothing(self) -> None:
        """Records that a read returned nothing more.

        If the generation never returned anything, the file's content proves nothing about what came and went since it was found.
        Then `intact_ns` stays at that time.
        """
        if self.number is not None or not self.was_waited_for:
            self.intact_ns = self.status.modified_ns
        self.was_waited_for = self.number is None
        self.may_have_more = False

    @property
    def is_sound_and_compressed(self) -> bool:
        """Whether it is compressed and intact: then its end is final."""
        content = self.tail.content
        return content.is_compressed and not content.damage and not content.has_open_end

    def identity(self, label: str) -> FileIdentity:
        """What the state keeps about it. `label` is the label of its lineage's path."""
        samples = self.tail.samples
        head_hash = hash_of(samples.head)
        tail_hash = head_hash if samples.tail == samples.head else hash_of(samples.tail)
        if len(samples.head) != self.prefix_bytes:
            self.prefix_bytes, self.prefix_hashes = len(samples.head), prefix_hashes_of(samples.head)
        device, inode = self.status.device, self.status.inode
        hashes = head_hash, tail_hash, self.prefix_hashes
        return FileIdentity(label, device, inode, self.tail.offset, *hashes, named=self.named, follows=self.follows)

    def unread_bytes(self) -> int:
        """How many bytes are known to exist but were not delivered; for compressed content, bytes on disk."""
        if self.tail.content.is_compressed:
            return 0 if self.ends else self.status.size_bytes
        return max(0, self.status.size_bytes - self.tail.offset)


@dataclass(frozen=True, slots=True)
class FinishedGeneration:
    """A generation that was read to its end. It stays in the state until its successor is in it too."""

    number: int
    identity: FileIdentity


def follow(context: SourceContext, tail: Tail, candidate: Candidate, number: int | None = None) -> Generation:
    """A generation with the `tail` of `candidate`. If it was not modified for `retire_ms`, it is quiet from the start."""
    with storage_call("stat", candidate.path):
        status = tail.content.status()
    is_old = context.clock.wall_ns() - status.modified_ns >= context.options.retire_ms * 1_000_000
    quiet_since_s = -math.inf if is_old else context.clock.monotonic_s()
    return Generation(tail, candidate.path, status, quiet_since_s, candidate.is_live, number)


def retired_chunk(source: str, generation: FinishedGeneration) -> Chunk:
    """The chunk that says that `generation` will give no more chunks. Its successor has what is known about earlier files."""
    identity = replace(generation.identity, retired=(), left_out=(), forgotten=False, ended=False)
    position: Mapping[str, Json] = identity.position()
    return Chunk(source, generation.number, generation.identity.offset, b"", position, retired=True)
