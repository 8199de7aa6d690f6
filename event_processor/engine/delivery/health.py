"""How a lane is, in the words that an operator sees.

Owns: whether a lane is stopped, in outage or failed, since when and why, and the reports of each change.
Always: a change is reported once.
Never: decides what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from event_processor.model.answers import Answer
from event_processor.model.errors import EventProcessorError
from event_processor.model.telemetry import Telemetry

__all__ = ["PAUSED_WORDS", "PROBE_S", "Described", "Health", "remedy_of", "resume_words"]

PROBE_S: Final = 60.0
"""A stopped lane tries one record this often."""
PAUSED_WORDS: Final = "an operator paused it; its records wait"


@dataclass(frozen=True, slots=True)
class Described:
    """The state of a lane, why, and what to do."""

    state: str
    words: str = ""
    remedy: str = ""


@dataclass(slots=True)
class _Stopped:
    words: str
    remedy: str
    next_probe_s: float
    is_schema: bool


class Health:
    """The health of one lane. Used by one thread."""

    def __init__(self, name: str, telemetry: Telemetry) -> None:
        self._name: Final = name
        self._telemetry: Final = telemetry
        self._stopped: _Stopped | None = None
        self._is_in_outage = False
        self.is_paused = False
        self.failure: EventProcessorError | None = None
        self.last_words = ""
        """The words of the last *wait*."""

    @property
    def is_stopped(self) -> bool:
        """Whether only probes are sent."""
        return self._stopped is not None

    @property
    def is_schema(self) -> bool:
        """Whether it is stopped because the receiver refuses nearly every record."""
        return self._stopped is not None and self._stopped.is_schema

    @property
    def next_probe_s(self) -> float:
        """When a stopped lane may probe."""
        return self._stopped.next_probe_s if self._stopped is not None else 0.0

    def stop(self, words: str, remedy: str, now_s: float, *, is_schema: bool = False) -> None:
        """No request can succeed until an operator changes something."""
        if self._stopped is None or self._stopped.words != words:
            self._telemetry.lane_stopped(sink=self._name, reason=words, remedy=remedy)
        self._stopped = _Stopped(words, remedy, now_s + PROBE_S, is_schema)

    def pause(self, is_paused: bool) -> None:
        """An operator paused the sink, or ended the pause."""
        if is_paused == self.is_paused:
            return
        self.is_paused = is_paused
        if is_paused:
            self._telemetry.lane_paused(sink=self._name, remedy=resume_words(self._name))
        else:
            self._telemetry.lane_resumed(sink=self._name)

    def go_on(self) -> None:
        """A probe of a stopped lane got another answer."""
        self._stopped = None
        self._telemetry.lane_flowing(sink=self._name)

    def note_outage(self, is_in_outage: bool) -> bool:
        """The service is in outage or not. Returns whether an outage ended."""
        if is_in_outage == self._is_in_outage:
            return False
        self._is_in_outage = is_in_outage
        if is_in_outage:
            self._telemetry.lane_waiting(sink=self._name, reason=self.last_words)
        elif self._stopped is None:
            self._telemetry.lane_flowing(sink=self._name)
        return not is_in_outage

    def fail(self, error: EventProcessorError) -> None:
        """The lane cannot go on in this process."""
        self.failure = error
        self._telemetry.lane_failed(sink=self._name, reason=error.message, remedy=error.hint, exit_code=int(error.exit_code))

    def described(self, *, is_pending: bool) -> Described:
        """The lane at this moment."""
        if self.failure is not None:
            return Described("failed", self.failure.message, self.failure.hint)
        if self.is_paused:
            return Described("paused", PAUSED_WORDS, resume_words(self._name))
        if self._stopped is not None:
            return Described("stopped", self._stopped.words, self._stopped.remedy)
        if self._is_in_outage:
            return Described("waiting", self.last_words)
        return Described("sending" if is_pending else "idle")


def resume_words(name: str) -> str:
    """How a pause is ended."""
    return f"event-processor sinks resume {name.partition('.')[0]}"


def remedy_of(answer: Answer) -> str:
    """What an operator can do about a *stop*."""
    if answer.status in ("401", "403"):
        return "correct the token; its file is read again at each probe, once a minute"
    return "correct the sink's address or path, or the receiver; one record is tried once a minute"
