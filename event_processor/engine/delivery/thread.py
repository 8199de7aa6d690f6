"""The delivery loop: a thread of its own with one event loop, in which all lanes run.

Owns: the thread, and every call across it.
Always: a failure in the loop ends the lanes, is kept, and is told at once. `stop` takes a bounded time.
Never: sends or decides (`stage.py` does).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import Final, TypeVar

from event_processor.engine.committed import CommittedTotals
from event_processor.engine.delivery.delivery import Delivery
from event_processor.engine.delivery.window import Released
from event_processor.model.errors import EventProcessorError

__all__ = ["DeliveryThread"]

STOP_S: Final = 30.0
"""Beyond the time for running requests, the end of the loop takes at most this long: a write or two."""
LOOK_S: Final = 0.5
"""While a stop waits, it says so at least this often."""
Result = TypeVar("Result")


class DeliveryThread:
    """Runs a `Delivery`. Used by one thread, the pipeline's."""

    def __init__(self, make: Callable[[], Delivery], ended: Callable[[], None]) -> None:
        """`make` makes the lanes, in the loop's thread. `ended` is called from that thread if the loop ends by a failure."""
        self._make: Final = make
        self._tell_ended: Final = ended
        self._started: Final[Future[asyncio.AbstractEventLoop]] = Future()
        self._delivery: Delivery | None = None
        self._is_stopping = False
        self._closing: asyncio.Future[None] | None = None
        self.failure: BaseException | None = None
        self._thread: Final = Thread(target=self._work, name="delivery", daemon=True)

    def start(self) -> None:
        """Starts the loop. Raises what `make` raises; then nothing runs."""
        self._thread.start()
        self._started.result()

    def follow(self, input_name: str, released: Released) -> None:
        """A durable checkpoint covers this input's series this far. Any thread may call it."""
        if self._delivery is not None:
            self._call(partial(self._delivery.follow, input_name, released))

    def follow_totals(self, totals: CommittedTotals) -> None:
        """A durable checkpoint has these totals. Any thread may call it."""
        if self._delivery is not None:
            self._call(partial(self._delivery.follow_totals, totals))

    def hurry(self) -> None:
        """The input is at its end: no snapshot waits for its interval any more."""
        if self._delivery is not None:
            self._call(self._delivery.hurry)

    def _call(self, work: Callable[[], object]) -> bool:
        """Runs `work` soon in the loop's thread. Returns whether there still is a loop."""
        try:
            self._started.result().call_soon_threadsafe(work)
        except RuntimeError:
            return False  # the loop is closed
        return True

    def ask(self, question: Callable[[Delivery], Result], otherwise: Result) -> Result:
        """What `question` answers in the loop's thread; `otherwise` if the loop has ended."""
        answer: Future[Result] = Future()

        def work() -> None:
            assert self._delivery is not None
            try:
                answer.set_result(question(self._delivery))
            except Exception as error:  # noqa: BLE001 - raised in the thread that asks
                answer.set_exception(error)

        if not self._call(work):
            return otherwise
        while self._thread.is_alive():
            try:
                return answer.result(timeout=1.0)
            except TimeoutError:
                continue
        return answer.result() if answer.done() else otherwise

    def stop(self, drain_s: float, waiting: Callable[[], None]) -> None:
        """Ends all lanes: running requests get at most `drain_s` seconds. Then `failure` says whether something went wrong.

        `waiting` is called again and again while this waits, in the calling thread.
        """
        if not self._thread.ident:
            return
        self._is_stopping = True
        if self._started.exception() is None:
            self._call(partial(self._begin_close, drain_s))
        for _ in range(math.ceil((drain_s + STOP_S) / LOOK_S)):
            self._thread.join(LOOK_S)
            if not self._thread.is_alive():
                return
            waiting()
        # It still uses the lanes' files. Nothing may begin beside it, and the process must end.
        self.failure = EventProcessorError(
            f"the remote sinks did not end within {drain_s + STOP_S:g} s: a class of yours may block",
            hint="nothing is lost: what was not answered is sent again at the next start; let the class await, and let cancellation through",
        )

    @property
    def is_alive(self) -> bool:
        """Whether the loop still runs: after `stop`, something in it did not end in time."""
        return self._thread.is_alive()

    def _begin_close(self, drain_s: float) -> None:
        assert self._delivery is not None
        self._closing = asyncio.ensure_future(self._delivery.close(drain_s))

    def _work(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - the pipeline's thread raises it
            self.failure = error if isinstance(error, Exception) else EventProcessorError(f"the remote sinks ended: {error!r}")
            if not self._started.done():
                self._started.set_exception(error)
            elif not self._is_stopping:
                self._tell_ended()

    async def _main(self) -> None:
        delivery = self._make()
        self._delivery = delivery
        self._started.set_result(asyncio.get_running_loop())
        try:
            await delivery.run()
            if self._closing is not None:
                await self._closing
        finally:
            delivery.release()
