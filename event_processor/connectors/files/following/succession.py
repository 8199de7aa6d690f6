"""Finds a file again by its content, and finds its successor.

Owns: which candidate is the file that was read, and which one comes next.
Always: if two files claim to be the file that was read, the inode decides before the content. A file with other content is never
accepted.
Never: keeps a file open, except the one that it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from event_processor.connectors.files.content import Content, Opener
from event_processor.connectors.files.following.identity import FileIdentity, Samples
from event_processor.connectors.files.following.rotation import Candidate, missing_links
from event_processor.connectors.files.paths import storage_failure
from event_processor.storage.durable import FileStatus, storage_call

__all__ = ["Match", "ReadFile", "Succession", "find_file", "find_successor"]


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate that holds what was read of a file, open, with the samples at the offset. The receiver closes `content`."""

    candidate: Candidate
    content: Content
    samples: Samples


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What is known about the file whose successor is searched.

    `identity`: None if nothing was read. `open_status`: its inode if it is still open (an inode that is not open may now be
    another file's). `intact_ns`: the modification time at which it was last seen whole, if known. `seen_bytes`: how far it was
    seen to reach, including an unfinished line. `passed`: files after it that held no record.
    """

    identity: FileIdentity | None
    open_status: FileStatus | None
    intact_ns: int | None
    seen_bytes: int = 0
    passed: Sequence[FileStatus] = ()


@dataclass(frozen=True, slots=True)
class Succession:
    """What comes next: a longer file with the same content (`Match`), the next file, or nothing yet.

    `missing`: the numbers of rotated files that should be between. `newer_bytes`: the total size of the files after the next one.
    """

    step: Match | Candidate | None
    missing: Sequence[int] = ()
    newer_bytes: int = 0


def find_file(open_content: Opener, identity: FileIdentity, candidates: Sequence[Candidate]) -> Match | None:
    """The candidate that is the file of `identity`: by inode and content, or else the latest by content alone.

    If nothing was read yet (offset 0), the inode alone decides. Raises `StorageError`.
    """
    same_inode = [each for each in candidates if identity.has_inode_of(each.status)]
    others = [each for each in reversed(candidates) if each not in same_inode] if identity.offset else []
    for candidate in (*same_inode, *others):
        if match := _match(open_content, identity, candidate):
            return match
    return None


def find_successor(open_content: Opener, read: ReadFile, candidates: Sequence[Candidate]) -> Succession:
    """What to read after `read`. Raises `StorageError`.

    The search starts after the file's own place in the order. A file that was not found has no place. Then files modified since
    it was last seen whole are newer, and the live file always is.
    """
    own, longer = _own_place(open_content, read, candidates)
    if longer:
        return Succession(longer)
    if own is None:
        newer = [each for each in candidates if each.is_live or each.is_modified_after(read.intact_ns)]
        missing: list[int] = []
    else:
        newer = list(candidates[own + 1 :])
        missing = missing_links(candidates[own], newer[0]) if newer else []
    step = newer[0] if newer else None
    return Succession(step, missing, sum(each.status.size_bytes for each in newer[1:]))


def _own_place(open_content: Opener, read: ReadFile, candidates: Sequence[Candidate]) -> tuple[int | None, Match | None]:
    """The index of the file that was read, None if it was not found; or a longer copy of it, to continue in.

    An open inode, or one that was passed over, is certain. Content is not: logs may start alike, with a header or only a few
    bytes. So the inode of the state comes before the others, and among those the newest first: what is older was read before.
    """
    places = range(len(candidates))
    if sure := [index for index in places if _is_surely(read, candidates[index].status)]:
        return sure[-1], None
    identity = read.identity
    if identity is None or not identity.offset:
        return None, None
    for index in sorted(places, key=lambda index: (identity.has_inode_of(candidates[index].status), index), reverse=True):
        if match := _match(open_content, identity, candidates[index]):
            # Only a longer copy is used: between two equal copies we would switch endlessly.
            if candidates[index].is_live or _goes_on(match, max(read.seen_bytes, identity.offset)):
                return None, match
            match.content.close()
            return index, None
    return None, None


def _is_surely(read: ReadFile, status: FileStatus) -> bool:
    return status in read.passed or (read.open_status is not None and _is_same_inode(read.open_status, status))


def _match(open_content: Opener, identity: FileIdentity, candidate: Candidate) -> Match | None:
    """`candidate`, open, if it holds what was read of the file of `identity`. A file that cannot be read does not match."""
    try:
        content = open_content(candidate.path)
    except OSError as error:
        if failure := storage_failure("open", candidate.path, error):
            raise failure from error
        return None
    samples: Samples | None = None
    try:
        with storage_call("read", candidate.path):
            samples = identity.samples_in(content)
    finally:
        if samples is None:
            content.close()
    return Match(candidate, content, samples) if samples else None


def _goes_on(match: Match, offset: int) -> bool:
    with storage_call("read", match.candidate.path):
        return bool(match.content.read(1, offset))


def _is_same_inode(status: FileStatus, other: FileStatus) -> bool:
    return (status.device, status.inode) == (other.device, other.inode)
