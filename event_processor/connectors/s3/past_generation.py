"""An object that is read again, for `verify`, `replay` and `explain`.

Owns: `ObjectGeneration`: the same records at the same offsets, or the words why they are not there any more.
Always: the bytes are those that were counted: each range is read under the ETag of the position.
Never: waits without end; reads another object under the same key.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from event_processor.connectors.s3.client import Bucket, Listed, ObjectGoneError, RequestError
from event_processor.connectors.s3.content import ObjectContent
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.positions import ObjectPosition
from event_processor.model.connector import Piece
from event_processor.model.errors import ConfigurationError, InputGoneError, NotAnsweredError
from event_processor.model.world import World
from event_processor.records.compression import DamagedError, RefusedContentError
from event_processor.records.content_cutter import ContentCutter, item_cutter
from event_processor.records.heads import HeadKeeper
from event_processor.records.json_documents import DocumentError

__all__ = ["ObjectGeneration"]

TRIES_MAX: Final = 5
"""A command that reads again does not wait for long."""


class ObjectGeneration:
    """See `PastGeneration`."""

    def __init__(self, options: S3SourceOptions, position: ObjectPosition, world: World) -> None:
        """Raises `ConfigurationError`, `InputGoneError` if the object is gone or is another one, `NotAnsweredError`."""
        self.path: Final = position.path
        self._options: Final = options
        self._listed: Final = Listed(options.key_of(position.path), position.etag, position.size_bytes)
        self._bucket: Final = Bucket(options, world.fs)
        self._reading: tuple[int, ContentCutter, Iterator[bytes]] | None = None
        """The offset that comes next, what cuts, and the blocks that are left."""
        try:
            self.head: Final = self._head()
        except BaseException:
            self._bucket.close()
            raise

    def pieces(self, start: int, end: int, bytes_max: int) -> Iterator[Piece]:
        """See `PastGeneration.pieces`. Raises `InputGoneError`, `NotAnsweredError`."""
        reading, self._reading = self._reading, None
        if reading is None or reading[0] != start:
            content = self._content(start)
            reading = start, content.cutter(), content.blocks()
        offset, cutter, blocks = reading
        while offset < end:
            # What is asked for ends at a record, so a cut of this size does too.
            if (cut := cutter.cut(min(bytes_max, end - offset))) is None:
                if cutter.has_ended:
                    return
                self._feed(cutter, blocks)
                continue
            offset = cut.end_offset
            self._reading = offset, cutter, blocks
            yield Piece(cut.offset, cut.content, oversized_bytes=cut.oversized_bytes, final=cut.final, own=cutter.own_of(cut))

    def close(self) -> None:
        self._bucket.close()

    def _head(self) -> bytes:
        """The first bytes of the content, as it is cut into records."""
        keeper = HeadKeeper(self._options.header, self._options.record_bytes_max)
        try:
            for piece in self._text():
                keeper.take(piece)
                if not keeper.missing_bytes:
                    break
        except (DamagedError, DocumentError):
            pass  # what is before the damage was counted
        return keeper.head

    def _text(self) -> Iterator[bytes]:
        """Yields the content from its start. Raises `DamagedError`, `DocumentError`."""
        blocks = self._content(0).blocks()
        if not self._options.items:
            yield from blocks
            return
        cutter = item_cutter(self._options.items)
        for block in filter(None, blocks):
            yield from cutter.feed(block)
            cutter.take_own()  # keeps no more than a block
        yield from cutter.finish()

    def _content(self, offset: int) -> ObjectContent:
        try:
            return ObjectContent(self._options, self._listed.size_bytes, offset, self._range)
        except RefusedContentError as error:
            raise ConfigurationError(f"{self.path}: {error.reason}", hint=error.hint) from error

    def _feed(self, cutter: ContentCutter, blocks: Iterator[bytes]) -> None:
        """The next block, or the end."""
        try:
            block = next(chain(blocks, [None]))
        except DamagedError:
            block = None
        if block is None:
            cutter.end()
        else:
            cutter.feed(block)

    def _range(self, start: int, end: int) -> bytes:
        for tries in range(1, TRIES_MAX + 1):
            try:
                return self._bucket.answer(self._bucket.ask(self._listed.key, self._listed.etag, start, end))
            except ObjectGoneError as error:
                raise InputGoneError(
                    f"{self.path}: {error}: the object that was read had the ETag {self._listed.etag}",
                    hint="the state stays as it is and goes on; what the bucket does not keep cannot be checked",
                ) from error
            except RequestError as error:
                if error.is_refused or tries == TRIES_MAX:
                    raise NotAnsweredError(
                        f"{self.path}: {error.words}", hint="look at the service, then repeat the command"
                    ) from error
        raise AssertionError("the last try returns or raises")
