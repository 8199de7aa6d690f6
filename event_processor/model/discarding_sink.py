"""A sink that writes nothing.

Owns: `DiscardingSink`.
Always: it answers as a sink without files does.
Never: keeps what it is handed.
"""

from __future__ import annotations

from collections.abc import Mapping

from event_processor.model.contracts import Released

__all__ = ["DiscardingSink"]


class DiscardingSink:
    """Writes nothing. Replaces a sink without files while a state is recomputed."""

    def __init__(self, name: str, input_name: str) -> None:
        self.name = name
        self.input = input_name

    @property
    def has_open_part(self) -> bool:
        return False

    def write(self, released: Released) -> None:
        """Does nothing: the events were written when they were committed."""

    def finish(self) -> None:
        """Does nothing."""

    def sync(self) -> None:
        """Does nothing."""

    def appended(self) -> Mapping[str, int]:
        return {}

    def publish(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""
