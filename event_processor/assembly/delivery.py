"""From an open pipeline to its delivery: receivers, gates, readers and lanes.

Owns: how the parts of a lane are made, where the figures of lanes are published, and how delivery starts and ends.
Always: nothing is sent before the mark that this process sends is durable. Reports of lanes reach the telemetry in the loop's thread.
Never: decides what is sent.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec

from event_processor.assembly.connectors import CONNECTORS, receiver_context
from event_processor.assembly.environment import Environment
from event_processor.assembly.opening import OpenPipeline
from event_processor.assembly.outbox import OpenLane, snapshot_sinks
from event_processor.assembly.several_telemetries import RelayedTelemetry
from event_processor.assembly.snapshots import snapshot_receiver, snapshot_sink
from event_processor.configuration.configuration import Configuration
from event_processor.engine.delivery.delivery import Delivery
from event_processor.engine.delivery.gates import Gates, begin_sending, end_sending
from event_processor.engine.delivery.keeping import Keeping
from event_processor.engine.delivery.keys import RETRY
from event_processor.engine.delivery.lane import Lane
from event_processor.engine.delivery.orders import LaneOrders, Orders
from event_processor.engine.delivery.parts import EnricherParts, LaneParts, LanePlace
from event_processor.engine.delivery.progress import LaneIdentity, Progress
from event_processor.engine.delivery.reports import (
    FIGURES_NAME,
    HISTORY_FOLDER,
    LaneReport,
    OutboxReport,
    PublishedLanes,
    SnapshotReport,
)
from event_processor.engine.delivery.retries import RetryOrders, RetrySeries, retry_lane_name, retry_path
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.shared_receiver import SharedReceiver
from event_processor.engine.delivery.snapshot_sink import SnapshotSink
from event_processor.engine.delivery.stage import LaneTimes
from event_processor.engine.delivery.thread import DeliveryThread
from event_processor.engine.delivery.transactional_lane import TransactionalLane
from event_processor.engine.delivery.tries import TryRing
from event_processor.engine.delivery.window import Released
from event_processor.model.backoff import Backoff
from event_processor.model.delivery import Receiver, ReceiverContext
from event_processor.model.errors import EventProcessorError, StateError
from event_processor.model.remote import RemoteSinkOptions, ServiceOptions
from event_processor.model.telemetry import Telemetry
from event_processor.model.transactions import TransactionalReceiver
from event_processor.storage.durable import FileSystem, prepare_directory, publish_file, storage_call
from event_processor.storage.outbox import SeriesView
from event_processor.storage.outbox_reader import OutboxReader, chain_after_record

__all__ = ["DRAIN_S", "PipelineDelivery", "Sending"]

DRAIN_S: Final = 10.0
"""A stop waits this long for the answers of requests that run."""


class Sending:
    """What delivery keeps over all reloads of one process: its gates, and the mark that it sends."""

    def __init__(self) -> None:
        self._gates: Gates | None = None
        self._marked: tuple[FileSystem, str] | None = None
        self._is_clean = True

    def gates(self, environment: Environment, directory: str) -> Gates:
        """The gates. The first call marks that this process sends. Raises `StorageError`."""
        if self._gates is None:
            before = begin_sending(environment.fs, directory)
            self._marked = (environment.fs, directory)
            self._gates = Gates(before, environment.clock.monotonic_s, random.random)
        return self._gates

    def may_arrive(self) -> None:
        """A request was given up, and may still arrive: the next process must wait for it."""
        self._is_clean = False

    def end(self) -> None:
        """The process ends. If every request was answered or timed out, the next one need not wait. Raises `StorageError`."""
        if self._marked is not None and self._is_clean:
            end_sending(*self._marked)


class PipelineDelivery:
    """The delivery of one open pipeline. Used by the loop's thread."""

    def __init__(self, pipeline: OpenPipeline, environment: Environment, sending: Sending, owner: str) -> None:
        """Starts nothing yet. `owner`: as in the lock file. Raises `ConfigurationError` if a receiver cannot be made, `StorageError`."""
        configuration = pipeline.configuration
        self._pipeline: Final = pipeline
        self._environment: Final = environment
        self._owner: Final = owner
        self._directory: Final = str(configuration.state.dir)
        self._relay: Final = RelayedTelemetry()
        self._sending: Final = sending
        made = {lane.name: _receiver(lane, configuration, environment) for lane in pipeline.lanes}
        self._transactional: Final = {
            name: receiver for name, receiver in made.items() if isinstance(receiver, TransactionalReceiver)
        }
        """By lane. Each has a receiver of its own, since each has a cursor of its own."""
        self._receivers: Final = {
            name: SharedReceiver(receiver) for name, receiver in made.items() if not isinstance(receiver, TransactionalReceiver)
        }
        self._snapshot_receivers: Final = {
            name: snapshot_receiver(configuration, environment, name) for name in snapshot_sinks(configuration)
        }
        # Only now: a class that cannot be used is no process that sends.
        self._gates: Final = sending.gates(environment, self._directory)
        self._gates.begin()
        self._services: Final[dict[str, Service]] = {}
        self._thread: Final = DeliveryThread(self._made, self._ended)
        self._delivery: Delivery | None = None
        self._last: Sequence[LaneReport] = ()
        self._last_snapshots: Sequence[SnapshotReport] = ()
        self._is_started = False
        prepare_directory(environment.fs, os.path.join(self._directory, HISTORY_FOLDER))
        self._tries: Final = TryRing(environment.fs, self._directory)

    def start(self) -> None:
        """Starts all lanes; from now on they follow the commits. Raises `StateError`, `LockedError`, `StorageError`."""
        self._is_started = True
        self._thread.start()
        for name, series in self._pipeline.series.items():
            series.on_publish(lambda view, name=name: self._thread.follow(name, view))  # type: ignore[misc]  # bound by the default
        if self._pipeline.feed is not None:
            self._pipeline.feed.on_publish(self._thread.follow_totals)

    def hurry(self) -> None:
        """The input is at its end: no snapshot waits for its interval any more."""
        self._thread.hurry()

    def pending(self) -> int:
        """The records that wait in lanes that can go on, and snapshots that can be written. Raises what ended the delivery."""
        self.require()
        return self._thread.ask(lambda delivery: delivery.pending, 0)

    @property
    def published(self) -> Sequence[LaneReport]:
        """What was published last. Any thread may look."""
        return self._last

    def reports(self) -> Sequence[LaneReport]:
        """All lanes at this moment; after the end of the delivery, as they were then."""
        found = self._thread.ask(lambda delivery: delivery.reports(), None)
        return self._last if found is None else found

    def snapshots(self) -> Sequence[SnapshotReport]:
        """All snapshots at this moment; after the end of the delivery, as they were then."""
        found = self._thread.ask(lambda delivery: delivery.snapshot_reports(), None)
        return self._last_snapshots if found is None else found

    def tell(self, telemetry: Telemetry) -> None:
        """Passes on what the lanes reported since the last call."""
        self._relay.drain(telemetry)

    def require(self) -> None:
        """Raises what ended the delivery, if something did."""
        if self._thread.failure is not None:
            raise self._thread.failure

    def stop(self, waiting: Callable[[], None], drain_s: float = DRAIN_S) -> None:
        """Ends all lanes in bounded time, and saves their cursors. `waiting`: see `DeliveryThread.stop`. `require` says if it failed."""
        for series in self._pipeline.series.values():
            series.on_publish(lambda _view: None)
        if self._pipeline.feed is not None:
            self._pipeline.feed.end()
        if self._is_started:
            self._thread.stop(drain_s, waiting)
            delivery, thread = self._delivery, self._thread
            if thread.is_alive or thread.failure is not None or delivery is None or delivery.gave_up:
                self._sending.may_arrive()

    def _ended(self) -> None:
        """The delivery failed: the loop must end after its commit, and raise it."""
        self._pipeline.processor.stop()

    # In the delivery loop's thread.

    def _made(self) -> Delivery:
        lanes: dict[str, list[Lane]] = {}
        opened = {lane.name: lane for lane in self._pipeline.lanes}
        for lane in opened.values():
            document = lane.document
            identity = self._identity(lane, lane.name, document.input, document.started_after, document.chain)
            orders = LaneOrders(self._environment.fs, self._directory, lane.name, lane.name)
            view = self._pipeline.series[document.input].view.for_lane(lane.name)
            lanes.setdefault(document.input, []).append(_lane(self._parts(lane, identity, orders), view))
        now = asyncio.get_running_loop().time
        keeping = Keeping(
            self._environment.fs,
            self._directory,
            self._pipeline.configuration.outbox.keep_s,
            self._environment.clock.wall_ns,
        )
        self._delivery = Delivery(
            lanes,
            now,
            publish=self._publish,
            passed=partial(self._passed, keeping),
            make_retries=lambda sink: self._retries(opened[sink]),
            snapshots=[self._snapshot(name) for name in self._snapshot_receivers],
        )
        self._relay.lanes_opened(sinks=(*(lane.name for lane in self._delivery.all_lanes), *self._snapshot_receivers))
        return self._delivery

    def _snapshot(self, name: str) -> SnapshotSink:
        """A sink that keeps a table as a checkpoint is."""
        configuration, environment = self._pipeline.configuration, self._environment
        options = configuration.sinks[name]
        assert isinstance(options, RemoteSinkOptions), "only those take snapshots"
        return snapshot_sink(
            name,
            configuration,
            environment,
            state_id=self._pipeline.state_id,
            receiver=self._snapshot_receivers[name],
            service=self._service(*_service_of(name, options, configuration)),
            telemetry=self._relay,
            times=LaneTimes(asyncio.get_running_loop().time, environment.clock.wall_ns),
            offload=_offload,
        )

    def _retries(self, opened: OpenLane) -> Lane | None:
        """The lane of a sink's retried records; None if there is no file of them."""
        fs, directory, name = self._environment.fs, self._directory, retry_lane_name(opened.name)
        path = retry_path(directory, opened.name)
        with storage_call("stat", path):
            if fs.status(path) is None:
                return None
        series = RetrySeries(fs, directory, opened.name)
        orders = RetryOrders(LaneOrders(fs, directory, opened.name, name), series)
        identity = self._identity(opened, name, RETRY, 0, "")
        view = series.view
        with suppress(StateError):
            # If the file cannot be trusted, the lane finds the same when it looks itself, and ends alone.
            view = series.look()
        return _lane(self._parts(opened, identity, orders), view)

    def _identity(self, opened: OpenLane, name: str, input_name: str, started_after: int, chain: str) -> LaneIdentity:
        configuration = self._pipeline.configuration
        return LaneIdentity(
            name,
            input_name,
            self._pipeline.state_id,
            opened.document.target,
            started_after,
            chain,
            pipeline=configuration.state.name,
            shard=configuration.engine.shard,
        )

    def _receiver_of(self, opened: OpenLane, lane: str) -> Receiver | TransactionalReceiver:
        """The receiver of a lane of the sink: of the main one, or of the one for retried records."""
        if opened.name in self._receivers:
            return self._receivers[opened.name].share()
        if lane not in self._transactional:
            made = _receiver(opened, self._pipeline.configuration, self._environment)
            assert isinstance(made, TransactionalReceiver), "a sink's receivers are alike"
            self._transactional[lane] = made
        return self._transactional[lane]

    def _parts(self, opened: OpenLane, identity: LaneIdentity, orders: Orders) -> LaneParts:
        now = asyncio.get_running_loop().time
        environment = self._environment
        name, service = _service_of(opened.name, opened.options, self._pipeline.configuration)
        return LaneParts(
            identity=identity,
            options=opened.options,
            retries_max=service.retries_max,
            receiver=self._receiver_of(opened, identity.name),
            service=self._service(name, service),
            reader=partial(_reader, environment.fs),
            progress=Progress(environment.fs, self._directory, identity),
            chain_after=chain_after_record,
            times=LaneTimes(now, environment.clock.wall_ns),
            backoff=Backoff(random.random),
            telemetry=self._relay,
            orders=orders,
            offload=_offload,
            saved=self._saved,
            tried=self._tries.note,
            enrichers=self._enrichers(opened),
            # A full outbox pauses the sources or detaches the lane, so more records for a full object would not come. All series
            # share its limit.
            held_bytes_max=self._pipeline.configuration.outbox.bytes_max // (2 * len(self._pipeline.series)),
        )

    def _service(self, name: str, options: ServiceOptions) -> Service:
        """The service of this name, which all lanes and enrichers share."""
        if name not in self._services:
            self._services[name] = Service(self._gates.of(name, options), asyncio.get_running_loop().time)
        return self._services[name]

    def _enrichers(self, opened: OpenLane) -> tuple[EnricherParts, ...]:
        """The enrichers of a lane, in their order."""
        configuration, found = self._pipeline.configuration, []
        for name in opened.options.enrich:
            options = configuration.enrichers[name]
            service = configuration.services[options.service]
            enricher = CONNECTORS[options.type].enricher(options, ReceiverContext(name, self._environment, service))
            shared = self._service(options.service, service)
            found.append(EnricherParts(name, options, service.retries_max, enricher, shared))
        return tuple(found)

    def _saved(self) -> None:
        if self._delivery is not None:
            self._delivery.note()

    def _passed(self, keeping: Keeping, input_name: str, places: Mapping[str, LanePlace]) -> None:
        """Tells the outbox what waits, and what need not be kept. It asks for a commit itself if that frees a file."""
        series = self._pipeline.series[input_name]
        waiting: dict[str, tuple[int, SeriesView]] = {}
        through, held = series.view.sequence, []
        for name, place in places.items():
            released = place.released
            assert isinstance(released, SeriesView), "lanes of a pipeline follow its series"
            waiting[name] = (place.pending_bytes, released)
            if released.total is None:
                through = min(through, place.sequence)
            else:
                # A lane that is detached needs what was for it, however far the others are.
                held.append((keeping.passed(f"{input_name} {name}", place.sequence), released.sequence))
        series.note_waiting(waiting)
        if spare := keeping.passed(input_name, through):
            series.drop_before(spare, held)

    def _publish(self, reports: Sequence[LaneReport], outbox: OutboxReport) -> None:
        """Publishes the figures for `status`. They are never relied on, so a failure is no failure of delivery.

        The last call is after all lanes have ended.
        """
        assert self._delivery is not None, "it publishes"
        self._last, self._last_snapshots = reports, self._delivery.snapshot_reports()
        self._tries.flush()
        published = PublishedLanes(self._owner, tuple(reports), outbox, tuple(self._last_snapshots))
        content = msgspec.json.format(msgspec.json.encode(published), indent=2)
        with suppress(EventProcessorError, OSError):
            publish_file(self._environment.fs, os.path.join(self._directory, FIGURES_NAME), content + b"\n")


def _lane(parts: LaneParts, released: SeriesView) -> Lane:
    kind = TransactionalLane if isinstance(parts.receiver, TransactionalReceiver) else Lane
    return kind(parts, released)


def _reader(fs: FileSystem, released: Released, after: int) -> OutboxReader:
    assert isinstance(released, SeriesView), "lanes of a pipeline follow its series"
    return OutboxReader(fs, released, after)


async def _offload(job: Callable[[], None]) -> None:
    """Runs a job that waits for the disk, in another thread."""
    await asyncio.get_running_loop().run_in_executor(None, job)


def _service_of(sink: str, options: RemoteSinkOptions, configuration: Configuration) -> tuple[str, ServiceOptions]:
    """The name and the options of a sink's service. A sink without one has its own, with the defaults."""
    services: Mapping[str, ServiceOptions] = configuration.services
    name = options.service
    return (name, services[name]) if name else (f"sinks.{sink}", ServiceOptions())


def _receiver(opened: OpenLane, configuration: Configuration, environment: Environment) -> Receiver | TransactionalReceiver:
    context = receiver_context(configuration, environment, opened.name)
    return CONNECTORS[opened.options.type].receiver(opened.options, context)
