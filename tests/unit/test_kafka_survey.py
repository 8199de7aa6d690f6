"""What an answer of the brokers means: the topic, why there is none, and answers that are none."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from event_processor.connectors.kafka.survey import Bounds, Surveyor, Topic, Trouble


def done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def failed(code: int) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(KafkaException(KafkaError(code)))
    return future


class Admin:
    """A client of a test: a topic of some partitions, whose begin and end it is told."""

    def __init__(self, bounds: dict[int, tuple[int, int]], *, leaderless: tuple[int, ...] = (), error: int = 0) -> None:
        self.bounds = bounds
        self.leaderless = leaderless
        self.error = error
        self.calls = 0

    def describe_topics(self, _topics: Any, **_: Any) -> dict[str, Future[Any]]:
        partitions = [SimpleNamespace(id=each, leader=None if each in self.leaderless else object()) for each in self.bounds]
        return {"t": failed(self.error) if self.error else done(SimpleNamespace(topic_id="one", partitions=partitions))}

    def list_offsets(self, asked: Any, **_: Any) -> dict[Any, Future[Any]]:
        self.calls += 1
        at_end = self.calls % 2 == 0
        return {each: done(SimpleNamespace(offset=self.bounds[each.partition][at_end])) for each in asked}


def answer(admin: Admin) -> Topic | Trouble:
    surveyor = Surveyor(admin, "t", lambda: 7.0)  # type: ignore[arg-type]  # what is used of one
    surveyor.ask()
    for _ in range(3):
        if (found := surveyor.answer()) is not None:
            assert not surveyor.is_asking
            return found
    raise AssertionError("no answer")


def test_a_topic_has_its_id_all_partitions_and_the_bounds_of_those_with_a_leader() -> None:
    found = answer(Admin({1: (3, 9), 0: (0, 5), 2: (0, 1)}, leaderless=(2,)))
    assert found == Topic("one", (0, 1, 2), {0: Bounds(0, 5), 1: Bounds(3, 9)}, 7.0)


@pytest.mark.parametrize("bounds", [(-1001, -1001), (0, -1001), (-1001, 4), (5, 4)])
def test_an_answer_without_offsets_is_no_answer(bounds: tuple[int, int]) -> None:
    """The library gives -1001, and no error, if the connection breaks while it asks."""
    assert answer(Admin({0: bounds})) == Trouble("no leader of a partition of the topic has answered")
    assert answer(Admin({0: bounds, 1: (0, 2)})) == Topic("one", (0, 1), {1: Bounds(0, 2)}, 7.0)


@pytest.mark.parametrize(("code", "is_missing", "is_refused"), [(3, True, False), (29, False, True)])
def test_a_topic_that_is_missing_or_refused_says_what_to_do(code: int, is_missing: bool, is_refused: bool) -> None:
    found = answer(Admin({0: (0, 1)}, error=code))
    assert isinstance(found, Trouble)
    assert (found.is_missing, found.is_refused) == (is_missing, is_refused)
    assert ("create the topic" in found.remedy("sources.live")) == is_missing
    assert ("this user" in found.remedy("sources.live")) == is_refused
