"""Reads a bucket in a thread: lists it, and reads each object that is not known, one after the other.

Owns: which object comes next; the queue from this thread to the loop.
Always: the objects of one listing come in the order of their keys. Each listing begins at the first key, so an object that comes later with a
smaller key is found by the next one. At most `QUEUED_MAX` blocks wait, so memory is bounded, however many objects there are.
Never: decides what is committed; passes over an object that it cannot read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

from event_processor.connectors.s3.client import LISTED_MAX, Bucket, ClosedError, Listed, ObjectGoneError, RequestError
from event_processor.connectors.s3.content import ObjectContent
from event_processor.connectors.s3.known_objects import KnownObjects
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.requests import Requests
from event_processor.model.errors import ConfigurationError
from event_processor.model.world import World
from event_processor.records.compression import DamagedError, RefusedContentError
from event_processor.records.content_cutter import ContentCutter

__all__ = ["BucketReader", "Ended", "Failed", "Heard", "ListedAll", "Opened", "Start", "listed_keys"]

QUEUED_MAX: Final = 8
"""So many blocks wait for the loop. A block of a compressed object may be 16 MiB, but mostly it is at most 1 MiB."""


@dataclass(frozen=True, slots=True)
class Start:
    """An object, and the offset from which it is read. `generation`: None if it has none yet. `is_plain`: as far as it is known."""

    listed: Listed
    offset: int = 0
    generation: int | None = None
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """An object is being read: its blocks come next, for `cutter`. `replaces`: another object with this key was read before."""

    start: Start
    cutter: ContentCutter
    is_plain: bool
    replaces: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The object has no more blocks. `lost`: why its rest cannot be read; empty if all of it was."""

    lost: str = ""


@dataclass(frozen=True, slots=True)
class ListedAll:
    """A listing was read to its end: nothing else is there."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The service answers again (None), or not."""

    trouble: RequestError | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The thread has ended because of this."""

    error: BaseException


Happening: TypeAlias = Opened | Ended | ListedAll | Heard | Failed | bytes


def listed_keys(requests: Requests, options: S3SourceOptions) -> Iterator[tuple[Sequence[Listed], bool]]:
    """Yields the objects whose keys match, ascending, in pages; and whether it is the last page. Raises `ClosedError`."""
    pattern = options.key_pattern()
    if not options.is_glob:
        found = requests.head(options.key_of(options.url))
        yield [found] if found else [], True
        return
    after, is_last = "", False
    while not is_last:
        page = requests.page(options.folder, after)
        is_last = len(page) < LISTED_MAX
        after = page[-1].key if page else ""
        yield [each for each in page if pattern.fullmatch(each.key)], is_last


class BucketReader:
    """One thread. Its owner takes what it puts into the queue."""

    def __init__(self, options: S3SourceOptions, bucket: Bucket, world: World) -> None:
        """Owns `bucket` from now on."""
        self._options: Final = options
        self._bucket: Final = bucket
        self._world: Final = world
        self._requests: Final = Requests(bucket, world.clock, self._troubled, self._answered)
        self._known = KnownObjects()
        self._queue: Final[SimpleQueue[Happening]] = SimpleQueue()
        self._room: Final = threading.Semaphore(QUEUED_MAX)
        self._thread: threading.Thread | None = None
        self._is_troubled = False
        self.found_bytes = 0
        """The size of the objects of the present page that are not being read yet."""

    def start(self, known: KnownObjects, starts: Sequence[Start]) -> None:
        """Begins to read: first `starts`, then what the bucket has and is not `known`. Takes over `known`."""
        self._known = known
        self._thread = threading.Thread(target=self._run, args=(starts,), name=f"s3 reader {self._options.bucket}", daemon=True)
        self._thread.start()

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._queue.empty()

    def take(self) -> Happening | None:
        """What comes next; None if nothing is there yet. Does not block."""
        try:
            found = self._queue.get_nowait()
        except Empty:
            return None
        if isinstance(found, bytes):
            self._room.release()
        return found

    def close(self) -> None:
        """Ends the thread, and waits for it."""
        self._requests.stop()
        self._bucket.close()
        self._room.release(QUEUED_MAX)
        if self._thread is not None:
            self._thread.join()

    def _run(self, starts: Sequence[Start]) -> None:
        try:
            for each in starts:
                self._read(each)
            while True:
                for page, is_last in listed_keys(self._requests, self._options):
                    self._read_page(page)
                    if is_last:
                        self._put(ListedAll())
                self._requests.wait(self._options.poll_interval_ms / 1000)
        except ClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 - the loop's thread raises it
            self._put(Failed(error))

    def _read_page(self, page: Sequence[Listed]) -> None:
        new = [page[index] for index in self._known.unknown([(each.key, each.etag) for each in page])]
        self.found_bytes = sum(each.size_bytes for each in new)
        for each in new:
            self.found_bytes -= each.size_bytes
            self._read(Start(each))

    def _read(self, start: Start) -> None:
        """Puts one object into the queue."""
        listed = start.listed
        if not listed.etag:
            raise ConfigurationError(
                f"{self._options.path_of(listed.key)}: the service shows no ETag, so a change of the object would not be noticed",
                hint="use a service that has ETags, or copy the objects to files",
            )
        replaces = start.generation is None and self._known.knows_key(listed.key)
        is_opened = False
        try:
            content = ObjectContent(
                self._options,
                listed.size_bytes,
                start.offset,
                lambda begin, end: self._requests.range(listed, begin, end),
                lambda begin, end: self._requests.ask_ahead(listed, begin, end),
            )
            cutter = content.cutter()  # may fetch a long header, so the object may be gone by now
            is_opened = True
            self._known.add(listed.key, listed.etag)
            self._put(Opened(start, cutter, content.is_plain, replaces))
            for block in content.blocks():
                if block:
                    self._put(block)
        except RefusedContentError as error:
            raise ConfigurationError(
                f"{self._options.path_of(listed.key)}: {error.reason}", hint=f"{error.hint}; or narrow the source's url"
            ) from error
        except (ObjectGoneError, DamagedError) as error:
            if not is_opened:
                if start.generation is None and isinstance(error, ObjectGoneError):
                    # Nothing of it was read. It is not known: if it comes back, even with the same content, a later listing has it.
                    return
                self._known.add(listed.key, listed.etag)
                self._put(
                    Opened(
                        start,
                        ContentCutter(self._options.record_bytes_max, offset=start.offset, head=b""),
                        start.is_plain,
                        replaces,
                    )
                )
            self._put(Ended(str(error)))
            return
        self._put(Ended())

    def _put(self, happening: Happening) -> None:
        """Waits for room if it is a block. The wakeup makes the loop take it."""
        if isinstance(happening, bytes):
            self._room.acquire()
            self._requests.require_not_stopped()
        self._queue.put(happening)
        self._world.wakeup.set()

    def _troubled(self, error: RequestError) -> None:
        self._is_troubled = True
        self._put(Heard(error))

    def _answered(self) -> None:
        if self._is_troubled:
            self._is_troubled = False
            self._put(Heard(None))
