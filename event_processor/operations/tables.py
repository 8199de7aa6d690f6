"""The tables of sinks in databases: what must be changed, and doing it.

Owns: which sinks are looked at.
Always: a sink's changes are done as a whole, or not at all. Nothing is done if there is a conflict.
Never: knows a technology (connectors do).
"""

from __future__ import annotations

from collections.abc import Iterator

from event_processor.assembly import Environment, table_changes
from event_processor.configuration.configuration import Configuration
from event_processor.model.connector import TableChanges
from event_processor.model.errors import UsageError

__all__ = ["tables_of_sinks"]


def tables_of_sinks(
    configuration: Configuration, environment: Environment, name: str, *, is_done: bool
) -> Iterator[tuple[str, TableChanges]]:
    """Yields each sink with tables, and what must be changed there; with `is_done`, it was done, if it had no conflict.

    `name`: of one sink; empty for all. Raises `UsageError` if that sink has no tables, and as `Connector.table_changes` does.
    """
    if name and name not in configuration.sinks:
        known = ", ".join(configuration.sinks) or "none"
        raise UsageError(f"{name}: not a sink", hint=f"the sinks are: {known}")
    for each in [name] if name else configuration.sinks:
        changes = table_changes(configuration, environment, each, is_done=is_done)
        if changes is not None:
            yield each, changes
        elif name:
            raise UsageError(f"{name}: this sink has no tables", hint='only sinks of type = "sql" do')
