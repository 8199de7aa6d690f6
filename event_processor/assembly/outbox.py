"""The lanes and the outbox of a pipeline, from its configuration and its checkpoint.

Owns: which inputs need a series of the outbox, where a new lane starts, and which lanes a start refuses.
Always: a lane that still has pending records goes on as it is, or the start is refused. A new lane starts after everything that was
already released. Its document is in a checkpoint before anything is read.
Never: sends anything, or moves a cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from event_processor.aggregation.documents import AggregateDocument
from event_processor.assembly.environment import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.engine.outbox import LaneDocument, Outbox, SeriesDocument, detached_places, released_count
from event_processor.engine.state import State
from event_processor.model.errors import ConfigurationError
from event_processor.model.options import SinkOptions
from event_processor.model.remote import RemoteSinkOptions
from event_processor.storage.outbox import OutboxSeries

if TYPE_CHECKING:
    from event_processor.storage.rebuilt_outbox import Rebuilding

__all__ = [
    "LaneStart",
    "OpenLane",
    "change_of_lane",
    "lane_target",
    "lanes_of",
    "open_outbox",
    "rebuild_outbox",
    "remote_sinks",
    "require_nothing_pending",
    "snapshot_sinks",
]

NO_OTHER_START: Final = (
    'write start = "now", or read the log again, which changes nothing for other sinks: event-processor replay'
)


@dataclass(frozen=True, slots=True)
class OpenLane:
    """A lane as the delivery needs it. `name`: of the sink. `document`: as in the checkpoint."""

    name: str
    options: RemoteSinkOptions
    document: LaneDocument


@dataclass(frozen=True, slots=True)
class LaneStart:
    """The state at a start, as far as lanes depend on it. `aggregates`: as in the checkpoint."""

    directory: str
    state_id: str
    checkpoint: Checkpoint | None
    state: State
    aggregates: Mapping[str, AggregateDocument]

    @property
    def lanes(self) -> Mapping[str, LaneDocument]:
        """The lanes of the checkpoint."""
        return self.checkpoint.state.lanes if self.checkpoint else {}

    @property
    def series(self) -> Mapping[str, SeriesDocument]:
        """The series of the checkpoint."""
        return self.checkpoint.state.outbox if self.checkpoint else {}

    def series_of(self, input_name: str) -> SeriesDocument:
        """The series of an input; a new one, after everything that was released, if the checkpoint has none."""
        if found := self.series.get(input_name):
            return found
        released = released_count(input_name, self.state, self.aggregates) or 0
        return SeriesDocument(released, "", released)


def remote_sinks(configuration: Configuration) -> dict[str, RemoteSinkOptions]:
    """The sinks that have a lane."""
    sinks, snapshots = configuration.sinks.items(), configuration.snapshot_inputs
    return {name: each for name, each in sinks if isinstance(each, RemoteSinkOptions) and each.input not in snapshots}


def snapshot_sinks(configuration: Configuration) -> dict[str, SinkOptions]:
    """The sinks whose input is a snapshot."""
    inputs = configuration.snapshot_inputs
    return {name: options for name, options in configuration.sinks.items() if options.input in inputs}


def open_outbox(configuration: Configuration, environment: Environment, start: LaneStart, opened: ExitStack) -> Outbox:
    """The lanes, and a series for each input that one reads. `opened` closes the series.

    Raises `ConfigurationError` if a lane with pending records is removed or changed, or cannot start as configured; `StateError` if
    a cursor or a file of the outbox cannot be used; `StorageError`.
    """
    if start.checkpoint is not None:
        require_nothing_pending(configuration, environment, start.checkpoint)
    lanes = {name: _lane(name, options, start) for name, options in remote_sinks(configuration).items()}
    began = {lane.input: start.series_of(lane.input) for lane in lanes.values()}
    series = {}
    for name, document in began.items():
        series[name] = OutboxSeries(
            environment.fs,
            start.directory,
            name,
            appended=start.checkpoint.state.appended if start.checkpoint else {},
            sequence=document.sequence,
            chain=document.chain,
            new_token=environment.new_token,
            clock=environment.clock,
            detached=detached_places(lanes, name),
            is_read=any(lane.detached is None for lane in lanes.values() if lane.input == name),
            sealed_after=document.sealed_after or 0,
        )
        opened.callback(series[name].close)
    options = configuration.outbox
    return Outbox(
        series,
        began,
        lanes,
        is_saved=lanes == start.lanes and began == start.series,
        bytes_max=options.bytes_max,
        detaches=options.when_full == "detach",
    )


def rebuild_outbox(rebuilt: Mapping[str, Rebuilding], environment: Environment, start: LaneStart, opened: ExitStack) -> Outbox:
    """The series that a replica makes again, by input; without lanes. `opened` closes them. Raises as `OutboxSeries` does."""
    from event_processor.storage.rebuilt_outbox import RebuiltSeries  # noqa: PLC0415 - only for a replica

    series: dict[str, OutboxSeries] = {}
    began = {}
    for name, rebuilding in rebuilt.items():
        known = start.series.get(name) or SeriesDocument(0, "", rebuilding.first, rebuilding.first_chain)
        series[name] = RebuiltSeries(
            environment.fs,
            start.directory,
            name,
            rebuilding,
            appended=start.checkpoint.state.appended if start.checkpoint else {},
            sequence=known.sequence,
            chain=known.chain,
            new_token=environment.new_token,
            clock=environment.clock,
        )
        opened.callback(series[name].close)
        began[name] = known
    return Outbox(series, began)


def lanes_of(configuration: Configuration, outbox: Outbox) -> tuple[OpenLane, ...]:
    """The lanes of a pipeline that is open."""
    sinks = remote_sinks(configuration)
    return tuple(OpenLane(name, sinks[name], document) for name, document in outbox.lanes.items())


def _lane(name: str, options: RemoteSinkOptions, start: LaneStart) -> LaneDocument:
    """The lane as it was, or a new one that starts after everything that was released."""
    known = start.lanes.get(name)
    if known is not None and not change_of_lane(options, known):
        return known
    series = start.series_of(options.input)
    if options.start == "beginning" and series.sequence:
        raise ConfigurationError(
            f'sinks.{name}.start = "beginning": {series.sequence:,} records were released before this sink was added',
            hint=NO_OTHER_START,
        )
    return LaneDocument(options.input, series.sequence, series.chain, lane_target(options))


def require_nothing_pending(configuration: Configuration, environment: Environment, checkpoint: Checkpoint) -> None:
    """Raises `ConfigurationError` if the configuration removes or changes a lane that has pending records; `StateError`."""
    sinks = remote_sinks(configuration)
    for name, lane in checkpoint.state.lanes.items():
        change = change_of_lane(sinks.get(name), lane)
        if not change:
            continue
        if pending := _pending(str(configuration.state.dir), name, lane, environment, checkpoint):
            waits = "still wait for it" if lane.detached is None else "still wait for it, or were skipped while it was detached"
            raise ConfigurationError(
                f"sinks.{name}: {change}, but {pending:,} records of {lane.input} {waits}",
                hint="restore it until they are sent; or give them up: event-processor sinks drop "
                f"{name}; or, if it has another name now: event-processor sinks rename {name} NEW",
            )


def change_of_lane(options: RemoteSinkOptions | None, lane: LaneDocument) -> str:
    """What the configuration changes of a lane, in words; "" if nothing."""
    if options is None:
        return "it was removed"
    if options.input != lane.input:
        return f'its input was changed from "{lane.input}" to "{options.input}"'
    return "" if lane_target(options) == lane.target else "its target was changed"


def _pending(directory: str, name: str, lane: LaneDocument, environment: Environment, checkpoint: Checkpoint) -> int:
    """How many records were not answered yet. A cursor of an earlier lane with the same name does not count."""
    cursor = read_cursor(environment.fs, directory, name)
    released = checkpoint.state.outbox[lane.input].sequence
    if cursor is not None and cursor.is_of(checkpoint.state.state_id, lane.input, lane.started_after):
        return cursor.pending(released)
    return max(0, released - lane.started_after)


def lane_target(options: RemoteSinkOptions) -> dict[str, Any]:
    """The target as it is read back from a checkpoint."""
    return msgspec.json.decode(msgspec.json.encode(options.target()), type=dict[str, Any])
