"""Requests as a lane makes them, and a world for receivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from event_processor.model.answers import Answer
from event_processor.model.clock import SystemWakeup
from event_processor.model.delivery import OutboxRecord, Receiver, ReceiverContext, Request
from event_processor.model.file_system import FileSystem
from event_processor.model.remote import ServiceOptions
from event_processor.model.telemetry import Telemetry
from event_processor.storage.durable import OperatingSystem
from support.file_source import ManualClock

__all__ = ["ReceiverWorld", "answers_of", "context", "record", "request"]


@dataclass(frozen=True)
class ReceiverWorld:
    """The disk of this machine, and a clock that stands still."""

    fs: FileSystem = field(default_factory=OperatingSystem)
    clock: ManualClock = field(default_factory=ManualClock)
    telemetry: Telemetry = field(default_factory=Telemetry)
    wakeup: SystemWakeup = field(default_factory=SystemWakeup)


def context(environment: Mapping[str, str] | None = None, **service: Any) -> ReceiverContext:
    """The context of a sink "out", whose service has these options; without options it has no service."""
    options = ServiceOptions.model_validate(service) if service else None
    return ReceiverContext("out", ReceiverWorld(), options, environment or {})


def record(sequence: int, content: bytes) -> OutboxRecord:
    place: dict[str, Any] = {"source": "log", "generation": 1, "offset": 100 * sequence, "line": sequence}
    return OutboxRecord(sequence, place, "2026-11-29T12:00:00.000Z", 1.5, "00", msgspec.Raw(content))


def request(*contents: bytes, tries: int = 0) -> Request:
    """A request with these objects, from sequence 1 on. Its records' keys are "k1", "k2" and so on; its own is "k"."""
    records = [record(number, content) for number, content in enumerate(contents, start=1)]
    return Request(records, [f"k{each.sequence}" for each in records], "k", tries)


def answers_of(receiver: Receiver, *requests: Request, between: Callable[[], object] | None = None) -> list[Answer]:
    """The answers to these requests, one after the other. After each, `between` is called, and the receiver is refreshed."""

    async def played() -> list[Answer]:
        found = []
        await receiver.open()
        try:
            for each in requests:
                found.append(await receiver.deliver(each))
                if between is not None:
                    between()
                    await receiver.refresh()
        finally:
            await receiver.close()
        return found

    playing: Coroutine[Any, Any, list[Answer]] = played()
    return asyncio.run(playing)
