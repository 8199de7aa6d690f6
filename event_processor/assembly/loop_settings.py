"""What the loop and its step are told, from the configuration.

Owns: which keys and which mode decide how the loop reads, waits, commits and ends.
Always: a pure function of the configuration and the mode.
Never: opens anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from event_processor.assembly.modes import Mode
from event_processor.columns.timestamps import TimestampReader
from event_processor.configuration.configuration import Configuration
from event_processor.deduplication.shards import Shard
from event_processor.engine.loop_options import LoopOptions
from event_processor.engine.outbox import Outbox
from event_processor.engine.step import StepOptions
from event_processor.model.options import SourceOptions

__all__ = ["loop_options", "step_options"]


def step_options(configuration: Configuration) -> StepOptions:
    """The options of the pure step."""
    return StepOptions(
        categories_max=configuration.totals.categories_max,
        order_by_timestamp=configuration.order.by == "timestamp",
        timestamps=TimestampReader(configuration.event.timestamp_zone, configuration.event.timestamp_formats),
        shard=Shard.of(configuration.engine.shard),
    )


def loop_options(configuration: Configuration, sources: Mapping[str, SourceOptions], mode: Mode, outbox: Outbox) -> LoopOptions:
    """The options of the loop. `sources`: all of them, with the intake."""
    return LoopOptions(
        batch_bytes_max=configuration.batch.bytes_max,
        pace_s=configuration.batch.pace_s,
        poll_interval_s=min(options.poll_interval_ms for options in sources.values()) / 1000,
        idle_release_s=configuration.order.idle_release_ms / 1000,
        once=mode.once,
        drain=mode.drain,
        ends_if_late=bool(mode.puts_in_order),
        may_read=outbox.has_room,
    )
