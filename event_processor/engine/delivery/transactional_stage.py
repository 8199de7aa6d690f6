"""The last stage of a lane whose receiver holds the cursor: one transaction at a time, in order, without a gap.

Owns: which records go into the next transaction, when it is tried, and what its end means for the lane.
Always: the receiver's cursor was taken before the first transaction, and after each one that was not surely committed. A transaction
holds the records directly after the cursor: to be written, or already refused by an enricher or an operator.
Never: moves a cursor (the lane does, as the receiver did); knows a technology.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from event_processor.engine.delivery.gate import Ticket
from event_processor.engine.delivery.health import remedy_of
from event_processor.engine.delivery.prefix import Prefix
from event_processor.engine.delivery.queue import Attempt, Waiting
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.stage import BAD_MAX, RECENT, LaneTimes, StageLane, try_of, wait_for
from event_processor.engine.delivery.tries import Try
from event_processor.model.answers import Answer, Verdict
from event_processor.model.backoff import Backoff
from event_processor.model.errors import EventProcessorError
from event_processor.model.transactions import (
    DELIVER,
    Batch,
    HandedBlocks,
    Refusal,
    RemoteCursor,
    TransactionalReceiver,
    TransactionError,
    undelivered_places,
)

__all__ = ["TransactionLane", "TransactionParts", "TransactionalStage"]


@dataclass(frozen=True, slots=True)
class TransactionParts:
    """What the stage works with. A transaction has at most `events_max` records and about `bytes_max` bytes of them.

    `age_s_max`: so long records wait for a full transaction, in seconds; 0: there is a transaction as soon as there is a record.
    `held_bytes_max`: so many bytes of them do not wait, although a transaction may have more.
    """

    receiver: TransactionalReceiver
    service: Service
    events_max: int
    bytes_max: int
    times: LaneTimes
    backoff: Backoff
    age_s_max: float = 0.0
    held_bytes_max: int | None = None

    @property
    def full_bytes(self) -> int:
        """With so many bytes, records wait for no others."""
        return self.bytes_max if self.held_bytes_max is None else min(self.bytes_max, self.held_bytes_max)


class TransactionLane(StageLane, Protocol):
    """What the stage asks of its lane, and tells it."""

    @property
    def cursor(self) -> RemoteCursor:
        """How far the lane is, as far as it knows."""
        ...

    @property
    def waits_for_records(self) -> bool:
        """Whether the receiver's cursor cannot be taken before more records are released."""
        ...

    async def begin(self) -> bool:
        """Goes on from the receiver's cursor, and takes it. Raises `TransactionError`, `StateError`.

        Returns False, and does not take it, if the receiver is ahead of what was released: its chain cannot be compared yet.
        """
        ...

    def committed(self, waiting: Sequence[Waiting], batch: Batch, answers: Sequence[Answer]) -> None:
        """These records are in a transaction that is committed. An answer for each."""
        ...


class TransactionalStage:
    """See `AnyStage`. Everything runs in the delivery loop."""

    def __init__(self, parts: TransactionParts, lane: TransactionLane) -> None:
        self.name: Final = DELIVER
        self.service: Final = parts.service
        self.queue: Final = Prefix()
        self.changed: Final = asyncio.Event()
        self.running: Final[dict[asyncio.Task[None], Attempt]] = {}
        self.is_begun = False
        """Whether the receiver's cursor is known, and taken."""
        self.unsettled_through = 0
        """The last record of the last transaction, if it is not known whether that was committed."""
        self._parts: Final = parts
        self._lane: Final = lane
        self._tries = 0
        self._due_s = 0.0
        self._events_max = parts.events_max
        self._bad: Final[deque[bool]] = deque(maxlen=RECENT)
        self._opened_s: float | None = None
        """Since when records wait for a full transaction; None if none does."""
        self._is_hurried = False

    @property
    def pending(self) -> int:
        """See `AnyStage`. Records in a transaction stay in the queue until it is committed."""
        return len(self.queue)

    @property
    def in_requests(self) -> int:
        """See `AnyStage`."""
        return sum(len(attempt.waiting) for attempt in self.running.values())

    async def pump(self) -> None:
        """See `AnyStage`."""
        while True:
            self.changed.clear()
            self._lane.prepare()
            self._note_outage()
            wait_s = self._wait_s()
            if wait_s is None or wait_s > 0:
                await wait_for(self.changed, wait_s)
                continue
            if self._lane.health.is_stopped(self.name):
                await self._parts.receiver.refresh()
            ticket = await self.service.turn()
            if not self._lane.may_send:
                self.service.done(ticket, None)
                continue
            attempt = Attempt([])
            # A task of its own, so that the end of the lane can wait for it.
            task = asyncio.create_task(self._attempt(attempt, ticket))
            self.running[task] = attempt
            try:
                # Reads on while the receiver works.
                await asyncio.sleep(0)
                self._lane.prepare()
                await task
            finally:
                task.cancel()  # nothing, if it is done
                del self.running[task]

    def _wait_s(self) -> float | None:
        """Seconds until the next try; 0 if now; None if only a change can bring one."""
        lane, following = self._lane, self._lane.cursor.sequence + 1
        if not lane.may_send or lane.waits_for_records or (self.is_begun and not self.queue.has(following)):
            return None
        if lane.health.is_schema(self.name) and self.queue.is_refused(following):
            return 0.0  # an operator skipped the record that was refused
        return max(0.0, max(self._due_s, lane.health.next_probe_s(self.name), self._full_s()) - self._parts.times.now())

    def _full_s(self) -> float:
        """When the next transaction is to be made although it could hold more records; 0 if it is full."""
        age_s_max = self._parts.age_s_max
        if not age_s_max or not self.is_begun or self._is_hurried or self.queue.is_full(self._events_max, self._parts.full_bytes):
            return 0.0
        if self._opened_s is None:
            self._opened_s = self._parts.times.now()
        return self._opened_s + age_s_max

    def hurry(self) -> None:
        """The input is at its end: no record waits for a full transaction any more."""
        self._is_hurried = True
        self.changed.set()

    async def _attempt(self, attempt: Attempt, ticket: Ticket) -> None:
        """One try: takes the receiver's cursor if need be, then one transaction."""
        began_s = self._parts.times.now()
        failure: TransactionError | None = None
        attempt.tries = self._tries + 1
        has_delivered = False
        try:
            if not self.is_begun:
                self.is_begun = await self._lane.begin()
                # It may have filled the queue anew.
                self._lane.prepare()
            has_delivered = self.is_begun and await self._transact(attempt)
        except TransactionError as error:
            failure = error
        except EventProcessorError:
            self.service.done(ticket, None)
            raise
        except asyncio.CancelledError:
            self.service.give_up(ticket)
            raise
        except Exception as error:  # noqa: BLE001 - a receiver's fault must not end the other lanes
            failure = TransactionError(Answer(Verdict.WAIT, f"{type(error).__name__}: {error}"))
        finally:
            self.queue.locked_through = 0
        answer = failure.answer if failure else Answer(Verdict.DELIVERED)
        self.service.done(ticket, answer)
        if attempt.waiting or failure:
            self._lane.answered(self, attempt, answer, self._parts.times.now() - began_s)
        self._note_outage()
        if failure is None:
            self._went_well(has_delivered=has_delivered)
        else:
            self._failed(attempt, failure)
        self.changed.set()

    async def _transact(self, attempt: Attempt) -> bool:
        """One transaction with the next records, if there are any. Returns whether it wrote one."""
        lane, parts = self._lane, self._parts
        # A file of many records is not made of one because the lane was stopped before.
        is_stopped = lane.health.is_stopped(self.name) and not parts.age_s_max
        selected = self.queue.after(lane.cursor.sequence, self._events_max, parts.bytes_max, alone=is_stopped)
        if selected is None or not lane.may_send:
            return False
        attempt.waiting, handed = selected.waiting, selected.handed
        self.queue.locked_through = self.unsettled_through = lane.cursor.sequence + len(handed)
        is_schema = partial(_is_schema, tuple(self._bad), is_stopped)
        batch = Batch(lane.cursor, handed, self._tries, parts.times.wall_ns(), is_schema)
        answers = await parts.receiver.deliver(batch)
        self.unsettled_through = 0
        self._opened_s = None
        bad = set(undelivered_places(answers))
        # Only the last ones count.
        if bad or not isinstance(handed, HandedBlocks):
            self._bad.extend([place in bad for place, each in enumerate(handed) if each.refusal is None][-RECENT:])
        else:
            self._bad.extend([False] * min(len(handed), RECENT))
        self.queue.remove(attempt.waiting)
        lane.committed(attempt.waiting, batch, answers)
        return len(bad) < len(answers)

    def _went_well(self, *, has_delivered: bool) -> None:
        health = self._lane.health
        self._tries, self._due_s = 0, 0.0
        self._events_max = min(self._parts.events_max, 2 * self._events_max)
        if health.is_stopped(self.name) and (has_delivered or not (health.is_schema(self.name) and len(self.queue))):
            self._bad.clear()
            health.go_on(self.name)

    def _failed(self, attempt: Attempt, failure: TransactionError) -> None:
        """Nothing was committed, or perhaps everything: the receiver is asked before anything else."""
        answer, health, now_s = failure.answer, self._lane.health, self._parts.times.now()
        self.is_begun = False
        self._tries += 1
        if answer.verdict is Verdict.WAIT:
            health.last_words = answer.words
            self._due_s = now_s + self._parts.backoff.wait_s(self._tries, answer.wait_s)
        elif failure.is_schema or (answer.verdict is Verdict.BAD and not self._may_narrow(attempt)):
            words = f"the receiver refuses nearly every record: {answer.words}"
            remedy = (
                "look at the words and at the sink's columns, correct them, then: event-processor reload; "
                f"or pass over a record: event-processor sinks skip {self._lane.sink} --first"
            )
            health.stop(self.name, words, remedy, now_s, is_schema=True)
        elif answer.verdict is Verdict.STOP:
            health.stop(self.name, answer.words, failure.remedy or remedy_of(answer), now_s)
        elif len(attempt.waiting) > 1:
            # Which one is bad is not known: fewer are handed over, until it is alone.
            self._events_max = (len(attempt.waiting) + 1) // 2
        else:
            (waiting,) = attempt.waiting
            self.queue.refuse(waiting, Refusal(DELIVER, answer, self._tries))
            self._bad.append(True)

    def _may_narrow(self, attempt: Attempt) -> bool:
        """Whether the bad record may be looked for. If it is alone, it is refused once, unless too many were."""
        if len(attempt.waiting) != 1:
            return bool(attempt.waiting)
        is_schema = _is_schema(tuple(self._bad), self._lane.health.is_stopped(self.name), [True])
        return not self.queue.is_refused(attempt.first) and not is_schema

    def _note_outage(self) -> None:
        """After the end of an outage nothing waits longer for its sake."""
        gate = self.service.gate
        is_in_outage = gate.outage_since_s is not None or gate.is_held_long(self._parts.times.now())
        if self._lane.health.note_outage(self.name, is_in_outage):
            self._due_s = 0.0

    def tried(self, attempt: Attempt, answer: Answer, took_s: float) -> Try:
        """See `AnyStage`."""
        return try_of(self._lane.name, self.name, attempt, answer, took_s=took_s, wall_ns=self._parts.times.wall_ns())


def _is_schema(before: tuple[bool, ...], is_stopped: bool, bad: Sequence[bool]) -> bool:
    """Whether so many records are bad that it is not their fault. `before`: the last results, `bad`: those that follow."""
    return (is_stopped and any(bad)) or sum((*before, *bad)[-RECENT:]) > BAD_MAX
