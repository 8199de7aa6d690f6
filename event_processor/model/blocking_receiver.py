"""A sink's transactions from an event loop, for client libraries that block: each runs in a thread of their own, one at a time.

Owns: `BlockingReceiver`, `BlockingCalls` with its thread, and `BlockingTransactions`, what runs there.
Always: a transaction that began is finished or rolled back by its thread, even if nothing waits for it any more.
Never: decides anything; knows a technology.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from event_processor.model.answers import Answer, Verdict
from event_processor.model.transactions import (
    DATABASE,
    Batch,
    CursorOwner,
    FailedRecord,
    ReceiverTraits,
    RemoteCursor,
    TransactionalReceiver,
    TransactionError,
)

__all__ = ["BlockingCalls", "BlockingReceiver", "BlockingTransactions", "Interruptible", "Worker", "WorkerThread"]

Result = TypeVar("Result")


class Interruptible(Protocol):
    """A connection whose calls block."""

    def interrupt(self) -> None:
        """Ends a call that runs: it raises `TransactionError` soon. Any thread may call it."""
        ...

    def close(self) -> None:
        """Closes the connection, if there is one."""
        ...


class BlockingTransactions(Interruptible, Protocol):
    """What a `TransactionalReceiver` does, without the event loop. One call runs at a time, always in the same thread."""

    def open(self, owner: CursorOwner) -> None:
        """See `TransactionalReceiver`. Does not block; runs in the event loop."""
        ...

    def begin(self, *, is_first: bool) -> RemoteCursor | None: ...

    def take(self) -> bool: ...

    def start(self, cursor: RemoteCursor) -> None: ...

    def deliver(self, batch: Batch) -> Sequence[Answer]: ...

    def failed_after(self, sequence: int) -> list[FailedRecord]: ...


class Worker(Protocol):
    """Runs jobs that block, one at a time, in order."""

    def run(self, job: Callable[[], Result]) -> Awaitable[Result]:
        """Runs a job. If the caller is cancelled, the job still runs."""
        ...

    def close(self) -> None:
        """No job follows. Does not wait."""
        ...


class WorkerThread:
    """See `Worker`. The thread starts with the first job."""

    def __init__(self, name: str) -> None:
        self._executor: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def run(self, job: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._executor, job)

    def close(self) -> None:
        self._executor.shutdown(wait=False)


class BlockingCalls:
    """Runs the calls of one connection in its thread, each in time."""

    def __init__(self, transactions: Interruptible, worker: Worker, timeout_s: float) -> None:
        """`timeout_s`: how long each call may take. After that it is interrupted: a network that is cut says nothing."""
        self._transactions: Final = transactions
        self._worker: Final = worker
        self._timeout_s: Final = timeout_s

    async def run(self, job: Callable[[], Result]) -> Result:
        """Runs a job. Raises `TransactionError` if it takes too long, after it has ended."""
        running = asyncio.ensure_future(self._worker.run(job))
        try:
            async with asyncio.timeout(self._timeout_s):
                # If the lane gives up, the job still ends in its thread.
                return await asyncio.shield(running)
        except TimeoutError:
            self._transactions.interrupt()
        try:
            return await running  # it may have ended well at the last moment
        except TransactionError as error:
            words = f"no answer within {self._timeout_s:g} s"
            raise TransactionError(Answer(Verdict.WAIT, words, error.answer.status)) from error

    async def close(self) -> None:
        """Ends a call that runs, and closes the connection."""
        # The lane has waited for its transaction; what still runs was given up.
        self._transactions.interrupt()
        try:
            await self._worker.run(self._transactions.close)
        finally:
            self._worker.close()


class BlockingReceiver(TransactionalReceiver):
    """See `TransactionalReceiver`."""

    def __init__(
        self, transactions: BlockingTransactions, worker: Worker, timeout_s: float, *, traits: ReceiverTraits = DATABASE
    ) -> None:
        """`timeout_s`: how long each call may take. After that it is interrupted: a network that is cut says nothing."""
        self.traits = traits
        self._transactions: Final = transactions
        self._calls: Final = BlockingCalls(transactions, worker, timeout_s)

    async def open(self, owner: CursorOwner) -> None:
        self._transactions.open(owner)

    async def begin(self, *, is_first: bool) -> RemoteCursor | None:
        return await self._calls.run(partial(self._transactions.begin, is_first=is_first))

    async def take(self) -> bool:
        return await self._calls.run(self._transactions.take)

    async def start(self, cursor: RemoteCursor) -> None:
        await self._calls.run(partial(self._transactions.start, cursor))

    async def deliver(self, batch: Batch) -> Sequence[Answer]:
        return await self._calls.run(partial(self._transactions.deliver, batch))

    async def failed_after(self, sequence: int) -> list[FailedRecord]:
        return await self._calls.run(partial(self._transactions.failed_after, sequence))

    async def refresh(self) -> None:
        """Does nothing: addresses and secrets are read again for each connection."""

    async def close(self) -> None:
        await self._calls.close()
