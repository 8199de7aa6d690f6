"""The snapshots of a pipeline: the sinks that keep a table as a checkpoint is.

Owns: how one is made. (`outbox.py` says which sinks they are.)
Always: a snapshot has no lane and no outbox: it is made from what is committed.
Never: writes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from random import random

from event_processor.assembly.connectors import CONNECTORS, receiver_context
from event_processor.assembly.environment import Environment
from event_processor.configuration.configuration import AGGREGATES, TOTALS, Configuration
from event_processor.engine.delivery.orders import is_paused
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.snapshot_rows import GroupRows, RowSource, TotalsRows
from event_processor.engine.delivery.snapshot_sink import SnapshotParts, SnapshotSink
from event_processor.engine.delivery.stage import LaneTimes
from event_processor.model.backoff import Backoff
from event_processor.model.snapshots import SnapshotReceiver
from event_processor.model.telemetry import Telemetry
from event_processor.model.transactions import CursorOwner

__all__ = ["drop_snapshot", "snapshot_receiver", "snapshot_sink"]


def snapshot_receiver(configuration: Configuration, environment: Environment, name: str) -> SnapshotReceiver:
    """The receiver of a snapshot. Connects to nothing yet. Raises `ConfigurationError`, for example if an extra is missing."""
    options = configuration.sinks[name]
    return CONNECTORS[options.type].snapshot_receiver(options, receiver_context(configuration, environment, name))


def drop_snapshot(configuration: Configuration, environment: Environment, name: str) -> bool:
    """Removes the place of a snapshot at its receiver. See `Connector.drop_snapshot`."""
    options = configuration.sinks[name]
    context = receiver_context(configuration, environment, name)
    return CONNECTORS[options.type].drop_snapshot(options, context, _owner(configuration, name, state_id=""))


def _owner(configuration: Configuration, name: str, *, state_id: str) -> CursorOwner:
    shard, input_name = configuration.engine.shard, configuration.sinks[name].input
    return CursorOwner(configuration.state.name, name, name, state_id, input_name, shard=shard)


def snapshot_sink(
    name: str,
    configuration: Configuration,
    environment: Environment,
    *,
    state_id: str,
    receiver: SnapshotReceiver,
    service: Service,
    telemetry: Telemetry,
    times: LaneTimes,
    offload: Callable[[Callable[[], None]], Awaitable[None]],
) -> SnapshotSink:
    """A snapshot, in the delivery loop."""
    options = configuration.sinks[name]
    parts = SnapshotParts(
        owner=_owner(configuration, name, state_id=state_id),
        interval_s=options.snapshot_interval_ms / 1000,
        source=_source(configuration, options.input),
        receiver=receiver,
        service=service,
        times=times,
        backoff=Backoff(random),
        telemetry=telemetry,
        is_paused=partial(is_paused, environment.fs, str(configuration.state.dir), name),
        offload=offload,
    )
    return SnapshotSink(parts)


def _source(configuration: Configuration, input_name: str) -> RowSource:
    if input_name == TOTALS:
        return TotalsRows()
    name = input_name.removeprefix(f"{AGGREGATES}.")
    return GroupRows(name, configuration.aggregates[name].group_by)
