"""Moves a source to another place in its input, on request of a person.

Owns: the plan of a seek for the committed state, and its commit.
Always: one commit moves everything, and counts what is skipped as lost. The caller holds the lock.
Never: knows a technology (connectors do).
"""

from __future__ import annotations

from event_processor.assembly import CONNECTORS, Environment, Mode, open_pipeline
from event_processor.configuration.configuration import Configuration
from event_processor.engine.journal import LossFound
from event_processor.engine.state import SourceState
from event_processor.model.connector import SeekPlan, SeekRequest, SourceContext
from event_processor.model.errors import UsageError
from event_processor.model.event import Chunk
from event_processor.operations.state_access import require_checkpoint

__all__ = ["apply_seek", "plan_seek", "source_named"]


def source_named(configuration: Configuration, type_name: str, name: str) -> str:
    """The name of a source of this type. An empty `name` is the only one there is. Raises `UsageError`."""
    known = [each for each, options in configuration.sources.items() if options.type == type_name]
    if name in known:
        return name
    if not name and len(known) == 1:
        return known[0]
    listed = ", ".join(known) or "none"
    raise UsageError(
        f"{name}: not a source of type {type_name}" if name else f"which source of type {type_name}?",
        hint=f"name one with --source; there are: {listed}",
    )


def plan_seek(
    configuration: Configuration, environment: Environment, source: str, to: str, *, partition: int | None = None
) -> SeekPlan:
    """What a seek of this source would do to the committed state. Changes nothing.

    Raises `InputGoneError` if there is no state, and as `Connector.seek` does.
    """
    checkpoint = require_checkpoint(configuration, environment)
    progress = checkpoint.state.sources.get(source) or SourceState()
    options = configuration.sources[source]
    request = SeekRequest(progress.positions(), progress.next_generation(), to, partition)
    return CONNECTORS[options.type].seek(options, SourceContext(source, environment), request)


def apply_seek(configuration: Configuration, environment: Environment, plan: SeekPlan) -> None:
    """Commits a plan that was made under the same lock. Raises as `open_pipeline` does."""
    processor = open_pipeline(configuration, environment, Mode(once=True), reading=False).processor
    try:
        # If we die before its commit, nothing has moved; after it, everything has.
        processor.feed([each if isinstance(each, Chunk) else LossFound(each) for each in plan.script])
    finally:
        processor.close()
