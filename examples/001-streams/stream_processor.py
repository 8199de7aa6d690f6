"""`StreamProcessor`: takes records from a stream, judges and transforms them, and posts them to a pipeline that sends each to an API.

Owns: the queue, the judgement, and the figures. The pipeline keeps the limit, sends, and sends again: `posted_pipeline.py`.
Always: memory is bounded: if `QUEUE_RECORDS_MAX` records wait, the stream is not read. Each record that was taken is accepted by the
API, rejected because of its faults, failed, a duplicate, or still in the backlog.
Never: sends a record that breaks a rule of `ProcessedRecord`, or loses one because a call failed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from models import PipelineMetrics, ProcessedRecord, StreamData
from posted_pipeline import Api, Limits, PostedPipeline
from streams import transformed

QUEUE_RECORDS_MAX: Final = 50
DRAIN_S: Final = 30.0
LOOK_S: Final = 0.02
"""If something is waited for, the pipeline is looked at this often."""


class StreamProcessor:
    """Start it with a stream, read its metrics at any time, and stop it. Used once, in one event loop."""

    def __init__(
        self,
        downstream_api: Api,
        max_concurrent_streams: int = 5,
        *,
        calls_per_s: float = 15,
        retries_max: int = 10,
        drain_s: float = DRAIN_S,
        epoch_s: Callable[[], float] = time.time,
    ) -> None:
        """`max_concurrent_streams`: how many records are sent at once. `epoch_s`: the clock of `processed_at`.

        `retries_max`: a record that fails more often, while others pass, is given up. `drain_s`: how long a stop waits at most.
        """
        self._api: Final = downstream_api
        self._limits: Final = Limits(calls_per_s, max_concurrent_streams, retries_max)
        self._drain_s: Final = drain_s
        self._epoch_s: Final = epoch_s
        self._queue: Final[asyncio.Queue[StreamData | None]] = asyncio.Queue()
        self._pipeline: PostedPipeline | None = None
        self._reading: asyncio.Task[None] | None = None
        self._posting: asyncio.Task[None] | None = None
        self._taken = 0
        self._rejected = 0

    async def start_processing(self, data_stream: AsyncIterator[StreamData]) -> None:
        """Reads the stream until it ends or `stop_processing` is called.

        If this call is cancelled, what was read is sent nevertheless: `stop_processing` waits for it. Raises what the stream raises,
        and what `event_processor.build` raises. If the pipeline fails later, this returns, and `stop_processing` raises the reason.
        """
        assert self._pipeline is None, "a processor is used once"
        pipeline = PostedPipeline(self._api, self._limits)
        await pipeline.open()
        self._pipeline = pipeline
        self._posting = asyncio.create_task(self._post_all(pipeline))
        self._reading = asyncio.create_task(self._read(data_stream, pipeline))
        try:
            await asyncio.wait((self._reading, self._posting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(self._reading)
        if not self._reading.cancelled():
            self._reading.result()  # what the stream raised

    async def stop_processing(self) -> None:
        """Stops reading, and waits until everything that was read is sent, at most `drain_s`. The rest stays in the backlog.

        Raises what ended the pipeline, such as `event_processor.StorageError`.
        """
        if self._pipeline is None or self._reading is None or self._posting is None:
            return
        await _cancelled(self._reading)
        self._queue.put_nowait(None)
        try:
            await self._posting
            end_s = _now_s() + self._drain_s
            while self._waiting(self._pipeline) and not self._pipeline.has_ended and _now_s() < end_s:  # noqa: ASYNC110 - as in _read
                await asyncio.sleep(LOOK_S)
        finally:
            await self._pipeline.close()

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
        if self._pipeline is None:
            return PipelineMetrics()
        backlog = self._waiting(self._pipeline)
        lane = self._pipeline.lane
        return PipelineMetrics(
            total_processed=lane.delivered,
            processing_rate_per_second=lane.run_rate_per_s,
            avg_processing_time_ms=lane.mean_elapsed_ms,
            error_rate=lane.error_rate,
            backlog_size=backlog,
            rate_limit_hits=lane.limit_hits,
            by_source=_delivered(lane.by_field["source"]),
            by_priority={int(name): count for name, count in _delivered(lane.by_field["priority"]).items()},
            error_rate_before_retries=lane.error_rate_before,
            rejected=self._rejected + self._pipeline.rejected,
            failed=lane.failed,
        )

    def _waiting(self, pipeline: PostedPipeline) -> int:
        """The records that were taken, and of which more will come."""
        return self._taken - self._rejected - pipeline.ended

    async def _read(self, data_stream: AsyncIterator[StreamData], pipeline: PostedPipeline) -> None:
        # Room first, then the record: whenever this is cancelled, no record was taken that is not in the queue.
        while True:
            # The pipeline is in other threads and has no event for this loop.
            while self._waiting(pipeline) >= QUEUE_RECORDS_MAX and not pipeline.has_ended:  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)
            if pipeline.has_ended:
                return
            try:
                stream_data = await anext(data_stream)
            except StopAsyncIteration:
                return
            self._taken += 1
            self._queue.put_nowait(stream_data)

    async def _post_all(self, pipeline: PostedPipeline) -> None:
        """Posts what is in the queue, until None comes. Each post is durable, so what comes during one goes into the next."""
        is_open = True
        while is_open:
            group = [await self._queue.get()]
            while not self._queue.empty():
                group.append(self._queue.get_nowait())
            is_open = None not in group
            judged = [await self._judged(stream_data) for stream_data in group if stream_data is not None]
            if pipeline.has_ended:
                return  # what is left stays in the backlog
            await pipeline.post([record for record in judged if record is not None])

    async def _judged(self, stream_data: StreamData) -> Mapping[str, object] | None:
        """The record as it is posted; None if it is rejected."""
        try:
            record = await self.transform_data(stream_data)
            # Through JSON, so that a record that cannot be written as JSON is rejected here, alone.
            content: dict[str, object] = json.loads(record.model_dump_json())
        except Exception:  # noqa: BLE001 - a fault of the record, whatever its values are
            self._rejected += 1
            return None
        return content


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancels a task, and waits for its end."""
    task.cancel()
    await asyncio.wait((task,))


def _delivered(groups: Mapping[str, Any]) -> dict[str, int]:
    return {name: group.delivered for name, group in groups.items() if group.delivered}


def _now_s() -> float:
    return asyncio.get_running_loop().time()
