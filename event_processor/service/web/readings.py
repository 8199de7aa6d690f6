"""What the server reads of the committed state, and the threads that read it.

Owns: `Readings`, which reads each checkpoint once however many ask, and `ReaderThreads`.
Always: files are read as any other process would, without a lock. Reading takes at most a tenth of the time: until then, an answer is
the one before, whole. A number of readings that wait is refused instead of kept.
Never: used by the loop's thread; blocks the thread of the server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, Full, Queue
from threading import Lock, Thread
from typing import Final, Generic, TypeVar

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CHECKPOINT_NAME
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.state import SourceState
from event_processor.model.connector import Lag
from event_processor.model.errors import InputGoneError
from event_processor.model.telemetry import Telemetry
from event_processor.operations.bottleneck import Bottleneck, bottleneck_of
from event_processor.operations.committed_pages import sources_document
from event_processor.operations.dead_letters import DeadLetterCount, DeadLetterPage, dead_letter_page
from event_processor.operations.failed_deliveries import FailedIndex, failed_page
from event_processor.operations.history import SECONDS, History, Past, history_of, read_past, ring_for
from event_processor.operations.inspection import Inspection, inspection_of
from event_processor.operations.prompt_lags import PromptLags
from event_processor.operations.receipts import Position, rejected_because
from event_processor.operations.sinks import list_snapshots, sinks_of
from event_processor.operations.state_access import peek
from event_processor.operations.status import Status, status_of
from event_processor.operations.status_document import snapshot_documents
from event_processor.service.web.answers import ProblemError
from event_processor.service.web.durations import ProcessFigures

__all__ = ["ReaderThreads", "Readings", "Seen"]

Value = TypeVar("Value")
READING_SHARE: Final = 0.1
"""The share of the time that is spent on reading one thing again and again."""
KEPT_S_MAX: Final = 5.0
"""No value is kept longer, although a source that does not answer makes its reading slow."""
WAITING_MAX: Final = 32
"""So many readings may wait for a thread."""


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Value]):
    """A value that was read, when that began, and until when it is good enough."""

    value: Value
    read_s: float
    until_s: float
    identity: object = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A status, and the checkpoint that it is of; None if nothing is committed.

    `as_of_s`: by the monotonic clock; what was committed before is in it. `until_s`: before that, nothing newer is read.
    """

    status: Status
    checkpoint: Checkpoint | None
    as_of_s: float
    until_s: float


class Readings:
    """The committed state of one configuration. Used by several threads."""

    def __init__(self, configuration: Configuration, environment: Environment, figures: ProcessFigures) -> None:
        self.configuration: Final = configuration
        # Sources are opened to see what they hold. That is no news for a log.
        self.environment: Final = replace(environment, telemetry=Telemetry())
        self._path: Final = os.path.join(str(configuration.state.dir), CHECKPOINT_NAME)
        self._letters: Final = DeadLetterCount(configuration, self.environment)
        self._failed: Final = FailedIndex(self.environment)
        self._lags: Final = PromptLags(configuration, self.environment)
        self._lock: Final = Lock()
        self._checkpoint: _Kept[Checkpoint | None] | None = None
        self._seen: _Kept[Seen] | None = None
        self._past: Final[dict[str, _Kept[Past]]] = {}
        self.figures: Final = figures

    def status(self) -> Status:
        """The status. Raises `StateError`, `StorageError`."""
        return self.seen().status

    def seen(self) -> Seen:
        """The status and its checkpoint. Raises `StateError`, `StorageError`."""
        with self._lock:
            if self._seen is None or self.now_s() >= self._seen.until_s:
                kept = self._kept(self._look)
                self._seen = replace(kept, value=replace(kept.value, until_s=max(kept.until_s, kept.value.until_s)))
            return self._seen.value

    def _look(self) -> Seen:
        committed_bytes = self.figures.committed_bytes
        found = self._read_checkpoint()
        lags: dict[str, Lag] = {}

        def lags_of(sources: Mapping[str, SourceState], journal_bytes: int) -> Mapping[str, Lag]:
            lags.update(self._lags.of(sources, journal_bytes))
            return lags

        status = status_of(found.value, self.configuration, self.environment, self._letters, lags_of)
        if status.committed is not None and found.value is not None:
            self.figures.look(self.now_s(), committed_bytes, status.committed.lag_bytes)
            self.figures.lag_s_by_source = self.figures.source_lags.look(self.now_s(), lags, found.value.state.sources)
        return Seen(status, found.value, found.read_s, found.until_s)

    def checkpoint(self) -> Checkpoint:
        """The committed checkpoint. Raises `InputGoneError` if there is none yet, `StateError`, `StorageError`."""
        with self._lock:
            checkpoint = self._read_checkpoint().value
        if checkpoint is None:
            raise _nothing_yet()
        return checkpoint

    def dead_letters(self, *, offset: int, limit: int) -> DeadLetterPage:
        """Dead letters, the newest first. Raises as `checkpoint` does."""
        with self._lock:
            checkpoint = self._read_checkpoint().value
            lines = self._letters.lines(checkpoint) if checkpoint else None
        return DeadLetterPage(0, [], None) if lines is None else dead_letter_page(lines, offset=offset, limit=limit)

    def rejected_because(self, positions: Collection[Position]) -> Mapping[Position, str]:
        """Why these records of the intake were rejected. Reads the newest dead letters. Raises as `checkpoint` does."""
        with self._lock:
            checkpoint = self._read_checkpoint().value
            lines = self._letters.lines(checkpoint) if checkpoint else None
        if lines is None:
            raise _nothing_yet()
        return rejected_because(lines, positions)

    def failed_deliveries(self, sink: str, *, offset: int, limit: int) -> DeadLetterPage:
        """Failed records of a remote sink, the newest first. Raises `UsageError` if there is no such sink, and as `checkpoint` does."""
        with self._lock:
            checkpoint = self._read_checkpoint().value
            lines = self._failed.lines(self.configuration, checkpoint, sink)
        return failed_page(lines, offset=offset, limit=limit)

    def sinks(self) -> dict[str, object]:
        """The document of `sinks list --json`. Raises `StateError`, `StorageError`."""
        with self._lock:
            checkpoint = self._read_checkpoint().value
        lanes = sinks_of(checkpoint, self.configuration, self.environment)
        return {"sinks": lanes, "snapshots": snapshot_documents(list_snapshots(self.configuration, self.environment))}

    def history(self, *, span_s: int, points: int) -> tuple[Checkpoint | None, History]:
        """The last `span_s` seconds in at most `points` steps, and the present checkpoint. Raises `StateError`, `StorageError`."""
        with self._lock:
            checkpoint, past = self._read_checkpoint().value, self._read_past(ring_for(span_s))
        return checkpoint, history_of(past, now_s=self._wall_s(), span_s=span_s, points=points)

    def bottleneck(self) -> tuple[Seen, Bottleneck]:
        """What limits the pipeline now, and the present status. Raises `StateError`, `StorageError`."""
        seen = self.seen()
        with self._lock:
            past = self._read_past(SECONDS)
        lanes = seen.status.lanes
        return seen, bottleneck_of(past, lanes.lanes, now_s=self._wall_s(), outbox_is_full=lanes.is_full)

    def inspection(self) -> Inspection:
        """What is committed. Raises as `checkpoint` does."""
        return inspection_of(self.checkpoint(), self.configuration)

    def sources(self) -> dict[str, object]:
        """The document of `/v1/sources`. Raises as `checkpoint` does."""
        seen = self.seen()
        if seen.checkpoint is None or seen.status.committed is None:
            raise _nothing_yet()
        inspection = inspection_of(seen.checkpoint, self.configuration)
        return sources_document(inspection, seen.status.committed, self.figures.lag_s_by_source)

    def now_s(self) -> float:
        """The monotonic clock, as in `Seen`."""
        return self.environment.clock.monotonic_s()

    def _wall_s(self) -> int:
        return self.environment.clock.wall_ns() // 10**9

    def _read_past(self, name: str) -> Past:
        """The caller holds the lock."""
        kept = self._past.get(name)
        if kept is None or self.now_s() >= kept.until_s:
            kept = self._past[name] = self._kept(lambda: read_past(self.configuration, self.environment, name))
        return kept.value

    def _read_checkpoint(self) -> _Kept[Checkpoint | None]:
        """The caller holds the lock."""
        kept, now_s = self._checkpoint, self.now_s()
        if kept is not None and now_s < kept.until_s:
            return kept
        status = self.environment.fs.status(self._path)
        identity = (status.device, status.inode, status.size_bytes, status.modified_ns) if status else None
        if kept is not None and identity is not None and identity == kept.identity:
            return replace(kept, read_s=now_s)
        # If it is replaced between the two looks, the next look sees another identity.
        self._checkpoint = self._kept(lambda: peek(self.configuration, self.environment), identity)
        return self._checkpoint

    def _kept(self, read: Callable[[], Value], identity: object = None) -> _Kept[Value]:
        began_s = self.now_s()
        value = read()
        now_s = self.now_s()
        return _Kept(value, began_s, now_s + min(KEPT_S_MAX, (now_s - began_s) / READING_SHARE), identity)


def _nothing_yet() -> InputGoneError:
    return InputGoneError("nothing is committed yet", hint="ask again after the first commit")


class ReaderThreads:
    """A few threads for blocking calls. They end with the process, whatever they do then."""

    def __init__(self, count: int, name: str = "http-reader", waiting_max: int = WAITING_MAX) -> None:
        self._jobs: Final[Queue[Callable[[], None] | None]] = Queue(waiting_max)
        self._threads: Final = [Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    async def call(self, function: Callable[[], Value]) -> Value:
        """Calls `function` in one of the threads. Raises what it raises, `ProblemError` (503) if too many wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Value] = loop.create_future()

        def job() -> None:
            if future.cancelled():
                return
            try:
                value = function()
            except Exception as error:  # noqa: BLE001 - raised where it is awaited
                _tell(loop, future, error=error)
            else:
                _tell(loop, future, value)

        try:
            self._jobs.put_nowait(job)
        except Full as error:
            raise ProblemError(503, "too many requests are being answered", headers={"Retry-After": "1"}) from error
        return await future

    def close(self) -> None:
        """Lets the threads end after what they do now."""
        with suppress(Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put_nowait(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Value], value: Value | None = None, error: Exception | None = None
) -> None:
    """Ends the future in the loop's thread. If the server has ended meanwhile, nothing waits for it."""

    def end() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # it is one if there was no error

    with suppress(RuntimeError):
        loop.call_soon_threadsafe(end)
