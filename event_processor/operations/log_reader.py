"""Reads the log again in the order of the reading journal: the input that rebuilds the same state.

Owns: how journal entries become chunks again.
Always: yields every committed byte once, in order. After its last byte, a generation is retired and gets its final position.
Memory is bounded by the batch and the record limit.
Never: reads a byte after the committed offsets; skips missing bytes (it raises).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from event_processor.assembly import Environment, all_sources, reopen_generation
from event_processor.configuration.configuration import RESERVED_SOURCE_NAME, Configuration
from event_processor.engine import migration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.journal import (
    JOURNAL_NAME,
    IdleRelease,
    InputFinished,
    JournalEntry,
    JournalRun,
    LossesAcknowledged,
    LossFound,
    OrderEnded,
    OrderStarted,
    RetiredGeneration,
    decode_entries,
)
from event_processor.engine.state import SourceState
from event_processor.model.connector import PastGeneration, Piece
from event_processor.model.errors import InputGoneError, StateError
from event_processor.model.event import Chunk, Json
from event_processor.operations.state_access import committed_length
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import FileSystem, storage_call

__all__ = ["LogReader", "Progress", "ReadingJournal", "nobody_watches", "read_by_lost_state", "watched_script"]

OPEN_GENERATIONS_MAX: Final = 32

GenerationKey: TypeAlias = tuple[str, int]
"""A source's name and a generation."""


class ReadingJournal:
    """The journal of one checkpoint: the closed entries of the file, then the open run."""

    def __init__(self, fs: FileSystem, directory: str, checkpoint: Checkpoint) -> None:
        self._fs: Final = fs
        self._path: Final = os.path.join(directory, JOURNAL_NAME)
        self._length_bytes: Final = committed_length(checkpoint, JOURNAL_NAME)
        self._open_run: Final = checkpoint.state.journal

    def __iter__(self) -> Iterator[JournalEntry]:
        """Yields every entry in order. Raises `StateError` if the file is too short or unreadable, `StorageError`."""
        first_line = 1
        for lines in committed_lines(self._fs, self._path, self._length_bytes):
            yield from decode_entries(b"\n".join(lines), self._path, first_line=first_line)
            first_line += len(lines)
        if self._open_run is not None:
            yield self._open_run


def read_by_lost_state(fs: FileSystem, directory: str) -> dict[str, list[Mapping[str, Json]]]:
    """By source, the last positions of the generations that the journal of a lost state shows as read to their end, in order.

    Reads the journal as far as it makes sense: its committed length is lost with the checkpoint. Raises `StorageError`.
    """
    path = os.path.join(directory, JOURNAL_NAME)
    with storage_call("stat", path):
        status = fs.status(path)
    found: dict[str, list[Mapping[str, Json]]] = {}
    with suppress(StateError):
        for lines in committed_lines(fs, path, status.size_bytes) if status else ():
            for entry in decode_entries(b"\n".join(lines), path):
                if isinstance(entry, RetiredGeneration):
                    found.setdefault(entry.source, []).append(entry.position)
    return found


@dataclass(slots=True)
class _Survey:
    """The result of a first pass over the journal: how far each generation was read, and the entry of each retired one."""

    ends: dict[GenerationKey, int] = field(default_factory=dict)
    retired: dict[GenerationKey, RetiredGeneration] = field(default_factory=dict)
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
                survey.retired[entry.source, entry.generation] = entry
            elif isinstance(entry, OrderStarted):
                survey.is_ordered_from_start |= entry.records == 0
        return survey


class LogReader:
    """Reads again what one checkpoint covers. Used by one thread; `close` closes the files."""

    def __init__(
        self,
        configuration: Configuration,
        environment: Environment,
        checkpoint: Checkpoint,
        *,
        sources: Collection[str] | None = None,
    ) -> None:
        """`sources`: the names of those to read; None reads all. Raises `StateError` for an unreadable journal."""
        directory = str(configuration.state.dir)
        self._environment: Final = environment
        self._options: Final = all_sources(configuration, directory)
        self._wanted: Final = frozenset(self._options if sources is None else sources)
        self._block_bytes_min: Final = configuration.batch.bytes_max
        self._intake_keep_days: Final = configuration.intake.keep_days
        self._progress: Final[Mapping[str, SourceState]] = checkpoint.state.sources
        self._journal: Final = ReadingJournal(environment.fs, directory, checkpoint)
        self._survey: Final = _Survey.of(self._journal)
        if checkpoint.version == migration.VERSION:
            # Version 1 has no entry for this: the order stage was used from the start, or never.
            self._survey.is_ordered_from_start = checkpoint.state.order.active
        self._open: Final[OrderedDict[GenerationKey, PastGeneration]] = OrderedDict()
        self.read_bytes = 0
        """The size of the records that were read so far, with their line ends."""
        self.names: Final[dict[GenerationKey, str]] = {}
        """The present path, or what names it, of each generation that was read."""

    @property
    def size_bytes(self) -> int:
        """How much there is to read, of all sources: bytes, or numbers of records of a source that numbers them."""
        return self._survey.size_bytes

    def script(self) -> Iterator[Chunk | JournalEntry]:
        """Yields everything that was read, in order.

        Raises `InputGoneError`, which names the missing bytes, `StateError`, `StorageError`.
        """
        if self._survey.is_ordered_from_start:
            yield OrderStarted(0)
        for entry in self._journal:
            if isinstance(entry, OrderStarted):
                if entry.records:
                    yield entry
            elif isinstance(entry, IdleRelease | InputFinished | OrderEnded | LossFound | LossesAcknowledged):
                yield entry
            elif entry.source in self._wanted:
                yield from self._chunks_of(entry)
        yield from self._open_without_records()

    def close(self) -> None:
        """Closes the files."""
        while self._open:
            self._open.popitem()[1].close()

    def _chunks_of(self, entry: JournalRun | RetiredGeneration) -> Iterator[Chunk]:
        """Yields the chunks of one entry. A generation is retired after its last byte; its journal entry may come earlier."""
        key = entry.source, entry.generation
        retired = self._survey.retired.get(key)
        if isinstance(entry, JournalRun):
            yield from self._read(entry, self._position(key))
            if retired is not None and entry.end == self._survey.ends[key]:
                yield _moved(key, retired.position, retired.end_offset(), retired=True)
        elif retired is not None and key not in self._survey.ends:
            yield _moved(key, retired.position, retired.end_offset(), retired=True)

    def _open_without_records(self) -> Iterator[Chunk]:
        """Yields the open generations that gave no record: only their position is known."""
        for name, source in sorted(self._progress.items()):
            for each in source.generations:
                if name in self._wanted and (name, each.generation) not in self._survey.ends:
                    yield _moved((name, each.generation), each.position, 0)

    def _position(self, key: GenerationKey) -> Mapping[str, Json]:
        """The last position of a generation. Raises `InputGoneError` if the state does not have it."""
        if retired := self._survey.retired.get(key):
            return retired.position
        source = self._progress.get(key[0])
        opened = source.open_generation(key[1]) if source else None
        if opened is None:
            raise InputGoneError(f"source {key[0]!r}, generation {key[1]}: the state does not say which input this was")
        return opened.position

    def _read(self, run: JournalRun, position: Mapping[str, Json]) -> Iterator[Chunk]:
        """Yields the run in chunks of whole records. A record over the limit is a chunk by itself."""
        generation = self._generation(run, position)
        offset = run.start
        for piece in generation.pieces(run.start, run.end, self._block_bytes_min):
            # As the source gave it: the first bytes, and none after this chunk. A header may be in the chunk while lines before it are not.
            yield _chunk(run, piece, position, generation.head[: piece.end_offset])
            offset = piece.end_offset
            self.read_bytes += len(piece.content) + piece.oversized_bytes
        if offset < run.end:
            raise self._gone(run, offset)

    def _generation(self, run: JournalRun, position: Mapping[str, Json]) -> PastGeneration:
        """The generation that holds the run. A few stay open, because runs of several generations alternate."""
        key = run.source, run.generation
        found = self._open.pop(key, None) or reopen_generation(self._options[run.source], position, self._environment)
        if found is None:
            raise self._gone(run, run.start, str(position.get("path", "")))
        self.names.setdefault(key, str(getattr(found, "path", position.get("path", ""))))
        self._open[key] = found
        if len(self._open) > OPEN_GENERATIONS_MAX:
            self._open.popitem(last=False)[1].close()
        return found

    def _gone(self, run: JournalRun, start: int, path: str = "") -> InputGoneError:
        """The error that names the missing bytes."""
        first_read_at = f" (first read at {path})" if path else ""
        hint = "put the file back, compressed or not, at its path or among the source's rotated files; until then this cannot be checked"
        if run.source == RESERVED_SOURCE_NAME and self._intake_keep_days:
            days = self._intake_keep_days
            hint = f"files of the intake are removed after intake.keep_days = {days}; what they held stays counted, and cannot be checked"
        return InputGoneError(
            f"source {run.source!r}, generation {run.generation}{first_read_at}: bytes {start} to {run.end} are gone", hint=hint
        )


def _chunk(run: JournalRun, piece: Piece, position: Mapping[str, Json], head: bytes) -> Chunk:
    """A piece of a run as a chunk. Each one gets the last position, because only that one is compared."""
    return Chunk(
        source=run.source,
        generation=run.generation,
        offset=piece.offset,
        content=piece.content,
        position=position,
        final=piece.final,
        oversized_bytes=piece.oversized_bytes,
        head=head,
        own=piece.own,
        places=piece.places,
    )


def _moved(key: GenerationKey, position: Mapping[str, Json], offset: int, *, retired: bool = False) -> Chunk:
    """A chunk without records. It says only that the generation exists, or that it is retired."""
    return Chunk(key[0], key[1], offset, b"", position, retired=retired)


Progress: TypeAlias = Callable[[int, int], None]
"""Called as `(bytes_done, bytes_total)` after every chunk. Must return at once."""


def nobody_watches(_done_bytes: int, _size_bytes: int) -> None:
    """Shows no progress."""


def watched_script(reader: LogReader, progress: Progress) -> Iterator[Chunk | JournalEntry]:
    """Yields the reader's script, and reports after each chunk how much was consumed."""
    done_bytes = 0
    for each in reader.script():
        yield each
        if isinstance(each, Chunk):
            done_bytes += each.end_offset - each.offset
            progress(done_bytes, reader.size_bytes)
