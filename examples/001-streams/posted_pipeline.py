"""The pipeline behind a `StreamProcessor`: records are posted to it, and it sends each to an API in the same process.

Owns: its configuration, its temporary folder, its thread, and `Downstream`, the class of its sink.
Always: the API is called in its own event loop, the one that opened the pipeline. All sinks run in another, in a thread of theirs.
Never: judges a record (`models.py` does). Keeps nothing: the folder is removed at the end, whatever happened.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from models import ProcessedRecord
from streaming_test_framework import RateLimitError

from event_processor import Pipeline, Wait, build, load, post

# There is no log, every record is posted. So there is no [sources]: the default is a file in this folder that does not exist.
CONFIGURATION: Final = """
[event]
id = ["source", "transformed_data.sequence_id"]
category = "source"
value = ""
timestamp = "timestamp"

[order]
buffer_events = 0

[services.api]
requests_per_s = {calls_per_s}
concurrency = {concurrency}
retries_max = {retries_max}
timeout_s = 10

[sinks.downstream]
type = "python"
class = "posted_pipeline:Downstream"
options = {{ api = "{api}" }}
service = "api"
figures_by = ["source", "priority"]
"""
RETRY_AFTER_S: Final = 1.0
"""If the API says that its limit is reached, and not for how long."""


class Api(Protocol):
    """Where records go."""

    def send_data(self, record: ProcessedRecord) -> Coroutine[Any, Any, bool]:
        """Accepts one record, or raises. It may be called again with the same record."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What the API allows, and how often a record may fail while others pass."""

    calls_per_s: float
    concurrency: int
    retries_max: int


class _Calls:
    """Calls an API in the event loop that it belongs to."""

    def __init__(self, api: Api) -> None:
        """Made in the API's event loop."""
        self._api: Final = api
        self._loop: Final = asyncio.get_running_loop()
        self._running: Final[set[asyncio.Task[Any]]] = set()
        self._is_closed = False

    async def send(self, record: ProcessedRecord) -> bool:
        """Called in another event loop. What `send_data` returns or raises; if this is cancelled, `send_data` is cancelled."""
        sending = self._send(record)
        try:
            call = asyncio.run_coroutine_threadsafe(sending, self._loop)
        except RuntimeError as error:
            sending.close()
            raise Wait("the event loop of the API is closed") from error
        return await asyncio.wrap_future(call)

    async def _send(self, record: ProcessedRecord) -> bool:
        if self._is_closed:
            raise Wait("the processor stops")
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await self._api.send_data(record)
        finally:
            self._running.discard(task)

    def close(self) -> None:
        """Cancels the calls that run, and starts no other. Their records stay in the backlog. Called in the API's event loop."""
        self._is_closed = True
        for task in self._running:
            task.cancel()


_APIS: Final[dict[str, _Calls]] = {}
"""The APIs of the pipelines that run. A configuration is text: it names one."""


class Downstream:
    """The class of the sink: gives each record to `send_data`."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`api`: a name in `_APIS`."""
        self._calls: Final = _APIS[options["api"]]

    async def deliver(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Returns after the API accepted the records. Otherwise they come again later, also after a `ProcessingError`."""
        for record in records:
            try:
                is_accepted = await self._calls.send(ProcessedRecord.model_validate(record))
            except RateLimitError as error:
                # The limit is that of the API as a whole. While such a wait lasts, the pipeline sends no other record either.
                after_s = float(getattr(error, "retry_after", None) or RETRY_AFTER_S)
                raise Wait(str(error), after_s=after_s, status="429") from error
            if not is_accepted:
                raise Wait("the API did not accept the record")


class PostedPipeline:
    """Open it, post records, close it. Used once, in one event loop, the API's; the pipeline runs in a thread."""

    def __init__(self, api: Api, limits: Limits) -> None:
        self._calls: Final = _Calls(api)
        self._limits: Final = limits
        self._configuration: Any = None
        self._opened: Final[Future[Pipeline]] = Future()
        self._work: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Starts the pipeline. Raises what `event_processor.load` and `event_processor.build` raise."""
        self._work = asyncio.create_task(asyncio.to_thread(self._run))
        # If the event loop ends without `close`, it cancels its tasks, and then waits for the thread.
        self._work.add_done_callback(lambda _work: self._stop())
        try:
            await asyncio.shield(asyncio.wrap_future(self._opened))
        except asyncio.CancelledError:
            await self.close()
            raise

    def _run(self) -> None:
        """In the thread of the pipeline."""
        with tempfile.TemporaryDirectory(prefix="streams-") as folder:
            name = os.path.basename(folder)
            _APIS[name] = self._calls
            try:
                self._configuration = _configuration(folder, name, self._limits)
                with build(self._configuration, once=False) as pipeline:
                    self._opened.set_result(pipeline)
                    pipeline.run()
            except BaseException as error:
                if self._opened.done():
                    raise
                self._opened.set_exception(error)
            finally:
                del _APIS[name]

    def _stop(self) -> None:
        """Calls the API no more, and ends the pipeline, as soon as it is open."""
        self._calls.close()
        self._opened.add_done_callback(lambda opened: opened.exception() or opened.result().stop())

    async def post(self, records: Sequence[Mapping[str, object]]) -> None:
        """Gives records to the pipeline. They are durable when this returns. Raises as `event_processor.post` does."""
        await asyncio.to_thread(post, self._configuration, records)

    @property
    def has_ended(self) -> bool:
        """Whether it ended, in particular because it failed. `close` raises the reason."""
        return self._work is None or self._work.done()

    @property
    def lane(self) -> Any:
        """The report of the sink at this moment, one of `Pipeline.lanes()`."""
        (lane,) = self._opened.result().lanes()
        return lane

    @property
    def rejected(self) -> int:
        """Posted records that the pipeline rejected."""
        return self._opened.result().state.counts.rejected

    @property
    def ended(self) -> int:
        """Posted records of which nothing more will come: delivered, failed, rejected, or posted before."""
        # The state first: a record that is committed and not yet in the lane's figures still waits.
        counts, lane = self._opened.result().state.counts, self.lane
        return int(counts.rejected + counts.duplicate + lane.delivered + lane.failed + lane.skipped)

    async def close(self) -> None:
        """Sends nothing more, and ends the pipeline. Raises what ended it before, such as `event_processor.StorageError`."""
        if self._work is not None:
            self._stop()
            await self._work


def _configuration(folder: str, api: str, limits: Limits) -> Any:
    """The configuration of a pipeline in this folder."""
    path = os.path.join(folder, "event-processor.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(CONFIGURATION.format(api=api, **asdict(limits)))
    return load(path, overrides={"state.dir": os.path.join(folder, "state")})
