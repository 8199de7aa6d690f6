"""How far a lane is: the contiguous prefix of answered records, and what was answered beyond it.

Owns: `Cursor`, and its form on disk (`state/delivery/NAME.json`).
Always: it moves only over a contiguous prefix of the answered records. Each sequence is answered at most once. Its `chain` is that
of the last record of the prefix, and each range beyond has the chain of its last record, so that an outbox with other records at
these sequences is noticed before the prefix moves over them.
Never: trusts a sequence without its chain; grows beyond `ahead_max` sequences.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct

from event_processor.model.errors import StateError

__all__ = ["AnsweredRange", "Cursor", "CursorDocument", "LaneCounts", "Result"]

Result: TypeAlias = Literal["delivered", "failed", "skipped"]
AnsweredRange: TypeAlias = tuple[int, int, str]
"""First and last sequence of answered records without a gap, and the chain of the last."""


class LaneCounts(Struct, frozen=True):
    """The answered records of a lane. `released - from = delivered + failed + pending + skipped`."""

    delivered: int = 0
    failed: int = 0
    skipped: int = 0

    def with_more(self, result: Result, count: int) -> LaneCounts:
        """The counts after `count` more records with this result."""
        return LaneCounts(
            self.delivered + count * (result == "delivered"),
            self.failed + count * (result == "failed"),
            self.skipped + count * (result == "skipped"),
        )


class CursorDocument(Struct, frozen=True):
    """The file of a lane's cursor.

    `started_after`: the sequence after which the lane started (`from` in the checkpoint). `sequence` and `chain` are those of the
    prefix; `answered` are the ranges beyond it, ascending, apart. `counts` cover the prefix and the ranges. `failed_bytes`: the
    committed length of the file of failed records. `earlier_names`: of the sink, each with the last sequence that was released when
    it was renamed; ascending. Up to there, keys have that name, so that a rename sends nothing under another key. `weakness`: why its
    receiver guarantees only at least once, as it found out; empty if it does not.
    """

    state_id: str
    input: str
    target: Mapping[str, Any]
    started_after: int
    sequence: int
    chain: str
    answered: tuple[AnsweredRange, ...] = ()
    counts: LaneCounts = LaneCounts()
    failed_bytes: int = 0
    earlier_names: tuple[tuple[str, int], ...] = ()
    weakness: str = ""
    version: Literal[1] = 1

    def is_of(self, state_id: str, input_name: str, started_after: int) -> bool:
        """Whether it is the cursor of this lane, and not of an earlier one with the same name."""
        return (self.state_id, self.input, self.started_after) == (state_id, input_name, started_after)

    def pending(self, released: int) -> int:
        """How many of the records up to the sequence `released` were not answered."""
        return max(0, released - self.sequence - sum(last - first + 1 for first, last, _ in self.answered))

    def pending_through(self, sequence: int) -> int:
        """As `pending`, if records after `sequence` may have been answered too."""
        answered = sum(min(last, sequence) - first + 1 for first, last, _ in self.answered if first <= sequence)
        return max(0, sequence - self.sequence - answered)

    def is_answered(self, sequence: int) -> bool:
        """Whether the record with this sequence was answered."""
        return sequence <= self.sequence or any(first <= sequence <= last for first, last, _ in self.answered)

    def name_of(self, sequence: int, name: str) -> str:
        """The sink's name in the key of a record. `name` is the present one."""
        return next((earlier for earlier, through in self.earlier_names if sequence <= through), name)


class Cursor:
    """The place of one lane. Used by one thread."""

    def __init__(self, sequence: int, chain: str, answered: tuple[AnsweredRange, ...] = (), *, ahead_max: int = 10_000) -> None:
        """`sequence`, `chain`: of the last record of the prefix; (0, "") if there was none. `answered`: from the file, or empty."""
        self.sequence = sequence
        self.chain = chain
        self.ahead_max: Final = ahead_max
        self._ranges: Final[list[tuple[int, int]]] = [(first, last) for first, last, _ in answered]
        self._expected: Final[dict[int, str]] = {last: chain for _, last, chain in answered}
        """The chains that the file names beyond the prefix, until their records are read again."""
        self._chains: Final[dict[int, str]] = {}
        """The chains of records that were read and lie beyond the prefix."""

    @property
    def answered(self) -> tuple[AnsweredRange, ...]:
        """The ranges beyond the prefix."""
        return tuple((first, last, self._expected.get(last) or self._chains[last]) for first, last in self._ranges)

    @property
    def ahead(self) -> int:
        """How far beyond the prefix the last answered sequence is."""
        return self._ranges[-1][1] - self.sequence if self._ranges else 0

    @property
    def last_answered(self) -> int:
        """The highest sequence that was answered."""
        return self._ranges[-1][1] if self._ranges else self.sequence

    def answered_after(self, sequence: int) -> int:
        """How many records above `sequence`, which is not before the prefix, were answered."""
        return sum(max(0, last - max(first - 1, sequence)) for first, last in self._ranges)

    def may_send(self, sequence: int) -> bool:
        """Whether a record may be sent: it was not answered, and is not too far ahead of the one that holds the cursor back."""
        return not self.is_answered(sequence) and sequence - self.sequence <= self.ahead_max

    def is_answered(self, sequence: int) -> bool:
        """Whether the record with this sequence was answered."""
        if sequence <= self.sequence:
            return True
        place = bisect_right(self._ranges, sequence, key=_first)
        return place > 0 and sequence <= self._ranges[place - 1][1]

    def read(self, sequence: int, chain: str) -> None:
        """The next record of the outbox has this sequence and chain. Call it for each beyond the prefix, in order.

        Raises `StateError` if the cursor knows this sequence with another chain: then another record was sent under it.
        """
        if sequence < self.sequence:
            return
        expected = self.chain if sequence == self.sequence else self._expected.pop(sequence, chain)
        if expected != chain:
            raise StateError(
                f"the outbox has another record at sequence {sequence} than the one that was sent under it",
                hint="restore the newest state, or let the sink begin anew: event-processor sinks drop",
            )
        if sequence > self.sequence:
            self._chains[sequence] = chain
            self._advance()

    def answer(self, sequence: int) -> None:
        """The record with this sequence was read, and was delivered, failed or skipped. Call it once for each."""
        assert not self.is_answered(sequence), "a record is answered once"
        place = bisect_right(self._ranges, sequence, key=_first)
        first = last = sequence
        if place and self._ranges[place - 1][1] == sequence - 1:
            place -= 1
            first = self._ranges.pop(place)[0]
        if place < len(self._ranges) and self._ranges[place][0] == sequence + 1:
            last = self._ranges.pop(place)[1]
        self._ranges.insert(place, (first, last))
        self._advance()

    def pass_through(self, sequence: int, chain: str) -> None:
        """All records up to this one were read and answered; it has this chain. Nothing beyond the prefix was answered before."""
        assert not self._ranges, "such a cursor has no ranges"
        if self._chains:
            for each in range(self.sequence + 1, sequence + 1):
                self._chains.pop(each, None)
        self.sequence, self.chain = sequence, chain

    def _advance(self) -> None:
        """Moves the prefix over the first range, if that follows it and its last record was read.

        After a restart, a range may reach further than the records that were read again. Then it is not known yet whether the outbox
        still has the same records.
        """
        if not self._ranges or self._ranges[0][0] != self.sequence + 1 or self._ranges[0][1] not in self._chains:
            return
        first, last = self._ranges.pop(0)
        self.chain = self._chains[last]
        for sequence in range(first, last + 1):
            self._chains.pop(sequence, None)
            self._expected.pop(sequence, None)
        self.sequence = last


def _first(answered: tuple[int, int]) -> int:
    return answered[0]
