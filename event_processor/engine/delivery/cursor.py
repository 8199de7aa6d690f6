"""How far a lane is: the contiguous prefix of answered records, and what was answered beyond it.

Owns: `Cursor`, and its form on disk (`state/delivery/NAME.json`).
Always: it moves only over a contiguous prefix of the answered records. Each sequence is answered at most once. Its `chain` is that
of the last record of the prefix, so that an outbox with other records at these sequences is noticed.
Never: trusts a sequence without its chain; grows beyond `ahead_max` sequences.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, Literal

from msgspec import Struct

__all__ = ["Cursor", "CursorDocument", "LaneCounts"]

Result = Literal["delivered", "failed", "skipped"]


class LaneCounts(Struct, frozen=True):
    """The answered records of a lane. `released - from = delivered + failed + pending + skipped`."""

    delivered: int = 0
    failed: int = 0
    skipped: int = 0

    def with_one(self, result: Result) -> LaneCounts:
        """The counts after one more record with this result."""
        return LaneCounts(
            self.delivered + (result == "delivered"), self.failed + (result == "failed"), self.skipped + (result == "skipped")
        )


class CursorDocument(Struct, frozen=True):
    """The file. `sequence` and `chain` of the prefix; `answered`: ranges (first, last) beyond it, ascending, apart.

    `counts` cover the prefix and the ranges. `failed_bytes`: the committed length of the file of failed records.
    """

    state_id: str
    input: str
    target: str
    sequence: int
    chain: str
    answered: tuple[tuple[int, int], ...] = ()
    counts: LaneCounts = LaneCounts()
    failed_bytes: int = 0
    version: Literal[1] = 1


class Cursor:
    """The place of one lane. Used by one thread."""

    def __init__(self, sequence: int, chain: str, answered: tuple[tuple[int, int], ...] = (), *, ahead_max: int = 10_000) -> None:
        """`sequence`, `chain`: of the last record of the prefix; (0, "") if no record was answered."""
        self.sequence = sequence
        self.chain = chain
        self.ahead_max: Final = ahead_max
        self._ranges: Final[list[tuple[int, int]]] = list(answered)
        self._chains: Final[dict[int, str]] = {}
        """The chains of records that were read and lie beyond the prefix."""

    @property
    def answered(self) -> tuple[tuple[int, int], ...]:
        """The ranges beyond the prefix."""
        return tuple(self._ranges)

    @property
    def ahead(self) -> int:
        """How far beyond the prefix the last answered sequence is."""
        return self._ranges[-1][1] - self.sequence if self._ranges else 0

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
        """The record after the last one that was read has this sequence and chain. Call it for each beyond the prefix, in order."""
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

    def _advance(self) -> None:
        """Moves the prefix over the first range, if that follows it, as far as the records were read.

        After a restart, the ranges may reach further than the records that were read again.
        """
        if not self._ranges or self._ranges[0][0] != self.sequence + 1:
            return
        first, last = self._ranges[0]
        end = first - 1
        while end < last and end + 1 in self._chains:
            end += 1
            self.chain = self._chains.pop(end)
        self.sequence = end
        self._ranges[:1] = [(end + 1, last)] if end < last else []


def _first(answered: tuple[int, int]) -> int:
    return answered[0]
