"""A series of the outbox that is made again from the log: only its chain up to a place, and its lines after that.

Owns: from which record on the lines of such a series are written, and the chains at the places that are to be compared.
Always: the lines have the places, the sequences and the chain that the first writing gave them. The clock's fields are new.
Never: decides whether a chain is the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from event_processor.model.committed_rows import ReleasedRecord
from event_processor.model.contracts import Clock
from event_processor.model.released import Released
from event_processor.storage.durable import FileSystem
from event_processor.storage.outbox import SPACES, OutboxSeries, chain_after

__all__ = ["Rebuilding", "RebuiltSeries"]


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """How a series is made again. The chain starts after the sequence `first`, with `first_chain`.

    Lines after the sequence `written_after` are written, up to `written_through` if that is set; no line, if `written_after` is None.
    `chains` gets the chain at each sequence of `compared_at` when its record has come, and at `first`. `watch` gets the records after
    `first` that are not written, in order.
    """

    first: int
    first_chain: str = ""
    written_after: int | None = None
    compared_at: frozenset[int] = frozenset()
    chains: dict[int, str] = field(default_factory=dict)
    written_through: int | None = None
    watch: Callable[[Sequence[ReleasedRecord]], None] | None = None


class RebuiltSeries(OutboxSeries):
    """The series of one input, from its first released record on. Used by one thread at a time."""

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        input_name: str,
        rebuilding: Rebuilding,
        *,
        appended: Mapping[str, int],
        sequence: int,
        chain: str,
        new_token: Callable[[], str],
        clock: Clock,
    ) -> None:
        """Continues after `sequence` and `chain`, (0, "") at first. `directory`: of the state that is made. As `OutboxSeries`."""
        super().__init__(
            fs, directory, input_name, appended=appended, sequence=sequence, chain=chain, new_token=new_token, clock=clock
        )
        self._rebuilding: Final = rebuilding
        written_after = rebuilding.written_after
        self._written_after: Final = None if written_after is None else max(rebuilding.first, written_after)
        bounds = {each for each in (self._written_after, rebuilding.written_through) if each is not None}
        self._cuts: Final = sorted({rebuilding.first, *rebuilding.compared_at, *bounds})
        self._note()

    def write(self, released: Released) -> None:
        """See `OutboxSeries`: appends the records after `written_after`, and passes over the others."""
        for part in _parts(released, [cut - self.sequence for cut in self._cuts if cut > self.sequence]):
            self._write(part)
            self._note()

    def _note(self) -> None:
        """Notes the chain if the last record is one of the cuts: each part ends there, or with the batch."""
        if self.sequence == self._rebuilding.first:
            self.chain = self._rebuilding.first_chain
        if self.sequence in self._cuts:
            self._rebuilding.chains[self.sequence] = self.chain

    def _write(self, part: Released) -> None:
        """Writes a part that lies between two cuts."""
        through = self._rebuilding.written_through
        is_written = self._written_after is not None and self.sequence >= self._written_after
        if is_written and (through is None or self.sequence < through):
            super().write(part)
        elif self.sequence < self._rebuilding.first:
            self.sequence += part.count
        elif self._rebuilding.watch is None:
            self._pass_over(part)
        else:
            self._show(part, self._rebuilding.watch)

    def _show(self, part: Released, watch: Callable[[Sequence[ReleasedRecord]], None]) -> None:
        """Passes over a part, and shows its records."""
        for piece, places in zip(part.pieces, part.places, strict=True):
            shown = []
            for place, record in zip(places, piece.split(b"\n")[:-1], strict=True):
                content = record.strip(SPACES)
                self.sequence += 1
                self.chain = chain_after(self.chain, self.sequence, place, content)
                shown.append(ReleasedRecord(self.sequence, place, self.chain, content))
            watch(shown)


def _parts(released: Released, counts: Sequence[int]) -> Iterator[Released]:
    """Yields `released` in parts that end after `counts` records, ascending, and the rest."""
    if not counts or released.count <= counts[0]:
        # Nothing to cut: the lines are made when they are read.
        yield released
        return
    records = iter(released.records())
    places = (place for places in released.places for place in places)
    done = 0
    for count in [*(each for each in counts if each < released.count), released.count]:
        taken = list(islice(records, count - done))
        yield Released((b"".join(record + b"\n" for record in taken),), len(taken), (list(islice(places, count - done)),))
        done = count
