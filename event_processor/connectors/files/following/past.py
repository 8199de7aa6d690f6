"""What came before the generation that is read now: the finished one, and the files that are known by content.

Owns: everything that decides which file is next, and what the state keeps about earlier files.
Always: a finished generation becomes a known file only with the first chunk of its successor, so the state after a chunk depends on
the bytes alone.
Never: opens the next file; `path.py` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from event_processor.connectors.files.following.generation import FinishedGeneration, Generation, SourceContext, retired_chunk
from event_processor.connectors.files.following.identity import FileIdentity
from event_processor.connectors.files.following.known import LEFT_OUT_RANK, Knowledge, KnownFiles
from event_processor.connectors.files.following.recognition import Match, find_again
from event_processor.connectors.files.following.rotation import Candidate
from event_processor.connectors.files.following.succession import ReadFile, Succession, find_successor
from event_processor.model.event import Chunk, Json
from event_processor.storage.durable import FileStatus

__all__ = ["Past"]


class Past:
    """The past of one path.

    `finished`: the last generation, if its file is closed and no successor gave a chunk yet. `intact_ns`: the modification time at
    which the last file was seen whole; None if nothing of the path was ever seen. `passed`: files after it that held no record.
    """

    def __init__(self, context: SourceContext, label: str) -> None:
        self.finished: FinishedGeneration | None = None
        self.intact_ns: int | None = None
        self.passed: Final[list[FileStatus]] = []
        self._context: Final = context
        self._label: Final = label
        self._described: Knowledge | None = None
        self._description: dict[str, Json] = {}
        self._known: Final = KnownFiles(context.fs, context.open_content)
        # A path of a glob may be new, or may be rotated for years: nothing says which of the files beside it are history.
        self._known.forget()

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the path was ever seen."""
        return self.finished is None and self.intact_ns is None

    @property
    def has_files(self) -> bool:
        """Whether files are known that were read to their end."""
        return bool(self._known.knowledge.retired)

    def knows(self, candidate: Candidate) -> bool:
        """Whether that file was read to its end, by its content. Raises `StorageError`."""
        return self._known.ranks([candidate], thorough=True).get(candidate.path, LEFT_OUT_RANK) > LEFT_OUT_RANK

    def begin(self, since_ns: int) -> None:
        """Nothing was read yet, but what was modified until `since_ns` is history."""
        self.intact_ns = since_ns

    def begin_without(self, left_out: Sequence[Candidate], *, is_all: bool = True) -> None:
        """Nothing was read yet, and these files are history; only these if `is_all`."""
        self.intact_ns = max((each.status.modified_ns for each in left_out), default=0)
        self._known.knowledge = Knowledge(forgotten=not is_all)
        self._known.leave_out(left_out)

    def resume(self, identity: FileIdentity) -> None:
        """The past of the file of `identity` is the one that the state has."""
        self._known.knowledge = Knowledge.of(identity)

    def leave_out(self, candidate: Candidate) -> None:
        """Never reads this file (again): it holds no record, or cannot be read."""
        self.passed.append(candidate.status)
        self._known.leave_out([candidate])

    def identity(self, current: Generation) -> FileIdentity:
        """What the state keeps about the current generation."""
        return self._known.knowledge.described_in(current.identity(self._label))

    def position(self, current: Generation) -> dict[str, Json]:
        """The same in the form of the state. Called for each chunk."""
        if self._described is not self._known.knowledge:
            self._described = self._known.knowledge
            self._description = self._described.fields()
        return current.identity(self._label).position() | self._description

    def finish(self, current: Generation) -> None:
        """The current generation was read to its end. One that gave nothing leaves no trace."""
        self.intact_ns = current.intact_ns
        if current.number is not None:
            self.finished = FinishedGeneration(current.number, self.identity(current))

    def succeeded(self) -> Chunk | None:
        """The finished generation has a successor. Returns the chunk that retires it, to be sent after the successor's first."""
        self.passed.clear()
        finished, self.finished = self.finished, None
        if finished is None:
            return None
        self._known.knowledge = self._known.knowledge.after(finished.identity)
        return retired_chunk(self._context.source, finished)

    def retire(self) -> Chunk | None:
        """Retires the finished generation, if there is one, though no file follows it."""
        finished, self.finished = self.finished, None
        return retired_chunk(self._context.source, finished) if finished else None

    def end(self) -> Chunk | None:
        """Records that the file of the finished generation is gone, and that this was reported if something was lost.

        Returns the chunk that says so; None if the state has it already. Without it, every start would report the loss again.
        """
        finished = self.finished
        if finished is None or finished.identity.ended:
            return None
        identity = replace(finished.identity, ended=True)
        self.finished = replace(finished, identity=identity)
        return Chunk(self._context.source, finished.number, identity.offset, b"", identity.position())

    def find(self, identity: FileIdentity, candidates: Sequence[Candidate]) -> Match | None:
        """The file of `identity`, which this past led to, found again. Raises `StorageError`."""
        since_ns = self._context.last_commit_ns if self.intact_ns is None else self.intact_ns
        return find_again(self._context.open_content, identity, candidates, self._known, since_ns=since_ns)

    def successor(self, current: Generation | None, candidates: Sequence[Candidate]) -> Succession:
        """The successor of the current generation, or else of the finished one. Raises `StorageError`."""
        identity = self.finished.identity if self.finished else None
        if current is None:
            read = ReadFile(identity, None, self.intact_ns, passed=self.passed)
        elif current.number is None:
            read = ReadFile(identity, current.status, current.intact_ns, passed=self.passed, is_unread=True)
        else:
            seen_bytes = current.tail.scanned_offset
            read = ReadFile(current.identity(self._label), current.status, current.intact_ns, seen_bytes)
        return self._successor(read, candidates)

    def successor_of_unread(self, current: Generation, candidates: Sequence[Candidate]) -> Succession:
        """The successor of the finished generation, if the current one, which gave nothing yet, is not counted."""
        identity = self.finished.identity if self.finished else None
        read = ReadFile(identity, None, current.intact_ns, passed=self.passed)
        return self._successor(read, candidates)

    def _successor(self, read: ReadFile, candidates: Sequence[Candidate]) -> Succession:
        names_decide = self._context.options.names_decide
        return find_successor(self._context.open_content, read, candidates, self._known, names_decide=names_decide)
