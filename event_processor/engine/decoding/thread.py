"""One decoding thread, for a format that does almost all of its work outside the interpreter.

Always: nothing is copied. The thread reads the loop's chunk, and the loop reads the thread's columns. The thread has its own
decoder, because one thread at a time may use a decoder.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from event_processor.engine.decoding.decoder import Decoder
from event_processor.model.columns import Columns
from event_processor.model.event import Chunk

__all__ = ["ThreadWorker"]

_GIVEN_MAX: Final = 2
"""One chunk that is decoded, and one that waits."""


class ThreadWorker:
    """Decodes chunks in the order in which it gets them. One other thread uses it. It cannot be lost."""

    process_id: Final = None

    def __init__(self, make_decoder: Callable[[], Decoder]) -> None:
        """Starts the thread. Raises `OSError` if no thread is left."""
        self._decode: Final = make_decoder()
        self._executor: Final = ThreadPoolExecutor(1, "decode")
        self._given: Final[deque[Future[Columns]]] = deque()
        try:
            self._executor.submit(int)
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    @property
    def given(self) -> int:
        """How many of its chunks were not taken back yet."""
        return len(self._given)

    def is_ready(self) -> bool:
        """Whether it can take a chunk."""
        return len(self._given) < _GIVEN_MAX

    def fits(self, _chunk: Chunk) -> bool:
        """Always true: a chunk of any size stays where it is."""
        return True

    def give(self, chunk: Chunk) -> None:
        """Hands over a chunk."""
        self._given.append(self._executor.submit(self._decode, chunk))

    def has_answer(self) -> bool:
        """Whether `take` would return at once."""
        return self._given[0].done()

    def take(self) -> Columns:
        """Waits for the columns of its oldest chunk. Raises what the decoder raised."""
        return self._given.popleft().result()

    def close(self) -> None:
        """Ends the thread after its current chunk, and waits for that."""
        self._executor.shutdown(cancel_futures=True)
