"""What a replay means for remote sinks: they go on where they were, or an operator decides what each of them gets.

Owns: which series the new state makes again, the comparison of chains, and what the checkpoint of the new state says of lanes.
Always: lanes go on only if the chain at every place that the present state or a cursor names is the same. Then the `state_id` is
kept, and with it every key. Otherwise the new state has another one, and each sink that may have got something needs a decision.
Never: changes a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from event_processor.assembly import (
    Environment,
    change_of_lane,
    check_config,
    lane_target,
    remote_sinks,
    require_nothing_pending,
)
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint, StateDocument
from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.lane_changes import CHANGE_NAME
from event_processor.engine.outbox import LaneDocument, SeriesDocument
from event_processor.model.errors import ConfigurationError, StateError, UsageError
from event_processor.model.remote import RemoteSinkOptions
from event_processor.operations.sinks import retried_pending
from event_processor.storage.durable import FileSystem, storage_call
from event_processor.storage.outbox import committed_view
from event_processor.storage.rebuilt_outbox import Rebuilding

__all__ = ["Choice", "LanePlan", "ReplayedLane", "ReplayedLanes"]

Choice: TypeAlias = Literal["again", "skip"]
"""What a sink gets from a state with another `state_id`: everything again, or only what is released from then on."""


@dataclass(frozen=True, slots=True)
class ReplayedLane:
    """A remote sink of the new state. `pending`: the records that wait for it then, of an undecided one those that wait now.

    `given_up`: records, retried ones too, that wait now and will not be sent.

    `result`: "continues" (where it was), "again", "skip" (both as decided), "new", or "undecided".
    """

    sink: str
    input: str
    result: Literal["continues", "again", "skip", "new", "undecided"]
    pending: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class LanePlan:
    """How the new state is made. `rebuilt`: the series that it makes again, by input.

    `keeps`: the lanes go on if the chains are as in `expected` (by input and sequence). `configuration`: the one to replay with.
    """

    configuration: Configuration
    keeps: bool
    rebuilt: Mapping[str, Rebuilding] = field(default_factory=dict)
    expected: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether the new state has the expected chain everywhere. Call it when the new state is made."""
        return all(
            self.rebuilt[name].chains.get(sequence) == chain
            for name, chains in self.expected.items()
            for sequence, chain in chains.items()
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """A lane of the present state. `document`: None if only its cursor is left. `cursor`: None if there is none, or a wrong one."""

    input: str
    document: LaneDocument | None
    cursor: CursorDocument | None
    is_readable: bool = True

    @property
    def answered_through(self) -> int:
        """The sequence up to which everything was answered."""
        if self.cursor is not None:
            return self.cursor.sequence
        return self.document.started_after if self.document else 0

    def places(self) -> Iterator[tuple[int, str]]:
        """Yields the sequences at which the lane knows the chain."""
        if self.document is not None:
            yield self.document.started_after, self.document.chain
            if self.document.detached is not None:
                yield self.document.detached.after, self.document.detached.chain
        if self.cursor is not None:
            yield self.cursor.sequence, self.cursor.chain
            yield from ((last, chain) for _, last, chain in self.cursor.answered)


class ReplayedLanes:
    """The remote sinks of one replay. The caller holds the lock."""

    def __init__(
        self,
        configuration: Configuration,
        environment: Environment,
        present: Checkpoint | None,
        choices: Mapping[str, Choice],
    ) -> None:
        """`present`: the checkpoint that a start would use; None if it cannot be read. `choices`: by sink, as the operator decided.

        Raises `UsageError` if a choice is of no remote sink, `ConfigurationError` if a lane with pending records was removed or
        changed, `StorageError`.
        """
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._fs: Final[FileSystem] = environment.fs
        self._directory: Final = str(configuration.state.dir)
        self._present: Final = present.state if present else None
        self._choices: Final = choices
        self._sinks: Final = remote_sinks(configuration)
        if unknown := sorted(choices.keys() - self._sinks.keys()):
            names = f"the remote sinks are: {', '.join(self._sinks)}" if self._sinks else "no sink here is remote"
            raise UsageError(f"--lane {unknown[0]}: not a remote sink", hint=names)
        if present is not None:
            _require_no_change(self._fs, self._directory)
            require_nothing_pending(configuration, environment, present)
        self._known: Final = {name: found for name, found in self._lanes_found() if found is not None}
        self._checked: Final = self._checked_configuration(present)

    @property
    def replaced(self) -> tuple[str, ...]:
        """The lanes that may have files of the present state."""
        return tuple(sorted(self._known.keys() | (self._present.lanes.keys() if self._present else set())))

    @property
    def undecided(self) -> list[str]:
        """The sinks that need a decision if the new state has another `state_id`."""
        return [name for name in self._sinks if name in self._needing and name not in self._choices]

    def keeping(self) -> LanePlan | None:
        """The plan under which lanes go on; None if they cannot."""
        if not self._known or not self._may_go_on():
            return None
        assert self._checked is not None
        rebuilt, expected = {}, {}
        for name in sorted({each.input for each in self._known.values()} | {each.input for each in self._from_beginning()}):
            series = self._series(name)
            lanes = [each for each in self._known.values() if each.input == name]
            places = {sequence: chain for each in lanes for sequence, chain in each.places() if sequence > series.first}
            if self._present and name in self._present.outbox:
                places[series.sequence] = series.chain
            expected[name] = places
            rebuilt[name] = Rebuilding(series.first, series.first_chain, self._written_after(name, lanes), frozenset(places))
        return LanePlan(self._checked, keeps=True, rebuilt=rebuilt, expected=expected)

    def deciding(self) -> LanePlan:
        """The plan under which the new state has another `state_id`."""
        rebuilt = {}
        for name in sorted({each.input for each in self._sinks.values()}):
            sends_again = any(
                options.input == name and self._result(sink) in ("again", "beginning") for sink, options in self._sinks.items()
            )
            rebuilt[name] = Rebuilding(0, written_after=0 if sends_again else None)
        return LanePlan(self._configuration, keeps=False, rebuilt=rebuilt)

    def completed(self, plan: LanePlan, fresh: Checkpoint) -> Checkpoint:
        """The new state with its lanes. Files that are kept are where they were."""
        state = fresh.state
        lanes, appended, state_id = {}, dict(state.appended), state.state_id
        for name, options in self._sinks.items():
            if lane := self._document(plan, name, options, state):
                lanes[name] = lane
        outbox = {name: each for name, each in state.outbox.items() if any(lane.input == name for lane in lanes.values())}
        if plan.keeps:
            state_id = self._state_id or state_id
            for name, series in outbox.items():
                outbox[name] = replace(series, sealed_after=self._sealed_after(name, series))
                if self._is_whole(name):
                    appended |= self._files(name)
        changed = replace(state, state_id=state_id, lanes=lanes, outbox=outbox, appended=appended)
        return Checkpoint(changed, fresh.meta)

    def reported(self, plan: LanePlan, fresh: Checkpoint) -> tuple[ReplayedLane, ...]:
        """What each remote sink gets after the swap. `fresh` is completed."""
        found = []
        for name, options in self._sinks.items():
            known, lane = self._known.get(name), fresh.state.lanes.get(name)
            waiting, retried = self._waiting(known), retried_pending(self._environment, self._directory, name)
            if plan.keeps and known is not None and lane is not None:
                released = fresh.state.outbox[lane.input].sequence
                cursor = known.cursor or CursorDocument("", lane.input, {}, lane.started_after, lane.started_after, lane.chain)
                pending, _ = lane.shares(cursor, released)
                found.append(ReplayedLane(name, options.input, "continues", pending))
                continue
            pending = fresh.state.outbox[lane.input].sequence - lane.started_after if lane else 0
            match self._result(name):
                case "undecided":
                    found.append(ReplayedLane(name, options.input, "undecided", waiting + retried))
                case "again" | "skip" as result:
                    found.append(
                        ReplayedLane(name, options.input, result, pending, retried + (waiting if result == "skip" else 0))
                    )
                case _:
                    found.append(ReplayedLane(name, options.input, "new", pending))
        return tuple(found)

    @property
    def _needing(self) -> frozenset[str]:
        """The sinks that may have got something: all but those that a readable state does not know."""
        if self._present is None:
            return frozenset(self._sinks)
        return frozenset(name for name in self._sinks if name in self._known)

    def _result(self, name: str) -> str:
        """What a sink gets from a state with another `state_id`."""
        if name in self._choices:
            return self._choices[name]
        if name in self._needing:
            return "undecided"
        return "beginning" if self._sinks[name].start == "beginning" else "now"

    def _document(self, plan: LanePlan, name: str, options: RemoteSinkOptions, state: StateDocument) -> LaneDocument | None:
        """The lane of a sink in the new state; None if the next start makes it, after everything that is released."""
        series, known = state.outbox.get(options.input), self._known.get(name)
        if series is None:
            return None
        target = lane_target(options)
        if plan.keeps and known is not None:
            if known.document is not None:
                return known.document
            assert known.cursor is not None, "a lane without a document was found by its cursor"
            started_after = known.cursor.started_after
            chain = plan.rebuilt[options.input].chains.get(started_after, "")
            return LaneDocument(options.input, started_after, chain, target)
        match self._result(name):
            case "again" | "beginning":
                return LaneDocument(options.input, series.first, series.first_chain, target)
            case "skip":
                return LaneDocument(options.input, series.sequence, series.chain, target)
        return None

    def _checked_configuration(self, present: Checkpoint | None) -> Configuration | None:
        """The configuration that continues the present state; None if another one made it. A lost state has none to compare."""
        if present is None:
            return self._configuration
        try:
            return check_config(self._configuration, present)
        except ConfigurationError:
            return None

    def _may_go_on(self) -> bool:
        """Whether lanes can go on, as far as that is known before the log is read."""
        if self._checked is None or not all(each.is_readable for each in self._known.values()):
            return False
        if self._present is None:
            # What a sink without a cursor has got is not known.
            return bool(self._known) and self._needing == self._known.keys() and len(self._state_ids) == 1
        return all(self._series(each.input).first == 0 for each in self._from_beginning())

    def _from_beginning(self) -> list[RemoteSinkOptions]:
        """The options of new sinks that start at the beginning."""
        return [options for name, options in self._sinks.items() if name not in self._needing and options.start == "beginning"]

    def _lanes_found(self) -> Iterator[tuple[str, _Known | None]]:
        for name, options in self._sinks.items():
            document = self._present.lanes.get(name) if self._present else None
            try:
                cursor = read_cursor(self._fs, self._directory, name)
            except StateError:
                yield name, _Known(options.input, document, None, is_readable=False)
                continue
            yield name, self._lane_found(options, document, cursor)

    def _lane_found(
        self, options: RemoteSinkOptions, document: LaneDocument | None, cursor: CursorDocument | None
    ) -> _Known | None:
        """The lane that a sink has now; None if it has none, or another one: a start would make it a new one."""
        if self._present is None:
            if cursor is None:
                return None
            is_same = cursor.input == options.input and dict(cursor.target) == lane_target(options)
            return _Known(options.input, None, cursor, is_readable=is_same)
        if document is None or change_of_lane(options, document):
            return None
        if cursor is not None and cursor.state_id != self._present.state_id:
            return _Known(options.input, document, None, is_readable=False)
        if cursor is not None and not cursor.is_of(self._present.state_id, document.input, document.started_after):
            cursor = None
        return _Known(options.input, document, cursor)

    @property
    def _state_ids(self) -> frozenset[str]:
        if self._present is not None:
            return frozenset({self._present.state_id})
        return frozenset(each.cursor.state_id for each in self._known.values() if each.cursor)

    @property
    def _state_id(self) -> str:
        """The `state_id` of the present state; "" if there is none to keep."""
        return next(iter(self._state_ids), "")

    def _series(self, input_name: str) -> SeriesDocument:
        """The series of an input as the present state knows it; of a lost state, one that began with the log."""
        found = self._present.outbox.get(input_name) if self._present else None
        return found or SeriesDocument(0, "", 0)

    def _written_after(self, input_name: str, lanes: list[_Known]) -> int:
        """From which record on the new state writes lines: what the present files do not have, and some lane may still need."""
        if any(each.input == input_name for each in self._from_beginning()):
            return 0
        if self._is_whole(input_name):
            return self._series(input_name).sequence
        return min(each.answered_through for each in lanes)

    def _is_whole(self, input_name: str) -> bool:
        """Whether the present files of a series are there, with all that their lanes may still read."""
        if self._present is None or any(each.input == input_name for each in self._from_beginning()):
            return False
        series = self._present.outbox[input_name]
        view = committed_view(self._directory, input_name, self._present.appended, series.sequence, series.chain)
        for path, _, length_bytes in view.files:
            with storage_call("stat", path):
                status = self._fs.status(path)
            if status is None or status.size_bytes < length_bytes:
                return False
        return True

    def _sealed_after(self, input_name: str, series: SeriesDocument) -> int | UnsetType:
        """After which sequence other files begin. Lines that are made again are followed by a gap if all lanes are detached."""
        if self._present is not None and self._is_whole(input_name):
            return self._present.outbox[input_name].sealed_after
        is_detached = any(each.document and each.document.detached for each in self._known.values() if each.input == input_name)
        return series.sequence if is_detached else UNSET

    def _files(self, input_name: str) -> dict[str, int]:
        """The entries of `appended` of the present files of a series."""
        assert self._present is not None
        view = committed_view(self._directory, input_name, self._present.appended, 0, "")
        return {os.path.relpath(path, self._directory): length_bytes for path, _, length_bytes in view.files}

    def _waiting(self, known: _Known | None) -> int:
        """How many records wait for a lane now, as far as it is known, without the retried ones."""
        if known is None or self._present is None or known.document is None:
            return 0
        released = self._present.outbox[known.input].sequence
        return known.cursor.pending(released) if known.cursor else max(0, released - known.document.started_after)


def _require_no_change(fs: FileSystem, directory: str) -> None:
    """Raises `ConfigurationError` if a lane is half renamed or dropped: only a start or a command about sinks finishes that."""
    path = os.path.join(directory, CHANGE_NAME)
    with storage_call("stat", path):
        status = fs.status(path)
    if status is not None:
        raise ConfigurationError(
            f"{path}: a sink is being renamed or dropped", hint="finish that first: event-processor run --once"
        )
