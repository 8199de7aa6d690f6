"""What a person is told about the way to the brokers: once when it is broken, once when it works again.

Owns: the condition of one source, and how long it has been troubled.
Always: a trouble begins with the first failure that the library cannot repair at once, and ends with an answer of a broker.
Never: stops a source, except one that must not wait without end (`run --once`).
"""

from __future__ import annotations

from typing import Final

from event_processor.connectors.kafka.client import KafkaError, is_refusal, words_of
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.connectors.kafka.survey import Trouble
from event_processor.model.connector import SourceContext
from event_processor.model.errors import NotAnsweredError

__all__ = ["Reports"]

ONCE_S_MAX: Final = 60.0
"""`run --once` waits so long for brokers that are away, or for a topic that is missing."""
_ALL_DOWN: Final = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - the library names its own errors so


class Reports:
    """Used by the thread of its source. `client_failed` is also the callback of the library, which calls it in the same thread."""

    def __init__(self, options: KafkaSourceOptions, context: SourceContext) -> None:
        self._options: Final = options
        self._context: Final = context
        self._where: Final = f"sources.{context.name}"
        self._reported = ""
        self._since_s = context.world.clock.monotonic_s()
        self._last_words = ""
        self._last_refused = False
        self._has_answered = False

    @property
    def is_troubled(self) -> bool:
        """Whether a trouble is reported and not over."""
        return bool(self._reported)

    def troubled(self, trouble: Trouble) -> None:
        """Reports why there is no answer. The same words are reported once."""
        words = trouble.words
        if not (trouble.is_missing or trouble.is_refused):
            # A user who is refused at the connection looks to a question like a broker that is away.
            trouble = Trouble(trouble.words, is_refused=self._last_refused)
            words = f"no broker of {self._options.brokers} answers: {self._last_words or words}"
        self._report(words, trouble.remedy(self._where))

    def client_failed(self, error: KafkaError) -> None:
        """The library reports a failure. Most end by themselves. An error is kept if no broker answers, or if we are refused."""
        if error.code() != _ALL_DOWN:
            self._last_words, self._last_refused = words_of(error), is_refusal(error)
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED and self._options.mode == "assigned":
            return  # the library asks about a group that is not used
        if error.code() == _ALL_DOWN or is_refusal(error):
            self.troubled(Trouble(self._last_words or words_of(error)))

    def answered(self) -> None:
        """A broker has answered: the trouble is over."""
        if self._reported:
            self._context.world.telemetry.file_readable(source=self._context.name, path=self._options.topic)
        self._reported, self._last_words, self._last_refused, self._has_answered = "", "", False, True

    def give_up_if_once(self) -> None:
        """Raises `NotAnsweredError` if this process must end at the end of the input, and has not reached a broker for too long."""
        now_s = self._context.world.clock.monotonic_s()
        if self._has_answered and not self._reported:
            self._since_s = now_s
        if self._context.once and now_s - self._since_s > ONCE_S_MAX:
            raise NotAnsweredError(
                f"source {self._context.name!r}: topic {self._options.topic}: {self._reported or 'no broker answers'}, for {ONCE_S_MAX:g} s",
                hint=f"{Trouble('').remedy(self._where)}; a daemon (run without --once) waits",
            )

    def _report(self, words: str, remedy: str) -> None:
        if self._reported != words:
            self._reported = words
            self._context.world.telemetry.source_unreachable(
                source=self._context.name, path=self._options.topic, reason=words, remedy=remedy
            )
