"""The clients that follow commits: a bounded queue for each, and an end for one that does not take its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, cast

import pytest
from starlette.requests import Request
from starlette.types import Message

from event_processor.operations.status import Status
from event_processor.service.web import commits
from event_processor.service.web.answers import ProblemError
from event_processor.service.web.commits import Commits
from event_processor.service.web.readings import ReaderThreads, Readings, Seen

Value = TypeVar("Value")


class NothingCommitted:
    """Readings of a state that does not exist yet."""

    def seen(self) -> Seen:
        return Seen(Status("/state", "process 7 on here", None), None, 0.0, 0.0)

    def now_s(self) -> float:
        return 0.0


class ThisThread:
    """Reads at once."""

    async def call(self, function: Callable[[], Value]) -> Value:
        return function()


def followed() -> Commits:
    return Commits(cast("Readings", NothingCommitted()), cast("ReaderThreads", ThisThread()))


class Client:
    """A client of a stream, and what it was sent. It takes nothing while it `is_stuck`."""

    def __init__(self, follow: Commits) -> None:
        self._commits = follow
        self.sent: list[Message] = []
        self.can_take = asyncio.Event()
        self.can_take.set()
        self.has_left = asyncio.Event()

    async def run(self) -> None:
        answer = await self._commits.follow(cast("Request", None), {})
        await answer({}, self._receive, self._send)

    async def _receive(self) -> Message:
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.can_take.wait()
        self.sent.append(message)

    @property
    def events(self) -> int:
        return sum(b"event: commit" in message.get("body", b"") for message in self.sent)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the turns of the loop are the time here
            await asyncio.sleep(0)


def test_a_client_that_takes_nothing_is_cut_and_the_others_get_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "PACE_S", 0)

    async def play() -> None:
        follow = followed()
        quick, stuck = Client(follow), Client(follow)
        running = [asyncio.create_task(client.run()) for client in (quick, stuck)]
        await until(lambda: quick.events == 1 and stuck.events == 1)
        stuck.can_take.clear()
        for number in range(3 * commits.WAITING_MAX):
            follow.notify()
            await until(lambda number=number: quick.events == number + 2)  # type: ignore[misc]
        assert all(queue.qsize() <= commits.WAITING_MAX for queue in follow._clients)
        stuck.can_take.set()
        await running[1]
        assert stuck.sent[-1]["more_body"] is False
        assert stuck.events < quick.events
        quick.has_left.set()
        await running[0]
        assert not follow._clients
        assert follow._pump is None

    asyncio.run(play())


def test_without_clients_news_cost_nothing() -> None:
    follow = followed()
    follow.notify()
    follow.close()
    assert not follow._news.is_set()


def test_there_are_no_more_clients_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "CLIENTS_MAX", 1)

    async def play() -> None:
        follow = followed()
        client = Client(follow)
        running = asyncio.create_task(client.run())
        await until(lambda: client.events == 1)
        with pytest.raises(ProblemError) as refused:
            await follow.follow(cast("Request", None), {})
        assert refused.value.status == 503
        follow.close()
        await running

    asyncio.run(play())


def test_the_clients_of_a_server_that_ended_do_not_hinder_those_of_the_next() -> None:
    follow = followed()

    async def first() -> None:
        await follow.follow(cast("Request", None), {})
        assert follow._pump is not None
        follow._pump.cancel()

    async def second() -> Any:
        client = Client(follow)
        running = asyncio.create_task(client.run())
        await until(lambda: client.events == 1)
        follow.notify()
        await until(lambda: client.events == 2)
        client.has_left.set()
        await running

    asyncio.run(first())
    asyncio.run(second())
