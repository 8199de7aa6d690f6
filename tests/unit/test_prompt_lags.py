"""The lags of sources for callers that must not wait: one question at a time, an answer that is new enough, else unknown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from event_processor import load
from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.state import SourceState
from event_processor.model.connector import Lag
from event_processor.model.errors import StateError
from event_processor.operations import prompt_lags
from event_processor.operations.prompt_lags import KEPT_S, NEW_S, PromptLags
from support.engine import FakeClock
from support.processes import wait_until


@dataclass
class Broker:
    """Answers `lag` as soon as `may_answer` is set. `asked`: how often the lag of each source was asked for."""

    lag: Callable[[], Lag] = lambda: Lag(700, 7)
    asked: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def lag_of_source(self, _: Configuration, __: Environment, name: str, ___: SourceState, *, journal_bytes: int) -> Lag:
        self.asked.append(name)
        if name != "topic":
            return Lag(5)
        assert self.may_answer.wait(60)
        return self.lag()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(prompt_lags, "lag_of_source", broker.lag_of_source)
    monkeypatch.setattr(prompt_lags, "WAIT_S", 0.0)
    return broker


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lags(tmp_path: Path, clock: FakeClock) -> PromptLags:
    (tmp_path / "pipeline.toml").write_text(
        '[sources.log]\npath = "log.jsonl"\n[sources.topic]\ntype = "kafka"\nbrokers = "kafka:9092"\ntopic = "events"\n'
    )
    return PromptLags(load(str(tmp_path / "pipeline.toml")), Environment(clock=clock))


def wait_for(lags: PromptLags, expected: Lag) -> None:
    wait_until(lambda: lags.of({}, 0)["topic"] == expected, "the answer is there")


def test_while_a_broker_does_not_answer_its_lag_is_unknown_and_files_are_still_asked(broker: Broker, lags: PromptLags) -> None:
    for _ in range(3):
        found = lags.of({}, 0)
        assert (found["log"], found["topic"]) == (Lag(5), Lag(unknown="sources.topic: no answer yet"))
    assert broker.asked.count("topic") == 1, "one question is on its way"
    assert broker.asked.count("log") == 3
    broker.may_answer.set()
    wait_for(lags, Lag(700, 7))


def test_an_answer_is_given_again_until_it_is_too_old(broker: Broker, lags: PromptLags, clock: FakeClock) -> None:
    broker.may_answer.set()
    wait_for(lags, Lag(700, 7))
    broker.may_answer.clear()
    assert lags.of({}, 0)["topic"] == Lag(700, 7)
    assert broker.asked.count("topic") == 1, "it is new"
    clock.now_s += NEW_S
    assert lags.of({}, 0)["topic"] == Lag(700, 7)
    clock.now_s += KEPT_S
    assert lags.of({}, 0)["topic"].unknown
    assert broker.asked.count("topic") == 2, "the second question is on its way"
    broker.may_answer.set()
    wait_for(lags, Lag(700, 7))


def test_what_a_source_raises_is_raised_to_the_caller(broker: Broker, lags: PromptLags) -> None:
    def fails() -> Lag:
        raise StateError("another state")

    broker.lag = fails
    broker.may_answer.set()

    def is_raised() -> bool:
        try:
            lags.of({}, 0)
        except StateError:
            return True
        return False

    wait_until(is_raised, "it is raised")
