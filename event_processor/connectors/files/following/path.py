"""The generations of one path, strictly one after the other.

Owns: how a path starts or is found again, and what its source asks of it. `steps.py` moves from one generation to the next.
Always: a file whose content was read is never read again. The next file is the next one by content and by name (`succession.py`).
Never: starts a file from zero because a part of the state was not found: what is newer is read, and the loss is reported.

No reader can see these: lines written between copytruncate's copy and its cut; a file that was created, rotated and removed
between two looks; what is written to a rotated file after it was quiet for `retire_ms` and had a successor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from event_processor.connectors.files.following.generation import (
    FinishedGeneration,
    retired_chunk,
)
from event_processor.connectors.files.following.identity import FileIdentity
from event_processor.connectors.files.following.recognition import Match, find_file, find_shorter
from event_processor.connectors.files.following.rotation import Candidate
from event_processor.connectors.files.following.steps import Steps
from event_processor.connectors.files.following.tail import ContentChangedError, Piece, end_of_last_line
from event_processor.connectors.files.paths import look_at
from event_processor.model.event import Chunk
from event_processor.storage.durable import storage_call

__all__ = ["Lineage"]

STEPS_MAX: Final = 10_000
"""How many files without a record one read skips before other paths get their turn."""


class Lineage(Steps):
    """Reads one path through its generations."""

    # Called by the source.

    @property
    def rotated_prefix(self) -> str:
        """The prefix of its rotated files' names."""
        return self._rotations.prefix

    def owns(self, path: str) -> bool:
        """Whether `path` is the name of a rotated file of this lineage."""
        return self._rotations.owns(path)

    def begin(self, since_ns: int | None, *, oldest: bool = False) -> None:
        """Starts a path that was never read. Files rotated until `since_ns`, or until now unless `oldest`, are history."""
        if since_ns is not None:
            self._past.begin(since_ns)
            return
        rotated = [each for each in self._rotations.candidates() if not each.is_live and each.is_rotation]
        left_out = [] if oldest else rotated
        self._past.begin_without(left_out)
        if self._context.options.start != "end":
            self._reports.left_out(left_out)

    def resume(
        self,
        identities: Mapping[int, FileIdentity],
        path_of: Callable[[int, int], str | None] | None = None,
        *,
        is_one_of_many: bool = False,
    ) -> None:
        """Finds the latest generation again, at any path. The older ones were finished when it started. Raises `StorageError`.

        `path_of` returns a path for a device and an inode: a file of a glob may have been renamed to another name of it.
        `is_one_of_many`: each look at the rotated files costs a listing, so the inode and the content of the file at the path suffice.
        """
        *older, last = sorted(identities)
        self._outbox.extend(
            retired_chunk(self._context.source, FinishedGeneration(number, identities[number])) for number in older
        )
        finished = FinishedGeneration(last, identities[last])
        self._past.resume(finished.identity)
        live = self._rotations.live()
        # If names decide, the inode proves nothing: a file that a person compressed left it to a later one, which may begin alike.
        is_in_place = bool(live) and finished.identity.has_inode_of(live[0].status) and not finished.identity.is_by_name
        match = find_file(self._context.open_content, finished.identity, live) if is_in_place and is_one_of_many else None
        candidates = live if match else self._rotations.candidates()
        # If names do not decide, the inode proves nothing either: a rotated file may begin alike, and be the one that was read.
        match = match or self._past.find(finished.identity, candidates)
        candidates = live if match and match.candidate.is_live else candidates
        if match is None and path_of is not None:
            match = self._found_at(path_of(finished.identity.device, finished.identity.inode), finished.identity)
        if match:
            self._continue_in(match, finished)
            succession = self._past.successor(self._current, candidates)
            next_bytes = succession.step.status.size_bytes if isinstance(succession.step, Candidate) else 0
            self._newer_bytes = succession.newer_bytes + next_bytes
            return
        self._past.finished = finished
        self._past.intact_ns = self._context.last_commit_ns
        if shorter := find_shorter(self._context.open_content, finished.identity, candidates):
            self._continue_shorter(shorter)
        elif not finished.identity.ended:
            was_rotated = any(not each.is_live and each.is_modified_after(self._past.intact_ns) for each in candidates)
            self._reports.not_found(last, finished.identity, [] if was_rotated else candidates)

    def _found_at(self, path: str | None, identity: FileIdentity) -> Match | None:
        status = look_at(self._context.fs, path).status if path else None
        renamed = [Candidate(path, status, is_live=False, is_rotation=False)] if path and status else []
        return find_file(self._context.open_content, identity, renamed)

    @property
    def number(self) -> int | None:
        """The generation that is read now, or that was finished last; None if nothing was read yet."""
        number = self._current.number if self._current else None
        return number or (self._past.finished.number if self._past.finished else None)

    @property
    def open_file(self) -> tuple[int | None, tuple[int, int] | None, str]:
        """The generation of the open file, None if nothing of it was read yet; its device and inode, and its path. Any thread may ask."""
        current = self._current
        return (current.number, (current.status.device, current.status.inode), current.path) if current else (None, None, "")

    def gives(self, generation: int) -> bool:
        """Whether its next chunk is of this generation, or of what follows it."""
        return self.number == generation or any(chunk.generation == generation for chunk in self._outbox)

    @property
    def inode(self) -> tuple[int, int] | None:
        """Device and inode of the open file; None if none is open."""
        return (self._current.status.device, self._current.status.inode) if self._current else None

    @property
    def has_past(self) -> bool:
        """Whether files of this path are known that were read to their end."""
        return self._past.has_files

    def has_read(self, candidate: Candidate) -> bool:
        """Whether that file was read to its end as one of this path, by its content. Raises `StorageError`."""
        return self._past.knows(candidate)

    def read_again(self, identities: Sequence[FileIdentity]) -> None:
        """Starts with the first of these files that is found: a lost state had read them. The others are reported."""
        candidates = self._rotations.candidates() if identities else []
        for identity in identities:
            match = find_file(self._context.open_content, identity, candidates)
            if match is None:
                reason = "a state that is gone had read it, and it was not found"
                self._reports.lost(self.path, generation=0, offset=0, size_bytes=identity.offset, reason=reason)
                continue
            match.content.close()
            if self._current is None and not match.candidate.is_live:
                self._past.begin_without([], is_all=False)
                self._enter(match.candidate, 0)

    def start_at_end(self) -> None:
        """Skips the whole lines that are at the path. The state has this position from the first commit on."""
        live = self._rotations.live()
        if live and self._enter(live[0], 0) and self._current:
            tail = self._current.tail
            with storage_call("read", self.path):
                tail.resume_at(end_of_last_line(tail.content))
            self._outbox.append(self._chunk(self._current, Piece(tail.offset, b"")))

    def poll(self) -> bool:
        """Checks for changes; returns whether to call `read`. Costs one stat if nothing changed. Raises `StorageError`."""
        found = look_at(self._context.fs, self.path)
        current = self._current
        self._reports.looked(found, is_open=current is not None)
        if current is None:
            is_expected = found.status is not None or self._past.finished is not None
            return (is_expected and self._open_next()) or bool(self._outbox)
        is_there = found.status is not None and current.has_inode_of(found.status)
        self._live_bytes = found.status.size_bytes if found.status and not is_there else 0
        if current.is_live and not is_there and not found.obstacle:
            self._left_its_path(current, found)
        current.is_live = is_there or (current.is_live and bool(found.obstacle))
        status = found.status if is_there and found.status else self._status(current)
        if status != current.status:
            self._changed(current, status)
            current = self._found_copied_away(current)
        if is_there and not current.tail.content.is_compressed:
            current.awaits_quiet = False
        is_due = (current.awaits_quiet or not current.is_live) and self._is_quiet(current)
        return current.may_have_more or bool(self._outbox) or is_due

    def read(self, bytes_max: int) -> Chunk | None:
        """The next chunk; None if nothing is there now. Raises `StorageError`."""
        for _ in range(STEPS_MAX):
            # A step may have left the chunk of a new inode here: its offset is before the next piece.
            if self._outbox:
                return self._outbox.popleft()
            current = self._current
            if current is None:
                break
            try:
                with storage_call("read", current.path):
                    piece = current.tail.read(bytes_max, ends=current.ends or self._context.finished)
            except ContentChangedError:
                self._content_changed(current)
                continue
            if piece and not self._is_overtaken(current):
                current.intact_ns = current.status.modified_ns
                return self._chunk(current, piece)
            if piece:
                continue
            if current.tail.is_searching:
                return None
            current.found_nothing()
            if not self._move_on(current):
                break
        return self._outbox.popleft() if self._outbox else None

    def lag_bytes(self) -> int:
        """How many bytes are known to exist but were not read."""
        newer_bytes = max(self._newer_bytes, self._live_bytes)
        return newer_bytes + (self._current.unread_bytes() if self._current else 0)

    def has_more(self) -> bool:
        """Whether unread input is known to exist."""
        return bool(self._outbox) or self.lag_bytes() > 0

    def wait_s(self) -> float | None:
        """The seconds until a file that may still grow counts as finished; None if there is no such file."""
        current = self._current
        if current is not None and current.tail.is_searching:
            return 0.0
        if current is None or not current.awaits_quiet:
            return None
        # Not None when the time is over, because `read` has not seen that yet.
        return max(0.0, current.quiet_since_s + self._context.retire_s - self._context.clock.monotonic_s())

    @property
    def is_open(self) -> bool:
        """Whether a file of this lineage is open."""
        return self._current is not None

    def close_at_end(self) -> bool:
        """Closes the file at the path if it is finished input at its end; returns whether. Then nothing may be read from it."""
        current = self._current
        if current is None or not self._context.finished or not current.is_live or current.may_have_more or self._outbox:
            return False
        self.close()
        return True

    @property
    def is_over(self) -> bool:
        """Whether nothing is left: no file, and nothing to report."""
        return self._current is None and self._past.finished is None and not self._outbox

    def close(self) -> None:
        """Closes the open file, if any."""
        if self._current:
            self._current.tail.content.close()
            self._current = None
