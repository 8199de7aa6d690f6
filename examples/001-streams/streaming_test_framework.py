"""What surrounds a `StreamProcessor` in `data_streaming_pipeline_test.py`: a stream with faults, and a downstream API.

Owns: `DownstreamAPI` with its two errors, and `stream`.
Always: times are those of the running event loop. At most 15 calls in any second are let in; the others raise `RateLimitError`.
Never: processes a record (`stream_processor.py` does).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from models import Priority, ProcessedRecord, StreamData, StreamSource

FAULTY_SHARE: Final = 0.15
EMPTY_SHARE: Final = 0.05
FUTURE_S: Final = 86_400.0
FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"source": ""},
    {"source": "weather"},
    {"priority": 0},
    {"priority": 7},
    {"priority": "high"},
    {"timestamp": -1.0},
    {"timestamp": None},
    {"data": None},
)
"""Values that take the place of sound ones. The rest of the faults are timestamps of tomorrow."""


class RateLimitError(Exception):
    """Too many calls in one second. The record was not accepted; it may be sent again after `retry_after` seconds."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(f"too many calls; wait for {retry_after:g} s")
        self.retry_after = retry_after


class ProcessingError(Exception):
    """A call failed by chance. The record was not accepted; it may be sent again."""


class DownstreamAPI:
    """The API as an object in the same process: 15 calls a second, 15 % failures, 10 to 50 ms."""

    def __init__(self, *, calls_per_s: int = 15, fail: float = 0.15, seed: int = 1) -> None:
        """`fail`: the share of calls that fail. `seed`: of delays and failures."""
        self.accepted: Final[list[ProcessedRecord]] = []
        self.arrivals_s: Final[list[float]] = []
        self._calls_per_s: Final = calls_per_s
        self._fail: Final = fail
        self._random: Final = random.Random(seed)  # noqa: S311 - made-up failures
        self._recent: Final[deque[float]] = deque()

    async def send_data(self, record: ProcessedRecord) -> bool:
        """Accepts the record and returns True. Raises `RateLimitError` or `ProcessingError`."""
        now_s = asyncio.get_running_loop().time()
        self.arrivals_s.append(now_s)
        self._recent.append(now_s)
        while now_s - self._recent[0] >= 1.0:
            self._recent.popleft()
        if len(self._recent) > self._calls_per_s:
            raise RateLimitError
        await asyncio.sleep(self._random.uniform(0.01, 0.05))
        if self._random.random() < self._fail:
            raise ProcessingError("the call failed")
        self.accepted.append(record)
        return True


async def stream(seconds: float, rate: float, *, seed: int = 1, now: float | None = None) -> AsyncIterator[StreamData]:
    """Records of all four sources for so long, `rate` a second, or fewer if they are taken more slowly.

    `now`: the epoch seconds of the first; by default those of the clock.
    """
    chance = random.Random(seed)  # noqa: S311 - made-up records
    loop = asyncio.get_running_loop()
    begun_s, first_s = loop.time(), time.time() if now is None else now
    for number in range(int(seconds * rate)):
        await asyncio.sleep(begun_s + number / rate - loop.time())
        if loop.time() - begun_s >= seconds:
            return
        values: dict[str, Any] = {
            "source": chance.choice(tuple(StreamSource)),
            "timestamp": first_s + number / rate,
            "priority": chance.choice(tuple(Priority)),
            "data": {} if chance.random() < EMPTY_SHARE else {"value": chance.randrange(1000), "host": " web-1 "},
            "sequence_id": number,
        }
        if chance.random() < FAULTY_SHARE:
            values |= chance.choice((*FAULTS, {"timestamp": first_s + FUTURE_S}))
        yield StreamData(**values)
