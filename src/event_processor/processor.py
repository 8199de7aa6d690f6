"""The loop: reads, steps, commits. The one place that sequences a commit.

Always, in this order: the batch's ids, journal, held events, dead letters and sinks are durable before the checkpoint that
counts them; the checkpoint is durable before anybody is told. A failure anywhere ends the loop: the last commit stands.
Never: nothing is decided here about a record (`pipeline.py` does), nor about bytes on disk (`durable.py`, `checkpoint.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from event_processor.checkpoint import Checkpoint, CheckpointStore, StateDocument
from event_processor.contracts import BoolArray, Clock, Format, Released, SeenIds, Sink, Source, Wakeup
from event_processor.dead_letters import DEAD_LETTERS_NAME, encode_dead_letters
from event_processor.durable import AppendFile, storage_boundary
from event_processor.event import Chunk, DeadLetter, EventId, Json
from event_processor.held_events import HeldEvents
from event_processor.journal import JOURNAL_NAME, IdleRelease, JournalEntry, encode_entries
from event_processor.pipeline import KnownIds, Step, StepOptions, advance, release_held
from event_processor.state import Counts, State
from event_processor.telemetry import Telemetry

__all__ = ["Identity", "LoopOptions", "Outputs", "Processor", "StopReason"]

WAIT_S_MAX: Final = 1.0
"""The loop shows that it lives at least this often, however long there is nothing to do."""


class StopReason(Enum):
    """Why the loop ended, always after a commit."""

    END = "end of input"
    SIGNAL = "signal"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class Identity:
    """What every checkpoint of this process says beside the state. `meta` gives what depends on clock, host and process."""

    directory: str
    state_id: str
    config_hash: str
    meta: Callable[[], Mapping[str, Json]]


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """Limits and times of the loop. `finished`: the input will not grow; its end ends the last record.

    `once`: end when every source is at its end. `drain`: let go, at the end, of what the order stage holds.
    """

    batch_bytes_max: int
    linger_s: float
    poll_interval_s: float
    idle_release_s: float
    once: bool = False
    drain: bool = False


@dataclass(frozen=True, slots=True)
class Outputs:
    """Everything that a commit appends to. `ids` is None where duplicates are not looked for."""

    ids: SeenIds | None
    held: HeldEvents
    journal: AppendFile
    dead_letters: AppendFile
    sinks: Sequence[Sink]
    store: CheckpointStore


@dataclass(slots=True)
class _Batch:
    """What one commit will cover, as it is gathered."""

    state: State
    first_sequence: int
    counts: Counts = field(default_factory=Counts)
    content_bytes: int = 0
    steps: int = 0
    released: list[bytes] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    journal: list[JournalEntry] = field(default_factory=list)

    def add(self, step: Step, content_bytes: int) -> None:
        """Takes in one step."""
        self.state = step.state
        self.counts = self.counts + step.counts
        self.content_bytes += content_bytes
        self.steps += 1
        self.released += step.released
        self.dead_letters += step.dead_letters
        self.journal += step.journal_closed


class Processor:
    """A pipeline that runs. Used by one thread; `stop` and `reload` may be called from any, and from a signal handler."""

    def __init__(
        self,
        *,
        sources: Sequence[Source],
        formats: Mapping[str, Format],
        outputs: Outputs,
        state: State,
        ids_manifest: Mapping[str, Json],
        ids_appended: Mapping[str, int],
        identity: Identity,
        step_options: StepOptions,
        options: LoopOptions,
        clock: Clock,
        wakeup: Wakeup,
        telemetry: Telemetry,
    ) -> None:
        self._sources: Final = list(sources)
        self._formats: Final = formats
        self._outputs: Final = outputs
        self._state = state
        self._ids_manifest = ids_manifest
        self._ids_appended = ids_appended
        self._identity: Final = identity
        self._step_options: Final = step_options
        self._options: Final = options
        self._clock: Final = clock
        self._wakeup: Final = wakeup
        self._telemetry: Final = telemetry
        self._known_ids: Final[KnownIds] = outputs.ids or _NothingIsKnown()
        self._stop_reason: StopReason | None = None
        self._next_source = 0
        self._last_read_s = clock.monotonic_s()

    @property
    def state(self) -> State:
        """The last committed state."""
        return self._state

    def stop(self) -> None:
        """Ends the loop after the batch at hand is committed."""
        self._stop_reason = StopReason.SIGNAL
        self._wakeup.set()

    def reload(self) -> None:
        """Ends the loop likewise, so that it can be built anew with another configuration."""
        self._stop_reason = self._stop_reason or StopReason.RELOAD
        self._wakeup.set()

    def run(self) -> StopReason:
        """Reads and commits until the end of the input (`once`) or until stopped. Raises `StorageError`, `StateError`."""
        with storage_boundary(self._identity.directory):
            return self._run()

    def _run(self) -> StopReason:
        while self._stop_reason is None:
            self._telemetry.progressed()
            self._wakeup.clear()
            batch = self._gather()
            if batch.steps:
                self.commit(batch)
            elif self._options.once and self._is_at_end():
                self._drain()
                return StopReason.END
            elif self._is_silent():
                self._release_held()
            else:
                self._clock.wait(self._wakeup, self._wait_s())
        return self._stop_reason

    def feed(self, script: Iterable[Chunk | IdleRelease]) -> None:
        """Steps over what a reading journal says was read, as if it came now, and commits it. Raises `StorageError`."""
        batch = self._new_batch()
        for each in script:
            if isinstance(each, Chunk):
                self._take(batch, each)
            if batch.steps and (batch.content_bytes >= self._options.batch_bytes_max or not isinstance(each, Chunk)):
                self.commit(batch)
                batch = self._new_batch()
            if isinstance(each, IdleRelease):
                self._release_held()
                batch = self._new_batch()
        if batch.steps:
            self.commit(batch)

    def commit(self, batch: _Batch) -> None:
        """Makes the batch durable, then the checkpoint that covers it, then tells. Raises `StorageError`: nothing of it counts."""
        self._append(batch)
        # If we die here, the old checkpoint stands; what was appended lies beyond the lengths it names and is cut off.
        self._outputs.store.save(self._checkpoint(batch.state))
        # If we die here, the new one stands; sources and telemetry learn of it at the next start.
        self._state = batch.state
        for source in self._sources:
            source.acknowledge()
        self._telemetry.batch_committed(
            records=batch.counts.records,
            accepted=batch.counts.accepted,
            duplicate=batch.counts.duplicate,
            rejected=batch.counts.rejected,
            released=len(batch.released),
            content_bytes=batch.content_bytes,
        )

    def commit_unchanged(self) -> None:
        """Commits the state as it is: the first checkpoint of a new one."""
        self._outputs.store.save(self._checkpoint(self._state))

    def close(self) -> None:
        """Gives everything back. What was read and not committed comes again at the next start.

        Raises `StorageError` where work in the background failed that no commit waited for.
        """
        outputs = self._outputs
        for source in self._sources:
            source.close()
        outputs.held.close()
        outputs.journal.close()
        outputs.dead_letters.close()
        for sink in outputs.sinks:
            sink.close()
        if outputs.ids:
            outputs.ids.close()

    def _gather(self) -> _Batch:
        """What is there to be read, up to the batch's limit; fair among the sources."""
        batch = self._new_batch()
        deadline_s = self._clock.monotonic_s() + self._options.linger_s
        while batch.content_bytes < self._options.batch_bytes_max and self._stop_reason is None:
            if self._read_from_each(batch):
                self._last_read_s = self._clock.monotonic_s()
                continue
            missing_s = deadline_s - self._clock.monotonic_s()
            if not batch.steps or missing_s <= 0:
                break
            self._wakeup.clear()
            self._clock.wait(self._wakeup, min(missing_s, self._options.poll_interval_s))
        return batch

    def _new_batch(self) -> _Batch:
        return _Batch(self._state, self._state.counts.records)

    def _read_from_each(self, batch: _Batch) -> bool:
        """One chunk from every source that has one, beginning behind the last that was asked first; whether there was any."""
        any_read = False
        first, self._next_source = self._next_source, (self._next_source + 1) % max(1, len(self._sources))
        for source in self._sources[first:] + self._sources[:first]:
            room_bytes = self._options.batch_bytes_max - batch.content_bytes
            if room_bytes <= 0:
                break
            chunk = source.read(room_bytes)
            if chunk is not None:
                any_read = True
                self._take(batch, chunk)
        return any_read

    def _take(self, batch: _Batch, chunk: Chunk) -> None:
        """Steps the batch's state over one chunk."""
        columns = self._formats[chunk.source].decode(chunk) if chunk.content else None
        step = advance(batch.state, chunk, columns, self._known_ids, self._step_options)
        batch.add(step, len(chunk.content) or min(chunk.oversized_bytes, self._options.batch_bytes_max))

    def _append(self, batch: _Batch) -> None:
        """Everything the checkpoint will count, appended and durable. If we die within, none of it was committed."""
        outputs = self._outputs
        if outputs.ids:
            taken = outputs.ids.take()
            self._ids_manifest = taken.write()
            self._ids_appended = taken.appended()
        outputs.journal.append(encode_entries(batch.journal))
        outputs.journal.sync()
        outputs.held.write(batch.state.order.held, batch.first_sequence)
        outputs.dead_letters.append(encode_dead_letters(batch.dead_letters))
        outputs.dead_letters.sync()
        for sink in outputs.sinks:
            sink.write(Released(batch.released))
            sink.sync()

    def _checkpoint(self, state: State) -> Checkpoint:
        outputs = self._outputs
        appended = {
            JOURNAL_NAME: outputs.journal.length_bytes,
            DEAD_LETTERS_NAME: outputs.dead_letters.length_bytes,
            **outputs.held.appended(),
            **self._ids_appended,
        }
        for sink in outputs.sinks:
            appended.update(sink.appended())
        document = StateDocument.of(
            state,
            state_id=self._identity.state_id,
            config_hash=self._identity.config_hash,
            appended=appended,
            ids=self._ids_manifest,
        )
        return Checkpoint(document, self._identity.meta())

    def _drain(self) -> None:
        """At the end of the input: what is held goes to the sinks, if that was asked for."""
        if self._options.drain and self._state.order.held:
            self._release_held()

    def _release_held(self) -> None:
        """Lets go of what the order stage holds, and commits that."""
        held_count = len(self._state.order.held)
        batch = self._new_batch()
        batch.add(release_held(self._state), 0)
        self.commit(batch)
        self._telemetry.order_idle_released(events=held_count)

    def _is_silent(self) -> bool:
        """Whether a live log gave nothing for so long that what is held should go."""
        options = self._options
        if options.once or not options.idle_release_s or not self._state.order.held:
            return False
        return self._clock.monotonic_s() - self._last_read_s >= options.idle_release_s

    def _is_at_end(self) -> bool:
        return all(source.wait_s() is None for source in self._sources)

    def _wait_s(self) -> float:
        """Until the next thing that may happen without a wake-up."""
        waits = [WAIT_S_MAX, self._options.poll_interval_s]
        waits += [wait_s for source in self._sources if (wait_s := source.wait_s()) is not None]
        if self._options.idle_release_s and self._state.order.held:
            waits.append(self._last_read_s + self._options.idle_release_s - self._clock.monotonic_s())
        return max(0.0, min(waits))


class _NothingIsKnown:
    """The ids where duplicates are not looked for."""

    def observe(self, ids: Sequence[EventId]) -> BoolArray:
        return np.ones(len(ids), dtype=np.bool_)

    def contains(self, ids: Sequence[EventId]) -> BoolArray:
        return np.zeros(len(ids), dtype=np.bool_)
