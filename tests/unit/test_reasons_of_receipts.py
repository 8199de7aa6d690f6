"""Why a posted record was rejected: the newest dead letters are searched from the end, and only so many of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from event_processor.assembly import Environment
from event_processor.cli.context import Invocation, load
from event_processor.engine.dead_letters import DEAD_LETTERS_NAME
from event_processor.operations import receipts
from event_processor.operations.receipts import EARLIER, PURGED
from event_processor.service.web.durations import ProcessFigures
from event_processor.service.web.readings import ReaderThreads, Readings
from event_processor.service.web.receipts import Receipts
from event_processor.service.web.site import Site
from event_processor.storage.file_system import OperatingSystem

LETTERS = 20_000


class Counting(OperatingSystem):
    """A file system that says how much was read."""

    read_bytes = 0

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        content = super().read(descriptor, size_bytes, offset)
        self.read_bytes += len(content)
        return content


def letter(number: int, source: str = "intake") -> str:
    return (
        f'{{"source":"{source}","generation":3,"line":{number + 1},"offset":{100 * number},'
        f'"stage":"parse","reason":"reason {number} of {source}","field":null,"record":"{"x" * 100}"}}\n'
    )


class World:
    """The receipts of a state with many dead letters."""

    def __init__(self, folder: Path) -> None:
        (folder / "event-processor.toml").write_text('[sources.log]\npath = "log.jsonl"\n')
        (folder / "state").mkdir()
        # Another source has letters at the same places, the newest of all among them.
        content = "".join(letter(number) + (letter(number, "log") if number % 1000 == 0 else "") for number in range(LETTERS))
        content += letter(LETTERS - 1, "log")
        (folder / "state" / DEAD_LETTERS_NAME).write_text(content)
        self.fs = Counting()
        self.size_bytes = len(content)
        self.readings = Readings(load(Invocation()).configuration, Environment(fs=self.fs), ProcessFigures())
        state = SimpleNamespace(appended={DEAD_LETTERS_NAME: self.size_bytes})
        checkpoint = SimpleNamespace(state=state)
        self.readings._read_checkpoint = lambda: SimpleNamespace(value=checkpoint)  # type: ignore[method-assign, assignment, return-value]

    def reasons(self, numbers: Collection[int]) -> list[str]:
        """The reasons of these records."""
        positions = [(3, 100 * number) for number in numbers]

        async def ask() -> list[str]:
            threads = ReaderThreads(1)
            site = cast("Site", SimpleNamespace(readings=self.readings, threads=threads))
            try:
                found = await Receipts(site).reasons(positions)
            finally:
                threads.close()
            return [found[position] for position in positions]

        return asyncio.run(ask())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVENT_PROCESSOR_CONFIG", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return World(tmp_path)


def test_only_the_end_of_the_dead_letters_is_read_for_a_new_one(world: World) -> None:
    world.reasons([LETTERS - 1])  # the index is made once
    before = world.fs.read_bytes
    assert world.reasons([LETTERS - 1, LETTERS - 100]) == [
        f"reason {LETTERS - 1} of intake",
        f"reason {LETTERS - 100} of intake",
    ]
    assert world.fs.read_bytes - before < world.size_bytes / 10


def test_a_letter_that_is_not_there_was_purged_or_is_earlier_than_what_is_searched(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.reasons([0, LETTERS]) == ["reason 0 of intake", PURGED]
    monkeypatch.setattr(receipts, "SEARCH_BYTES", world.size_bytes // 4)
    before = world.fs.read_bytes
    assert world.reasons([0, LETTERS - 5]) == [EARLIER, f"reason {LETTERS - 5} of intake"]
    assert world.fs.read_bytes - before < world.size_bytes / 2
