"""After a fallback to the predecessor: the rest of the reading journal says what is read next, and in which order.

Owns: how entries beyond the committed length become steps of the loop again, from the sources as they are now.
Always: it only chooses among the orders in which a live run could read too. What a source gives is used, expected or not, so whatever
the tail says, the state is one that the log can have.
Never: skips or invents a record; writes anything. That the lanes got the same records is for their chain to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from event_processor.engine.journal import (
    IdleRelease,
    InputFinished,
    JournalEntry,
    JournalRun,
    LossesAcknowledged,
    LossFound,
    OrderEnded,
    OrderStarted,
    RetiredGeneration,
)
from event_processor.engine.state import State
from event_processor.model.contracts import Clock, ReadsGenerations, Source, Wakeup
from event_processor.model.event import Chunk
from event_processor.model.losses import ReportsLosses
from event_processor.model.telemetry import Telemetry

__all__ = ["Following", "Surroundings"]

WAITED_S_MAX: Final = 60.0
"""A source that has something only after a deadline of its own, such as a rotated file that may still grow, is waited for this long."""
WAIT_S_MAX: Final = 1.0
"""While a source is waited for, the loop reports that it is alive at least this often."""

Script: TypeAlias = Iterator[Chunk | JournalEntry]
Reading: TypeAlias = Generator[Chunk | JournalEntry, None, Chunk | None]
Generation: TypeAlias = tuple[str, int]
"""A source's name and a generation."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`path`: of the journal, for reports. `bytes_max`: of one chunk. `leave`: forgets the rest of the tail on the disk.

    `is_ordered`: whether the configuration wants the order stage after the tail.
    """

    path: str
    bytes_max: int
    is_ordered: bool
    leave: Callable[[], None]
    clock: Clock
    wakeup: Wakeup
    telemetry: Telemetry


class Following:
    """One following of one tail. Used by the loop's thread, before it reads anything else."""

    def __init__(self, tail: Sequence[JournalEntry], sources: Sequence[Source], surroundings: Surroundings) -> None:
        """`sources` are open at the positions of the checkpoint that the tail continues."""
        self._entries: Final = deque(tail)
        self._count: Final = len(tail)
        self._sources: Final = {source.name: source for source in sources}
        self._surroundings: Final = surroundings
        self._reached: Final[dict[Generation, int]] = {}
        """By generation, the offset up to which it was read."""
        self._retired: Final[set[Generation]] = set()
        self._is_stopped: Callable[[], bool] = bool
        self._misfit = ""
        self._last_is_run = False

    def scripts(self, state: Callable[[], State], is_stopped: Callable[[], bool]) -> Iterator[Script]:
        """Yields what to feed, one script after the other. Each must be committed before the next one is asked for.

        `state` returns the committed state. Ends early if `is_stopped`: then the next start follows the rest. Also ends if the log
        no longer gives what the tail says; that is reported. Raises `StorageError`.
        """
        self._is_stopped = is_stopped
        if run := state().journal:
            # The open run is the first one of the tail, as far as it was read until then.
            self._reached[run.source, run.generation] = run.end
        while self._entries and not self._misfit and not is_stopped():
            entry = self._entries[0]
            if not isinstance(entry, IdleRelease | InputFinished | OrderStarted | OrderEnded):
                yield self._script()
            elif entry.records == (records := state().counts.read):
                self._last_is_run = isinstance(self._entries.popleft(), JournalRun)
                yield iter([entry])
            else:
                self._misfit = f"the next entry comes after {entry.records:,} records, but {records:,} were read"
        if is_stopped():
            return
        self._report()
        if state().ordered != self._surroundings.is_ordered:
            yield iter([(OrderEnded if state().ordered else OrderStarted)(state().counts.read)])

    def _report(self) -> None:
        surroundings = self._surroundings
        surroundings.leave()
        if self._misfit:
            followed = self._count - len(self._entries)
            surroundings.telemetry.journal_left(path=surroundings.path, entries=followed, reason=self._misfit)
        elif self._count:
            surroundings.telemetry.journal_followed(path=surroundings.path, entries=self._count)

    def _script(self) -> Script:
        """Yields the chunks and losses of the next entries, up to one that needs the number of records before it."""
        while self._entries and not self._misfit and not self._is_stopped():
            entry = self._entries[0]
            if isinstance(entry, JournalRun):
                yield from self._read(entry)
            elif isinstance(entry, RetiredGeneration):
                yield from self._retire(entry)
            elif isinstance(entry, LossFound | LossesAcknowledged):
                yield entry
            else:
                return
            if not self._is_stopped() and not self._misfit:
                self._last_is_run = isinstance(self._entries.popleft(), JournalRun)

    def _read(self, run: JournalRun) -> Script:
        """Yields the rest of a run."""
        while not self._misfit and (missing_bytes := run.end - self._offset_in(run)) > 0:
            if (yield from self._next(run.source, run.generation, missing_bytes)) is None:
                return

    def _retire(self, entry: RetiredGeneration) -> Script:
        """Yields the chunk that retires a generation, and the chunks that come before it."""
        if self._last_is_run and (run := self._next_run()):
            # The run before this entry was closed by the first chunk of the next one.
            yield from self._next(run.source, run.generation, run.end - self._offset_in(run))
        generation = entry.generation
        while not self._misfit and (entry.source, entry.generation) not in self._retired:
            chunk = yield from self._next(entry.source, generation, self._room_bytes(entry.source))
            if chunk is None:
                return
            # A generation is retired after the first chunk of its successor, which is on the same path.
            generation = chunk.generation

    def _room_bytes(self, source: str) -> int:
        """How much may be read of a source until the end of its next run in the tail. One record if the tail has none."""
        run = self._next_run(source)
        return run.end - self._offset_in(run) if run else 1

    def _next_run(self, source: str | None = None) -> JournalRun | None:
        """The next run, of this source or of any, that was not read to its end."""
        runs = (each for each in self._entries if isinstance(each, JournalRun) and source in (None, each.source))
        return next((run for run in runs if self._offset_in(run) < run.end), None)

    def _retired_next(self, source: str) -> int:
        """The generation of a source that is retired next; 0 if the tail retires none."""
        retired = (each for each in self._entries if isinstance(each, RetiredGeneration) and each.source == source)
        return next((each.generation for each in retired if (source, each.generation) not in self._retired), 0)

    def _offset_in(self, run: JournalRun) -> int:
        """Where the run goes on."""
        return max(run.start, self._reached.get((run.source, run.generation), 0))

    def _next(self, name: str, generation: int, bytes_max: int) -> Reading:
        """Yields the next chunk of a source, and before it what the source found to be lost. Returns the chunk.

        Returns None if there is no chunk, or if stopped. Best the chunk is of `generation`, but each one is used.
        """
        source = self._sources.get(name)
        chunk = self._given(source, generation, min(bytes_max, self._surroundings.bytes_max)) if source else None
        if isinstance(source, ReportsLosses):
            for loss in source.take_losses():
                yield LossFound(loss)
        if chunk is not None:
            self._note(chunk)
            yield chunk
        elif not self._is_stopped():
            self._misfit = f"source {name!r} gives nothing more of generation {generation}"
        return chunk

    def _given(self, source: Source, generation: int, bytes_max: int) -> Chunk | None:
        """The next chunk of the source. Waits for its deadlines, but not for input that is not there."""
        surroundings = self._surroundings
        deadline_s = surroundings.clock.monotonic_s() + WAITED_S_MAX
        while True:
            surroundings.telemetry.progressed()
            surroundings.wakeup.clear()
            if self._is_stopped():
                return None
            if (chunk := self._read_now(source, generation, bytes_max)) is not None:
                return chunk
            wait_s = source.wait_s()
            if wait_s is None or surroundings.clock.monotonic_s() >= deadline_s:
                return None
            surroundings.clock.wait(surroundings.wakeup, min(wait_s, WAIT_S_MAX))

    def _read_now(self, source: Source, generation: int, bytes_max: int) -> Chunk | None:
        if isinstance(source, ReadsGenerations):
            # A generation that was never read may be the successor of the one that is retired next.
            return source.read_from(generation, self._retired_next(source.name), bytes_max)
        return source.read(bytes_max)

    def _note(self, chunk: Chunk) -> None:
        """Notes how far a chunk reaches, and whether it is the one that the tail has next."""
        if chunk.retired:
            self._retired.add((chunk.source, chunk.generation))
        if chunk.end_offset == chunk.offset:
            return
        run = self._next_run(chunk.source)
        is_next = run is not None and (run.generation, self._offset_in(run)) == (chunk.generation, chunk.offset)
        if run is None or not is_next or chunk.end_offset > run.end:
            wanted = f"generation {run.generation} from byte {self._offset_in(run)} to {run.end}" if run else "nothing more"
            self._misfit = (
                f"source {chunk.source!r} gives generation {chunk.generation} from byte {chunk.offset} to {chunk.end_offset}, "
                f"but the journal has {wanted}"
            )
        self._reached[chunk.source, chunk.generation] = chunk.end_offset
