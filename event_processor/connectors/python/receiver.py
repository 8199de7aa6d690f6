"""Calls a class of the user's with records, and turns what it does into an answer.

Owns: `PythonReceiver`.
Always: whatever `deliver` does, the request has one answer. Returning is *delivered*, `Bad` is *bad*, all else is *wait*.
Never: an exception of the class leaves `deliver`.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from event_processor.model.answers import Answer, Verdict
from event_processor.model.delivery import Bad, OutboxRecord, Request, Wait
from event_processor.model.messages import printable

__all__ = ["PythonReceiver"]

WORDS_CHARACTERS_MAX: Final = 200


class _Own(Protocol):
    """The user's object. `keys` is passed only if its `deliver` has a parameter with this name."""

    async def deliver(self, records: Sequence[dict[str, Any]], **keys: Sequence[str]) -> object: ...


class PythonReceiver:
    """See `Receiver`."""

    def __init__(self, own: _Own, timeout_s: float) -> None:
        """`own.deliver` is a coroutine function. `own.close` may be one."""
        self._own: Final = own
        self._timeout_s: Final = timeout_s
        self._wants_keys: Final = "keys" in inspect.signature(own.deliver).parameters

    async def open(self) -> None:
        """Does nothing: the object exists."""

    async def deliver(self, request: Request) -> Answer:
        try:
            records = [_parsed(record) for record in request.records]
        except _UnreadableError as error:
            return Answer(Verdict.BAD, str(error))
        keys = {"keys": list(request.keys)} if self._wants_keys else {}
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                await self._own.deliver(records, **keys)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The class cancelled something of its own and did not catch it. Nothing cancels this request.
            return Answer(Verdict.WAIT, "CancelledError")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a class raises, its records wait
            is_late = isinstance(error, TimeoutError) and limit.expired()
            return Answer(Verdict.WAIT, f"no answer within {self._timeout_s:g} s") if is_late else _answer_of(error)
        return Answer(Verdict.DELIVERED)

    async def refresh(self) -> None:
        """Does nothing: the class reads its own secrets."""

    async def close(self) -> None:
        """Calls the class's `close`, if it has one. An error of it changes nothing: everything was answered."""
        close = getattr(self._own, "close", None)
        if close is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                closing = close()
                if inspect.isawaitable(closing):
                    await closing
        except (Exception, SystemExit):  # noqa: BLE001, S110 - the records do not depend on it
            pass


class _UnreadableError(Exception):
    """A record is not an object. The message does not repeat it."""


def _parsed(record: OutboxRecord) -> dict[str, Any]:
    try:
        return msgspec.json.decode(record.object, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _UnreadableError(f"record {record.sequence} cannot be read as a JSON object ({type(error).__name__})") from error


def _answer_of(error: BaseException) -> Answer:
    """What an exception of the class means."""
    if isinstance(error, Wait):
        return Answer(Verdict.WAIT, _one_line(str(error)) or "Wait", _one_line(str(error.status)), wait_s=_seconds(error.after_s))
    if isinstance(error, Bad):
        return Answer(Verdict.BAD, _one_line(str(error)) or "Bad", _one_line(str(error.status)))
    return Answer(Verdict.WAIT, _one_line(f"{type(error).__name__}: {error}".removesuffix(": ")))


def _seconds(after_s: object) -> float:
    """The wait that the class asks for; 0 if it is no number of seconds."""
    is_number = isinstance(after_s, int | float) and math.isfinite(after_s)
    return max(0.0, float(after_s)) if is_number else 0.0  # type: ignore[arg-type]  # it is a number


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return printable(line if len(line) <= WORDS_CHARACTERS_MAX else line[: WORDS_CHARACTERS_MAX - 1] + "…")
