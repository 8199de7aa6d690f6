"""The contract of a publisher: records that are sent to a topic as they come, outside of any pipeline.

Owns: `Publisher`, and `PublisherContext`.
Always: a record counts as acknowledged only if the receiver has it durably, as far as its own settings say.
Never: keeps a position: what is published again is there twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from event_processor.model.world import World

__all__ = ["Publisher", "PublisherContext"]


@dataclass(frozen=True, slots=True)
class PublisherContext:
    """What a new publisher is for. `topic`: where to send. `address`: of the receivers, in place of a configured one; empty without.

    `key`: the field whose value becomes a record's key; empty without.
    """

    world: World
    topic: str
    address: str = ""
    key: str = ""
    environment: Mapping[str, str] | None = None
    """The environment variables, for secrets; None: the process's own."""


class Publisher(Protocol):
    """Sends records to one topic. Used by one thread.

    Every method but `close` may raise `ConfigurationError` (the receiver refuses us), and `NotAnsweredError` (records were not answered in time).
    """

    def publish(self, record: bytes) -> None:
        """Takes a record. Waits while too many wait for an answer. A record that is refused is counted, and no error."""
        ...

    def wait(self, timeout_s: float) -> None:
        """Takes answers for at most so long, and less if nothing waits for one."""
        ...

    @property
    def pending(self) -> int:
        """The records that were taken and not answered."""
        ...

    @property
    def acknowledged(self) -> int:
        """The records that the receiver has."""
        ...

    @property
    def refused(self) -> int:
        """The records that the receiver refused for good."""
        ...

    @property
    def refusal(self) -> str:
        """The words of the first refusal; empty without one."""
        ...

    @property
    def without_key(self) -> int:
        """The records that have no such field, and so no key."""
        ...

    def close(self) -> None:
        """Gives up what was not answered."""
        ...
