"""From one generation of a path to the next.

Owns: when the file that is read now is finished, and the move to the file after it.
Always: a generation is retired only after the first chunk of its successor. If it were retired before, a crash between the two
would leave no trace from which the files between them could be found.
Never: decides how a path starts; `path.py` does. Never starts a file from zero because a part of the state was not found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from event_processor.connectors.files.following.generation import (
    FinishedGeneration,
    Generation,
    SourceContext,
    follow,
)
from event_processor.connectors.files.following.identity import SAMPLE_BYTES
from event_processor.connectors.files.following.past import Past
from event_processor.connectors.files.following.recognition import Match, find_shorter
from event_processor.connectors.files.following.reports import LineageReports
from event_processor.connectors.files.following.rotation import Candidate, Rotations
from event_processor.connectors.files.following.tail import Piece, Tail
from event_processor.connectors.files.paths import Found, storage_failure
from event_processor.model.event import Chunk
from event_processor.records.compression import RefusedContentError
from event_processor.storage.durable import FileStatus, storage_call

__all__ = ["Steps"]


class Steps:
    """The current generation of one path, and what moves on from it. `Lineage` is the whole."""

    def __init__(self, context: SourceContext, path: str, next_number: Callable[[], int]) -> None:
        """`next_number` returns the number of the source's next generation. It is called at the generation's first bytes."""
        self.path: Final = path
        self._context: Final = context
        self._next_number: Final = next_number
        self._label: Final = context.options.label(path)
        self._rotations: Final = Rotations(context.fs, path, context.options)
        self._current: Generation | None = None
        self._past: Final = Past(context, self._label)
        self._outbox: Final[deque[Chunk]] = deque()
        self._without_successor: Sequence[Candidate] | None = None
        self._rotated: Sequence[Candidate] = ()
        self._newer_bytes = 0
        self._live_bytes = 0
        self._reports: Final = LineageReports(context, path)

    # The current generation.

    def _status(self, current: Generation) -> FileStatus:
        with storage_call("stat", current.path):
            return current.tail.content.status()

    def _changed(self, current: Generation, status: FileStatus) -> None:
        """Records that the file grew or changed: what looked like its end may continue."""
        current.status = status
        current.seen_bytes = max(current.seen_bytes, status.size_bytes)
        current.quiet_since_s = self._context.clock.monotonic_s()
        current.ends = False
        current.may_have_more = True
        if current.tail.content.is_compressed:
            current.tail.content.restart()
            self._reports.arriving(current)

    def _is_quiet(self, current: Generation) -> bool:
        """Whether the file did not change for so long that it counts as finished."""
        quiet_s = self._context.clock.monotonic_s() - current.quiet_since_s
        return self._context.finished or quiet_s >= self._context.retire_s

    def _chunk(self, current: Generation, piece: Piece) -> Chunk:
        """`piece` as a chunk. With its first piece the generation gets its number, and its predecessor is retired after it."""
        if current.number is None:
            current.number = self._next_number()
            self._reports.opened(current, piece.offset)
            if retired := self._past.succeeded():
                self._outbox.append(retired)
        return Chunk(
            self._context.source,
            current.number,
            piece.offset,
            piece.content,
            self._past.position(current),
            final=piece.final,
            oversized_bytes=piece.oversized_bytes,
            head=current.tail.head,
            own=piece.own,
        )

    def _left_its_path(self, current: Generation, found: Found) -> None:
        """Our file was renamed or removed: the path has another file or none. We follow our file by its descriptor."""
        current.quiet_since_s = self._context.clock.monotonic_s()
        current.awaits_quiet = True
        renamed = next((each for each in self._rotations.candidates() if current.has_inode_of(each.status)), None)
        if renamed and not renamed.is_live:
            current.path = renamed.path
        self._reports.left(current, found)

    def _found_copied_away(self, current: Generation) -> Generation:
        """The current generation, which continues in a copy if the file at the path was copied away and cut since the last look.

        A file that begins again as it began before shows no trace of that. The copy does. Only a file that is still short can be longer
        again than what was read of it.
        """
        is_short = 0 < current.tail.offset < SAMPLE_BYTES and not current.tail.content.is_compressed
        options = self._context.options
        if current.number is None or not is_short or self._context.finished or options.is_glob or options.names_decide:
            return current
        candidates = self._rotations.candidates()
        rotated = [each for each in candidates if not each.is_live]
        # If our file has no name any more, it is read to its end by its descriptor.
        if not rotated or rotated == self._rotated or not any(current.has_inode_of(each.status) for each in candidates):
            return current
        self._rotated = rotated
        identity = current.identity(self._label)
        match = self._past.find(identity, candidates)
        if match is None:
            return current
        if current.has_inode_of(match.candidate.status):
            self._reports.uncertain(match.candidate.path, match.doubt)
            match.content.close()
            return current
        self._reports.changed(current.number, identity.offset, current.status.size_bytes)
        self._move_to(current, match)
        return self._current or current

    def _find_its_name(self, current: Generation, opened: Candidate, named: str = "", follows: str | None = None) -> None:
        """If names decide: from now on, its name says which file it is, or the name of the file before it does.

        If a person compressed or removed the file since it was `opened`, it keeps the name that it had then, or `named` and `follows`.
        """
        if not self._context.options.names_decide:
            return
        current.named, current.follows = self._rotations.place_by_name(current.status)
        if not current.named and current.follows is None:
            current.named, current.follows = (named, follows) if opened.is_live else (opened.bare_name, None)

    def _content_changed(self, current: Generation) -> None:
        """Handles a cut or rewritten open file. Continues in the file that still has the delivered bytes: itself, or a copy."""
        if current.number is not None:
            identity = current.identity(self._label)
            candidates = self._rotations.candidates()
            match = self._past.find(identity, candidates) if identity.offset else None
            shorter = None if match else find_shorter(self._context.open_content, identity, candidates)
            if shorter and current.has_inode_of(shorter.status):
                self._finish(current)
                self._continue_shorter(shorter)
                return
            # It is the same file: only undelivered bytes changed, as when a writer takes back an unfinished line.
            if match is None or not current.has_inode_of(match.candidate.status):
                self._reports.changed(current.number, identity.offset, self._status(current).size_bytes)
            if match:
                self._move_to(current, match)
                return
            self._reports.cut(current)
        self._finish(current)
        self._open_next()

    def _continue_shorter(self, candidate: Candidate) -> None:
        """Opens a generation at the present end of a file that lost its last bytes: they are not read again."""
        finished = self._past.finished
        if finished is None or not self._enter(candidate, 0) or self._current is None:
            return
        current, size_bytes = self._current, candidate.status.size_bytes
        with storage_call("read", candidate.path):
            current.tail.resume_at(size_bytes)
        self._reports.lost(
            candidate.path,
            generation=finished.number,
            offset=size_bytes,
            size_bytes=finished.identity.offset - size_bytes,
            reason="the file lost its last bytes after they were read",
        )
        # Before the chunk that retires its predecessor.
        self._outbox.appendleft(self._chunk(current, Piece(size_bytes, b"")))

    def _is_overtaken(self, current: Generation) -> bool:
        """Whether another file came between while we waited for this one's first record. Then that file is read first.

        Nothing was delivered from this one yet. So nothing in it could show that it was written, copied away and cut meanwhile.
        """
        if current.number is not None or not current.was_waited_for:
            return False
        candidates = self._rotations.candidates()
        succession = self._past.successor_of_unread(current, candidates)
        if isinstance(succession.step, Match):
            succession.step.content.close()
        if not isinstance(succession.step, Candidate) or not current.is_behind(succession.step):
            return False
        if not any(current.has_inode_of(each.status) for each in candidates):
            # It was also removed, between two looks. If we read it now, we would lose the other file, which still exists.
            self._reports.removed_unread(current)
        self._finish(current)
        self._enter(succession.step, succession.newer_bytes)
        return True

    # From one generation to the next.

    def _move_on(self, current: Generation) -> bool:
        """Called at the end of the present content. Returns whether there is more to read, in this file or in its successor."""
        if current.is_live:
            # The file at the path stays in the state, or a restart would treat it as a new file.
            return self._end_compressed(current)
        current.awaits_quiet = not self._is_quiet(current) and not current.is_sound_and_compressed
        if current.awaits_quiet:
            return False
        status = self._status(current)
        if status != current.status:
            self._changed(current, status)
            current.awaits_quiet = True
            return False
        candidates = self._rotations.candidates()
        return candidates != self._without_successor and self._leave(current, candidates)

    def _leave(self, current: Generation, candidates: Sequence[Candidate]) -> bool:
        """Moves from a quiet renamed or removed file to its successor, if allowed. Returns whether there is more to read."""
        succession = self._past.successor(current, candidates)
        if isinstance(succession.step, Match):
            if current.number is None:
                self._finish(current)
                return self._resume_finished(succession.step)
            self._move_to(current, succession.step)
            return True
        # An empty compressed file has no number. If we closed it, it would be found again as the next file, endlessly.
        will_not_grow = current.tail.content.is_compressed and current.number is not None
        is_gone = will_not_grow or not any(current.has_inode_of(each.status) for each in candidates)
        if succession.step is None and not is_gone:
            # A writer may write for days to a file that was renamed. We follow it as long as it has no successor.
            self._without_successor = candidates
            return False
        if not current.ends:
            current.ends = True
            return True
        if current.number is None:
            self._past.leave_out(Candidate(current.path, current.status, current.is_live))
        self._reports.next_chosen(current, succession)
        self._finish(current)
        return self._enter(succession.step, succession.newer_bytes) if succession.step else self._open_next()

    def _end_compressed(self, current: Generation) -> bool:
        """A compressed file at the path itself is finished input. A file that is cut short, or has an open end, may still be arriving."""
        content = current.tail.content
        may_arrive = content.is_compressed and not current.is_sound_and_compressed
        current.awaits_quiet = may_arrive and not self._is_quiet(current)
        if current.ends or current.awaits_quiet or not content.is_compressed:
            return False
        current.ends = True
        self._reports.damaged(current)
        return True

    def _finish(self, current: Generation) -> None:
        """Closes the file. Its generation stays in the state until a successor delivers its first bytes."""
        self._reports.finished(current)
        self._past.finish(current)
        self._current = None
        self._without_successor = None
        current.tail.content.close()

    def _open_next(self) -> bool:
        """Opens the finished generation's successor, or the live file if none is finished. Returns whether it opened one."""
        candidates = self._rotations.live() if self._past.is_empty else self._rotations.candidates()
        if candidates == self._without_successor:
            return False
        succession = self._past.successor(None, candidates)
        if succession.step is None:
            self._without_successor = candidates
            # A glob's files come and go, and a generation without a file must not stay in the state.
            chunk = self._past.retire() if self._context.options.is_glob else self._past.end()
            self._outbox.extend([chunk] if chunk else [])
            return False
        if isinstance(succession.step, Candidate):
            self._reports.next_chosen(None, succession)
            return self._enter(succession.step, succession.newer_bytes)
        return self._resume_finished(succession.step)

    def _resume_finished(self, match: Match) -> bool:
        """Continues the finished generation, because a longer copy of its file was found."""
        assert self._past.finished, "only what was read can be found again"
        self._continue_in(match, self._past.finished)
        self._past.finished = None
        return True

    def _enter(self, step: Candidate, newer_bytes: int) -> bool:
        """Opens an unread file. Returns False if that is impossible now; it is tried again."""
        try:
            content = self._context.open_content(step.path)
        except RefusedContentError as error:
            if step.is_live:
                self._reports.blocked(f"{error.reason}; {error.hint}")
                return False
            self._reports.refused(step, f"{error.reason}; {error.hint}")
            self._past.leave_out(step)
            return self._open_next()
        except OSError as error:
            if failure := storage_failure("open", step.path, error):
                raise failure from error
            self._reports.blocked(error.strerror or str(error))
            return False
        entered = follow(self._context, Tail(content, self._context.options), step)
        if not entered.has_inode_of(step.status):
            # It was renamed since we looked. The next look sees what is there now.
            content.close()
            return False
        self._find_its_name(entered, step)
        self._current = entered
        self._newer_bytes = newer_bytes
        self._without_successor = None
        return True

    def _continue_in(self, match: Match, finished: FinishedGeneration) -> None:
        """Continues a generation in its file, or a copy of it, that was found again."""
        self._reports.uncertain(match.candidate.path, match.doubt)
        offset = finished.identity.offset
        with storage_call("read", match.candidate.path):  # perhaps a long header
            tail = Tail(match.content, self._context.options, offset=offset, samples=match.samples)
        self._current = follow(self._context, tail, match.candidate, finished.number)
        self._find_its_name(self._current, match.candidate, finished.identity.named, finished.identity.follows)
        self._without_successor = None
        if not match.candidate.is_live:
            self._reports.rotated(match.candidate.path, finished.number)
        self._reports.opened(self._current, tail.offset)
        if not finished.identity.has_inode_of(self._current.status):
            # The folder was copied. The state gets the new inode now, though nothing may be read for long.
            self._outbox.append(self._chunk(self._current, Piece(tail.offset, b"")))

    def _move_to(self, current: Generation, match: Match) -> None:
        """Continues the current generation in a copy of its file."""
        self._reports.uncertain(match.candidate.path, match.doubt)
        current.tail.move_to(match.content)
        self._current = follow(self._context, current.tail, match.candidate, current.number)
        self._find_its_name(self._current, match.candidate, current.named, current.follows)
        self._without_successor = None
        if current.number is not None and not match.candidate.is_live and match.candidate.path != current.path:
            self._reports.rotated(match.candidate.path, current.number)
