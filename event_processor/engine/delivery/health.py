"""How a lane is, in the words that an operator sees.

Owns: whether a lane is stopped, in outage or failed, since when and why, and the reports of each change.
Always: a change is reported once. So is the first moment at which nothing holds the lane up: until then, an earlier process knew more.
Never: decides what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from event_processor.model.errors import EventProcessorError
from event_processor.model.telemetry import Telemetry

if TYPE_CHECKING:
    from event_processor.model.answers import Answer

__all__ = ["PAUSED_WORDS", "PROBE_S", "Described", "Health", "attach_words", "detached_words", "remedy_of", "resume_words"]

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
    """The health of one lane. A stop and an outage belong to one of its stages. Used by one thread."""

    def __init__(self, name: str, telemetry: Telemetry) -> None:
        self._name: Final = name
        self._telemetry: Final = telemetry
        self._stopped: Final[dict[str, _Stopped]] = {}
        self._in_outage: Final[set[str]] = set()
        self._is_sending = False
        self.is_paused = False
        self.detached_after: int | None = None
        """The last record that is for the lane; None if all are."""
        self.failure: EventProcessorError | None = None
        self.last_words = ""
        """The words of the last *wait*."""

    def is_stopped(self, stage: str) -> bool:
        """Whether only probes are sent by this stage."""
        return stage in self._stopped

    def is_schema(self, stage: str) -> bool:
        """Whether it is stopped because the receiver refuses nearly every record."""
        return stage in self._stopped and self._stopped[stage].is_schema

    def next_probe_s(self, stage: str) -> float:
        """When a stopped stage may probe."""
        return self._stopped[stage].next_probe_s if stage in self._stopped else 0.0

    def stop(self, stage: str, words: str, remedy: str, now_s: float, *, is_schema: bool = False) -> None:
        """No request can succeed until an operator changes something."""
        if stage not in self._stopped or self._stopped[stage].words != words:
            self._telemetry.lane_stopped(sink=self._name, reason=words, remedy=remedy)
        self._stopped[stage] = _Stopped(words, remedy, now_s + PROBE_S, is_schema)

    def check(self, *, is_sending: bool) -> None:
        """The lane knows whether it is paused. `is_sending`: it delivered a record, or none waits."""
        if not self._is_sending:
            self._is_sending = is_sending
            self._telemetry.lane_checked(sink=self._name, is_sending=is_sending)

    def pause(self, is_paused: bool) -> None:
        """An operator paused the sink, or ended the pause."""
        if is_paused == self.is_paused:
            return
        self.is_paused = is_paused
        if is_paused:
            self._telemetry.lane_paused(sink=self._name, remedy=resume_words(self._name))
        else:
            self._telemetry.lane_resumed(sink=self._name)

    def detach(self, after: int) -> None:
        """The outbox was full: the records after `after` are not for this lane."""
        if self.detached_after is None:
            self.detached_after = after
            self._telemetry.lane_detached(sink=self._name, sequence=after + 1, remedy=attach_words(self._name))

    def go_on(self, stage: str) -> None:
        """A probe of a stopped stage got another answer."""
        del self._stopped[stage]
        self._tell_flowing()

    def note_outage(self, stage: str, is_in_outage: bool) -> bool:
        """The service of a stage is in outage or not. Returns whether an outage ended."""
        if is_in_outage == (stage in self._in_outage):
            return False
        if is_in_outage:
            self._in_outage.add(stage)
            self._telemetry.lane_waiting(sink=self._name, reason=self.last_words)
        else:
            self._in_outage.remove(stage)
            self._tell_flowing()
        return not is_in_outage

    def _tell_flowing(self) -> None:
        """Tells that the lane sends again, if nothing else holds it up."""
        if not self._stopped and not self._in_outage:
            self._telemetry.lane_flowing(sink=self._name)

    def fail(self, error: EventProcessorError) -> None:
        """The lane cannot go on in this process."""
        self.failure = error
        self._telemetry.lane_failed(sink=self._name, reason=error.message, remedy=error.hint, exit_code=int(error.exit_code))

    def described(self, *, is_pending: bool) -> Described:
        """The lane at this moment."""
        if self.failure is not None:
            return Described("failed", self.failure.message, self.failure.hint)
        if self.detached_after is not None:
            present = self._present(is_pending=is_pending)
            words, remedy = detached_words(self.detached_after), attach_words(self._name)
            return Described(
                "detached", "; ".join(filter(None, (words, present.words))), "; ".join(filter(None, (present.remedy, remedy)))
            )
        return self._present(is_pending=is_pending)

    def _present(self, *, is_pending: bool) -> Described:
        """How it is with the records that are for the lane."""
        if self.is_paused:
            return Described("paused", PAUSED_WORDS, resume_words(self._name))
        if self._stopped:
            stopped = next(iter(self._stopped.values()))
            return Described("stopped", stopped.words, stopped.remedy)
        if self._in_outage:
            return Described("waiting", self.last_words)
        return Described("sending" if is_pending else "idle")


def detached_words(after: int) -> str:
    """Why a lane is detached."""
    return f"the outbox was full: records from {after + 1} on are skipped"


def attach_words(name: str) -> str:
    """How a lane is attached again."""
    return f"stop the daemon, then let it read them from the log: event-processor sinks attach {name}"


def resume_words(name: str) -> str:
    """How a pause is ended."""
    return f"event-processor sinks resume {name.partition('.')[0]}"


def remedy_of(answer: Answer) -> str:
    """What an operator can do about a *stop*."""
    if answer.status in ("401", "403"):
        return "correct the token; its file is read again at each probe, once a minute"
    if not answer.status:
        return "repair what the words name; it is looked at again once a minute, or at once with: event-processor reload"
    return "correct the sink's address or path, or the receiver; one record is tried once a minute"
