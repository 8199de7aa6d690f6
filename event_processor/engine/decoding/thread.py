"""One thread that decodes, for a format that does almost all of its work outside of the interpreter.

Nothing is copied: the thread reads the chunk that the loop has, and the loop the columns that the thread made. It has a decoder of its own, for a
decoder is used by one thread at a time.
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
    """Decodes chunks in the order in which it is given them. Used by one other thread. It cannot be lost."""

    process_id: Final = None

    def __init__(self, make_decoder: Callable[[], Decoder]) -> None:
        """Starts the thread. Raises `OSError` where none is left."""
        self._decode: Final = make_decoder()
        self._executor: Final = ThreadPoolExecutor(1, "decode")
        self._given: Final[deque[Future[Columns]]] = deque()
        try:
            self._executor.submit(int)
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error

    @property
    def given(self) -> int:
        """How many chunks it has that were not taken back."""
        return len(self._given)

    def is_ready(self) -> bool:
        """Whether it can be given a chunk."""
        return len(self._given) < _GIVEN_MAX

    def fits(self, _chunk: Chunk) -> bool:
        """Always: a chunk of any size is where it is."""
        return True

    def give(self, chunk: Chunk) -> None:
        """Hands over a chunk."""
        self._given.append(self._executor.submit(self._decode, chunk))

    def has_answer(self) -> bool:
        """Whether `take` would not wait."""
        return self._given[0].done()

    def take(self) -> Columns:
        """The columns of the oldest chunk given; waits for them. Raises what the decoder raised."""
        return self._given.popleft().result()

    def close(self) -> None:
        """Ends the thread behind the chunk at hand, and waits for it."""
        self._executor.shutdown(cancel_futures=True)
