"""The log, read again in the order of the reading journal: the script that makes the same state once more.

Owns: how entries of the journal become chunks, cut anew.
Always: every committed byte is given once, in its place; a generation is retired, and moved to where it resumes, behind
its last byte. Memory is bounded by the batch and the record limit.
Never: a byte beyond the committed offsets is read. What is gone is said, not skipped.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from event_processor.assembly import LINE_END_BYTES_MAX, Environment, PartReader, all_sources, locate_part, whole_records_end
from event_processor.configuration.configuration import Configuration
from event_processor.engine import migration
from event_processor.engine.checkpoint import Checkpoint
from event_processor.engine.journal import (
    JOURNAL_NAME,
    IdleRelease,
    InputFinished,
    JournalEntry,
    JournalRun,
    OrderBegun,
    OrderEnded,
    RetiredGeneration,
    decode_entries,
)
from event_processor.engine.state import SourceState
from event_processor.model.errors import InputGoneError
from event_processor.model.event import Chunk, Json
from event_processor.operations.state_access import committed_length
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import FileSystem, storage_call

__all__ = ["LogReader", "Progress", "ReadingJournal", "nobody_watches", "watched_script"]

OPEN_PARTS_MAX: Final = 32
SCAN_BLOCK_BYTES: Final = 262_144

PartKey: TypeAlias = tuple[str, int]
"""A source's name and a generation."""


class ReadingJournal:
    """The journal of one checkpoint: the closed entries of the file, then the run that was still open."""

    def __init__(self, fs: FileSystem, directory: str, checkpoint: Checkpoint) -> None:
        self._fs: Final = fs
        self._path: Final = os.path.join(directory, JOURNAL_NAME)
        self._length_bytes: Final = committed_length(checkpoint, JOURNAL_NAME)
        self._open_run: Final = checkpoint.state.journal

    def __iter__(self) -> Iterator[JournalEntry]:
        """Every entry, in order. Raises `StateError` where the file is short or unreadable, `StorageError`."""
        first_line = 1
        for lines in committed_lines(self._fs, self._path, self._length_bytes):
            yield from decode_entries(b"\n".join(lines), self._path, first_line=first_line)
            first_line += len(lines)
        if self._open_run is not None:
            yield self._open_run


@dataclass(slots=True)
class _Survey:
    """What a first pass over the journal tells: how far each generation was read, and what each retired one is known by."""

    ends: dict[PartKey, int] = field(default_factory=dict)
    retired: dict[PartKey, Mapping[str, Json]] = field(default_factory=dict)
    size_bytes: int = 0
    is_ordered_from_start: bool = False

    @classmethod
    def of(cls, journal: ReadingJournal) -> _Survey:
        survey = cls()
        for entry in journal:
            if isinstance(entry, JournalRun):
                survey.ends[entry.source, entry.generation] = entry.end
                survey.size_bytes += entry.end - entry.start
            elif isinstance(entry, RetiredGeneration):
                survey.retired[entry.source, entry.generation] = entry.position
            elif isinstance(entry, OrderBegun):
                survey.is_ordered_from_start |= entry.records == 0
        return survey


class LogReader:
    """Reads again what one checkpoint covers. Used by one thread; `close` gives the files back."""

    def __init__(
        self,
        configuration: Configuration,
        environment: Environment,
        checkpoint: Checkpoint,
        *,
        sources: Collection[str] | None = None,
    ) -> None:
        """`sources`: those to read, where not all are wanted any more. Raises `StateError` for an unreadable journal."""
        directory = str(configuration.state.dir)
        self._environment: Final = environment
        self._options: Final = all_sources(configuration, directory)
        self._wanted: Final = frozenset(self._options if sources is None else sources)
        self._block_bytes_min: Final = configuration.batch.bytes_max
        self._progress: Final[Mapping[str, SourceState]] = checkpoint.state.sources
        self._journal: Final = ReadingJournal(environment.fs, directory, checkpoint)
        self._survey: Final = _Survey.of(self._journal)
        if checkpoint.version == migration.VERSION:
            # Version 1 knew no entry for it: there the order stage was used from the start, or never.
            self._survey.is_ordered_from_start = checkpoint.state.order.active
        self._parts: Final[OrderedDict[PartKey, PartReader]] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """How much there is to be read, all sources together."""
        return self._survey.size_bytes

    def script(self) -> Iterator[Chunk | JournalEntry]:
        """Everything that was read, in its order. Raises `InputGoneError` naming what is gone, `StateError`, `StorageError`."""
        if self._survey.is_ordered_from_start:
            yield OrderBegun(0)
        for entry in self._journal:
            if isinstance(entry, OrderBegun):
                if entry.records:
                    yield entry
            elif isinstance(entry, IdleRelease | InputFinished | OrderEnded):
                yield entry
            elif entry.source in self._wanted:
                yield from self._chunks_of(entry)
        yield from self._open_without_records()

    def close(self) -> None:
        """Gives the files back."""
        while self._parts:
            self._parts.popitem()[1].close()

    def _chunks_of(self, entry: JournalRun | RetiredGeneration) -> Iterator[Chunk]:
        """The chunks of one entry. A generation is retired behind its last byte, which its entry may precede."""
        key = entry.source, entry.generation
        retired = self._survey.retired.get(key)
        if isinstance(entry, JournalRun):
            yield from self._read(entry, self._resume(key))
            if retired is not None and entry.end == self._survey.ends[key]:
                yield _moved(key, retired, retired=True)
        elif retired is not None and key not in self._survey.ends:
            yield _moved(key, retired, retired=True)

    def _open_without_records(self) -> Iterator[Chunk]:
        """Generations that are open but gave no record: only that they are there is known of them."""
        for name, source in sorted(self._progress.items()):
            for each in source.generations:
                if name in self._wanted and (name, each.generation) not in self._survey.ends:
                    yield _moved((name, each.generation), each.position)

    def _resume(self, key: PartKey) -> Mapping[str, Json]:
        """By what the generation can be known again. Raises `InputGoneError` where nobody wrote it down."""
        source = self._progress.get(key[0])
        opened = source.open_generation(key[1]) if source else None
        identity = self._survey.retired.get(key) or (opened.position if opened else None)
        if identity is None:
            raise InputGoneError(f"source {key[0]!r}, generation {key[1]}: the state does not say which file this was")
        return identity

    def _read(self, run: JournalRun, resume: Mapping[str, Json]) -> Iterator[Chunk]:
        """The run in chunks of whole records; a record over the limit is a chunk of its own."""
        part = self._part(run, resume)
        record_bytes_max = self._options[run.source].record_bytes_max
        block_bytes = max(self._block_bytes_min, record_bytes_max + LINE_END_BYTES_MAX + 1)
        offset = run.start
        while offset < run.end:
            content = self._bytes(part, run, min(block_bytes, run.end - offset), offset)
            whole_bytes, is_oversized = whole_records_end(content, record_bytes_max)
            is_last = not whole_bytes and offset + len(content) == run.end
            if whole_bytes:
                chunk = _Piece(run, offset, content[:whole_bytes])
            elif is_oversized or len(content) > record_bytes_max:
                chunk = self._oversized(part, run, offset)
            else:
                assert is_last, "a block is longer than a record within the limit"
                chunk = _Piece(run, offset, content, is_final=True)
            offset = chunk.end_offset
            is_end = offset == self._survey.ends[run.source, run.generation]
            yield chunk.as_chunk(resume if is_end else {**resume, "offset": offset}, part.head[:offset])

    def _oversized(self, part: PartReader, run: JournalRun, start: int) -> _Piece:
        """The length of the record at `start`, whose end is searched block by block."""
        offset = start
        while offset < run.end:
            block = self._bytes(part, run, min(SCAN_BLOCK_BYTES, run.end - offset), offset)
            end = block.find(b"\n") + 1
            offset += end or len(block)
            if end:
                return _Piece(run, start, b"", oversized_bytes=offset - start)
        return _Piece(run, start, b"", oversized_bytes=offset - start, is_final=True)

    def _bytes(self, part: PartReader, run: JournalRun, size_bytes: int, offset: int) -> bytes:
        with storage_call("read", f"source {run.source}, generation {run.generation}"):
            content = part.read(size_bytes, offset)
        if len(content) < size_bytes:
            raise _gone(run, offset + len(content))
        return content

    def _part(self, run: JournalRun, resume: Mapping[str, Json]) -> PartReader:
        """The file that holds the run, found by its content; a few stay open, since runs of several files alternate."""
        key = run.source, run.generation
        part = self._parts.pop(key, None) or locate_part(self._options[run.source], resume, self._environment)
        if part is None:
            raise _gone(run, run.start, str(resume.get("path", "")))
        self._parts[key] = part
        if len(self._parts) > OPEN_PARTS_MAX:
            self._parts.popitem(last=False)[1].close()
        return part


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of a run, as one chunk will carry them. `is_final`: the last record lacks its line end."""

    run: JournalRun
    offset: int
    content: bytes
    oversized_bytes: int = 0
    is_final: bool = False

    @property
    def end_offset(self) -> int:
        return self.offset + len(self.content) + self.oversized_bytes

    def as_chunk(self, resume: Mapping[str, Json], head: bytes) -> Chunk:
        return Chunk(
            source=self.run.source,
            generation=self.run.generation,
            offset=self.offset,
            content=self.content,
            position=resume,
            final=self.is_final,
            oversized_bytes=self.oversized_bytes,
            head=head,
        )


def _moved(key: PartKey, resume: Mapping[str, Json], *, retired: bool = False) -> Chunk:
    """A chunk without a record, which only says where a generation stands."""
    return Chunk(key[0], key[1], int(str(resume["offset"])), b"", resume, retired=retired)


def _gone(run: JournalRun, start: int, path: str = "") -> InputGoneError:
    """Which bytes would be needed and are not there."""
    born_at = f" (first read at {path})" if path else ""
    return InputGoneError(
        f"source {run.source!r}, generation {run.generation}{born_at}: bytes {start} to {run.end} are gone",
        hint="put the file back, compressed or not, at its path or among the source's rotated files; until then this cannot be told",
    )


Progress: TypeAlias = Callable[[int, int], None]
"""Told after every chunk how many bytes are read, of how many. Must return at once."""


def nobody_watches(_done_bytes: int, _size_bytes: int) -> None:
    """The progress that nobody is shown."""


def watched_script(reader: LogReader, progress: Progress) -> Iterator[Chunk | JournalEntry]:
    """The reader's script, with word of how much of it was taken."""
    done_bytes = 0
    for each in reader.script():
        yield each
        if isinstance(each, Chunk):
            done_bytes += each.end_offset - each.offset
            progress(done_bytes, reader.size_bytes)
