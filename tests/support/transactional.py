"""A database in memory whose receiver holds the cursor: with transactions, a fence, lost answers, and copies to restore.

Owns: `MemoryDatabase`, what it holds, and `MemoryReceiver`, which fails as a script says.
Always: a transaction is whole or not there. What is committed does not depend on whether its answer arrived.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from event_processor.model.answers import Answer, Verdict
from event_processor.model.errors import StateError
from event_processor.model.transactions import (
    DATABASE,
    DELIVER,
    Batch,
    CursorOwner,
    FailedRecord,
    ReceiverTraits,
    Refusal,
    RemoteCursor,
    TransactionalReceiver,
    TransactionError,
)

__all__ = ["LOST", "MemoryDatabase", "MemoryReceiver"]

LOST = Answer(Verdict.WAIT, "connection lost", "08006")
REFUSED = Answer(Verdict.BAD, "value too long", "22001")


@dataclass
class Place:
    """The cursor of one lane."""

    state_id: str
    cursor: RemoteCursor
    fence: int = 1


@dataclass
class MemoryDatabase:
    """What is committed. `rows`: lane and sequence, in the order of their writes."""

    places: dict[str, Place] = field(default_factory=dict)
    rows: list[tuple[str, int]] = field(default_factory=list)
    objects: dict[int, bytes] = field(default_factory=dict)
    failed: dict[tuple[str, int], FailedRecord] = field(default_factory=dict)
    gaps: int = 0
    """Transactions whose records did not follow the cursor without a gap."""
    transactions: list[int] = field(default_factory=list)
    """The numbers of records of all transactions that were tried."""

    def copy(self) -> MemoryDatabase:
        return copy.deepcopy(self)

    def restore(self, other: MemoryDatabase) -> None:
        """The database is now as `other` is."""
        self.__dict__.update(other.copy().__dict__)

    def sequences(self, lane: str = "remote") -> list[int]:
        return [sequence for name, sequence in self.rows if name == lane]


Script = Callable[[str], "str | None"]
"""Takes "begin", "take" or "deliver"; returns "before" or "after": the answer is lost before or after it took effect; "stop"; None: it works."""


@dataclass
class MemoryReceiver(TransactionalReceiver):
    """`is_bad`: which sequences the database refuses. `coarse`: it cannot say which record of a transaction is bad."""

    database: MemoryDatabase
    script: Script = lambda _: None
    is_bad: Callable[[int], bool] = lambda _: False
    coarse: bool = False
    delay_s: float = 0.02
    fence: int = 0
    found: Place | None = None
    closed: bool = False
    owner: CursorOwner | None = None
    traits: ReceiverTraits = DATABASE

    async def open(self, owner: CursorOwner) -> None:
        self.owner = owner

    @property
    def _name(self) -> str:
        assert self.owner is not None
        return self.owner.lane

    async def _said(self, what: str) -> str | None:
        await asyncio.sleep(self.delay_s)
        said = self.script(what)
        if said == "before":
            raise TransactionError(LOST)
        if said == "stop":
            raise TransactionError(Answer(Verdict.STOP, "no such table", "42P01"), remedy="make it")
        return said

    async def begin(self, *, is_first: bool) -> RemoteCursor | None:
        said = await self._said("begin")
        assert self.owner is not None
        place = self.database.places.get(self._name)
        if place is None:
            return None
        if place.state_id != self.owner.state_id:
            raise StateError("the cursor is of another state", hint="restore it")
        if self.fence and place.fence != self.fence:
            raise TransactionError(Answer(Verdict.STOP, "another process writes for this lane"), remedy="stop one of them")
        if said == "after":
            raise TransactionError(LOST)
        self.found = replace(place)
        return place.cursor

    async def take(self) -> bool:
        said = await self._said("take")
        place = self.database.places.get(self._name)
        if place is None or place != self.found:
            return False
        place.fence += 1
        self.fence = place.fence
        if said == "after":
            raise TransactionError(LOST)
        return True

    async def start(self, cursor: RemoteCursor) -> None:
        assert self.owner is not None
        self.fence = self.fence or 1
        self.database.places[self._name] = Place(self.owner.state_id, cursor, self.fence)

    async def deliver(self, batch: Batch) -> Sequence[Answer]:
        said = await self._said("deliver")
        database, name = self.database, self._name
        place = database.places.get(name)
        if place is None or place.fence != self.fence or place.cursor != batch.before:
            raise TransactionError(Answer(Verdict.STOP, "another process writes for this lane"), remedy="stop one of them")
        sequences = [each.record.sequence for each in batch.entries]
        # A lane takes what a receiver raises for a failure of the receiver.
        database.gaps += sequences != list(range(batch.before.sequence + 1, batch.before.sequence + 1 + len(sequences)))
        database.transactions.append(len(sequences))
        bad = [each.refusal is None and self.is_bad(each.record.sequence) for each in batch.entries]
        if self.coarse and any(bad):
            raise TransactionError(REFUSED)
        if any(bad) and batch.is_schema(bad):
            raise TransactionError(REFUSED, is_schema=True)
        answers = []
        for each, is_bad in zip(batch.entries, bad, strict=True):
            refusal = each.refusal or (Refusal(DELIVER, REFUSED, batch.tries + 1) if is_bad else None)
            answers.append(refusal.answer if refusal else Answer(Verdict.DELIVERED))
            sequence = each.record.sequence
            if refusal is None:
                database.rows.append((name, sequence))
                database.objects[sequence] = bytes(each.sent.object)
            else:
                failed = FailedRecord.of(name.partition(".")[0], each.record, each.key, refusal, batch.wall_ns)
                database.failed[name, sequence] = failed
        database.places[name] = replace(place, cursor=batch.before.after(batch.entries, answers))
        if said == "after":
            raise TransactionError(LOST)
        return answers

    async def failed_after(self, sequence: int) -> list[FailedRecord]:
        return [
            each for (name, _), each in sorted(self.database.failed.items()) if name == self._name and each.sequence > sequence
        ]

    async def refresh(self) -> None: ...

    async def close(self) -> None:
        self.closed = True
