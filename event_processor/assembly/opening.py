"""From a configuration to a running processor.

Owns: the order in which a pipeline is opened, and the faults that are found before the first byte is read.
Always: if opening fails, everything that was opened is closed again. Nothing of a state changes before its lock is held, its
checkpoint is verified, and its configuration is known to be the same.
Never: knows a type of connector; `connectors.py` has the table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import msgspec

from event_processor import __version__
from event_processor.aggregation.aggregates import Aggregates
from event_processor.assembly.connectors import (
    all_sources,
    chooses_start,
    fresh_sink_paths,
    make_sink,
    make_sink_replica,
    make_source,
    resume_source,
    sink_path_of,
)
from event_processor.assembly.decoding import open_decoding
from event_processor.assembly.environment import Environment
from event_processor.assembly.intake import intake_generation, make_intake, open_outcomes, shared_intake
from event_processor.assembly.loop_settings import loop_options, step_options
from event_processor.assembly.modes import Mode, Replica
from event_processor.assembly.outbox import (
    LaneStart,
    OpenLane,
    lanes_of,
    open_outbox,
    rebuild_outbox,
    remote_sinks,
    snapshot_sinks,
)
from event_processor.assembly.reading_journal import following_of, open_journal, retired_in, retired_positions
from event_processor.assembly.sorting import sorting_of
from event_processor.assembly.state_configuration import check_config
from event_processor.configuration.configuration import (
    RESERVED_SOURCE_NAME,
    Configuration,
    ConfiguredPath,
    StateOptions,
)
from event_processor.configuration.parts import config_hash, config_parts
from event_processor.deduplication.fingerprints import Fingerprinter, mint_fingerprinter, open_fingerprinter
from event_processor.deduplication.index import DedupIndex, NothingIsKnown
from event_processor.engine import migration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.commit import CommitWriter, Identity, Outputs
from event_processor.engine.committed import TotalsFeed
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.engine.held_events import HeldEvents, read_held_events
from event_processor.engine.journal import JOURNAL_NAME, JournalEntry, OrderStarted
from event_processor.engine.journal_file import JournalFile
from event_processor.engine.lane_changes import finish_lane_change
from event_processor.engine.loop import Processor, StartedState
from event_processor.engine.losses import LossRequests, recorded_times
from event_processor.engine.outbox import Outbox
from event_processor.engine.outcomes import Outcomes
from event_processor.engine.sorting.runs import SortedRuns
from event_processor.engine.stages import StageClock
from event_processor.engine.state import State, fresh_state
from event_processor.engine.step import Memory, begin_order, end_order, kept_nowhere
from event_processor.model.clock import utc_text, wall_ns_of
from event_processor.model.connector import SourceContext
from event_processor.model.contracts import Decoding, SeenIds, Sink, Source
from event_processor.model.errors import ConfigurationError, StateError
from event_processor.model.event import Json
from event_processor.model.options import SourceOptions
from event_processor.records.json_lines.judge import POSITION_ID
from event_processor.storage.append_file import AppendFile
from event_processor.storage.durable import storage_boundary
from event_processor.storage.durable_view import DurableView
from event_processor.storage.outbox import OutboxSeries
from event_processor.storage.replaced_file import CLOSED_FOLDER, EVENTS_FOLDER, WINDOWS_FOLDER, HeldFile, held_lines
from event_processor.storage.shared_log import SharedLog
from event_processor.storage.timed_syncs import TimedSyncs

__all__ = ["OpenPipeline", "open_pipeline", "open_replica"]


@dataclass(frozen=True, slots=True)
class OpenPipeline:
    """A processor ready to run, its aggregates, its configuration (`check_config`), and whether it resumed an earlier state.

    While the processor runs, the aggregates may be ahead of the last commit. `lanes`, and `series` of the outbox by input, are what
    the delivery reads; empty without remote sinks. `feed`: where snapshots get what is committed; None without one.
    """

    processor: Processor
    aggregates: Aggregates
    configuration: Configuration
    resumed: bool
    state_id: str
    lanes: tuple[OpenLane, ...] = ()
    series: Mapping[str, OutboxSeries] = field(default_factory=dict)
    feed: TotalsFeed | None = None
    intake_generation: Callable[[], int] = int
    """The generation of what is appended to the intake now, in the state. 0: nothing is read."""
    outcomes: Outcomes | None = None
    """What the last records of the intake counted as; None if no events are posted."""

    @property
    def has_delivery(self) -> bool:
        """Whether something leaves the machine: it has lanes or snapshots."""
        return bool(self.lanes) or self.feed is not None


def _first_entries(checkpoint: Checkpoint | None, state: State) -> list[OrderStarted]:
    """The entries with which the journal goes on. Version 1 had none for the order stage: it was used from the start, or never."""
    is_migrated = checkpoint is not None and checkpoint.version == migration.VERSION
    return [OrderStarted(0)] if is_migrated and state.ordered else []


def open_pipeline(
    configuration: Configuration,
    environment: Environment,
    mode: Mode,
    *,
    reading: bool = True,
    intake: SharedLog | None = None,
) -> OpenPipeline:
    """Resumes the state, or starts one, and opens everything that is read and written. The caller holds the lock.

    Without `reading` no source is opened. `intake`: through which this process appends to the intake, if it does. Raises `StateError`,
    `ConfigurationError`, `LockedError`, `StorageError`; then nothing stays open.
    """
    directory = str(configuration.state.dir)
    opening = _Opening(configuration, environment, mode, directory, intake or shared_intake(environment.fs, directory))
    return _opened(opening, configuration, reading=reading)


def open_replica(
    configuration: Configuration, environment: Environment, replica: Replica, *, reading: bool, mode: Mode | None = None
) -> OpenPipeline:
    """The same for `replica`, whose directory exists. Without `reading` no source is opened: the processor is fed a script.

    Raises as `open_pipeline` does.
    """
    state = StateOptions(dir=ConfiguredPath(replica.directory))
    copied = configuration.model_copy(update={"state": state})
    opening = _Opening(copied, environment, mode or Mode(once=True), str(configuration.state.dir), replica)
    return _opened(opening, copied, reading=reading)


def _opened(opening: _Opening, configuration: Configuration, *, reading: bool) -> OpenPipeline:
    """The open pipeline. If opening fails, everything is closed again."""
    with opening.opened as opened, storage_boundary(str(configuration.state.dir)):
        pipeline = opening.open(reading=reading)
        opened.pop_all()
        return pipeline


class _Opening:
    """One opening of a pipeline, step by step. If a step fails, `opened` closes what the earlier steps opened."""

    def __init__(
        self,
        configuration: Configuration,
        environment: Environment,
        mode: Mode,
        intake_directory: str,
        what: Replica | SharedLog,
    ) -> None:
        """`what`: a replica, or the intake of the pipeline itself."""
        self.opened: Final = ExitStack()
        self._configuration = configuration
        self._parts = config_parts(configuration)  # not at each commit: a live log is committed many times a second
        self._sources: Final = all_sources(configuration, intake_directory)
        self._replica: Final = what if isinstance(what, Replica) else None
        self._intake: Final = None if isinstance(what, Replica) else what
        self._syncs: Final = TimedSyncs(environment.fs, environment.clock)
        self._stages: Final = StageClock(environment.clock, self._syncs.here)
        self._environment: Final = replace(environment, fs=self._syncs)
        self._mode: Final = mode
        self._fs: Final = self._environment.fs
        self._directory: Final = str(configuration.state.dir)
        self._last_commit_ns: int | None = None
        self._tail: Sequence[JournalEntry] = ()

    def open(self, *, reading: bool) -> OpenPipeline:
        environment = self._environment
        store = CheckpointStore(self._fs, self._directory, environment.telemetry)
        checkpoint = store.load(sink_path_of(self._configuration))
        if checkpoint is not None:
            checkpoint = self._continued(store, checkpoint)
        store.remove_orphans()
        appended = checkpoint.state.appended if checkpoint else {}
        make_intake(self._fs, self._directory)
        state = self._state(checkpoint)
        state_id, manifest = (checkpoint.state.state_id, checkpoint.state.ids) if checkpoint else (environment.new_token(), {})
        fingerprinter = self._fingerprinter(manifest)
        aggregates = self._aggregates(checkpoint)
        outputs = Outputs(
            ids=self._index(manifest, appended, fingerprinter),
            held=HeldEvents(self._held_file(EVENTS_FOLDER, appended)),
            runs=SortedRuns(self._fs, self._directory, appended, self._new_name),
            windows=self._held_file(WINDOWS_FOLDER, appended),
            closed=self._held_file(CLOSED_FOLDER, appended),
            journal=self._journal(checkpoint),
            dead_letters=self._append_file(DEAD_LETTERS_NAME, appended),
            sinks=[self._sink(name, appended) for name in self._sink_names()],
            store=store,
            outbox=self._outbox(LaneStart(self._directory, state_id, checkpoint, state, aggregates.documents())),
            feed=TotalsFeed() if self._replica is None and snapshot_sinks(self._configuration) else None,
            chosen_starts=frozenset(name for name, options in self._sources.items() if chooses_start(options)),
        )
        writer = CommitWriter(
            outputs,
            Identity(self._directory, state_id, config_hash(self._parts), self._meta),
            aggregates,
            ids_manifest=manifest,
            ids_appended={name: length for name, length in appended.items() if name.startswith("ids/")},
            lost_at=recorded_times(checkpoint.meta if checkpoint else {}),
        )
        sources = {name: self._source(name, options, state, appended) for name, options in self._sources.items() if reading}
        outcomes = None if self._replica else open_outcomes(self._configuration, environment, state_id, state)
        memory = Memory(outputs.ids or NothingIsKnown(), aggregates, self._stages.lap, outcomes.add if outcomes else kept_nowhere)
        following = following_of(outputs.journal, list(sources.values()), self._configuration, environment)
        processor = Processor(
            sources=list(sources.values()),
            decoding=self._decoding(fingerprinter),
            directory=self._directory,
            writer=writer,
            executor=environment.committing(),
            memory=memory,
            state=state,
            started=None if following else self._started(state),
            following=following,
            step_options=step_options(self._configuration),
            options=loop_options(self._configuration, self._sources, self._mode, outputs.outbox),
            requests=LossRequests(self._fs, self._directory),
            stages=self._stages,
            clock=environment.clock,
            wakeup=environment.wakeup,
            telemetry=environment.telemetry,
        )
        writer.begin(state, appended, _first_entries(checkpoint, state))
        return OpenPipeline(
            processor,
            aggregates,
            self._configuration,
            resumed=checkpoint is not None,
            state_id=state_id,
            lanes=lanes_of(self._configuration, outputs.outbox),
            series=outputs.outbox.series,
            feed=outputs.feed,
            intake_generation=intake_generation(sources, self._intake),
            outcomes=outcomes,
        )

    def _continued(self, store: CheckpointStore, checkpoint: Checkpoint) -> Checkpoint:
        """Takes the configuration that continues the state, and reports if it is not the one that the files imply.

        Returns the checkpoint after a change of a lane that a dead process left.
        """
        implied_by = self._configuration.order.by
        self._configuration = check_config(self._configuration, checkpoint)
        self._parts = config_parts(self._configuration)
        if self._configuration.order.by != implied_by:
            self._environment.telemetry.order_kept(by=self._configuration.order.by, implied_by=implied_by)
        checkpoint = finish_lane_change(self._fs, self._directory, store, checkpoint)
        self._last_commit_ns = wall_ns_of(str(checkpoint.meta.get("written_at", "")))
        return checkpoint

    def _state(self, checkpoint: Checkpoint | None) -> State:
        """The committed state. Raises `ConfigurationError` if a sink reads events whose lines were not kept."""
        buffer_events = self._configuration.order.buffer_events
        if self._mode.puts_in_order:
            # Without a buffer no event would be found late.
            buffer_events = max(1, buffer_events)
        if checkpoint is None:
            return fresh_state(buffer_events, sorting_of(self._configuration) if self._mode.puts_in_order == "sort" else "")
        document = checkpoint.state
        if document.order.sorting == "columns" and sorting_of(self._configuration) == "lines":
            raise ConfigurationError(
                f"{self._directory}: a sink was added that reads events, but the events that this run read were not kept",
                hint="run without this sink (--no-sinks), or start another state with --state",
            )
        return document.to_state(read_held_events(self._fs, self._directory, document.appended, document.order, buffer_events))

    def _started(self, state: State) -> StartedState | None:
        """The state with the order stage switched on or off, if the configuration wants that now."""
        if self._mode.follows_journal or state.ordered == self._configuration.order_is_active:
            return None
        return StartedState(*(end_order if state.ordered else begin_order)(state))

    def _fingerprinter(self, manifest: Mapping[str, Json]) -> Fingerprinter | None:
        """The hash of the index; None without an index."""
        options = self._configuration.dedup
        if not options.enabled or self._configuration.event.id == POSITION_ID:
            # An id that is the record's position cannot occur twice.
            return None
        if manifest:
            return open_fingerprinter(str(manifest.get("fingerprint", "")), str(manifest.get("seed", "")))
        return mint_fingerprinter(options.fingerprint, self._environment.random_bytes)

    def _decoding(self, fingerprinter: Fingerprinter | None) -> Decoding:
        telemetry = self._environment.telemetry
        return open_decoding(self._configuration, self._sources, fingerprinter, telemetry=telemetry, opened=self.opened)

    def _index(
        self, manifest: Mapping[str, Json], appended: Mapping[str, int], fingerprinter: Fingerprinter | None
    ) -> SeenIds | None:
        if fingerprinter is None:
            return None
        index = DedupIndex(
            self._fs,
            os.path.join(self._directory, "ids"),
            manifest=manifest or None,
            committed_bytes=appended.get(f"ids/{manifest.get('active', '')}", 0),
            fingerprinter=fingerprinter,
            telemetry=self._environment.telemetry,
            executor=self._environment.background(),
            limits=self._environment.index_limits,
            mint=self._new_name,
        )
        self.opened.callback(index.close)
        return index

    def _held_file(self, folder: str, appended: Mapping[str, int]) -> HeldFile:
        file = HeldFile(self._fs, self._directory, folder, appended, self._new_name)
        self.opened.callback(file.close)
        return file

    def _aggregates(self, checkpoint: Checkpoint | None) -> Aggregates:
        """The aggregates as of the checkpoint. Raises `StateError` if their file does not restore them."""
        configuration = self._configuration
        documents = checkpoint.state.aggregates if checkpoint else {}
        appended = checkpoint.state.appended if checkpoint else {}
        reason = ""
        try:
            aggregates = Aggregates(
                configuration.aggregates,
                configuration.event,
                configuration.order,
                documents,
                held=lambda: held_lines(self._fs, self._directory, WINDOWS_FOLDER, appended),
                keeps_closed=bool(configuration.engine.shard),
            )
            if torn := aggregates.torn():
                reason = f"does not hold the windows of aggregate {torn!r} that are in the checkpoint"
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            reason = f"cannot be read: {error}"
        if reason:
            raise StateError(
                f"{self._directory}/{WINDOWS_FOLDER}: {reason}",
                hint="restore the folder from a backup, or rebuild the state from the log: event-processor replay",
            )
        return aggregates

    def _journal(self, checkpoint: Checkpoint | None) -> JournalFile:
        has_lanes = self._replica is None and bool(remote_sinks(self._configuration))
        journal = open_journal(self._fs, self._directory, checkpoint, has_lanes=has_lanes)
        self.opened.callback(journal.close)
        self._tail = journal.tail
        return journal

    def _append_file(self, name: str, appended: Mapping[str, int]) -> AppendFile:
        file = AppendFile(self._fs, os.path.join(self._directory, name), appended.get(name, 0))
        self.opened.callback(file.close)
        return file

    def _outbox(self, start: LaneStart) -> Outbox:
        """The lanes, and what the commit writes for them. A replica has no lane: nothing is sent twice."""
        if self._replica:
            return rebuild_outbox(self._replica.outbox, self._environment, start, self.opened)
        return open_outbox(self._configuration, self._environment, start, self.opened)

    def _sink_names(self) -> list[str]:
        """The sinks that a commit writes. Remote sinks have lanes, and snapshots are written beside the commits."""
        others = remote_sinks(self._configuration).keys() | snapshot_sinks(self._configuration).keys()
        return [name for name in self._configuration.sinks if name not in others]

    def _sink(self, name: str, appended: Mapping[str, int]) -> Sink:
        if self._replica is None:
            sink = make_sink(self._configuration, self._environment, name, appended)
        else:
            (fresh,) = (*fresh_sink_paths(self._configuration)[name].values(), "")[:1]
            path = self._replica.sink_path(name, fresh)
            sink = make_sink_replica(self._configuration, self._environment, name, appended, path)
        self.opened.callback(sink.close)
        return sink

    def _source(self, name: str, options: SourceOptions, state: State, appended: Mapping[str, int]) -> Source:
        world = self._environment
        if name == RESERVED_SOURCE_NAME and self._intake is not None:
            # The commit covers what is read. So nothing is read that is not durable.
            world = replace(world, fs=DurableView(self._fs, self._intake))
        context = SourceContext(
            name,
            world,
            self._mode.drain,
            self._last_commit_ns,
            # The intake has records that are nowhere else.
            start=self._mode.start if name in self._configuration.sources else "",
            read_before=self._mode.read_before.get(name, ()),
            once=self._mode.once,
            retired=partial(retired_positions, self._fs, self._directory, appended.get(JOURNAL_NAME, 0), name),
            retires_next=retired_in(self._tail, name),
        )
        source = make_source(options, context)
        self.opened.callback(source.close)
        resume_source(source, state.source(name))
        return source

    def _new_name(self, kind: str) -> str:
        return f"{kind}-{self._environment.new_token()}"

    def _meta(self) -> dict[str, Json]:
        return {
            "written_at": utc_text(self._environment.clock.wall_ns()),
            "host": os.uname().nodename,
            "process": os.getpid(),
            "software": f"event-processor {__version__}",
            "config": self._parts,
        }
