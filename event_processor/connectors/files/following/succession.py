"""Finds the successor of the file that was read.

Owns: which candidate comes next.
Always: content decides what was read, names decide the order of the rest. Modification times are used only if neither decides, and
the answer says so.
Never: keeps a file open, except the one that it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.connectors.files.content import Opener
from event_processor.connectors.files.following.identity import SAMPLE_BYTES, FileIdentity
from event_processor.connectors.files.following.known import LEFT_OUT_RANK, KnownFiles
from event_processor.connectors.files.following.recognition import Match, after_its_name, find_again, goes_on, is_part
from event_processor.connectors.files.following.rotation import (
    Candidate,
    are_ordered_by_name,
    in_order,
    missing_links,
    numbers_ascend,
)
from event_processor.storage.durable import FileStatus

__all__ = ["ReadFile", "Succession", "find_successor"]

RANKS_MIN: Final = 2
"""Two files that were read show which way numbers count."""


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
    neither content nor names decided, so modification times did. `own`: the file that was read, closed, if it had to be found again.
    `passed_over`: files that sort after it, but are equal to files that were read before.
    """

    step: Match | Candidate | None
    missing: Sequence[int] = ()
    newer: Sequence[Candidate] = ()
    by_times: bool = False
    own: Match | None = None
    passed_over: Sequence[Candidate] = ()

    @property
    def newer_bytes(self) -> int:
        """The total size of the files after the next one."""
        return sum(each.status.size_bytes for each in self.newer)


def find_successor(
    open_content: Opener, read: ReadFile, candidates: Sequence[Candidate], known: KnownFiles, *, names_decide: bool = False
) -> Succession:
    """What to read after `read`. `names_decide`: what sorts after it, without a look at other content. Raises `StorageError`.

    A file that is known, or is the file itself, is never next. If everything that was read is known, any other rotated file is new,
    wherever its name sorts, unless it begins like a known one. If older files were forgotten, only what sorts after a known file is
    new. If none is known, files modified since the last one was seen whole are new.
    """
    own, match = _own_place(open_content, read, candidates, known)
    if match and own is None:
        return Succession(match)
    after = candidates[candidates.index(own) + 1 :] if own else after_its_name(read.identity, candidates)
    if names_decide and after is not None:
        return Succession(after[0] if after else None, newer=after[1:])
    choice = _Choice(open_content, read, _of_one_scheme(candidates, own, known), own, known)
    newer, by_times = choice.newer()
    before = choice.last_before(newer[0]) if newer else None
    missing = missing_links(before, newer[0], ascends=choice.ascends) if before else []
    return Succession(newer[0] if newer else None, missing, newer[1:], by_times, match, choice.passed_over)


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
        self._read_before: Final = known.ranks(others)
        self._ranks = {**self._read_before, **self._ranks_of_last(others)}
        self._grown: Final = known.ranks_of_grown([each for each in others if each.path not in self._ranks])
        self._order: Sequence[Candidate] = ()
        self.passed_over: Sequence[Candidate] = ()
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
        # Equal to a file that was read before, but after the last one: if that file was removed, it is a new one.
        after = order[start + 1 :] if self._own in order else []
        self.passed_over = [each for each in after if each.path in self._read_before and each.path in self._ranks]
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
            identity = self._read.identity
            match = find_again(self._open_content, identity, others, self._known, since_ns=self._read.intact_ns)
            if match:
                # A longer file that only begins alike is a later one, which was not read.
                is_it = (
                    identity.has_inode_of(match.candidate.status)
                    or identity.offset >= SAMPLE_BYTES
                    or not goes_on(match, identity.offset)
                )
                match.content.close()
                if is_it:
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
        return identity is not None and is_part(self._open_content, identity, candidate)

    def _direction(self, rotated: Sequence[Candidate]) -> tuple[bool, bool]:
        """Whether numbers ascend, and whether modification times decided that: see `numbers_ascend`."""
        ranks = dict(self._ranks)
        if self._own:
            ranks[self._own.path] = self._newest_rank + (2 if self._read.is_unread else 0)
        if len(ranks) < RANKS_MIN:
            # A file that begins like a known one may as well be a new one: it shows the direction only if nothing else does.
            ranks = {**self._grown, **ranks}
        return numbers_ascend(rotated, ranks, is_complete=self._known.is_complete)


def _own_place(
    open_content: Opener, read: ReadFile, candidates: Sequence[Candidate], known: KnownFiles
) -> tuple[Candidate | None, Match | None]:
    """The file that was read, None if it was not found, and how it was found again; or None and a longer copy of it, to continue in.

    An open inode is certain.
    """
    if sure := [each for each in candidates if read.open_status is not None and each.has_inode_of(read.open_status)]:
        return sure[-1], None
    identity = read.identity
    if identity is None or not identity.offset:
        return None, None
    match = find_again(open_content, identity, candidates, known, since_ns=read.intact_ns)
    if match is None:
        return None, None
    # Only a longer copy is used: between two equal copies we would switch endlessly.
    if match.candidate.is_live or goes_on(match, max(read.seen_bytes, identity.offset)):
        return None, match
    match.content.close()
    return match.candidate, match
