"""One commit: what a batch adds to our files, and in which order; and the thread that runs commits in the background.

Owns: the files that a commit appends to, the rule that the checkpoint comes after them, and the thread for commits that run while
the loop reads on.
Always: the batch's ids, journal, held events, dead letters and sinks are durable before the checkpoint that counts them. Commits
run one at a time and in order, in any thread. Only the thread that runs a commit touches the files and reads their lengths.
Never: decides when to commit, or reports a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Final, Protocol

from event_processor.aggregation.aggregates import AggregateDocument, Aggregates, AggregatesCommit
from event_processor.columns.event_slices import lines_of
from event_processor.columns.event_tables import EventTable
from event_processor.configuration.configuration import AGGREGATES, DEAD_LETTERS, EVENTS
from event_processor.deduplication.merge import Inline
from event_processor.engine.batch import Batch
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint, StateDocument
from event_processor.engine.committed import CommittedTotals, TotalsFeed
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.engine.held_events import HeldEvents
from event_processor.engine.journal import JOURNAL_NAME, JournalEntry
from event_processor.engine.journal_file import JournalFile
from event_processor.engine.losses import LossTimes
from event_processor.engine.order import OrderStage
from event_processor.engine.outbox import NO_OUTBOX, Outbox
from event_processor.engine.sorting.runs import SortedRuns
from event_processor.engine.state import State
from event_processor.kernels import dead_letters as _dead_letters
from event_processor.kernels import outbox as _outbox
from event_processor.kernels import reads as _reads
from event_processor.model.contracts import NOTHING_RELEASED, IdsCommit, NoticesRemoval, Released, SeenIds, Sink
from event_processor.model.event import Json
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import storage_boundary
from event_processor.storage.outbox import OUTBOX_FOLDER
from event_processor.storage.replaced_file import HeldFile

__all__ = ["CommitExecutor", "CommitThread", "CommitWriter", "Identity", "InlineCommits", "Outputs"]


LOOK_S: Final = 1.0
"""Files that we append to, but that get nothing, are looked at this often: two system calls for each."""
KERNELS_OF_A_COMMIT: Final = (_dead_letters, _outbox, _reads)
"""A commit calls these, and they are imported where they are called, since commands without a commit need no arrays. A pipeline has them from its
start: the package may be replaced while it runs, and a caller of the new version must never meet the library of the old one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What every checkpoint of this process holds besides the state.

    `meta` returns what depends on clock, host and process. It is called in the thread that commits.
    """

    directory: str
    state_id: str
    config_hash: str
    meta: Callable[[], Mapping[str, Json]]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Everything that a commit appends to. `ids` is None if duplicates are not looked for."""

    ids: SeenIds | None
    held: HeldEvents
    runs: SortedRuns
    windows: HeldFile
    closed: HeldFile
    journal: JournalFile
    dead_letters: AppendFile
    sinks: Sequence[Sink]
    store: CheckpointStore
    outbox: Outbox = NO_OUTBOX
    feed: TotalsFeed | None = None
    """Gets the totals of each checkpoint; None if nothing reads them."""
    chosen_starts: frozenset[str] = frozenset()
    """Sources that begin where their input is at their first start."""

    @property
    def written(self) -> tuple[Sink, ...]:
        """The sinks, and the series of the outbox, which a commit writes as it writes sinks."""
        return (*self.sinks, *self.outbox.series.values())


class CommitExecutor(Protocol):
    """Runs commits in the background, one at a time."""

    def submit(self, job: Callable[[], int]) -> Future[int]:
        """Takes a job.

        The returned future is done when the job is, and raises what the job raised. The job before it must be done.
        """
        ...

    def close(self) -> None:
        """Ends what `submit` started. Every job must be done."""
        ...


class CommitThread:
    """One daemon thread, from the first submitted commit until `close`. Without a backlog it never starts.

    If the process ends during a job, it is like any crash in the middle of a commit.
    """

    def __init__(self) -> None:
        self._jobs: Final[SimpleQueue[tuple[Callable[[], int], Future[int]] | None]] = SimpleQueue()
        self._thread: Thread | None = None

    def submit(self, job: Callable[[], int]) -> Future[int]:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="commit", daemon=True)
            self._thread.start()
        future: Future[int] = Future()
        self._jobs.put((job, future))
        return future

    def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def _work(self) -> None:
        while (taken := self._jobs.get()) is not None:
            job, future = taken
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - the loop raises it, in the thread that asks
                future.set_exception(error)
            else:
                future.set_result(result)
            # Releases the batch's memory now, not with the next job.
            del taken, job, future


class InlineCommits(Inline):
    """Runs a commit at once in the caller's thread, for repeatable tests."""

    def close(self) -> None:
        """Nothing was started."""


class CommitWriter:
    """The files of a pipeline, and the commits to them.

    The loop's thread calls `prepare`; the job that it returns may run in another thread.
    """

    def __init__(
        self,
        outputs: Outputs,
        identity: Identity,
        aggregates: Aggregates,
        *,
        ids_manifest: Mapping[str, Json],
        ids_appended: Mapping[str, int],
        lost_at: Mapping[str, str],
    ) -> None:
        """`ids_manifest`, `ids_appended` and `lost_at` are from the checkpoint that is resumed, or empty."""
        self._outputs: Final = outputs
        self._identity: Final = identity
        self._aggregates: Final = aggregates
        self._documents: Mapping[str, AggregateDocument] = aggregates.documents()
        self._ids_manifest = ids_manifest
        self._ids_appended = ids_appended
        self._loss_times: Final = LossTimes(lost_at)
        self._next_look_s = 0.0
        self._without_start: frozenset[str] = outputs.chosen_starts
        """Of these, the sources of which no checkpoint has a beginning."""

    def prepare(self, batch: Batch) -> Callable[[], int]:
        """The commit of `batch`: run it once, in any thread, after every earlier commit is done.

        It makes the batch durable, then the checkpoint that covers it, and returns the checkpoint's size in bytes. If it raises
        `StorageError`, no other commit may follow, and nothing of the batch counts. One exception: if the checkpoint was durable
        and only the renaming of parts failed, the batch counts, and the next start renames them. `prepare` itself raises what the
        index's work in the background raised.
        """
        taken = self._outputs.ids.take() if self._outputs.ids else None
        return partial(self._commit, batch, taken, self._aggregates.take())

    def sorted_events(self, order: OrderStage) -> Generator[EventTable, None, None]:
        """Yields the events of the sorted runs that `order` has not released yet, in order.

        No commit may be under way at the call, and none of the commits meanwhile may add to the runs. Raises `StorageError`,
        `StateError`.
        """
        return self._outputs.runs.merged(order.last_released, order.waiting)

    @property
    def has_open_parts(self) -> bool:
        """Whether a batch that finishes would close a part. No commit may be under way."""
        return any(sink.has_open_part for sink in self._outputs.sinks)

    def has_spare_files(self) -> bool:
        """Whether a commit without events would free files of the outbox that every lane has passed. No commit may be under way."""
        return self._outputs.outbox.has_spare_files() or self._outputs.store.names_spare_files(OUTBOX_FOLDER)

    def look(self, now_s: float) -> None:
        """Raises `StorageError` if a file that we append to was removed, replaced or cut by others: what we write is lost.

        Looks at most once in `LOOK_S`. A commit looks too, and also at each file that it appends to. No commit may be under way.
        """
        self._require_presence(now_s)

    def _require_presence(self, now_s: float, batch: Batch | None = None) -> None:
        """As `look`. Files that may get something of the batch are looked at in any case: what is counted must be there."""
        outputs = self._outputs
        if is_due := now_s >= self._next_look_s:
            self._next_look_s = now_s + LOOK_S
        if is_due or (batch and (batch.journal or outputs.outbox.series)):
            outputs.journal.require_presence()
        if is_due or (batch and batch.dead_letters.count):
            outputs.dead_letters.require_presence()
        for sink in outputs.written if is_due or (batch and (batch.releases or batch.finishes)) else ():
            if isinstance(sink, NoticesRemoval):
                sink.require_presence()

    def begin(self, state: State, committed: Mapping[str, int], entries: Sequence[JournalEntry] = ()) -> None:
        """Saves a first checkpoint if a start needs one, and publishes committed parts.

        Comes before anything else. Raises `StorageError`.
        `committed` is `appended` of the loaded checkpoint. A sink that is not in it is saved in a checkpoint before it writes
        anything, so that its file is never one that no state wrote. So is a lane, before anything is read, so that it is known
        after which record it started. `entries` are what the start adds to the reading journal; `state` is the state after them.
        """
        outputs = self._outputs
        for sink in outputs.written:
            # The pending lines may already fill a part: after a replay, or if parts were made smaller.
            sink.write(NOTHING_RELEASED)
        outputs.outbox.require_sequences(state, self._documents)
        is_known = outputs.outbox.is_saved and all(sink.appended().items() <= committed.items() for sink in outputs.written)
        if outputs.store.has_current and is_known and not entries:
            # If we die before this, no part has been renamed yet that a power cut could leave without its checkpoint.
            outputs.store.sync_names()
        else:
            for sink in outputs.written:
                sink.sync()
            outputs.journal.write(entries, state.journal)
            outputs.journal.sync()
            # If we die before this, there was never a state, or the next start falls back, or it starts with the sinks as this
            # start did.
            outputs.store.save(self._checkpoint(state))
        self._without_start = _not_started(self._without_start, state)
        self._publish(state)

    def close(self) -> None:
        """Closes every file. No commit may be under way. Raises what the index's work in the background raised."""
        outputs = self._outputs
        outputs.held.close()
        outputs.runs.close()
        outputs.windows.close()
        outputs.closed.close()
        outputs.journal.close()
        outputs.dead_letters.close()
        for sink in outputs.written:
            sink.close()
        if outputs.ids:
            outputs.ids.close()

    def _commit(self, batch: Batch, taken: IdsCommit | None, aggregates: AggregatesCommit) -> int:
        with storage_boundary(self._identity.directory):
            self._append(batch, taken, aggregates)
            # If we die here, the old checkpoint is still the committed one. What was appended lies beyond the lengths it names
            # and is cut off. What the loop has read and stepped over meanwhile is in no file yet, and is read again.
            checkpoint = self._checkpoint(batch.state)
            checkpoint_bytes = self._outputs.store.save(checkpoint)
            if (left := _not_started(self._without_start, batch.state)) != self._without_start:
                # Once more, so that the predecessor knows where these sources began. Without it, a fallback would let them begin again, at
                # their new end, and what came in between would be in no count. If we die before it, the next commit does the same for the
                # predecessor.
                self._outputs.store.save(checkpoint)
                self._without_start = left
            # If we die here, the new checkpoint is the committed one. The next start renames the parts that it covers, and
            # sources and telemetry learn of it then.
            self._publish(batch.state)
            return checkpoint_bytes

    def _publish(self, state: State) -> None:
        """The checkpoint with this state is durable."""
        for sink in self._outputs.written:
            sink.publish()
        if self._outputs.feed is not None:
            self._outputs.feed.publish(CommittedTotals(state.counts.read, state.categories, self._documents))

    def _append(self, batch: Batch, taken: IdsCommit | None, aggregates: AggregatesCommit) -> None:
        """Appends everything that the checkpoint will count, and makes it durable. If we die within, none of it was committed."""
        outputs = self._outputs
        self._require_presence(batch.begun_s, batch)
        outputs.outbox.batch_begun(batch.begun_s)
        # If we die before the checkpoint, the next start finds the lanes as they were.
        outputs.outbox.detach_slowest(batch.first_sequence, grows=batch.releases)
        for sink in outputs.written:
            # Sinks come first because they have most of the bytes: the disk works on them while the rest is written.
            sink.write(batch.dead_letters if sink.input == DEAD_LETTERS else self._input_of(sink, batch))
            if batch.finishes:
                sink.finish()
        if taken is not None:
            # The index may already hold ids of the next batch. They are not part of this take, so none of them is written.
            self._ids_manifest = taken.write()
            self._ids_appended = taken.appended()
        outputs.journal.write(batch.journal, batch.state.journal)
        outputs.journal.sync()
        outputs.held.write(batch.state.order.held, batch.first_sequence)
        if batch.waiting:
            outputs.runs.add(batch.waiting)
        elif not batch.state.order.waiting:
            outputs.runs.clear()
        self._append_aggregates(aggregates)
        for piece in batch.dead_letters.pieces:
            outputs.dead_letters.append(piece)
        outputs.dead_letters.sync()
        for sink in outputs.written:
            sink.sync()
        outputs.outbox.require_sequences(batch.state, self._documents)

    def _append_aggregates(self, aggregates: AggregatesCommit) -> None:
        """Appends the entries of windows. If we die within, none of them was committed."""
        outputs = self._outputs
        if not aggregates.holds:
            outputs.windows.close()
        elif aggregates.lines:
            outputs.windows.add(lines_of(aggregates.lines), anew=aggregates.anew)
        if aggregates.closed:
            outputs.closed.add(lines_of(aggregates.closed), anew=False)
        self._documents = aggregates.documents

    def _input_of(self, sink: Sink, batch: Batch) -> Released:
        """The part of the batch that a sink writes."""
        if sink.input == EVENTS:
            return batch.released
        name = sink.input.removeprefix(f"{AGGREGATES}.")
        return self._aggregates.released(name, batch.rows.get(name, ()))

    def _checkpoint(self, state: State) -> Checkpoint:
        outputs = self._outputs
        appended = {
            JOURNAL_NAME: outputs.journal.length_bytes,
            DEAD_LETTERS_NAME: outputs.dead_letters.length_bytes,
            **outputs.held.appended(),
            **outputs.runs.appended(),
            **outputs.windows.appended(),
            **outputs.closed.appended(),
            **self._ids_appended,
        }
        for sink in outputs.written:
            appended.update(sink.appended())
        document = StateDocument.of(
            state,
            state_id=self._identity.state_id,
            config_hash=self._identity.config_hash,
            appended=appended,
            ids=self._ids_manifest,
            aggregates=self._documents,
            outbox=outputs.outbox,
            follows_journal=bool(outputs.journal.tail),
        )
        meta = self._identity.meta()
        lost_at = self._loss_times.recorded(state.lost, str(meta.get("written_at", "")))
        return Checkpoint(document, {**meta, "lost_at": dict(lost_at)} if lost_at else meta)


def _not_started(names: frozenset[str], state: State) -> frozenset[str]:
    """The sources of `names` of which the state knows no generation."""
    return frozenset(name for name in names if name not in state.sources or state.sources[name].next_generation() == 1)
