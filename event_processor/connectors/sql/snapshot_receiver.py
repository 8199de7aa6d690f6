"""A snapshot in a database, from an event loop.

Owns: `SqlSnapshotReceiver`.
Always: its transactions run in a thread of their own, one at a time (`model/blocking_receiver.py`).
Never: decides anything (`snapshot_transactions.py` does).
"""

from __future__ import annotations

from functools import partial
from typing import Final

from event_processor.connectors.sql.snapshot_transactions import SnapshotTransactions
from event_processor.model.blocking_receiver import BlockingCalls, Worker
from event_processor.model.snapshots import Snapshot, SnapshotReceiver, WrittenSnapshot
from event_processor.model.transactions import CursorOwner

__all__ = ["SqlSnapshotReceiver"]


class SqlSnapshotReceiver(SnapshotReceiver):
    """See `SnapshotReceiver`."""

    def __init__(self, transactions: SnapshotTransactions, worker: Worker, timeout_s: float) -> None:
        """`timeout_s`: how long each call may take."""
        self._transactions: Final = transactions
        self._calls: Final = BlockingCalls(transactions, worker, timeout_s)

    async def open(self, owner: CursorOwner) -> None:
        self._transactions.open(owner)

    async def begin(self) -> int:
        return await self._calls.run(self._transactions.begin_snapshot)

    async def write(self, before: int, snapshot: Snapshot) -> WrittenSnapshot:
        return await self._calls.run(partial(self._transactions.write, before, snapshot))

    async def refresh(self) -> None:
        """Does nothing: the address is read again for each connection."""

    async def close(self) -> None:
        await self._calls.close()
