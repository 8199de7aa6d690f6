"""`Prefer: wait` after the append: the events are durable, so nothing that fails then makes the answer a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from event_processor.configuration.configuration import RESERVED_SOURCE_NAME
from event_processor.engine.state import GenerationState, SourceState
from event_processor.model.errors import EventProcessorError, StateError, StorageError
from event_processor.service.web.answers import ProblemError
from event_processor.service.web.readings import ReaderThreads, Readings
from event_processor.service.web.receipts import Receipts
from event_processor.service.web.site import Site
from support.asgi import Answer, asked
from support.sites import application_here, open_intake

CONFIGURATION = """
[http]
listen = "127.0.0.1:0"
[intake]
enabled = true
free_bytes_min = 0
[sources.log]
path = "log.jsonl"
"""
GOOD = b'{"id": 1, "category": "a", "value": 2}'
FAULTS = [
    ProblemError(503, "too many requests are being answered"),
    StateError("unreadable"),
    StorageError("read", "/state/checkpoint.json", 5, "I/O error"),
    OSError(5, "I/O error"),
    RuntimeError("a fault of ours"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_PROCESSOR_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION)
    (tmp_path / "state").mkdir()
    return tmp_path


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_arguments: object) -> None:
        raise error

    return fail


def posted() -> Answer:
    intake = open_intake()
    try:
        return asked(application_here(intake=intake), "/v1/events", "POST", headers={"prefer": "wait=0"}, body=[GOOD])
    finally:
        intake.close()


def assert_appended_without_outcomes(folder: Path, answer: Answer) -> None:
    assert answer.status == 202, answer.content
    assert answer.json == {
        "counted": False,
        "appended": 1,
        "invalid": 0,
        "lines": [{"status": "appended", "position": "1:0"}],
    }
    assert (folder / "state" / "intake.jsonl").read_bytes() == GOOD + b"\n"


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_if_the_checkpoint_cannot_be_read_after_the_append_it_is_202_with_positions(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Readings, "checkpoint", raising(error))
    assert_appended_without_outcomes(folder, posted())


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_if_the_reasons_cannot_be_read_after_the_append_it_is_202_with_positions(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def counted(*_arguments: object) -> bool:
        return True

    monkeypatch.setattr(Receipts, "wait", counted)
    monkeypatch.setattr(Receipts, "outcomes", lambda *_arguments: ["rejected"])
    monkeypatch.setattr(Receipts, "reasons", raising(error))
    assert_appended_without_outcomes(folder, posted())


def test_all_that_wait_share_one_look_and_a_failed_look_ends_no_wait() -> None:
    looks: list[int] = []

    def checkpoint() -> object:
        looks.append(len(looks))
        if len(looks) == 2:
            raise EventProcessorError("not now")
        offset = 10 if len(looks) > 3 else 0
        source = SourceState((GenerationState(1, 0, {"offset": offset}),))
        return SimpleNamespace(state=SimpleNamespace(sources={RESERVED_SOURCE_NAME: source}))

    async def wait_together() -> list[bool]:
        threads = ReaderThreads(1)
        readings = SimpleNamespace(checkpoint=checkpoint, now_s=lambda: 0.0)
        receipts = Receipts(cast("Site", SimpleNamespace(threads=threads, readings=readings)))
        try:
            return await asyncio.gather(*(receipts.wait(1, 10, 1.0) for _ in range(200)))
        finally:
            threads.close()

    assert asyncio.run(wait_together()) == [True] * 200
    assert len(looks) < 200
