"""How far a long command is, drawn on stderr where that is a terminal, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from event_processor.operations.progress import Progress as Told
from event_processor.operations.progress import nobody_watches

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(words: str) -> Iterator[Told]:
    """Something to tell the bytes to that are done, of how many (0: nobody knows); the bar is gone at the end."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield nobody_watches
        return
    # Loaded only where it is drawn: a service starts sooner without it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done_bytes, size_bytes: bar.update(task, completed=done_bytes, total=size_bytes or None)
