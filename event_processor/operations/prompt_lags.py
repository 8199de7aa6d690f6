"""How much of each source is unread, for callers that must not wait for other systems.

Owns: `PromptLags`: which sources are asked in a thread, how long a caller waits for the answer, and how old an answer may be.
Always: at most one question for each source is on its way. A caller waits at most `WAIT_S` for all of them together. If there is no answer that
is new enough, the lag is unknown, with words, and counts as unknown.
Never: asks sources in the background that only read files: they are asked by the caller, and their answers are of now.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from threading import Thread
from typing import Final

from event_processor.assembly import Environment, all_sources, lag_of_source, sources_that_ask
from event_processor.configuration.configuration import Configuration
from event_processor.engine.state import SourceState
from event_processor.model.connector import Lag

__all__ = ["PromptLags"]

WAIT_S: Final = 1.0
"""A caller waits so long after a question was asked."""
NEW_S: Final = 5.0
"""An answer is given again for so long, without another question."""
KEPT_S: Final = 30.0
"""While a question is on its way, the answer before it is given for so long."""


@dataclass(slots=True)
class _Question:
    """`asked_s`: monotonic. `answer`: raises what the source raised."""

    asked_s: float
    answer: Future[Lag]


class PromptLags:
    """The lags of one configuration. Used by one thread at a time."""

    def __init__(self, configuration: Configuration, environment: Environment) -> None:
        self._configuration: Final = configuration
        self._environment: Final = environment
        self._asked: Final = sources_that_ask(configuration)
        self._questions: Final[dict[str, _Question]] = {}
        self._answered: Final[dict[str, _Question]] = {}

    def of(self, sources: Mapping[str, SourceState], journal_bytes: int) -> dict[str, Lag]:
        """By source, the lag after the positions in `sources`, or one that was found a moment before. Raises `StateError`, `StorageError`."""
        for name in self._asked:
            self._ask(name, sources.get(name) or SourceState(), journal_bytes)
        waited_s = WAIT_S
        if self._questions:
            waited_s -= self._environment.clock.monotonic_s() - min(each.asked_s for each in self._questions.values())
        wait([each.answer for each in self._questions.values()], max(0.0, waited_s))
        found = {name: self._taken(name) for name in self._asked}
        for name in all_sources(self._configuration, str(self._configuration.state.dir)):
            if name not in found:
                progress = sources.get(name) or SourceState()
                found[name] = self._lag_of(name, progress, journal_bytes)
        return found

    def _ask(self, name: str, progress: SourceState, journal_bytes: int) -> None:
        """Begins a question, unless one is on its way or there is a new answer."""
        now_s = self._environment.clock.monotonic_s()
        before = self._answered.get(name)
        if name in self._questions or (before is not None and now_s - before.asked_s < NEW_S):
            return
        question = self._questions[name] = _Question(now_s, Future())

        def asked() -> None:
            try:
                question.answer.set_result(self._lag_of(name, progress, journal_bytes))
            except BaseException as error:  # noqa: BLE001 - raised where the answer is taken
                question.answer.set_exception(error)

        # It ends with the process, whatever it waits for then.
        Thread(target=asked, name=f"lag-{name}", daemon=True).start()

    def _lag_of(self, name: str, progress: SourceState, journal_bytes: int) -> Lag:
        return lag_of_source(self._configuration, self._environment, name, progress, journal_bytes=journal_bytes)

    def _taken(self, name: str) -> Lag:
        """The newest answer that there is."""
        question, now_s = self._questions.get(name), self._environment.clock.monotonic_s()
        if question is not None and question.answer.done():
            # Its age counts from its end: a broker that is away answers late, and is not asked again at once.
            self._answered[name] = _Question(now_s, question.answer)
            del self._questions[name]
        last = self._answered.get(name)
        if last is not None and now_s - last.asked_s < KEPT_S:
            return last.answer.result()
        return Lag(unknown=f"sources.{name}: no answer yet")
