"""A generation as it is followed: its tail, its number, and where and how its file was last seen.

Owns: the facts that decide what may be done with a generation. `path.py` decides.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from event_processor.connectors.files.content import Opener, content_opener
from event_processor.connectors.files.following.identity import FileIdentity, hash_of
from event_processor.connectors.files.following.rotation import Candidate
from event_processor.connectors.files.following.tail import Tail
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.contracts import Clock
from event_processor.model.event import Chunk, Json
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import FileStatus, FileSystem, storage_call

__all__ = ["FinishedGeneration", "Generation", "SourceContext", "follow", "retired_chunk"]


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What every file of a source is read with. `last_commit_ns`: when the state that is resumed was committed, if known."""

    source: str
    options: FileSourceOptions
    fs: FileSystem
    clock: Clock
    telemetry: Telemetry
    finished: bool
    last_commit_ns: int | None

    @property
    def open_content(self) -> Opener:
        """Opens a file of the source."""
        return content_opener(self.fs, self.options.items)

    @property
    def retire_s(self) -> float:
        """How long a rotated file must be quiet, in seconds."""
        return self.options.retire_ms / 1000


@dataclass(slots=True)
class Generation:
    """One generation that is open.

    `number` is the generation's, None until its first bytes are delivered; `path` where its file stands now; `is_live`: at the path
    of its lineage; `status` as last seen; `quiet_since_s` when it last changed, by the monotonic clock; `ends`: what it
    holds is all that it will hold; `may_have_more`: it changed since it was read to its end; `awaits_quiet`: what comes next is decided
    once it was quiet for long enough; `was_waited_for`: it had no record when it was found; `intact_ns`: the modification time at which its content was last proven.
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

    def __post_init__(self) -> None:
        self.intact_ns = self.status.modified_ns

    def has_inode_of(self, status: FileStatus) -> bool:
        """Whether `status` is of the same open file; an inode is not given away while it is open."""
        return (self.status.device, self.status.inode) == (status.device, status.inode)

    def is_behind(self, first: Candidate) -> bool:
        """Whether it was written after `first`, the first file that is not read yet. The file at the path is behind all others."""
        if first.is_live or self.has_inode_of(first.status):
            return False
        return self.is_live or first.status.modified_ns < self.status.modified_ns

    def found_nothing(self) -> None:
        """A read gave nothing more.

        Where it never gave anything, what stands in the file proves nothing of what came and went since it was found: then
        `intact_ns` stays at that time.
        """
        if self.number is not None or not self.was_waited_for:
            self.intact_ns = self.status.modified_ns
        self.was_waited_for = self.number is None
        self.may_have_more = False

    @property
    def is_sound_and_compressed(self) -> bool:
        """Whether its end, once it is reached, is the end."""
        return self.tail.content.is_compressed and not self.tail.content.damage

    def identity(self, label: str) -> FileIdentity:
        """What the state keeps of it; `label` names the path of its lineage."""
        samples = self.tail.samples
        head_hash = hash_of(samples.head)
        tail_hash = head_hash if samples.tail == samples.head else hash_of(samples.tail)
        return FileIdentity(label, self.status.device, self.status.inode, self.tail.offset, head_hash, tail_hash)

    def unread_bytes(self) -> int:
        """How much is known to be there and was not delivered; of compressed content, as it stands on the disk."""
        if self.tail.content.is_compressed:
            return 0 if self.ends else self.status.size_bytes
        return max(0, self.status.size_bytes - self.tail.offset)


@dataclass(frozen=True, slots=True)
class FinishedGeneration:
    """One that is read to its end, and stays in the state until its successor is in it too."""

    number: int
    identity: FileIdentity


def follow(context: SourceContext, tail: Tail, candidate: Candidate, number: int | None = None) -> Generation:
    """`tail` of `candidate` as a generation. One that was not modified for `retire_ms` is quiet from the start."""
    with storage_call("stat", candidate.path):
        status = tail.content.status()
    is_old = context.clock.wall_ns() - status.modified_ns >= context.options.retire_ms * 1_000_000
    quiet_since_s = -math.inf if is_old else context.clock.monotonic_s()
    return Generation(tail, candidate.path, status, quiet_since_s, candidate.is_live, number)


def retired_chunk(source: str, generation: FinishedGeneration) -> Chunk:
    """The chunk that says that `generation` will never give another."""
    position: Mapping[str, Json] = generation.identity.position()
    return Chunk(source, generation.number, generation.identity.offset, b"", position, retired=True)
