"""How far a long operation is, told to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from event_processor.event import Chunk
from event_processor.journal import IdleRelease, InputFinished
from event_processor.operations.log_reader import LogReader

__all__ = ["Progress", "nobody_watches", "watched_script"]

Progress: TypeAlias = Callable[[int, int], None]
"""Told after every chunk how many bytes are read, of how many. Must return at once."""


def nobody_watches(_done_bytes: int, _size_bytes: int) -> None:
    """The progress that nobody is shown."""


def watched_script(reader: LogReader, progress: Progress) -> Iterator[Chunk | IdleRelease | InputFinished]:
    """The reader's script, with word of how much of it was taken."""
    done_bytes = 0
    for each in reader.script():
        yield each
        if isinstance(each, Chunk):
            done_bytes += each.end_offset - each.offset
            progress(done_bytes, reader.size_bytes)
