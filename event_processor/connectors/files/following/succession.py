"""Finding a file again by what it holds, and finding what comes after it.

Always: of two files that claim to be the one that was read, the inode decides before the content, and a file whose content
differs is never taken for it.
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
    """A candidate that holds what was read of a file, open, with the samples at the offset. Whoever gets it closes `content`."""

    candidate: Candidate
    content: Content
    samples: Samples


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What is known of the file whose successor is sought.

    `identity` is None where nothing was read of it; `open_status` is its inode where it is still open (an inode that is not
    open may have been given to another file); `intact_ns` the modification time at which it was last seen whole, if known;
    `seen_bytes` how far it was seen to reach, an unfinished line included; `passed` are files behind it that held no record.
    """

    identity: FileIdentity | None
    open_status: FileStatus | None
    intact_ns: int | None
    seen_bytes: int = 0
    passed: Sequence[FileStatus] = ()


@dataclass(frozen=True, slots=True)
class Succession:
    """What comes next: another file that holds the same and goes on (`Match`), the next file, or nothing yet.

    `missing`: the numbers of rotated files that should stand between. `newer_bytes`: the sizes of those behind the next.
    """

    step: Match | Candidate | None
    missing: Sequence[int] = ()
    newer_bytes: int = 0


def find_file(open_content: Opener, identity: FileIdentity, candidates: Sequence[Candidate]) -> Match | None:
    """The candidate that is the file of `identity`: by inode and content, or else the latest by content alone.

    Where nothing was read yet (offset 0), the inode alone decides. Raises `StorageError`.
    """
    same_inode = [each for each in candidates if identity.has_inode_of(each.status)]
    others = [each for each in reversed(candidates) if each not in same_inode] if identity.offset else []
    for candidate in (*same_inode, *others):
        if match := _match(open_content, identity, candidate):
            return match
    return None


def find_successor(open_content: Opener, read: ReadFile, candidates: Sequence[Candidate]) -> Succession:
    """What to read after `read`. Raises `StorageError`.

    It is sought behind the file's own place in the order. A file that is nowhere has no place: then what was modified since
    it was last seen whole is newer, and the live file always is.
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
    """The index of the file that was read, None where it is nowhere; or a longer copy of it, which is to be read on.

    An inode that is open, or was passed over, tells for sure. Content does not: logs may begin alike, with a header or only
    a few bytes. So the inode of the state comes before the others, and of those the newest: what is older was read before.
    """
    places = range(len(candidates))
    if sure := [index for index in places if _is_surely(read, candidates[index].status)]:
        return sure[-1], None
    identity = read.identity
    if identity is None or not identity.offset:
        return None, None
    for index in sorted(places, key=lambda index: (identity.has_inode_of(candidates[index].status), index), reverse=True):
        if match := _match(open_content, identity, candidates[index]):
            # Only what is longer is moved to: two copies that hold the same would send us to and fro for ever.
            if candidates[index].is_live or _goes_on(match, max(read.seen_bytes, identity.offset)):
                return None, match
            match.content.close()
            return index, None
    return None, None


def _is_surely(read: ReadFile, status: FileStatus) -> bool:
    return status in read.passed or (read.open_status is not None and _is_same_inode(read.open_status, status))


def _match(open_content: Opener, identity: FileIdentity, candidate: Candidate) -> Match | None:
    """`candidate`, open, if it holds what was read of the file of `identity`. One that cannot be read does not."""
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
