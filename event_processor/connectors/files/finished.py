"""Finished files, read once, one after the other, in the order in which they were named; or one that is still written.

Owns: which file comes next, and where reading continues after a restart.
Always: of a file that is still written, only what has come is read, and its end ends the last record only when all has come. The n-th file is generation n, even if it is empty, so that a state says exactly how far the list was read. One file is
open at a time, however many there are. A file that was read to its end is retired at once. A file that ends too early stays among
the open generations, so the state remembers it.
Never: looks at a file that was not named: `FILE.1` beside `FILE` is another file. Never guesses: if a file no longer holds what
was read from it, the run ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from event_processor.connectors.files.arrival import Arrival, ArrivedView
from event_processor.connectors.files.content import CompressedContent, Content, content_opener
from event_processor.connectors.files.following.identity import FileIdentity, hash_of
from event_processor.connectors.files.following.tail import ContentChangedError, Piece, Tail
from event_processor.connectors.files.paths import storage_failure
from event_processor.connectors.files.source_options import InputFilesOptions
from event_processor.model.errors import ConfigurationError, InputGoneError
from event_processor.model.event import Chunk, Json
from event_processor.model.telemetry import Telemetry
from event_processor.records.compression import MAGIC_BYTES, RefusedContentError
from event_processor.storage.durable import FileStatus, FileSystem, storage_call

__all__ = ["InputFiles"]

FIRST_GENERATION: Final = 1
LOOK_S: Final = 0.2
"""An input that is still written is looked at this often. Each look that finds more makes a commit."""


class _OpenFile:
    """The file that is being read."""

    def __init__(self, number: int, options: InputFilesOptions, tail: Tail, status: FileStatus) -> None:
        self.number: Final = number
        self.path: Final = options.files[number - FIRST_GENERATION]
        self._size_bytes: Final = options.sizes_bytes[number - FIRST_GENERATION]
        self._label: Final = options.label(self.path)
        self.tail: Final = tail
        self._status: Final = status
        self.is_known = False
        """Whether a chunk of it was delivered."""

    def position(self) -> dict[str, Json]:
        """What the state keeps about it."""
        samples = self.tail.samples
        identity = FileIdentity(
            self._label, self._status.device, self._status.inode, self.tail.offset, hash_of(samples.head), hash_of(samples.tail)
        )
        return identity.position()

    def unread_bytes(self) -> int:
        """The unread bytes of the file on disk, with those that have not come yet."""
        return max(0, self._size_bytes - self.tail.content.disk_bytes(self.tail.offset))


class InputFiles:
    """Chunks of the named files, as `contracts.Source` promises."""

    def __init__(self, name: str, options: InputFilesOptions, *, fs: FileSystem, telemetry: Telemetry) -> None:
        self.name: Final = name
        self._options: Final = options
        self._arrival: Final = Arrival(fs, options.arriving, options.sizes_bytes[0] if options.arriving else 0)
        seen = ArrivedView(fs, options.files[0], self._arrival) if options.arriving else fs
        self._open_content: Final = content_opener(seen, options.items)
        self._telemetry: Final = telemetry
        self._is_waiting = False
        self._next_generation = FIRST_GENERATION
        self._current: _OpenFile | None = None

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        self._next_generation = next_generation
        self._arrival.look()
        for number, position in sorted(positions.items()):
            identity = FileIdentity.of(position)
            if number == next_generation - 1:
                self._current = self._resumed(number, identity)
            else:
                # Files after it were read, and it was not retired. So it was read as far as possible.
                self._tell_damaged(number, identity.offset, "as an earlier run found")

    def read(self, bytes_max: int) -> Chunk | None:
        # Looked at before the read: what comes after it is found by the next one.
        is_complete = self._arrival.look()
        while (current := self._current or self._entered()) is not None:
            # Nothing that may come after a damage could be decoded.
            ends = is_complete or bool(current.tail.content.damage)
            try:
                with storage_call("read", current.path):
                    piece = current.tail.read(bytes_max, ends=ends)
            except ContentChangedError as error:
                raise _changed(current.path) from error
            self._is_waiting = not piece and not ends
            if current.tail.is_searching or self._is_waiting:
                return None
            chunk = self._chunk(current, piece) if piece else self._finished(current)
            if chunk is not None:
                current.is_known = True
                return chunk
        return None

    def lag_bytes(self) -> int:
        ahead = sum(self._options.sizes_bytes[self._next_generation - FIRST_GENERATION :])
        return ahead + (self._current.unread_bytes() if self._current else 0)

    def has_more(self) -> bool:
        return self._current is not None or self._next_generation - FIRST_GENERATION < len(self._options.files)

    def wait_s(self) -> float | None:
        """None if no more input will come; 0 while a long search goes on."""
        if self._current and self._current.tail.is_searching:
            return 0.0
        return LOOK_S if self._is_waiting else None

    def acknowledge(self) -> None:
        """Does nothing: the source keeps nothing to release."""

    def close(self) -> None:
        if self._current:
            self._current.tail.content.close()
            self._current = None

    def _path(self, number: int) -> str:
        return self._options.files[number - FIRST_GENERATION]

    def _entered(self) -> _OpenFile | None:
        """Opens the next file; None after the last, and while too little of it has come to know how it is compressed."""
        number = self._next_generation
        if number - FIRST_GENERATION >= len(self._options.files):
            self._is_waiting = False
            return None
        if not self._arrival.has(MAGIC_BYTES):
            self._is_waiting = True
            return None
        path = self._path(number)
        content = self._opened(path)
        self._next_generation += 1
        self._current = self._follow(number, Tail(content, self._options))
        return self._current

    def _resumed(self, number: int, identity: FileIdentity) -> _OpenFile:
        """Reopens a partly read file at its position. Raises `InputGoneError` if it holds other content."""
        path = self._path(number)
        content = self._opened(path)
        tail = None
        try:
            with storage_call("read", path):
                samples = identity.samples_in(content)
                # May read a long header.
                tail = Tail(content, self._options, offset=identity.offset, samples=samples) if samples is not None else None
        finally:
            if tail is None:
                content.close()
        if tail is None:
            raise _changed(path)
        resumed = self._follow(number, tail)
        resumed.is_known = True
        return resumed

    def _opened(self, path: str) -> Content:
        try:
            content = self._open_content(path)
        except RefusedContentError as error:
            raise ConfigurationError(f"{path}: {error.reason}", hint=error.hint) from error
        except OSError as error:
            if failure := storage_failure("open", path, error):
                raise failure from error
            raise InputGoneError(
                f"{path}: cannot be read any more: {error.strerror or error}", hint="restore it, then run the same command again"
            ) from error
        if isinstance(content, CompressedContent):
            content.has_come = self._arrival.has
        return content

    def _follow(self, number: int, tail: Tail) -> _OpenFile:
        path = self._path(number)
        with storage_call("stat", path):
            status = tail.content.status()
        self._telemetry.file_opened(source=self.name, path=path, generation=number, offset=tail.offset)
        return _OpenFile(number, self._options, tail, status)

    def _chunk(self, current: _OpenFile, piece: Piece) -> Chunk:
        tail = current.tail
        if not current.is_known and tail.leading_nul_bytes:
            self._telemetry.leading_nuls_skipped(source=self.name, path=current.path, offset=0, size_bytes=tail.leading_nul_bytes)
        return Chunk(
            self.name,
            current.number,
            piece.offset,
            piece.content,
            current.position(),
            final=piece.final,
            oversized_bytes=piece.oversized_bytes,
            head=tail.head,
            own=piece.own,
        )

    def _finished(self, current: _OpenFile) -> Chunk | None:
        """The chunk that retires a file that was read to its end; None for a file that ends too early and is known already."""
        self._current = None
        damage = current.tail.content.damage
        current.tail.content.close()
        if damage:
            self._tell_damaged(current.number, current.tail.offset, damage)
            if current.is_known:
                return None
        return Chunk(self.name, current.number, current.tail.offset, b"", current.position(), retired=not damage)

    def _tell_damaged(self, number: int, offset: int, reason: str) -> None:
        self._telemetry.file_damaged(source=self.name, path=self._path(number), generation=number, offset=offset, reason=reason)


def _changed(path: str) -> InputGoneError:
    return InputGoneError(
        f"{path}: no longer holds the bytes that were read from it",
        hint="restore the file, or start again with another --state; a file that is still written is not a finished input",
    )
