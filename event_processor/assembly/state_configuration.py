"""Whether a configuration may continue a state.

Owns: the comparison with the configuration that made the state, and the words of a refusal.
Always: a refusal names every changed key. An upgrade alone refuses no state.
Never: changes a state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from event_processor.configuration.configuration import Configuration
from event_processor.configuration.parts import PartChange, changed_parts, config_hash, config_parts
from event_processor.engine.checkpoint_document import MERGED, Checkpoint
from event_processor.model.errors import ConfigurationError
from event_processor.model.event import Json

__all__ = ["OtherConfigurationError", "check_config"]


class OtherConfigurationError(ConfigurationError):
    """The state was made by another configuration. `changes`: the keys that differ; empty if they are not recorded."""

    def __init__(self, message: str, *, hint: str, changes: Sequence[PartChange]) -> None:
        super().__init__(message, hint=hint)
        self.changes: Final = tuple(changes)


def check_config(configuration: Configuration, checkpoint: Checkpoint) -> Configuration:
    """The configuration that continues the state.

    Raises `OtherConfigurationError`, with the changed keys, if the state was made by another configuration; `ConfigurationError` if it
    is merged.
    """
    recorded = checkpoint.meta.get("config")
    known = recorded if isinstance(recorded, dict) else {}
    if _keeps_id_order(configuration, checkpoint, known):
        configuration = configuration.ordered_by("id")
    parts = config_parts(configuration)
    if config_hash(parts) == checkpoint.state.config_hash:
        return configuration
    changes = changed_parts(known, parts) if known else []
    names = "; ".join(str(change) for change in changes) or "the changed keys are not recorded"
    if MERGED in checkpoint.meta:
        raise ConfigurationError(
            f"{configuration.state.dir}: this state is merged from shards: it can be read, not resumed",
            hint="run, verify or explain the states of the shards; or name another state with --state",
        )
    raise OtherConfigurationError(
        f"{configuration.state.dir}: the state was made by another configuration: {names}",
        hint="undo the change; or rebuild the state from the log: event-processor replay; or start another state with --state",
        changes=changes,
    )


def _keeps_id_order(configuration: Configuration, checkpoint: Checkpoint, recorded: Mapping[str, Json]) -> bool:
    """Whether the state was made when windows did not imply an order, and no file sets one.

    Then the order by id was in effect, and the state continues with it: another order would change the meaning of its rows, and
    an upgrade alone must not refuse a state.
    """
    if not configuration.order_is_implied:
        return False
    by_id = config_hash(config_parts(configuration.ordered_by("id")))
    return recorded.get("order.by") == "id" or by_id == checkpoint.state.config_hash
