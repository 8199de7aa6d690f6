"""What each sink guarantees here: what its connector says, or less, if its receiver found out that the service cannot give it.

Owns: `lane_guarantees`, `weak_lanes`.
Always: what a receiver found out is in the file of its lane's cursor, so a command says it without a daemon. It counts only for the same target.
Never: asks a receiver.
"""

from __future__ import annotations

from event_processor.assembly.connectors import guarantees
from event_processor.assembly.outbox import lane_target, remote_sinks
from event_processor.configuration.configuration import Configuration
from event_processor.engine.delivery.cursor_file import read_cursor
from event_processor.model.connector import Guarantee
from event_processor.model.errors import StateError, StorageError
from event_processor.storage.durable import FileSystem

__all__ = ["lane_guarantees", "weak_lanes"]


def weak_lanes(configuration: Configuration, fs: FileSystem) -> dict[str, Guarantee]:
    """By sink, what it guarantees, if its receiver found out that this is less than its connector says."""
    found = {}
    for name, options in remote_sinks(configuration).items():
        try:
            cursor = read_cursor(fs, str(configuration.state.dir), name)
        except (StateError, StorageError):
            continue  # the lane itself says so
        if cursor is not None and cursor.weakness and dict(cursor.target) == lane_target(options):
            found[name] = Guarantee("at least once", cursor.weakness)
    return found


def lane_guarantees(configuration: Configuration, fs: FileSystem) -> dict[str, Guarantee]:
    """By sink, what it guarantees. Raises `ConfigurationError` if a connector of another package cannot be loaded."""
    return guarantees(configuration) | weak_lanes(configuration, fs)
