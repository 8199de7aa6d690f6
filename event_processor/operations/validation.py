"""What a configuration without faults means for the state that is already there.

Owns: the comparison with the present state.
Always: reading needs no lock, and works while a daemon runs.
Never: changes a state.
"""

from __future__ import annotations

from dataclasses import dataclass

from event_processor.assembly import Environment, check_config
from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import ConfigurationError, EventProcessorError
from event_processor.operations.state_access import peek

__all__ = ["PresentState", "compare_with_state"]


@dataclass(frozen=True, slots=True)
class PresentState:
    """How the configuration fits the present state. `refusal`: why `run` would refuse it; None if it would continue.

    `unreadable`: why the state could not be compared; empty if it was, or if there is none.
    """

    refusal: ConfigurationError | None = None
    unreadable: str = ""


def compare_with_state(configuration: Configuration, environment: Environment) -> PresentState:
    """Compares the configuration with the one that made the state, if there is a state. Raises nothing."""
    try:
        checkpoint = peek(configuration, environment)
        if checkpoint is not None:
            check_config(configuration, checkpoint)
    except ConfigurationError as error:
        return PresentState(refusal=error)
    except EventProcessorError as error:
        return PresentState(unreadable=error.message)
    return PresentState()
