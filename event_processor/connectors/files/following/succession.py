"""Finds a file again by its content, and finds its successor.

Owns: which candidate is the file that was read, and which one comes next.
Always: content decides what was read, names decide the order of the rest. Modification times are used only if neither decides, and
the answer says so. If two files claim to be the file that was read, the inode decides before the content; in a log of ours, the
name decides before both. A file with other content is never accepted.
Never: keeps a file open, except the one that it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.connectors.files.content import Content, Opener
from event_processor.connectors.files.following.identity import SAMPLE_BYTES, FileIdentity, Samples, hash_of
from event_processor.connectors.files.following.known import LEFT_OUT_RANK, KnownFiles
from event_processor.connectors.files.following.names import order_within
from event_processor.connectors.files.following.rotation import (
    Candidate,
    are_ordered_by_name,
    in_order,
    missing_links,
    numbers_ascend_in_time,
)
from event_processor.connectors.files.paths import storage_failure
from event_processor.storage.durable import FileStatus, storage_call

__all__ = ["Match", "ReadFile", "Succession", "find_file", "find_shorter", "find_successor"]


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
    seen to reach, including an unfinished line. `passed`: files after it that held no record. `is_unread`: the open file gave
    nothing yet, and `identity` is of the file before it.
    """

    identity: FileIdentity | None
    open_status: FileStatus | None
    intact_ns: int | None
    seen_bytes: int = 0
    passed: Sequence[FileStatus] = ()
    is_unread: bool = False


@dataclass(frozen=True, slots=True)
class Succession:
    """What comes next: a longer file with the same content (`Match`), the next file, or nothing yet.

    `missing`: the numbers of rotated files that should be between. `newer`: the files after the next one, in order. `by_times`:
    neither content nor names decided, so modification times did.
    """

    step: Match | Candidate | None
    missing: Sequence[int] = ()
    newer: Sequence[Candidate] = ()
    by_times: bool = False

    @property
    def newer_bytes(self) -> int:
        """The total size of the files after the next one."""
        return sum(each.status.size_bytes for each in self.newer)


def find_file(open_content: Opener, identity: FileIdentity, candidates: Sequence[Candidate]) -> Match | None:
    """The candidate that is the file of `identity`: by inode and content, or else the latest by content alone.

    If nothing was read yet (offset 0), the inode alone decides. If names decide, only the file with its name may be it. Raises
    `StorageError`.
    """
    same_inode = [each for each in candidates if identity.has_inode_of(each.status)]
    others = [each for each in reversed(candidates) if each not in same_inode] if identity.offset else []
    for candidate in _by_name(identity, candidates) if identity.is_by_name else (*same_inode, *others):
        if match := _match(open_content, identity, candidate):
            return match
    return None


def find_shorter(open_content: Opener, identity: FileIdentity, candidates: Sequence[Candidate]) -> Candidate | None:
    """The live file if it is the file of `identity`, cut to fewer bytes than were read. Raises `StorageError`.

    The same inode is required, unless the whole head of 4,096 bytes is there to compare.
    """
    for candidate in candidates:
        is_certain = identity.has_inode_of(candidate.status) or candidate.status.size_bytes >= SAMPLE_BYTES
        if candidate.is_live and is_certain and _is_part(open_content, identity, candidate):
            return candidate
    return None


def find_successor(
    open_content: Opener, read: ReadFile, candidates: Sequence[Candidate], known: KnownFiles, *, names_decide: bool = False
) -> Succession:
    """What to read after `read`. `names_decide`: what sorts after it, without a look at other content. Raises `StorageError`.

    A file that is known, or is the file itself, is never next. If everything that was read is known, any other rotated file is new,
    wherever its name sorts, unless it begins like a known one. If older files were forgotten, only what sorts after a known file is
    new. If none is known, files modified since the last one was seen whole are new.
    """
    own, longer = _own_place(open_content, read, candidates)
    if longer:
        return Succession(longer)
    after = candidates[candidates.index(own) + 1 :] if own else _after_its_name(read.identity, candidates)
    if names_decide and after is not None:
        return Succession(after[0] if after else None, newer=after[1:])
    choice = _Choice(open_content, read, _of_one_scheme(candidates, own, known), own, known)
    newer, by_times = choice.newer()
    before = choice.last_before(newer[0]) if newer else None
    missing = missing_links(before, newer[0], ascends=choice.ascends) if before else []
    return Succession(newer[0] if newer else None, missing, newer[1:], by_times)


def _of_one_scheme(candidates: Sequence[Candidate], own: Candidate | None, known: KnownFiles) -> Sequence[Candidate]:
    """Leaves out names like `app.1.jsonl` if the log is rotated by another scheme: then they may be other logs."""
    numbered = [each for each in candidates if each.order and each.order.is_infix and each.order.kind == "number"]
    others = [each for each in candidates if each.order and each not in numbered]
    if not numbered or not others or own in numbered or known.ranks(numbered):
        return candidates
    return [each for each in candidates if each not in numbered]


class _Choice:
    """Which of the candidates were not read yet, in order."""

    def __init__(
        self,
        open_content: Opener,
        read: ReadFile,
        candidates: Sequence[Candidate],
        own: Candidate | None,
        known: KnownFiles,
    ) -> None:
        others = [each for each in candidates if each != own]
        self._open_content: Final = open_content
        self._read: Final = read
        self._candidates: Final = candidates
        self._own: Final = own
        self._known: Final = known
        self._newest_rank: Final = len(known.knowledge.retired)
        self._ranks = {**known.ranks(others), **self._ranks_of_last(others)}
        self._grown: Final = known.ranks_of_grown([each for each in others if each.path not in self._ranks])
        self._order: Sequence[Candidate] = ()
        self.ascends = False
        """Whether the numbers in the names ascend from older to newer files."""

    def newer(self) -> tuple[list[Candidate], bool]:
        """The unread files, oldest first, and whether modification times decided."""
        rotated = [each for each in self._candidates if not each.is_live and each.is_rotation]
        is_by_name = are_ordered_by_name(self._candidates)
        self.ascends, by_times = self._direction(rotated) if is_by_name else (False, len(rotated) > 1)
        self._order = order = in_order(self._candidates, ascends=self.ascends)
        start = order.index(self._own) if self._own in order else -1
        self._confirm(order[start + 1 :])
        new = [each for each in order if self._is_unknown(each)]
        if self._known.is_complete:
            # A name may sort too early: the clock was set back, or nothing showed yet which way numbers count.
            new = [each for each in new if order.index(each) > start or not self._is_copy(each)]
        else:
            horizon = self._horizon(order)
            by_times = by_times or (horizon is None and any(not each.is_live for each in new))
            new = [each for each in new if self._is_after(each, order, horizon)]
        return new, by_times and any(not each.is_live for each in new)

    def last_before(self, candidate: Candidate) -> Candidate | None:
        """The last file before `candidate` in order that was read or held no record; None if none of them is there."""
        before = self._order[: self._order.index(candidate)]
        return next((each for each in reversed(before) if each == self._own or each.status in self._read.passed), None)

    def _ranks_of_last(self, others: Sequence[Candidate]) -> dict[str, int]:
        """The ranks of what came after all known files: the file before an open one that gave nothing, and files without a record."""
        ranks = {each.path: self._newest_rank + 1 for each in others if each.status in self._read.passed}
        if self._read.is_unread and self._read.identity and self._read.identity.offset:
            match = find_file(self._open_content, self._read.identity, others)
            if match:
                match.content.close()
                ranks[match.candidate.path] = self._newest_rank
        return ranks

    def _is_unknown(self, candidate: Candidate) -> bool:
        if candidate.is_live:
            return candidate != self._own
        is_read = candidate == self._own or candidate.path in self._ranks or candidate.status in self._read.passed
        return candidate.is_rotation and not is_read

    def _is_after(self, candidate: Candidate, order: Sequence[Candidate], horizon: int | None) -> bool:
        if candidate.is_live:
            return True
        return order.index(candidate) > horizon if horizon is not None else candidate.is_modified_after(self._read.intact_ns)

    def _horizon(self, order: Sequence[Candidate]) -> int | None:
        """The place up to which unknown files are older than everything that is remembered."""
        read = [place for place, each in enumerate(order) if each == self._own or self._ranks.get(each.path, -2) > LEFT_OUT_RANK]
        left_out = [place for place, each in enumerate(order) if self._ranks.get(each.path) == LEFT_OUT_RANK]
        passed = [place for place, each in enumerate(order) if each.status in self._read.passed]
        if read:
            return min(read)
        return max(left_out + passed) if left_out or passed else None

    def _confirm(self, candidates: Sequence[Candidate]) -> None:
        """Compares compressed files that look known and sort after what was read with every byte: they would be passed over."""
        doubtful = [each for each in candidates if each.path in self._ranks]
        confirmed = self._known.ranks(doubtful, thorough=True)
        gone = {each.path for each in doubtful} - confirmed.keys()
        self._ranks = {path: rank for path, rank in self._ranks.items() if path not in gone}

    def _is_copy(self, candidate: Candidate) -> bool:
        """Whether it is a part of the file that was read, or a known one with more bytes: then most of it was read."""
        identity = self._read.identity
        if candidate.is_live:
            return False
        if candidate.path in self._grown and self._own in self._order:
            return True
        return identity is not None and _is_part(self._open_content, identity, candidate)

    def _direction(self, rotated: Sequence[Candidate]) -> tuple[bool, bool]:
        """Whether numbers ascend, and whether modification times decided that.

        The files that were read show it. If there is only one of them, the new files are on one side of it.
        """
        numbers = {each.path: each.order.number for each in rotated if each.order and each.order.number is not None}
        if not numbers:
            return False, False
        ranks = {path: rank for path, rank in {**self._grown, **self._ranks}.items() if path in numbers}
        if self._own and self._own.path in numbers:
            ranks[self._own.path] = self._newest_rank + (2 if self._read.is_unread else 0)
        newest = max(ranks, key=lambda path: ranks[path], default=None)
        if newest is not None:
            steps = [numbers[path] - numbers[newest] for path, rank in ranks.items() if rank < ranks[newest]]
            if steps:
                return sum(step < 0 for step in steps) > sum(step > 0 for step in steps), False
            sides = {numbers[path] > numbers[newest] for path in numbers if path not in ranks}
            if len(sides) == 1:
                return self._known.is_complete and sides == {True}, False
            if sides:
                return numbers_ascend_in_time(rotated), True
            return False, False
        ascends = numbers_ascend_in_time(rotated)
        return ascends, ascends


def _own_place(open_content: Opener, read: ReadFile, candidates: Sequence[Candidate]) -> tuple[Candidate | None, Match | None]:
    """The file that was read, None if it was not found; or a longer copy of it, to continue in.

    An open inode is certain. Content is not: logs may start alike, with a header or only a few bytes. So the inode of the state
    comes before the others, and among those the newest first: what is older was read before.
    """
    if sure := [each for each in candidates if read.open_status is not None and each.has_inode_of(read.open_status)]:
        return sure[-1], None
    identity = read.identity
    if identity is None or not identity.offset:
        return None, None
    places = range(len(candidates))
    by_inode = sorted(places, key=lambda index: (identity.has_inode_of(candidates[index].status), index), reverse=True)
    tried = _by_name(identity, candidates) if identity.is_by_name else [candidates[index] for index in by_inode]
    for candidate in tried:
        if match := _match(open_content, identity, candidate):
            # Only a longer copy is used: between two equal copies we would switch endlessly.
            if candidate.is_live or _goes_on(match, max(read.seen_bytes, identity.offset)):
                return None, match
            match.content.close()
            return candidate, None
    return None, None


def _by_name(identity: FileIdentity, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """The candidates that the names allow to be the file of `identity`, the likeliest first: mostly one, none if it is gone."""
    if identity.named:
        return [each for each in candidates if not each.is_live and each.bare_name == identity.named]
    newer = _after_its_name(identity, candidates) or []
    if not identity.follows or any(each.bare_name == identity.follows for each in candidates):
        return newer[:1]
    # The file before it was removed, and perhaps all of them: then a clock that was set back gives lower names.
    return [*(each for each in candidates if identity.has_inode_of(each.status)), *newer[:1]]


def _after_its_name(identity: FileIdentity | None, candidates: Sequence[Candidate]) -> Sequence[Candidate] | None:
    """The candidates that sort after the name that `identity` has, or after that of the file before it; None if it has neither."""
    if identity is None or not identity.is_by_name:
        return None
    order = order_within(identity.named or identity.follows or "")
    return [each for each in candidates if order is None or each.is_live or (each.order and each.order.key > order.key)]


def _is_part(open_content: Opener, identity: FileIdentity, candidate: Candidate) -> bool:
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


def _goes_on(match: Match, offset: int) -> bool:
    with storage_call("read", match.candidate.path):
        return bool(match.content.read(1, offset))
