"""What the brokers say of a topic: its id, its partitions, and where the log of each begins and ends.

Owns: `Surveyor`, which asks without blocking, and `Topic`, the answer; `Trouble`, why there is none.
Always: at most one question is on its way. An answer is as of some moment after its question was asked.
Never: waits; decides what an answer means for a source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from event_processor.connectors.kafka.client import (
    AdminClient,
    IsolationLevel,
    KafkaError,
    KafkaException,
    OffsetSpec,
    TopicCollection,
    TopicPartition,
    error_of,
    is_refusal,
    made,
    words_of,
)
from event_processor.connectors.kafka.client_options import KafkaClientOptions, client_settings
from event_processor.model.clock import SystemWakeup
from event_processor.model.contracts import Clock
from event_processor.model.errors import NotAnsweredError
from event_processor.model.world import World

__all__ = ["Bounds", "Surveyor", "Topic", "Trouble", "look_now", "wait_for_answer"]

TIMEOUT_S: Final = 10.0
"""How long one question may take."""
LOOK_S: Final = 0.005
_MISSING: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class Bounds:
    """The log of a partition: its first offset, and the offset after the last record that may be read now (the last stable one)."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic at some moment after `asked_s`, monotonic.

    `id`: empty if the broker has none. `partitions`: all that exist. `bounds`: of those that have a leader, ascending; empty if only the
    id was asked for.
    """

    id: str
    partitions: tuple[int, ...]
    bounds: Mapping[int, Bounds]
    asked_s: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no answer. `is_missing`: the brokers answer, but there is no such topic. `is_refused`: they do not let us."""

    words: str
    is_missing: bool = False
    is_refused: bool = False

    def remedy(self, where: str) -> str:
        """What a person should do."""
        if self.is_missing:
            return f"create the topic, or correct {where}.topic"
        if self.is_refused:
            return (
                f"give this user the right to describe and read the topic, or correct {where}.user, its password or {where}.tls"
            )
        return f"start the brokers, or correct {where}.brokers; nothing is lost: reading goes on where it was"


@dataclass(slots=True)
class _Question:
    """One question, in two steps: first the topic, then the bounds of its partitions."""

    asked_s: float
    only_id: bool
    topic: Future[Any]
    begins: Mapping[TopicPartition, Future[Any]] = field(default_factory=dict)
    ends: Mapping[TopicPartition, Future[Any]] = field(default_factory=dict)


class Surveyor:
    """Asks about one topic. Used by one thread."""

    def __init__(self, admin: AdminClient, topic: str, now_s: Callable[[], float]) -> None:
        self._admin: Final = admin
        self._topic: Final = topic
        self._now_s: Final = now_s
        self._question: _Question | None = None

    @property
    def is_asking(self) -> bool:
        """Whether an answer is on its way."""
        return self._question is not None

    def ask(self, *, only_id: bool = False) -> None:
        """Asks, unless an answer is on its way. `only_id`: the answer has no bounds."""
        if self._question is None:
            asked_s = self._now_s()
            futures = self._admin.describe_topics(TopicCollection([self._topic]), request_timeout=TIMEOUT_S)
            self._question = _Question(asked_s, only_id, futures[self._topic])

    def answer(self) -> Topic | Trouble | None:
        """The answer; None if there is none yet. Each is given once."""
        question = self._question
        if question is None or not question.topic.done():
            return None
        try:
            if not question.begins and not question.only_id and not self._ask_for_bounds(question):
                return None
            if not all(each.done() for each in (*question.begins.values(), *question.ends.values())):
                return None
            self._question = None
            found = question.topic.result()
            partitions, bounds = tuple(sorted(each.id for each in found.partitions)), _bounds(question)
            if not bounds and not question.only_id:
                return Trouble("no leader of a partition of the topic has answered")
            return Topic(_id_of(found), partitions, bounds, question.asked_s)
        except KafkaException as exception:
            self._question = None
            error = error_of(exception)
            return Trouble(words_of(error), is_missing=error.code() in _MISSING, is_refused=is_refusal(error))

    def _ask_for_bounds(self, question: _Question) -> bool:
        """The second step. Returns whether there is nothing to ask."""
        found = question.topic.result()
        partitions = [TopicPartition(self._topic, each.id) for each in found.partitions if each.leader is not None]
        if not partitions:
            return True
        ask = {"isolation_level": IsolationLevel.READ_COMMITTED, "request_timeout": TIMEOUT_S}
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # they have no types
        question.begins = self._admin.list_offsets(dict.fromkeys(partitions, earliest), **ask)
        question.ends = self._admin.list_offsets(dict.fromkeys(partitions, latest), **ask)
        return False


def _id_of(description: Any) -> str:
    found = description.topic_id
    text = "" if found is None else str(found)
    # Brokers before 2.8 have no ids: then it is all zeros.
    return "" if set(text) <= {"A", "=", "0", "-"} else text


def _bounds(question: _Question) -> dict[int, Bounds]:
    """The bounds of the partitions whose leaders answered. Raises `KafkaException` if none did."""
    ends = {each.partition: future for each, future in question.ends.items()}
    found, failure = {}, None
    for each, future in question.begins.items():
        try:
            bounds = Bounds(int(future.result().offset), int(ends[each.partition].result().offset))
        except KafkaException as exception:
            failure = exception
            continue
        # If the connection breaks at the wrong moment, the library gives an answer without an error, and -1001 as the offset.
        if 0 <= bounds.begin <= bounds.end:
            found[each.partition] = bounds
    if failure is not None and not found:
        raise failure
    return dict(sorted(found.items()))


def wait_for_answer(surveyor: Surveyor, clock: Clock) -> Topic | Trouble:
    """Asks, and waits for the answer: the library gives one within `TIMEOUT_S` for each step."""
    wakeup = SystemWakeup()
    surveyor.ask()
    while (answer := surveyor.answer()) is None:
        clock.wait(wakeup, LOOK_S)
    return answer


def look_now(options: KafkaClientOptions, topic: str, world: World, where: str) -> Topic:
    """Asks, and waits for the answer, at most about `TIMEOUT_S`.

    `where`: the part of the configuration, such as "sources.live", for messages. Raises `NotAnsweredError` with the trouble, `ConfigurationError`.
    """
    admin = made(AdminClient, client_settings(options, world.fs), where)
    answer = wait_for_answer(Surveyor(admin, topic, world.clock.monotonic_s), world.clock)
    if isinstance(answer, Trouble):
        raise NotAnsweredError(f"{where}: topic {topic} at {options.brokers}: {answer.words}", hint=answer.remedy(where))
    return answer
