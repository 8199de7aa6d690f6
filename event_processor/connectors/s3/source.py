"""The S3 source: the objects of a bucket, each a generation, read exactly once.

Owns: chunks and positions, and what is told of them.
Always: an object is read under one ETag. If it is deleted or replaced half way, what was read stays counted, and the rest is `lost`. The object that
replaced it is another one, and is read from its start. A service that is away is waited for.
Never: blocks (`reader.py` has a thread of its own); reads a bucket's object twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from event_processor.connectors.s3.client import Bucket, Listed, RequestError
from event_processor.connectors.s3.known_objects import KnownObjects
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.positions import ObjectPosition, read_position
from event_processor.connectors.s3.reader import BucketReader, Ended, Failed, Heard, ListedAll, Opened, Start
from event_processor.connectors.s3.requests import Trouble
from event_processor.model.connector import SourceContext
from event_processor.model.errors import NotAnsweredError
from event_processor.model.event import Chunk, Json
from event_processor.model.losses import Loss
from event_processor.records.record_cutter import Cut

__all__ = ["S3Source", "known_objects"]

ONCE_S_MAX: Final = 60.0
"""`run --once` waits so long for a service that is away or refuses us."""
LOOK_S: Final = 0.05
"""While something is on its way, a read is worth repeating after this time; the reader's wakeup comes earlier."""


@dataclass(slots=True)
class _OpenObject:
    """The object that is being read. `generation`: 0 until its first chunk."""

    opened: Opened
    path: str
    offset: int
    generation: int
    ended: Ended | None = None

    @property
    def position(self) -> dict[str, Json]:
        listed = self.opened.start.listed
        return ObjectPosition(self.path, listed.etag, listed.size_bytes, self.offset, self.opened.is_plain).to_json()


def known_objects(options: S3SourceOptions, context: SourceContext, open_ones: Sequence[ObjectPosition]) -> KnownObjects:
    """The objects that were read, and those that are being read. Raises `StateError`, `StorageError`."""
    known = KnownObjects()
    for position in map(read_position, context.retired()):
        known.add(options.key_of(position.path), position.etag)
    for position in open_ones:
        known.add(options.key_of(position.path), position.etag)
    return known


class S3Source:
    """Chunks of the objects, as `contracts.Source` promises. See also `ReportsLosses`."""

    def __init__(self, options: S3SourceOptions, context: SourceContext) -> None:
        """Connects later. Raises `ConfigurationError`, for example if the secret cannot be read."""
        self.name: Final = context.name
        self._options: Final = options
        self._context: Final = context
        self._telemetry: Final = context.world.telemetry
        self._reader: Final = BucketReader(options, Bucket(options, context.world.fs), context.world)
        self._current: _OpenObject | None = None
        self._next_generation = 1
        self._losses: list[Loss] = []
        self._is_idle = False
        """Whether a listing was read to its end, and nothing came since."""
        self._trouble: Trouble | None = None
        self._since_s = context.world.clock.monotonic_s()

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        self._next_generation = next_generation
        known = {generation: read_position(position) for generation, position in sorted(positions.items())}
        starts = [
            Start(Listed(self._options.key_of(each.path), each.etag, each.size_bytes), each.offset, generation, each.plain)
            for generation, each in known.items()
        ]
        # After a fallback, in the order in which they were read before, whatever the bucket has by now: then lanes get the same records again.
        opened = {(each.path, each.etag) for each in known.values()}
        again = [each for each in map(read_position, self._context.retires_next) if (each.path, each.etag) not in opened]
        starts += [Start(Listed(self._options.key_of(each.path), each.etag, each.size_bytes)) for each in again]
        self._reader.start(known_objects(self._options, self._context, ()), starts)

    def read(self, bytes_max: int) -> Chunk | None:
        while True:
            if self._current is not None and (chunk := self._next_of(self._current, bytes_max)) is not None:
                return chunk
            happening = self._reader.take()
            if happening is None:
                self._give_up_if_once()
                return None
            self._take(happening)

    def lag_bytes(self) -> int:
        current = self._current
        rest = max(0, current.opened.start.listed.size_bytes - current.offset) if current else 0
        return rest + self._reader.found_bytes

    def has_more(self) -> bool:
        return not self._reader.is_empty

    def wait_s(self) -> float | None:
        return None if self._is_idle and self._reader.is_empty else LOOK_S

    def acknowledge(self) -> None:
        """Does nothing: the position is in our checkpoint."""

    def take_losses(self) -> Sequence[Loss]:
        """See `ReportsLosses`."""
        found, self._losses = self._losses, []
        return found

    def close(self) -> None:
        self._reader.close()

    def _take(self, happening: object) -> None:
        if isinstance(happening, bytes):
            assert self._current is not None, "blocks come after their object was opened"
            self._current.opened.cutter.feed(happening)
        elif isinstance(happening, Opened):
            self._open(happening)
        elif isinstance(happening, Ended):
            assert self._current is not None, "only an open object ends"
            self._current.opened.cutter.end()
            self._current.ended = happening
        elif isinstance(happening, ListedAll):
            self._is_idle = True
        elif isinstance(happening, Heard):
            self._hear(happening.trouble)
        elif isinstance(happening, Failed):
            raise happening.error

    def _open(self, opened: Opened) -> None:
        self._is_idle = False
        start = opened.start
        path = self._options.path_of(start.listed.key)
        generation = start.generation or self._next_generation
        if start.generation is None:
            self._next_generation += 1
        self._current = _OpenObject(opened, path, start.offset, generation)
        if opened.replaces:
            self._telemetry.file_replaced(source=self.name, path=path, generation=generation)
        self._telemetry.file_opened(source=self.name, path=path, generation=generation, offset=start.offset)

    def _next_of(self, current: _OpenObject, bytes_max: int) -> Chunk | None:
        """The next chunk of the object: records, or its end; None if more of it must come first."""
        cutter, ended = current.opened.cutter, current.ended
        cut = cutter.cut(bytes_max)
        # A record that has no end is whole only at the end of a whole object.
        is_torn = cut is not None and cut.final and bool(cutter.damage or (ended is not None and ended.lost))
        if cut is not None and not is_torn:
            return self._chunk(current, cut)
        if ended is None:
            return None
        return self._finished(current, ended.lost or cutter.damage)

    def _chunk(self, current: _OpenObject, cut: Cut) -> Chunk:
        current.offset = cut.end_offset
        return Chunk(
            self.name,
            current.generation,
            cut.offset,
            cut.content,
            current.position,
            final=cut.final,
            oversized_bytes=cut.oversized_bytes,
            head=cut.head,
            own=current.opened.cutter.own_of(cut),
        )

    def _finished(self, current: _OpenObject, lost: str) -> Chunk:
        """The chunk that retires the object. If we die before its commit, the object ends again, and is lost again at the same place."""
        self._current = None
        if lost:
            size_bytes = current.opened.start.listed.size_bytes
            missing = size_bytes - current.offset if current.opened.is_plain else None
            loss = Loss(self.name, current.generation, current.path, current.offset, missing, lost)
            self._losses.append(loss)
            self._telemetry.file_lost(
                source=loss.source,
                path=loss.path,
                generation=loss.generation,
                offset=loss.offset,
                size_bytes=loss.size_bytes,
                reason=loss.reason,
                looked_at=self._options.url,
            )
        else:
            self._telemetry.file_retired(
                source=self.name, path=current.path, generation=current.generation, size_bytes=current.offset
            )
        return Chunk(self.name, current.generation, current.offset, b"", current.position, retired=True)

    def _hear(self, error: RequestError | None) -> None:
        """Tells a person why there is no answer: the same words once."""
        path = self._options.url
        if error is None:
            self._trouble = None
            self._telemetry.file_readable(source=self.name, path=path)
            return
        trouble = Trouble(self._options, error, f"sources.{self.name}")
        if self._trouble is None:
            self._since_s = self._context.world.clock.monotonic_s()
        if self._trouble is None or self._trouble.words != trouble.words:
            self._telemetry.source_unreachable(source=self.name, path=path, reason=trouble.words, remedy=trouble.remedy)
        self._trouble = trouble

    def _give_up_if_once(self) -> None:
        """Raises `NotAnsweredError` if this process must end at the end of the input, and had no answer for too long."""
        trouble = self._trouble
        if self._context.once and trouble and self._context.world.clock.monotonic_s() - self._since_s > ONCE_S_MAX:
            raise NotAnsweredError(
                f"source {self.name!r}: {self._options.url}: {trouble.words}, for {ONCE_S_MAX:g} s",
                hint=f"{trouble.remedy}; a daemon (run without --once) waits",
            )
