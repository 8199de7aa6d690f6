"""One stage of a lane: requests to one service, until each record has passed it or was refused for good.

Owns: what is sent next, what an answer means for each record, bisection, retries and probes.
Always: a record that enters leaves once: passed, refused or skipped. Whatever else happens, it is sent again, under the same key.
Never: moves a cursor; knows a technology; waits inside a commit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import msgspec

from event_processor.engine.delivery.blocks import sequences_of
from event_processor.engine.delivery.gate import Ticket
from event_processor.engine.delivery.health import PROBE_S, Health, remedy_of
from event_processor.engine.delivery.queue import Attempt, Queue, Waiting, request_key
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.tries import Try
from event_processor.model.answers import Answer, Verdict
from event_processor.model.backoff import Backoff
from event_processor.model.clock import utc_text
from event_processor.model.delivery import Request
from event_processor.model.transactions import DELIVER, Refusal

__all__ = ["DELIVER", "AnyStage", "LaneTimes", "Stage", "StageLane", "StageParts", "StageQueue", "try_of", "wait_for"]

RECENT: Final = 100
PASS_SHARE: Final = 0.8
BAD_MAX: Final = 50
"""If this many of the last `RECENT` records are bad already, it is not the records' fault."""
Objects: TypeAlias = Sequence[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class LaneTimes:
    """The clocks of a lane. `now`: monotonic seconds, as the services' gates use them. `wall_ns`: as in `Clock`."""

    now: Callable[[], float]
    wall_ns: Callable[[], int]


@dataclass(frozen=True, slots=True)
class StageParts:
    """What a stage works with.

    `send` sends a request once. If it was answered, it also returns the records' new objects, or none if they stay as they are.
    `refresh` reads again what an operator may have repaired.
    """

    name: str
    send: Callable[[Request], Awaitable[tuple[Answer, Objects]]]
    refresh: Callable[[], Awaitable[None]]
    service: Service
    retries_max: int
    events_max: int
    bytes_max: int
    is_strict: bool
    times: LaneTimes
    backoff: Backoff


class StageQueue(Protocol):
    """The records that wait in a stage."""

    def add(self, waiting: Waiting) -> None:
        """Adds a record."""
        ...

    def drop(self, sequences: frozenset[int]) -> list[tuple[Waiting, int]]:
        """Removes the records with these sequences, if they are here. Returns them, each with the tries of its request."""
        ...

    def clear(self) -> list[Waiting]:
        """Removes everything, and returns it."""
        ...


class AnyStage(Protocol):
    """A stage as its lane sees it: this file has all but the last one of a receiver that holds the cursor."""

    @property
    def name(self) -> str:
        """The name of the stage."""
        ...

    @property
    def service(self) -> Service:
        """The service whose requests it makes."""
        ...

    @property
    def queue(self) -> StageQueue:
        """The records that wait here."""
        ...

    @property
    def changed(self) -> asyncio.Event:
        """Set it if something changed for which the stage may wait."""
        ...

    @property
    def running(self) -> Mapping[asyncio.Task[None], Attempt]:
        """The requests that run."""
        ...

    @property
    def pending(self) -> int:
        """The records that wait here, or are in requests that run."""
        ...

    @property
    def in_requests(self) -> int:
        """The records in requests that run."""
        ...

    async def pump(self) -> None:
        """Sends whatever is due. Ends only if it is cancelled."""
        ...

    def tried(self, attempt: Attempt, answer: Answer, took_s: float) -> Try:
        """A request that was answered, as it is remembered."""
        ...


class StageLane(Protocol):
    """What a stage asks of its lane, and tells it."""

    @property
    def name(self) -> str:
        """The name of the lane: the sink's, or another one for its retried records."""
        ...

    @property
    def sink(self) -> str:
        """The name of the sink."""
        ...

    @property
    def health(self) -> Health:
        """How the lane is."""
        ...

    @property
    def may_send(self) -> bool:
        """Whether requests may be sent at all: the lane is neither paused nor closing."""
        ...

    def prepare(self) -> None:
        """Before each choice: reads on, and skips what an operator gave up."""
        ...

    def answered(self, stage: AnyStage, attempt: Attempt, answer: Answer, took_s: float) -> None:
        """A request was answered."""
        ...

    def passed(self, stage: AnyStage, waiting: Waiting) -> None:
        """The record passed the stage."""
        ...

    def refused(self, waiting: Waiting, refusal: Refusal) -> None:
        """The record was refused for good."""
        ...

    def ended(self, error: BaseException | None) -> None:
        """A task of the stage ended; with an error, the lane cannot go on."""
        ...


class Stage:
    """One stage. Everything runs in the delivery loop."""

    def __init__(self, parts: StageParts, lane: StageLane) -> None:
        self.parts: Final = parts
        self.queue: Final = Queue(parts.events_max, parts.bytes_max, strict=parts.is_strict)
        self.running: Final[dict[asyncio.Task[None], Attempt]] = {}
        self._tickets: Final[dict[asyncio.Task[None], Ticket]] = {}
        """The tickets of requests without an answer."""
        self.changed: Final = asyncio.Event()
        self._lane: Final = lane
        self._passes = 0
        self._recent: Final[deque[tuple[int, bool]]] = deque(maxlen=RECENT)
        self._bad: Final[deque[bool]] = deque(maxlen=RECENT)

    @property
    def name(self) -> str:
        """The name of the stage."""
        return self.parts.name

    @property
    def service(self) -> Service:
        """The service whose requests it makes."""
        return self.parts.service

    @property
    def pending(self) -> int:
        """The records that wait here, or are in requests that run."""
        return len(self.queue) + self.in_requests

    @property
    def in_requests(self) -> int:
        """The records in requests that run."""
        return sum(len(attempt.waiting) for attempt in self.running.values())

    async def pump(self) -> None:
        """Sends whatever is due, one request after the other in order of turns; several may run. Ends only if it is cancelled."""
        health = self._lane.health
        while True:
            self.changed.clear()
            self._lane.prepare()
            self._note_outage()
            wait_s = self._wait_s()
            if wait_s is None or wait_s > 0:
                await wait_for(self.changed, wait_s)
                continue
            if health.is_stopped(self.name):
                await self.parts.refresh()
            ticket = await self.parts.service.turn()
            attempt = None
            try:
                self._note_outage()
                self._lane.prepare()
                if self._lane.may_send:
                    attempt = self.queue.take(self.parts.times.now(), alone=health.is_stopped(self.name))
            finally:
                # Also if this lane cannot go on: others wait for the same service.
                if attempt is None:
                    self.parts.service.done(ticket, None)
            if attempt is None:
                continue
            task = asyncio.create_task(self._send(attempt))
            self.running[task], self._tickets[task] = attempt, ticket
            task.add_done_callback(self._send_ended)

    def _wait_s(self) -> float | None:
        """Seconds until a request may be asked for; 0 if now; None if only a change can bring one."""
        health = self._lane.health
        if not self._lane.may_send or (self.running and (self.parts.is_strict or health.is_stopped(self.name))):
            return None
        due_s = self.queue.due_s()
        if due_s is None:
            return None
        return max(0.0, max(due_s, health.next_probe_s(self.name)) - self.parts.times.now())

    async def _send(self, attempt: Attempt) -> None:
        """Sends one request, once, and does with its records what the answer means."""
        began_s = self.parts.times.now()
        objects: Objects = ()
        keys = [each.key for each in attempt.waiting]
        records = [each.sent for each in attempt.waiting]
        try:
            answer, objects = await self.parts.send(Request(records, keys, request_key(keys), attempt.tries))
        except Exception as error:  # noqa: BLE001 - a receiver's fault must not end the other lanes
            answer = Answer(Verdict.WAIT, f"{type(error).__name__}: {error}")
        task = asyncio.current_task()
        assert task is not None, "it runs"
        del self.running[task]
        self.parts.service.done(self._tickets.pop(task), answer)
        attempt.tries += 1
        self._lane.answered(self, attempt, answer, self.parts.times.now() - began_s)
        self._judge(attempt, answer, objects)

    def _judge(self, attempt: Attempt, answer: Answer, objects: Objects) -> None:
        """The one place where an answer becomes the fate of records."""
        health = self._lane.health
        self._note_outage()
        is_passed = answer.verdict is Verdict.DELIVERED
        if health.is_stopped(self.name) and (is_passed if health.is_schema(self.name) else answer.verdict is not Verdict.STOP):
            self._bad.clear()
            health.go_on(self.name)
        if is_passed:
            self._passes += 1
            self._recent.append((attempt.first, True))
            self.queue.passed()
            self._bad.extend([False] * len(attempt.waiting))
            for place, each in enumerate(attempt.waiting):
                self._lane.passed(self, each.with_object(objects[place]) if objects else each)
        elif answer.verdict is Verdict.WAIT:
            self._waited(attempt, answer)
        elif answer.verdict is Verdict.STOP:
            self._stop(attempt, answer.words, remedy_of(answer))
        else:
            self._refused(attempt, answer)
        self.changed.set()

    def _waited(self, attempt: Attempt, answer: Answer) -> None:
        """The request could not be taken now. It is bad if it alone keeps failing."""
        self._lane.health.last_words = answer.words
        others = [passed for first, passed in self._recent if first != attempt.first]
        self._recent.append((attempt.first, False))
        mostly_pass = bool(others) and sum(others) >= PASS_SHARE * len(others)
        if mostly_pass and self._passes > attempt.passes_seen:
            attempt.lonely_waits += 1
        attempt.passes_seen = self._passes
        if attempt.lonely_waits > self.parts.retries_max:
            self._refused(attempt, answer)
            return
        self.queue.again(attempt, self.parts.times.now() + self.parts.backoff.wait_s(attempt.tries, answer.wait_s))

    def _refused(self, attempt: Attempt, answer: Answer) -> None:
        """A record of the request is bad. If there are several, finds out which by halves."""
        if len(attempt.waiting) > 1:
            if answer.is_too_large:
                self.queue.was_too_large(attempt)
            for half in attempt.halves():
                self.queue.again(half, self.parts.times.now())
            return
        if self._lane.health.is_stopped(self.name) or sum(self._bad) >= BAD_MAX:
            words = f"the receiver refuses nearly every record: {answer.words}"
            remedy = (
                f"look at what is refused: event-processor dead-letters list --sink {self._lane.sink}; "
                f"then correct the sink or the receiver, or pass over a record: event-processor sinks skip {self._lane.sink} --first"
            )
            self._stop(attempt, words, remedy, is_schema=True)
            return
        self._bad.append(True)
        (waiting,) = attempt.waiting
        self._lane.refused(waiting, Refusal(self.name, answer, attempt.tries))

    def _stop(self, attempt: Attempt, words: str, remedy: str, *, is_schema: bool = False) -> None:
        """Keeps the records, and only probes until an operator changes something."""
        now_s = self.parts.times.now()
        self._lane.health.stop(self.name, words, remedy, now_s, is_schema=is_schema)
        # If only this record is bad after all, the next probe must be another one.
        self.queue.again(attempt, now_s + PROBE_S if is_schema and not self.parts.is_strict else 0.0)

    def _note_outage(self) -> None:
        """After the end of an outage nothing waits longer for its sake."""
        gate = self.parts.service.gate
        is_in_outage = gate.outage_since_s is not None or gate.is_held_long(self.parts.times.now())
        if self._lane.health.note_outage(self.name, is_in_outage):
            self.queue.hurry()

    def tried(self, attempt: Attempt, answer: Answer, took_s: float) -> Try:
        """A request that was answered, as it is remembered."""
        return try_of(self._lane.name, self.name, attempt, answer, took_s=took_s, wall_ns=self.parts.times.wall_ns())

    def _send_ended(self, task: asyncio.Task[None]) -> None:
        if (attempt := self.running.pop(task, None)) is not None:
            # It was given up without an answer: its records still wait.
            self.queue.again(attempt, 0.0)
            self.parts.service.give_up(self._tickets.pop(task))
        self._lane.ended(None if task.cancelled() else task.exception())
        self.changed.set()


def try_of(lane: str, stage: str, attempt: Attempt, answer: Answer, *, took_s: float, wall_ns: int) -> Try:
    """A request that was answered, as it is remembered."""
    return Try(
        at=utc_text(wall_ns),
        sink=lane,
        stage=stage,
        sequences=tuple(sequences_of(attempt.waiting)),
        number=attempt.tries,
        took_ms=round(1000 * took_s, 3),
        verdict=answer.verdict.value,
        status=answer.status,
        words=answer.words if answer.verdict is not Verdict.DELIVERED else "",
        next_in_s=answer.wait_s,
    )


async def wait_for(changed: asyncio.Event, timeout_s: float | None) -> None:
    """Waits until the event is set, at most `timeout_s` seconds; None: as long as it takes."""
    try:
        async with asyncio.timeout(timeout_s):
            await changed.wait()
    except TimeoutError:
        return
