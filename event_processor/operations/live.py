"""Everything that a live view shows, at one moment, from the files on disk alone.

Owns: `Live`, and `LiveReader`, which reads a checkpoint again only if it was replaced.
Always: works without the daemon's help, and while it runs.
Never: changes anything; knows how it is shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from event_processor.aggregation.categories.totals import CategoryTotal
from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CHECKPOINT_NAME
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.operations.bottleneck import SPAN_S, Bottleneck, bottleneck_of
from event_processor.operations.dead_letters import DeadLetterCount
from event_processor.operations.history import SECONDS, Column, history_of, read_past
from event_processor.operations.state_access import peek
from event_processor.operations.status import Status, StatusLimits, status_of
from event_processor.storage.durable import storage_call

__all__ = ["PAST_S", "Live", "LiveReader"]

PAST_S: Final = 300
"""The seconds of the past that are shown."""
NO_LIMITS: Final = StatusLimits()


@dataclass(frozen=True, slots=True)
class Live:
    """One moment.

    `past`: the columns of `operations/history.py`, a value for each of the last `PAST_S` seconds, from `begin_s` on (seconds since 1970); null
    where no daemon ran. `rates`: by category, its events a second since the moment before; empty at the first.
    """

    status: Status
    bottleneck: Bottleneck
    begin_s: int
    past: Mapping[str, Column]
    categories: Mapping[str, CategoryTotal] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def shortfalls(self) -> Sequence[str]:
        """As of `status`."""
        return self.status.shortfalls(NO_LIMITS)

    @property
    def rate_per_s(self) -> float | None:
        """Records in the last second that is over; None if no daemon ran."""
        return self.past["records"][-1]

    @property
    def minute_rate_per_s(self) -> float | None:
        """Records a second, in the last minute, of the seconds in which a daemon ran; None if there is none."""
        known = [each for each in self.past["records"][-SPAN_S:] if each is not None]
        return sum(known) / len(known) if known else None

    @property
    def lag_s(self) -> float | None:
        """How long the oldest byte that no commit covers was seen waiting; None if no daemon ran."""
        return self.past["lag_s"][-1]


class LiveReader:
    """Reads one state again and again. Used by one thread."""

    def __init__(self, configuration: Configuration, environment: Environment) -> None:
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._path: Final = os.path.join(str(configuration.state.dir), CHECKPOINT_NAME)
        self._letters: Final = DeadLetterCount(configuration, environment)
        self._checkpoint: Checkpoint | None = None
        self._identity: object = None
        self._counts: Mapping[str, int] = {}
        self._counted_s: float | None = None
        self._state_id = ""
        self._rates: Mapping[str, float] = {}

    def read(self) -> Live:
        """Looks once. Raises `StateError`, `StorageError`."""
        configuration, environment = self._configuration, self._environment
        checkpoint = self._read_checkpoint()
        status = status_of(checkpoint, configuration, environment, self._letters)
        past = read_past(configuration, environment, SECONDS)
        now_s = environment.clock.wall_ns() // 10**9
        found = history_of(past, now_s=now_s, span_s=PAST_S, points=PAST_S)
        bottleneck = bottleneck_of(past, status.lanes.lanes, now_s=now_s, outbox_is_full=status.lanes.is_full)
        categories = checkpoint.state.categories if checkpoint else {}
        rates = self._rated(categories, checkpoint.state.state_id if checkpoint else "")
        return Live(status, bottleneck, found.begin_s, found.columns, categories, rates)

    def _read_checkpoint(self) -> Checkpoint | None:
        with storage_call("stat", self._path):
            status = self._environment.fs.status(self._path)
        identity = (status.device, status.inode, status.size_bytes, status.modified_ns) if status else None
        if identity is None or identity != self._identity:
            # If it is replaced between the two looks, the next look sees another identity.
            self._checkpoint, self._identity = peek(self._configuration, self._environment), identity
        return self._checkpoint

    def _rated(self, categories: Mapping[str, CategoryTotal], state_id: str) -> Mapping[str, float]:
        """The events of each category a second, since the last look; empty at the first, and if the state is another one."""
        now_s, counts = self._environment.clock.monotonic_s(), {name: total.count for name, total in categories.items()}
        before, before_s = self._counts, self._counted_s
        is_same = before_s is not None and state_id == self._state_id
        self._counts, self._counted_s, self._state_id = counts, now_s, state_id
        if not is_same or before_s is None or now_s <= before_s:
            return {}
        return {name: max(0, count - before.get(name, 0)) / (now_s - before_s) for name, count in counts.items()}
