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
from itertools import accumulate
from typing import Any, Final, overload

import msgspec
from msgspec import Struct

from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.delivery import OutboxRecord
from event_processor.model.record_blocks import RecordBlock, place_in

__all__ = [
    "DATABASE",
    "DELIVER",
    "SKIPPED_STAGE",
    "Batch",
    "BatchAnswers",
    "CursorOwner",
    "FailedRecord",
    "Handed",
    "HandedBlocks",
    "ReceiverTraits",
    "Refusal",
    "RemoteCursor",
    "TransactionError",
    "TransactionalReceiver",
    "undelivered_places",
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


def undelivered_places(answers: Sequence[Answer]) -> list[int]:
    """The places of the answers that are not *delivered*, ascending."""
    is_delivered = answers[0].verdict is Verdict.DELIVERED
    if is_delivered and answers.count(answers[0]) == len(answers):
        # Nearly always; a look at each would cost as much as a row.
        return []
    return [place for place, answer in enumerate(answers) if answer.verdict is not Verdict.DELIVERED]


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
        assert len(entries) == len(answers), "an answer for each"
        undelivered = [entries[place] for place in undelivered_places(answers)]
        skipped = sum(each.refusal is not None and each.refusal.stage == SKIPPED_STAGE for each in undelivered)
        last = entries[-1].record
        return replace(
            self,
            sequence=last.sequence,
            chain=last.chain,
            delivered=self.delivered + len(entries) - len(undelivered),
            failed=self.failed + len(undelivered) - skipped,
            skipped=self.skipped + skipped,
        )


@dataclass(frozen=True, slots=True)
class Handed:
    """One record of a batch, as it was released. `sent`: with what enrichers set, which is what is written.

    `refusal`: it is not to be written, but kept as a failed record.
    """

    record: OutboxRecord
    sent: OutboxRecord
    key: str
    refusal: Refusal | None = None


class HandedBlocks(Sequence[Handed]):
    """The records of several blocks, to be written as they were released. Each becomes an object only if it is asked for.

    It is the same object each time.
    """

    def __init__(self, blocks: Sequence[RecordBlock], key_of: Callable[[OutboxRecord], str]) -> None:
        self.blocks: Final = blocks
        self._key_of: Final = key_of
        self._ends: Final = list(accumulate(map(len, blocks)))
        self._made: Final[dict[int, Handed]] = {}

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Handed: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Handed]: ...
    def __getitem__(self, index: int | slice) -> Handed | Sequence[Handed]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        block, place = place_in(self._ends, index)
        number = index % len(self)
        if number not in self._made:
            record = self.blocks[block].record(place)
            self._made[number] = Handed(record, record, self._key_of(record))
        return self._made[number]


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
        entries = self._batch.entries
        is_whole = isinstance(entries, HandedBlocks)
        results = [place in self.bad for place in range(last + 1) if is_whole or entries[place].refusal is None]
        if self._batch.is_schema(results):
            raise TransactionError(self.bad[last], is_schema=True)

    def answers(self) -> list[Answer]:
        """The answer for each record."""
        delivered, entries = Answer(Verdict.DELIVERED), self._batch.entries
        if not isinstance(entries, HandedBlocks):
            return [
                entry.refusal.answer if entry.refusal else self.bad.get(place, delivered) for place, entry in enumerate(entries)
            ]
        answers = [delivered] * len(entries)
        for place, answer in self.bad.items():
            answers[place] = answer
        return answers

    def failed(self, answers: Sequence[Answer]) -> list[tuple[Handed, Answer]]:
        """The records that are kept as failed rows."""
        entries = self._batch.entries
        return [(entries[place], answers[place]) for place in undelivered_places(answers)]


@dataclass(frozen=True, slots=True)
class ReceiverTraits:
    """What a kind of receiver is for its lane. `noun`: what holds the cursor, for people.

    `goes_back`: an earlier cursor comes from a backup, and what was written after it is gone with it. Otherwise what was written may
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
    weakness: str = ""
    """Why it guarantees only at least once, as it found out by the end of `take` or `start`; empty if it does not."""

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
