"""What a lane works with.

Owns: `LaneParts`.
Always: everything from outside of a lane comes through it, so that a test can run a lane in virtual time.
Never: makes a part (`assembly/delivery.py` does).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from event_processor.engine.delivery.orders import Orders
from event_processor.engine.delivery.progress import LaneIdentity, Progress
from event_processor.engine.delivery.service import Service
from event_processor.engine.delivery.stage import LaneTimes
from event_processor.engine.delivery.tries import Try
from event_processor.engine.delivery.window import OutboxReading, Released
from event_processor.model.backoff import Backoff
from event_processor.model.delivery import OutboxRecord, Receiver
from event_processor.model.enriching import Enricher, EnricherOptions
from event_processor.model.remote import RemoteSinkOptions
from event_processor.model.telemetry import Telemetry
from event_processor.model.transactions import TransactionalReceiver

__all__ = ["EnricherParts", "LaneParts", "LanePlace", "LaneTimes"]


@dataclass(frozen=True, slots=True)
class EnricherParts:
    """One enricher of a lane: its name, its options, what asks its service, and that service."""

    name: str
    options: EnricherOptions
    retries_max: int
    enricher: Enricher
    service: Service


@dataclass(frozen=True, slots=True)
class LaneParts:
    """What a lane works with.

    `reader` makes a reader of what was released, after a sequence. `offload` runs a function that blocks, in another thread or at
    once. `saved` is called when the cursor has moved on disk, `tried` for each request that was answered. `held_bytes_max`: so many bytes
    of records never wait for a full request, whatever the options say; None: as the options say.
    """

    identity: LaneIdentity
    options: RemoteSinkOptions
    retries_max: int
    receiver: Receiver | TransactionalReceiver
    service: Service
    reader: Callable[[Released, int], OutboxReading]
    progress: Progress
    chain_after: Callable[[str, OutboxRecord], str]
    times: LaneTimes
    backoff: Backoff
    telemetry: Telemetry
    orders: Orders
    offload: Callable[[Callable[[], None]], Awaitable[None]]
    saved: Callable[[], None]
    tried: Callable[[Try], None]
    enrichers: tuple[EnricherParts, ...] = ()
    held_bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class LanePlace:
    """How far a lane is: up to `sequence` it needs no record again. `pending_bytes` of what was `released` wait."""

    sequence: int
    pending_bytes: int
    released: Released
