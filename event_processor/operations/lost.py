"""What is lost: the losses of a state, and their acknowledgement by a person.

Owns: how an acknowledgement reaches the state: through the process that owns it, or by a commit of our own.
Always: only what the caller has seen is acknowledged. A loss that is found meanwhile stays.
Never: acknowledges by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.journal import LossesAcknowledged
from event_processor.engine.losses import Losses, LossRequest, LossRequests, key
from event_processor.model.clock import SystemWakeup
from event_processor.model.errors import LockedError, NotAnsweredError
from event_processor.model.losses import Loss
from event_processor.operations.state_access import owned_state, require_checkpoint

__all__ = ["RecordedLosses", "acknowledge_losses", "recorded_losses"]

ANSWER_S_MAX: Final = 60.0
"""How long we wait for the owner of the state. Its loop looks at least once a second, except while it opens a state."""
LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class RecordedLosses:
    """The losses of one checkpoint that were not acknowledged. `lost_at`: when each was recorded, by the wall clock."""

    losses: Losses
    lost_at: Mapping[str, str]

    def time_of(self, loss: Loss) -> str | None:
        """When the loss was recorded, RFC 3339; None if unknown."""
        return self.lost_at.get(key(loss))


def recorded_losses(configuration: Configuration, environment: Environment) -> RecordedLosses:
    """The losses of the committed state. Raises `InputGoneError` if there is no state, `StateError`, `StorageError`."""
    checkpoint = require_checkpoint(configuration, environment)
    recorded = checkpoint.meta.get("lost_at")
    lost_at = {name: str(time) for name, time in recorded.items()} if isinstance(recorded, dict) else {}
    return RecordedLosses(checkpoint.state.lost, lost_at)


def acknowledge_losses(configuration: Configuration, environment: Environment, seen: Losses) -> None:
    """Acknowledges what the caller has `seen`. A running owner of the state does it; without one, this process commits it.

    Raises `NotAnsweredError` if the owner did not answer in time: the request stays and is carried out later. Raises as
    `open_pipeline` does.
    """
    if not seen.count:
        return
    try:
        with owned_state(configuration, environment):
            from event_processor.assembly import Mode, open_pipeline  # noqa: PLC0415 - to list losses needs no pipeline

            processor = open_pipeline(configuration, environment, Mode(once=True), reading=False).processor
            try:
                processor.acknowledge(LossesAcknowledged(seen.entries, seen.unlisted))
            finally:
                processor.close()
    except LockedError as error:
        _ask_the_owner(configuration, environment, seen, error)


def _ask_the_owner(configuration: Configuration, environment: Environment, seen: Losses, held: LockedError) -> None:
    requests = LossRequests(environment.fs, str(configuration.state.dir))
    requests.write(LossRequest(seen.entries, seen.unlisted), environment.new_token())
    clock, wakeup = environment.clock, SystemWakeup()
    deadline_s = clock.monotonic_s() + ANSWER_S_MAX
    while requests.pending() is not None:
        if clock.monotonic_s() >= deadline_s:
            raise NotAnsweredError(
                f"{held.message}; it has not acknowledged the losses within {ANSWER_S_MAX:g} s",
                hint="the request stays in the state directory; a daemon carries it out when it makes its next round",
            )
        clock.wait(wakeup, LOOK_S)
