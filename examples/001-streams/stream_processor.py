"""`StreamProcessor`: takes records from a stream, transforms them, and sends each to a downstream API that has a limit.

Owns: the queue, the senders, retries, and the figures.
Always: memory is bounded: if the queue is full, the stream is not read. Each record that was taken is accepted by the API,
rejected because of its faults, failed after `tries_max`, or still in the backlog. At most `calls_per_s` calls reach the API in any second.
Never: sends a record that breaks a rule of `ProcessedRecord`, or loses one because a call failed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from models import PipelineMetrics, ProcessedRecord, StreamData
from streaming_test_framework import RateLimitError
from streams import transformed

from event_processor.engine.delivery.backoff import Backoff
from event_processor.engine.delivery.limiter import Limiter, Permit, Rate

TRIES_MAX: Final = 10
QUEUE_RECORDS_MAX: Final = 50
CALL_S: Final = 10.0
"""How long one call may take; after that it counts as failed."""
DRAIN_S: Final = 30.0


class Result(Enum):
    """What came of one call."""

    ACCEPTED = 1
    LIMITED = 2
    FAILED = 3


class Downstream(Protocol):
    """Where records go."""

    async def send_data(self, record: ProcessedRecord) -> bool:
        """Accepts one record, or raises. It may be called again with the same record."""
        ...


@dataclass(slots=True)
class _Counts:
    """What happened so far. `failed`: records that no try could send."""

    delivered: int = 0
    failed: int = 0
    rejected: int = 0
    calls: int = 0
    failed_calls: int = 0
    limit_hits: int = 0
    processing_s: float = 0.0
    by_source: Counter[str] = field(default_factory=Counter)
    by_priority: Counter[int] = field(default_factory=Counter)


class StreamProcessor:
    """Start it with a stream, read its metrics at any time, and stop it. Used once, in one event loop."""

    def __init__(
        self,
        downstream_api: Downstream,
        max_concurrent_streams: int = 5,
        *,
        calls_per_s: float = 15,
        tries_max: int = TRIES_MAX,
        epoch_s: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`max_concurrent_streams`: how many records are transformed and sent at once. `epoch_s`: the clock of `processed_at`."""
        self._api: Final = downstream_api
        self._senders_max: Final = max_concurrent_streams
        self._tries_max: Final = tries_max
        self._epoch_s: Final = epoch_s
        self._backoff: Final = Backoff(chance)
        self._limiter: Final = Limiter(Rate.of(calls_per_s))
        self._queue: Final[asyncio.Queue[StreamData]] = asyncio.Queue()
        self._room: Final = asyncio.Semaphore(QUEUE_RECORDS_MAX)
        self._counts: Final = _Counts()
        self._senders: list[asyncio.Task[None]] = []
        self._in_flight = 0
        self._is_stopping = asyncio.Event()
        self._begun_s: float | None = None
        self._ended_s: float | None = None

    async def start_processing(self, data_stream: AsyncIterator[StreamData]) -> None:
        """Reads the stream until it ends or `stop_processing` is called. The records wait in a bounded queue for the senders.

        If this call is cancelled, the senders go on: `stop_processing` waits for what was read.
        """
        assert self._begun_s is None, "a processor is used once"
        self._begun_s = _now_s()
        self._senders = [asyncio.create_task(self._send_all()) for _ in range(self._senders_max)]
        reading = asyncio.create_task(self._read(data_stream))
        stopping = asyncio.create_task(self._is_stopping.wait())
        try:
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not reading.done():
                reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def stop_processing(self) -> None:
        """Stops reading, and waits until everything that was read is sent, at most half a minute. The rest stays in the backlog."""
        self._is_stopping.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), DRAIN_S)
        for sender in self._senders:
            sender.cancel()
        await asyncio.gather(*self._senders, return_exceptions=True)
        self._ended_s = _now_s()

    async def transform_data(self, stream_data: StreamData) -> ProcessedRecord:
        """The record for the API. Raises `pydantic.ValidationError` if the stream's record has faults.

        Its data must be an object with texts as names, otherwise this raises `AttributeError` or `TypeError`.
        """
        begun_s = _now_s()
        content = transformed(stream_data.sequence_id, stream_data.data)
        return ProcessedRecord.model_validate(
            {
                "source": stream_data.source,
                "timestamp": stream_data.timestamp,
                "priority": stream_data.priority,
                "processed_at": self._epoch_s(),
                "processing_time_ms": 1000 * (_now_s() - begun_s),
                "transformed_data": content,
            }
        )

    def get_metrics(self) -> PipelineMetrics:
        """The figures so far."""
        counts = self._counts
        end_s = self._ended_s if self._ended_s is not None else (_now_s() if self._begun_s is not None else 0.0)
        elapsed_s = end_s - (self._begun_s if self._begun_s is not None else 0.0)
        return PipelineMetrics(
            total_processed=counts.delivered,
            processing_rate_per_second=_share(counts.delivered, elapsed_s),
            avg_processing_time_ms=1000 * _share(counts.processing_s, counts.delivered),
            error_rate=_share(counts.failed, counts.delivered + counts.failed),
            backlog_size=self._queue.qsize() + self._in_flight,
            rate_limit_hits=counts.limit_hits,
            by_source=dict(counts.by_source),
            by_priority=dict(counts.by_priority),
            error_rate_before_retries=_share(counts.failed_calls, counts.calls),
            rejected=counts.rejected,
        )

    async def _read(self, data_stream: AsyncIterator[StreamData]) -> None:
        # Room first, then the record: whenever this is cancelled, no record was taken that is not in the queue.
        while True:
            await self._room.acquire()
            try:
                self._queue.put_nowait(await anext(data_stream))
            except StopAsyncIteration:
                return

    async def _send_all(self) -> None:
        while True:
            stream_data = await self._queue.get()
            self._room.release()
            self._in_flight += 1
            await self._process(stream_data)
            self._in_flight -= 1  # not if this is cancelled: then the record stays in the backlog
            self._queue.task_done()

    async def _process(self, stream_data: StreamData) -> None:
        begun_s = _now_s()
        try:
            record = await self.transform_data(stream_data)
        except Exception:  # noqa: BLE001 - a fault of the record, whatever its values are
            self._counts.rejected += 1
            return
        tries = 0
        while tries < self._tries_max:
            result = await self._try(record)
            if result is Result.ACCEPTED:
                self._counts.delivered += 1
                self._counts.processing_s += _now_s() - begun_s
                self._counts.by_source[record.source] += 1
                self._counts.by_priority[record.priority] += 1
                return
            if result is Result.FAILED:  # if it was limited, the limiter waits, and the record is not to blame
                tries += 1
                await asyncio.sleep(self._backoff.wait_s(tries))
        self._counts.failed += 1

    async def _try(self, record: ProcessedRecord) -> Result:
        """Sends the record once."""
        permit = await self._permit()
        self._counts.calls += 1
        try:
            if await asyncio.wait_for(self._api.send_data(record), CALL_S):
                return Result.ACCEPTED
        except RateLimitError as error:
            self._counts.limit_hits += 1
            # The limit is the API's as a whole, so no other record is sent either.
            self._limiter.hold(_now_s() + float(getattr(error, "retry_after", None) or 1.0))
            return Result.LIMITED
        except Exception:  # noqa: BLE001 - whatever the API raises, the record was not accepted
            self._counts.failed_calls += 1
            return Result.FAILED
        finally:
            self._limiter.release(permit, _now_s())
        self._counts.failed_calls += 1
        return Result.FAILED

    async def _permit(self) -> Permit:
        """Waits until a call may start. While every slot waits for its response, any response may free the next one: look again soon."""
        while (permit := self._limiter.acquire(_now_s())) is None:
            wait_s = self._limiter.wait_s(_now_s())
            await asyncio.sleep(0.005 if wait_s is None else wait_s)
        return permit


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
