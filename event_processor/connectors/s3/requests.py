"""Requests that are made until there is an answer.

Owns: when a request is made again, and the words for a person meanwhile.
Always: an outage is waited for, however long it lasts; so is a refusal, but it is tried less often. Every wait ends at once if the client is closed.
Never: passes over anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, TypeVar

from event_processor.connectors.s3.client import Bucket, ClosedError, Listed, RequestError
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.model.backoff import Backoff
from event_processor.model.clock import SystemWakeup
from event_processor.model.contracts import Clock

__all__ = ["Requests", "Trouble"]

REFUSED_S: Final = 10.0
"""A request that was refused is tried again after so long: someone may have changed the rights."""
T = TypeVar("T")


class Trouble:
    """Why there is no answer, and what a person should do."""

    def __init__(self, options: S3SourceOptions, error: RequestError, where: str) -> None:
        """`where`: the part of the configuration, such as "sources.events"."""
        self.words: Final = f"{options.endpoint or 'S3'}: {error.words}"
        self.is_refused: Final = error.is_refused
        self.remedy: Final = error.remedy(where, "list the bucket and to read its objects") + (
            "" if error.is_refused else "; nothing is lost: reading goes on where it was"
        )


class Requests:
    """Used by the thread of the reader."""

    def __init__(
        self, bucket: Bucket, clock: Clock, troubled: Callable[[RequestError], None], answered: Callable[[], None]
    ) -> None:
        """`troubled` is called after each failed try, `answered` after each answer."""
        self._bucket: Final = bucket
        self._clock: Final = clock
        self._troubled: Final = troubled
        self._answered: Final = answered
        self._backoff: Final = Backoff(random.random)
        self._stop: Final = SystemWakeup()
        self._is_stopped = False
        self._ahead: tuple[tuple[str, str, int, int], Future[bytes]] | None = None

    def stop(self) -> None:
        """Ends every wait. May be called by any thread."""
        self._is_stopped = True
        self._stop.set()

    def require_not_stopped(self) -> None:
        """Raises `ClosedError` if stopped."""
        if self._is_stopped:
            raise ClosedError

    def wait(self, seconds: float) -> None:
        """Waits. Raises `ClosedError` if stopped."""
        self._clock.wait(self._stop, seconds)
        self.require_not_stopped()

    def range(self, listed: Listed, start: int, end: int) -> bytes:
        """The bytes of an object from `start` to `end`. Raises `ObjectGoneError`, `ClosedError`."""
        wanted = (listed.key, listed.etag, start, end)
        ahead, self._ahead = self._ahead, None
        first = ahead[1] if ahead is not None and ahead[0] == wanted else None
        if first is None and ahead is not None:
            ahead[1].cancel()

        def once() -> bytes:
            nonlocal first
            asked, first = first or self._bucket.ask(*wanted), None
            return self._bucket.answer(asked)

        return self._until_answered(once)

    def ask_ahead(self, listed: Listed, start: int, end: int) -> None:
        """Asks for a range that `range` will be called for next."""
        wanted = (listed.key, listed.etag, start, end)
        self._ahead = wanted, self._bucket.ask(*wanted)

    def page(self, folder: str, after: str) -> Sequence[Listed]:
        """See `Bucket.page`. Raises `ClosedError`."""
        return self._until_answered(lambda: self._bucket.page(folder, after))

    def head(self, key: str) -> Listed | None:
        """See `Bucket.head`. Raises `ClosedError`."""
        return self._until_answered(lambda: self._bucket.head(key))

    def put(self, key: str, content: bytes) -> None:
        """See `Bucket.put`. Raises `ClosedError`."""
        self._until_answered(lambda: self._bucket.put(key, content))

    def _until_answered(self, once: Callable[[], T]) -> T:
        tries = 0
        while True:
            self.require_not_stopped()
            try:
                found = once()
            except RequestError as error:
                tries += 1
                self._troubled(error)
                self.wait(REFUSED_S if error.is_refused else self._backoff.wait_s(tries))
                continue
            self._answered()
            return found
