"""Gives a lane records from the log again: one that was detached, or one that sends again from a record on. The daemon is stopped.

Owns: which lines of the outbox are missing, making them again, and what is refused, with which words.
Always: the records that the log gives have the chain that the checkpoint says; otherwise nothing is changed. New files of the outbox
and the mark of a lane change in one checkpoint. A cursor goes back whole, by this process or by the next start.
Never: sends; moves a cursor forward.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from event_processor.assembly import Environment, Mode, Replica, check_config, open_replica, remote_sinks
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor import CursorDocument, LaneCounts
from event_processor.engine.delivery.failed_records import failed_again
from event_processor.engine.lane_changes import LaneChange, finish_lane_change, resent_path, start_lane_change
from event_processor.engine.outbox import LaneDocument, SeriesDocument
from event_processor.model.errors import StateError, UsageError
from event_processor.operations.lane_changes import aside_name, changeable_state, unknown_lane
from event_processor.operations.log_reader import LogReader, watched_script
from event_processor.operations.sinks import lane_cursor
from event_processor.operations.state_access import owned_state
from event_processor.storage.durable import prepare_directory, remove_tree, storage_boundary, storage_call
from event_processor.storage.outbox import OUTBOX_FOLDER, SeriesView
from event_processor.storage.outbox_reader import OutboxReader, last_sequence
from event_processor.storage.rebuilt_outbox import Rebuilding

__all__ = ["Attached", "LaneRebuilding", "Resend", "lane_rebuilding"]

REBUILD_PREFIX: Final = "rebuild-"
"""How the folder begins in which a series is made again, in the state directory. A leftover is removed by the next command."""
FOLLOWING: Final = Mode(once=True, follows_journal=True)
RESENT: Final = "resent-%Y%m%dT%H%M%SZ"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Attached:
    """A lane that was attached. `pending`: what waits for it now. `from_log`: how many records were read from the log again.

    `excess_bytes`: so many more bytes wait than the configuration allows before it detaches a sink: it would do that again.
    """

    pending: int
    from_log: int
    excess_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Resend:
    """What sending again from the record `first` on means: so many records that were delivered, failed or skipped wait again.

    `cursor`: the one of now. `kept_bytes`: the length of the file of failed records without those that are sent again. `from_log`: lines
    are missing and are made again. `by_receiver`: the receiver holds the cursor, and what it has is not sent again.
    """

    sink: str
    first: int
    delivered: int
    failed: int
    skipped: int
    cursor: CursorDocument
    kept_bytes: int
    from_log: bool
    by_receiver: bool = False

    @property
    def records(self) -> int:
        """How many records are sent again."""
        return self.delivered + self.failed + self.skipped


@dataclass(frozen=True, slots=True)
class _Lines:
    """What was made again. `appended`: the new files. `chains`: by sequence. `count`: lines."""

    appended: Mapping[str, int] = field(default_factory=dict)
    chains: Mapping[int, str] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    count: int = 0


class LaneRebuilding:
    """The lanes of one state. The caller holds the lock (`lane_rebuilding`)."""

    def __init__(self, configuration: Configuration, environment: Environment) -> None:
        """First finishes a change that was left half done. Raises as `changeable_state` does."""
        self._store, self._checkpoint = changeable_state(configuration, environment)
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._fs: Final = environment.fs
        self._directory: Final = str(configuration.state.dir)

    def attach(self, name: str, progress: Progress) -> Attached:
        """Lets a detached lane have the records that it did not get, in one checkpoint.

        Raises `UsageError` if it has no lane, or is not detached; `InputGoneError` if the log does not have them any more; `StateError` if
        it has other records now; `ConfigurationError` if another configuration made the state; `StorageError`. Then nothing is changed.
        """
        lane = self._lane(name)
        if lane.detached is None:
            raise UsageError(f"{name}: is not detached", hint="see the sinks and their states: event-processor sinks list")
        cursor, series = self._cursor(name, lane), self._series(lane)
        with self._made_again(lane.input, cursor.sequence, (), progress) as lines:
            self._save(lane.input, lines, replace(lane, detached=None), name)
        return Attached(cursor.pending(series.sequence), lines.count, self._excess_bytes(lane.input, cursor.sequence))

    def _excess_bytes(self, input_name: str, after: int) -> int:
        """How many bytes of the lines after `after` are beyond the limit at which a sink is detached; 0 if none is."""
        options = self._configuration.outbox
        with closing(OutboxReader(self._fs, self._view(input_name), after)) as reader:
            waiting_bytes = reader.unread_bytes()
        return max(0, waiting_bytes - options.bytes_max) if options.when_full == "detach" else 0

    def preview(self, name: str, first: int) -> Resend:
        """What `send_again` would do. Raises `UsageError` if the lane cannot send from there on, `StateError`, `StorageError`."""
        lane = self._lane(name)
        cursor = self._cursor(name, lane)
        answered = cursor.sequence - first + 1 + sum(last - begin + 1 for begin, last, _ in cursor.answered)
        from_log = first > lane.started_after and self._missing(self._view(lane.input), first - 1) is not None
        fault = ""
        if lane.detached is not None:
            fault = f"it is detached; first: event-processor sinks attach {name}"
        elif first <= lane.started_after:
            fault = f"record {first} was released before this sink started; its first one is {lane.started_after + 1}"
        elif first > cursor.sequence + 1 or not (answered or from_log):
            fault = f"the records from {cursor.sequence + 1} on wait already"
        if fault:
            raise UsageError(f"{name}: {fault}", hint="nothing was changed; see what waits: event-processor sinks list")
        state_id = self._checkpoint.state.state_id
        found = failed_again(self._fs, self._directory, name, cursor.failed_bytes, state_id=state_id, first=first)
        counts = cursor.counts
        failed, skipped = min(found.failed, counts.failed), min(found.skipped, counts.skipped)
        options = remote_sinks(self._configuration).get(name)
        by_receiver = options is not None and options.holds_cursor
        delivered = answered - failed - skipped
        return Resend(name, first, delivered, failed, skipped, cursor, found.kept_bytes, from_log, by_receiver)

    def send_again(self, resend: Resend, progress: Progress) -> str:
        """Puts the cursor back, after the lines that the outbox does not have are made again.

        Returns where the failed records are kept that are sent again; "" if there are none. Raises as `attach` does; then nothing is changed, except after a `StorageError`: perhaps the next start does the rest.
        """
        name, cursor, after = resend.sink, resend.cursor, resend.first - 1
        lane = self._lane(name)
        chain = self._known_chain(lane, after)
        wanted = () if chain is not None else (after,)
        with self._made_again(lane.input, after, wanted, progress) as lines:
            if lines.appended:
                # If we die after this, the lane is where it was, and the lines are dropped after a while.
                self._save(lane.input, lines, lane, name)
        if not resend.records:
            return ""
        counts = LaneCounts(
            cursor.counts.delivered - resend.delivered,
            cursor.counts.failed - resend.failed,
            cursor.counts.skipped - resend.skipped,
        )
        changed = replace(
            cursor,
            sequence=after,
            chain=lines.chains[after] if chain is None else chain,
            answered=(),
            counts=counts,
            failed_bytes=resend.kept_bytes,
        )
        aside = aside_name(self._environment, self._directory, RESENT)
        change = LaneChange(self._checkpoint.state.state_id, name, aside=aside, cursor=changed)
        with storage_boundary(self._directory):
            start_lane_change(self._fs, self._directory, change, self._environment.new_token())
            # If we die after this, the next start does the rest.
            self._checkpoint = finish_lane_change(self._fs, self._directory, self._store, self._checkpoint)
        return resent_path(self._directory, change) if resend.kept_bytes < cursor.failed_bytes else ""

    def _lane(self, name: str) -> LaneDocument:
        lane = self._checkpoint.state.lanes.get(name)
        if lane is None:
            raise unknown_lane(self._configuration, self._checkpoint, name)
        return lane

    def _series(self, lane: LaneDocument) -> SeriesDocument:
        return self._checkpoint.state.outbox[lane.input]

    def _cursor(self, name: str, lane: LaneDocument) -> CursorDocument:
        return lane_cursor(self._environment, self._directory, self._checkpoint, name, lane)

    def _view(self, input_name: str) -> SeriesView:
        state = self._checkpoint.state
        series = state.outbox[input_name]
        return SeriesView.of(self._directory, input_name, appended=state.appended, sequence=series.sequence, chain=series.chain)

    def _known_chain(self, lane: LaneDocument, sequence: int) -> str | None:
        """The chain of a record, if something but the log has it."""
        if sequence == lane.started_after:
            return lane.chain
        # A record that is not there is no fault: the log has it.
        with suppress(StateError), closing(OutboxReader(self._fs, self._view(lane.input), sequence - 1)) as reader:
            for record, _ in reader.read(1):
                return record.chain
        return None

    def _missing(self, view: SeriesView, after: int) -> tuple[int, int] | None:
        """From after which record to which one lines are to be made again, so that all after `after` are there; None if they are."""
        missing, covered = [], after
        for file in view.files:
            last = last_sequence(self._fs, file)
            if file[1] > covered + 1:
                missing.append((covered, file[1] - 1))
            covered = max(covered, last)
        if covered < view.sequence:
            missing.append((covered, view.sequence))
        return (missing[0][0], missing[-1][1]) if missing else None

    @contextmanager
    def _made_again(self, input_name: str, after: int, wanted: tuple[int, ...], progress: Progress) -> Iterator[_Lines]:
        """Makes the missing lines after `after` again, and the chains at `wanted`. Their files are in place inside.

        If we die before a checkpoint names them, the next start removes them.
        """
        view = self._view(input_name)
        missing = self._missing(view, after)
        if missing is None and not wanted:
            yield _Lines()
            return
        series = self._checkpoint.state.outbox[input_name]
        folder = os.path.join(self._directory, f"{REBUILD_PREFIX}{self._environment.new_token()}")
        rebuilding = Rebuilding(
            series.first,
            series.first_chain,
            missing[0] if missing else None,
            frozenset({series.sequence, *wanted}),
            written_through=missing[1] if missing else None,
        )
        with storage_boundary(self._directory):
            self._remove_leftovers()
            prepare_directory(self._fs, folder)
            try:
                appended = self._rebuild(Replica(folder, lambda *_: "", {input_name: rebuilding}), progress)
                if rebuilding.chains.get(series.sequence) != series.chain:
                    raise StateError(
                        f"the log gives other records of {input_name} than those that were released: the chain at sequence "
                        f"{series.sequence} is another one; nothing was changed",
                        hint="see what differs: event-processor verify",
                    )
                replaced = frozenset(
                    f"{OUTBOX_FOLDER}/{os.path.basename(path)}"
                    for path, first, _ in view.files
                    if missing and missing[0] < first <= missing[1]
                )
                self._move(folder, appended)
                count = missing[1] - missing[0] if missing else 0
                yield _Lines(appended, rebuilding.chains, replaced, count)
            finally:
                self._remove_leftovers()

    def _rebuild(self, replica: Replica, progress: Progress) -> dict[str, int]:
        """Reads the log again. Returns the files of the outbox that this made, with their lengths."""
        checked = check_config(self._configuration, self._checkpoint)
        # The journal says when the order stage was used. Sinks are not written again.
        bare = checked.model_copy(update={"sinks": {}})
        with (
            closing(LogReader(checked, self._environment, self._checkpoint)) as reader,
            closing(open_replica(bare, self._environment, replica, reading=False, mode=FOLLOWING).processor) as processor,
        ):
            processor.feed(watched_script(reader, progress))
        made = CheckpointStore(self._fs, replica.directory, self._environment.telemetry).peek()
        assert made is not None, "opening a state commits it"
        return {name: size for name, size in made.state.appended.items() if name.startswith(f"{OUTBOX_FOLDER}/")}

    def _move(self, folder: str, appended: Mapping[str, int]) -> None:
        """Moves the new files to the others. No checkpoint names them yet."""
        target = os.path.join(self._directory, OUTBOX_FOLDER)
        prepare_directory(self._fs, target)
        for name in appended:
            with storage_call("rename", os.path.join(self._directory, name)):
                self._fs.rename(os.path.join(folder, name), os.path.join(self._directory, name))
        with storage_call("fsync", target):
            self._fs.sync_directory(target)

    def _save(self, input_name: str, lines: _Lines, lane: LaneDocument, name: str) -> None:
        """One checkpoint with the new files and the lane. If we die before its rename, all is as it was."""
        state = self._checkpoint.state
        kept = {each: size for each, size in state.appended.items() if each not in lines.replaced}
        # There is no gap between the lines any more, so the last file is appended to again.
        series = replace(state.outbox[input_name], sealed_after=UNSET)
        changed = replace(
            state,
            appended={**kept, **lines.appended},
            lanes={**state.lanes, name: lane},
            outbox={**state.outbox, input_name: series},
        )
        with storage_boundary(self._directory):
            self._checkpoint = Checkpoint(changed, self._checkpoint.meta)
            self._store.save(self._checkpoint)

    def _remove_leftovers(self) -> None:
        """Removes the folders of this and of earlier commands. If we die in here, the next command removes the rest."""
        for name in self._fs.names(self._directory):
            if name.startswith(REBUILD_PREFIX):
                remove_tree(self._fs, os.path.join(self._directory, name))


@contextmanager
def lane_rebuilding(configuration: Configuration, environment: Environment) -> Iterator[LaneRebuilding]:
    """Holds the lock of the state. Raises `LockedError` if a daemon runs, and as `LaneRebuilding` does."""
    with owned_state(configuration, environment):
        yield LaneRebuilding(configuration, environment)
