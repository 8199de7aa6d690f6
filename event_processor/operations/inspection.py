"""What is committed, as one value: counts, categories, aggregates, sources.

Owns: `Inspection`.
Always: read from the checkpoint alone, without a lock.
Never: reads the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from event_processor.aggregation.documents import AggregateDocument, CategoryTotal
from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.losses import Losses
from event_processor.engine.state import Counts, SourceState
from event_processor.operations.omissions import Omission, omissions
from event_processor.operations.state_access import require_checkpoint

__all__ = ["Inspection", "inspect_state", "inspection_of"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """One checkpoint.

    `categories`, `aggregates` and `sources` are sorted by name. `held_events` are in the order stage; `released` left it.
    `left_out` is what the results leave out. `lost`: input that cannot be read any more.
    """

    state_directory: str
    state_id: str
    config_hash: str
    written_at: str | None
    counts: Counts
    categories: Mapping[str, CategoryTotal]
    aggregates: Mapping[str, AggregateDocument]
    sources: Mapping[str, SourceState]
    held_events: int
    released: int
    left_out: Sequence[Omission]
    lost: Losses


def inspect_state(configuration: Configuration, environment: Environment, *, category: str | None = None) -> Inspection:
    """What is committed. If `category` is given, `categories` has only that one, or none if no event has it.

    Raises `InputGoneError` if there is no state, `StateError`, `StorageError`.
    """
    return inspection_of(require_checkpoint(configuration, environment), configuration, category=category)


def inspection_of(checkpoint: Checkpoint, configuration: Configuration, *, category: str | None = None) -> Inspection:
    """As `inspect_state`, of a checkpoint that was read already."""
    state = checkpoint.state
    written_at = checkpoint.meta.get("written_at")
    return Inspection(
        state_directory=str(configuration.state.dir),
        state_id=state.state_id,
        config_hash=state.config_hash,
        written_at=written_at if isinstance(written_at, str) else None,
        counts=state.counts,
        categories={name: total for name, total in sorted(state.categories.items()) if category in (None, name)},
        aggregates=dict(sorted(state.aggregates.items())),
        sources=dict(sorted(state.sources.items())),
        held_events=state.order.held,
        released=state.order.released,
        left_out=omissions(configuration, state.counts, state.categories, state.aggregates),
        lost=state.lost,
    )
