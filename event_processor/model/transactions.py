"""The contract of a receiver that holds its lane's cursor: rows, failed rows and cursor are one transaction there.

Owns: `TransactionalReceiver`, what it is handed and what it returns, `BatchAnswers`, and `FailedRecord`.
Always: the receiver's cursor wins. A lane asks for it (`begin`) before the first transaction and after each one of unknown outcome,
compares its chain, and only then takes it (`take`).
Never: contains a lane or a receiver (`engine/delivery/` and `connectors/` do).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from msgspec import Struct

from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.delivery import OutboxRecord

__all__ = [
    "DATABASE",
    "DELIVER",
    "SKIPPED_STAGE",
    "Batch",
    "BatchAnswers",
    "CursorOwner",
    "FailedRecord",
    "Handed",
    "ReceiverTraits",
    "Refusal",
    "RemoteCursor",
    "TransactionError",
    "TransactionalReceiver",
]

DELIVER: Final = "deliver"
"""The name of the last stage of a lane. The others have the names of their enrichers."""
SKIPPED_STAGE: Final = "skipped"
"""The stage of a record that an operator skipped."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is not sent any more: the answer, and how often it was tried.

    `stage`: "deliver" if its receiver refused it, the name of the enricher that did, or "skipped" if an operator skipped it.
    """

    stage: str
    answer: Answer
    tries: int


class FailedRecord(Struct, frozen=True):
    """A released record that a sink's receiver refused. `key` is the one it was sent under; `object` is what the outbox has.

    So it has nothing of an enricher: a retry asks again. `stage`: where it was refused, see `Refusal`. `status`: the receiver's code,
    for example of HTTP; `reason`: its words. `tries`: how often it was sent alone or with others.
    """

    sink: str
    sequence: int
    key: str
    place: Mapping[str, Any]
    stage: str
    status: str
    reason: str
    tries: int
    failed_at: str
    object: msgspec.Raw

    @classmethod
    def of(cls, sink: str, record: OutboxRecord, key: str, refusal: Refusal, wall_ns: int) -> FailedRecord:
        """`record`, which is not sent any more. `wall_ns`: when it was refused."""
        return cls(
            sink=sink,
            sequence=record.sequence,
            key=key,
            place=record.place,
            stage=refusal.stage,
            status=refusal.answer.status,
            reason=refusal.answer.words,
            tries=refusal.tries,
            failed_at=utc_text(wall_ns),
            object=record.object,
        )


@dataclass(frozen=True, slots=True)
class CursorOwner:
    """Whose cursor it is: `pipeline`, `shard` (such as "2/8", or "") and `lane` name it at the receiver, `state_id` and `input` are values of it.

    `earlier_lanes`: names that the lane had before, the latest first. `sink`: the name of the sink, for failed records.
    """

    pipeline: str
    lane: str
    sink: str
    state_id: str
    input: str
    earlier_lanes: tuple[str, ...] = ()
    shard: str = ""


@dataclass(frozen=True, slots=True)
class RemoteCursor:
    """How far a lane is: the last record of the answered prefix, and what became of the records since the lane started."""

    started_after: int
    sequence: int
    chain: str
    delivered: int = 0
    failed: int = 0
    skipped: int = 0

    def after(self, entries: Sequence[Handed], answers: Sequence[Answer]) -> RemoteCursor:
        """The cursor after the next records, with an answer for each."""
        results = [_result(entry, answer) for entry, answer in zip(entries, answers, strict=True)]
        return replace(
            self,
            sequence=entries[-1].record.sequence,
            chain=entries[-1].record.chain,
            delivered=self.delivered + results.count("delivered"),
            failed=self.failed + results.count("failed"),
            skipped=self.skipped + results.count("skipped"),
        )


def _result(entry: Handed, answer: Answer) -> str:
    if answer.verdict is Verdict.DELIVERED:
        return "delivered"
    return "skipped" if entry.refusal is not None and entry.refusal.stage == SKIPPED_STAGE else "failed"


@dataclass(frozen=True, slots=True)
class Handed:
    """One record of a batch, as it was released. `sent`: with what enrichers set, which is what is written.

    `refusal`: it is not to be written, but kept as a failed record.
    """

    record: OutboxRecord
    sent: OutboxRecord
    key: str
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The next records of a lane: contiguous, directly after `before`, at least one. `tries`: of these records, before this one.

    `wall_ns`: now. `is_schema` takes which of the first records are bad (True), and returns whether those are too many to be the
    records' fault: then nothing may be committed.
    """

    before: RemoteCursor
    entries: Sequence[Handed]
    tries: int
    wall_ns: int
    is_schema: Callable[[Sequence[bool]], bool]


class TransactionError(Exception):
    """The receiver did not take it: `answer` says why, and is never *delivered*. Whether it was committed may be unknown.

    `remedy`: what an operator does about a *stop*. `is_schema`: nearly every record is refused.
    """

    def __init__(self, answer: Answer, *, remedy: str = "", is_schema: bool = False) -> None:
        super().__init__(answer.words)
        self.answer: Final = answer
        self.remedy: Final = remedy
        self.is_schema: Final = is_schema


class BatchAnswers:
    """What becomes of the records of one batch while it is written. `bad`: the answer of each that was refused, by its place."""

    def __init__(self, batch: Batch) -> None:
        self._batch: Final = batch
        self.bad: Final[dict[int, Answer]] = {}

    def refuse(self, place: int, answer: Answer) -> None:
        """The record at `place` was refused; all before it are decided. Raises `TransactionError` if those are too many."""
        self.bad[place] = answer
        self._require(place)

    def require_few(self) -> None:
        """Raises `TransactionError` if so many do not fit that it is not their fault."""
        if self.bad:
            self._require(max(self.bad))

    def _require(self, last: int) -> None:
        entries = self._batch.entries[: last + 1]
        results = [place in self.bad for place, entry in enumerate(entries) if entry.refusal is None]
        if self._batch.is_schema(results):
            raise TransactionError(self.bad[last], is_schema=True)

    def answers(self) -> list[Answer]:
        """The answer for each record."""
        delivered = Answer(Verdict.DELIVERED)
        return [
            entry.refusal.answer if entry.refusal else self.bad.get(place, delivered)
            for place, entry in enumerate(self._batch.entries)
        ]

    def failed(self, answers: Sequence[Answer]) -> list[tuple[Handed, Answer]]:
        """The records that are kept as failed rows."""
        both = zip(self._batch.entries, answers, strict=True)
        return [(entry, answer) for entry, answer in both if answer.verdict is not Verdict.DELIVERED]


@dataclass(frozen=True, slots=True)
class ReceiverTraits:
    """What a kind of receiver is for its lane. `noun`: what holds the cursor, for people.

    `goes_back`: an earlier cursor is that of a backup, and what was written after it is gone with it. Otherwise what was written may
    be there without the cursor, so only a person can say where to go on.
    """

    noun: str
    goes_back: bool


DATABASE: Final = ReceiverTraits("database", goes_back=True)


class TransactionalReceiver(ABC):
    """Writes the records of one lane in transactions. Used in the delivery loop; one call runs at a time.

    Every method but `open` and `close` may raise `TransactionError`. After that the lane calls `begin` before anything else.
    """

    traits: ReceiverTraits = DATABASE

    @abstractmethod
    async def open(self, owner: CursorOwner) -> None:
        """Prepares for transactions. Connects to nothing yet. Called once, before any other method."""

    @abstractmethod
    async def begin(self, *, is_first: bool) -> RemoteCursor | None:
        """Connects anew, and looks for the lane's cursor; None if there is none. Changes nothing: another process writes on.

        If another process took the cursor since this one did, that is a *stop*. `is_first`: the lane knows of no record that was
        answered, so what is missing may be made: the database now, tables by `take` or `start`. Raises `StateError` if the cursor is
        of another state.
        """

    @abstractmethod
    async def take(self) -> bool:
        """Takes the cursor that `begin` found, after the lane has compared its chain. From now on no other process can write for it.

        An earlier transaction of unknown outcome is over when it returns. Returns False, and changes nothing, if the cursor is not as
        it was found any more: call `begin` again.
        """

    @abstractmethod
    async def start(self, cursor: RemoteCursor) -> None:
        """Makes the cursor, or replaces the one of an earlier lane that `begin` found; and takes it. Call it instead of `take`."""

    @abstractmethod
    async def deliver(self, batch: Batch) -> Sequence[Answer]:
        """Writes the batch in one transaction: rows, failed rows, and the cursor after them. Returns an answer for each record.

        An answer is *delivered*, or *bad*: then the record is a failed row. If a record was refused before, it is its own answer. If
        it raises *bad*, a record is at fault, but the receiver cannot say which: hand over fewer.
        """

    @abstractmethod
    async def failed_after(self, sequence: int) -> list[FailedRecord]:
        """The failed rows of this lane after `sequence`, ascending."""

    @abstractmethod
    async def refresh(self) -> None:
        """The lane is stopped and is about to probe: reads again what an operator may have repaired."""

    @abstractmethod
    async def close(self) -> None:
        """Releases everything. A transaction that still runs ends on its own; its outcome is unknown."""
