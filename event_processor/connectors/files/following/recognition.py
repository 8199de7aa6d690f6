"""Finds the file that was read again, at any path.

Owns: which candidate is the file that was read, if several hold its first bytes, as logs with a header do.
Always: a file with other content is never accepted. Of the unread files that begin alike, the oldest by name is taken: the others come
after it and are read whole, so every record is read, even if two of them are confused. In a log of ours, the name decides before all.
Never: keeps a file open, except the one that it returns. Never hides that content could not decide (`Match.doubt`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.connectors.files.content import Content, Opener
from event_processor.connectors.files.following.identity import SAMPLE_BYTES, FileIdentity, Samples, hash_of
from event_processor.connectors.files.following.known import LEFT_OUT_RANK, KnownFiles
from event_processor.connectors.files.following.names import order_within
from event_processor.connectors.files.following.rotation import Candidate, in_order, numbers_ascend
from event_processor.connectors.files.paths import storage_failure
from event_processor.storage.durable import storage_call

__all__ = ["Match", "after_its_name", "find_again", "find_file", "find_shorter", "goes_on", "is_part"]


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate that holds what was read of a file, open, with the samples at the offset. The receiver closes `content`.

    `doubt`: why it may be another file that begins alike; empty if content, inode and names agree.
    """

    candidate: Candidate
    content: Content
    samples: Samples
    doubt: str = ""


def find_file(open_content: Opener, identity: FileIdentity, candidates: Sequence[Candidate]) -> Match | None:
    """The candidate that is the file of `identity`: by inode and content, or else the latest by content alone.

    Only for a file whose past is unknown; otherwise `find_again`. If nothing was read yet (offset 0), the inode alone decides. If names
    decide, only the file with its name may be it. Raises `StorageError`.
    """
    same_inode = [each for each in candidates if identity.has_inode_of(each.status)]
    others = [each for each in reversed(candidates) if each not in same_inode] if identity.offset else []
    for candidate in _by_name(identity, candidates) if identity.is_by_name else (*same_inode, *others):
        if match := _match(open_content, identity, candidate):
            return match
    return None


def find_again(
    open_content: Opener, identity: FileIdentity, candidates: Sequence[Candidate], known: KnownFiles, *, since_ns: int | None
) -> Match | None:
    """The candidate that is the file of `identity`, whose past is `known`. Raises `StorageError`.

    Logs begin alike: with a header, or because little was read. A file that is known was read before it. An inode proves nothing if an
    older unread file begins alike: then it is that of a later file, which got it when this one was compressed or copied away.
    `since_ns`: files that were not modified since then are history, if not all files of the past are known.
    """
    rotations = [each for each in candidates if each.is_live or each.is_rotation]
    is_alone = len(rotations) == 1 and rotations[0].is_live and identity.has_inode_of(rotations[0].status)
    if identity.is_by_name or not identity.offset or is_alone:
        return find_file(open_content, identity, candidates)
    holding = {each.path: whole for each in candidates if (whole := _holds(open_content, identity, each)) is not None}
    if not holding:
        return None
    chosen, doubt = _Recognition(open_content, identity, candidates, known, holding).chosen(since_ns)
    match = _match(open_content, identity, chosen) if chosen else None
    return Match(match.candidate, match.content, match.samples, doubt) if match else None


def find_shorter(open_content: Opener, identity: FileIdentity, candidates: Sequence[Candidate]) -> Candidate | None:
    """The live file if it is the file of `identity`, cut to fewer bytes than were read. Raises `StorageError`.

    The same inode is required, unless the whole head of 4,096 bytes is there to compare.
    """
    for candidate in candidates:
        is_certain = identity.has_inode_of(candidate.status) or candidate.status.size_bytes >= SAMPLE_BYTES
        if candidate.is_live and is_certain and is_part(open_content, identity, candidate):
            return candidate
    return None


class _Recognition:
    """The choice among the candidates that hold what was read. `holding`: by path, whether the file holds nothing more."""

    def __init__(
        self,
        open_content: Opener,
        identity: FileIdentity,
        candidates: Sequence[Candidate],
        known: KnownFiles,
        holding: Mapping[str, bool],
    ) -> None:
        self._open_content: Final = open_content
        self._identity: Final = identity
        self._known: Final = known
        self._holding: Final = holding
        # A file with the inode is the file itself or a later one: it was not read before, whatever it holds.
        past = [each for each in candidates if not each.is_live and each.is_rotation and not identity.has_inode_of(each.status)]
        self._ranks: Final = known.ranks(past)
        rotated = [each for each in candidates if not each.is_live and each.is_rotation]
        ascends, self._by_times = numbers_ascend(rotated, self._ranks, is_complete=known.is_complete)
        self._order: Final = in_order(candidates, ascends=ascends)
        self._read_before: Final = known.ranks(
            [each for each in self._order if each in past and each.path in holding], thorough=True
        )

    def chosen(self, since_ns: int | None) -> tuple[Candidate | None, str]:
        """The file, and the doubt that remains."""
        holding = [each for each in self._order if each.path in self._holding]
        by_inode = next((each for each in holding if self._identity.has_inode_of(each.status)), None)
        unread = [each for each in holding if (each.is_live or each.is_rotation) and each.path not in self._read_before]
        if by_inode and by_inode not in unread:
            return by_inode, ""
        if not unread:
            # A known file with more bytes than were read of this one is another. One with the same bytes may be this one.
            return next((each for each in reversed(holding) if self._holding[each.path] or not each.is_rotation), None), ""
        before: Sequence[Candidate] = unread[: unread.index(by_inode)] if by_inode else unread
        if not self._known.is_complete:
            before = self._without_history(before, since_ns)
        if by_inode and len(before) == 1 and self._is_copy(before[0], by_inode):
            return by_inode, f"{before[0].path} holds the same bytes: a copy, or an earlier file that begins alike"
        found = before[0] if before else by_inode
        if found is None:
            return unread[-1], f"{len(unread)} files begin with the {self._identity.offset} bytes that were read"
        return found, self._doubt(found) if found != by_inode else ""

    def _doubt(self, found: Candidate) -> str:
        """What speaks against `found`, whose inode is another; empty if nothing does."""
        is_plain = found.is_live or not self._is_compressed(found)
        if is_plain and self._identity.offset < SAMPLE_BYTES:
            return f"only its first {self._identity.offset} bytes show that it is the file that was read"
        if any(self._holding[path] for path in self._read_before):
            return "equal files were read before it: if one of them was removed, it is a later one"
        if self._by_times:
            return "several files begin alike, and only modification times show which of them is older"
        return ""

    def _without_history(self, before: Sequence[Candidate], since_ns: int | None) -> Sequence[Candidate]:
        """Of the files `before` those that are no history, though not all of the past is known."""
        places = [place for place, each in enumerate(self._order) if self._ranks.get(each.path, LEFT_OUT_RANK) > LEFT_OUT_RANK]
        if places:
            return [each for each in before if self._order.index(each) > max(places)]
        if since_ns is None:
            return []
        self._by_times = True
        unchanged = [each for each in self._order if not each.is_live and each.status.modified_ns <= since_ns]
        if unchanged and unchanged[-1] in before and self._holding[unchanged[-1].path]:
            return before[before.index(unchanged[-1]) :]
        return [each for each in before if each.is_live or each not in unchanged]

    def _is_copy(self, candidate: Candidate, original: Candidate) -> bool:
        """Whether `original` begins with all of `candidate`, as while copytruncate is between its copy and its cut."""
        copy = _opened(self._open_content, candidate.path)
        if copy is None:
            return False
        try:
            with storage_call("read", candidate.path):
                if copy.is_compressed:
                    return False
                size_bytes = copy.status().size_bytes
                sample_bytes = min(SAMPLE_BYTES, size_bytes)
                head, tail = copy.read(sample_bytes, 0), copy.read(sample_bytes, size_bytes - sample_bytes)
        finally:
            copy.close()
        whole = FileIdentity("", 0, 0, size_bytes, hash_of(head), hash_of(tail))
        return _holds(self._open_content, whole, original) is not None

    def _is_compressed(self, candidate: Candidate) -> bool:
        content = _opened(self._open_content, candidate.path)
        if content is None:
            return False
        content.close()
        return content.is_compressed


def _by_name(identity: FileIdentity, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The candidates that the names allow to be the file of `identity`, the likeliest first: mostly one, none if it is gone."""
    if identity.named:
        return [each for each in candidates if not each.is_live and each.bare_name == identity.named]
    newer = after_its_name(identity, candidates) or []
    if not identity.follows or any(each.bare_name == identity.follows for each in candidates):
        return newer[:1]
    # The file before it was removed, and perhaps all of them: then a clock that was set back gives lower names.
    return [*(each for each in candidates if identity.has_inode_of(each.status)), *newer[:1]]


def after_its_name(identity: FileIdentity | None, candidates: Sequence[Candidate]) -> Sequence[Candidate] | None:
    """The candidates that sort after the name that `identity` has, or after that of the file before it; None if it has neither."""
    if identity is None or not identity.is_by_name:
        return None
    order = order_within(identity.named or identity.follows or "")
    return [each for each in candidates if order is None or each.is_live or (each.order and each.order.key > order.key)]


def is_part(open_content: Opener, identity: FileIdentity, candidate: Candidate) -> bool:
    """Whether `candidate` holds only the first bytes of the file of `identity`."""
    content = _opened(open_content, candidate.path)
    if content is None:
        return False
    try:
        with storage_call("read", candidate.path):
            if content.is_compressed:
                return identity.offset >= SAMPLE_BYTES and hash_of(content.read(SAMPLE_BYTES, 0)) == identity.head_hash
            return identity.is_of_shorter(content, content.status().size_bytes)
    finally:
        content.close()


def goes_on(match: Match, offset: int) -> bool:
    """Whether the file has bytes from `offset` on. Raises `StorageError`."""
    with storage_call("read", match.candidate.path):
        return bool(match.content.read(1, offset))


def _holds(open_content: Opener, identity: FileIdentity, candidate: Candidate) -> bool | None:
    """Whether `candidate` holds only what was read of the file of `identity`; None if it does not hold it."""
    match = _match(open_content, identity, candidate)
    if match is None:
        return None
    try:
        return not goes_on(match, identity.offset)
    finally:
        match.content.close()


def _opened(open_content: Opener, path: str) -> Content | None:
    try:
        return open_content(path)
    except OSError as error:
        if failure := storage_failure("open", path, error):
            raise failure from error
        return None


def _match(open_content: Opener, identity: FileIdentity, candidate: Candidate) -> Match | None:
    """`candidate`, open, if it holds what was read of the file of `identity`. A file that cannot be read does not match."""
    content = _opened(open_content, candidate.path)
    if content is None:
        return None
    samples: Samples | None = None
    try:
        with storage_call("read", candidate.path):
            samples = identity.samples_in(content)
    finally:
        if samples is None:
            content.close()
    return Match(candidate, content, samples) if samples else None
