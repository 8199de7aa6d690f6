"""The reading journal of a pipeline, and what a fallback to the predecessor makes of its tail.

Owns: whether the journal's tail is kept, and whether it is followed; the positions of retired generations, for sources that must know them.
Always: without remote sinks the tail is cut off: then the state is a function of what the checkpoint covers, and nothing outside saw more.
Never: reads the log.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from event_processor.assembly.environment import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.journal import JOURNAL_NAME, JournalEntry, RetiredGeneration, decode_entries
from event_processor.model.contracts import Source
from event_processor.model.event import Json
from event_processor.storage.append_file import committed_lines
from event_processor.storage.durable import FileSystem

if TYPE_CHECKING:
    from event_processor.engine.checkpoint_document import Checkpoint
    from event_processor.engine.following import Following
    from event_processor.engine.journal_file import JournalFile

__all__ = ["following_of", "open_journal", "retired_in", "retired_positions"]

_RETIRED = b'"what":"retired"'


def open_journal(fs: FileSystem, directory: str, checkpoint: Checkpoint | None, *, has_lanes: bool) -> JournalFile:
    """The journal of the state in `directory`, with its tail if the checkpoint says that it is followed.

    Raises `StateError`, `LockedError`, `StorageError`.
    """
    from event_processor.engine.journal_file import JournalFile  # noqa: PLC0415 - only to run

    state = checkpoint.state if checkpoint else None
    return JournalFile(
        fs,
        os.path.join(directory, JOURNAL_NAME),
        state.appended.get(JOURNAL_NAME, 0) if state else 0,
        open_run=state.journal if state else None,
        has_lanes=has_lanes,
        follows=state.follows_journal if state else False,
    )


def retired_positions(fs: FileSystem, directory: str, committed_bytes: int, source: str) -> Iterator[Mapping[str, Json]]:
    """Yields the last positions of the generations of `source` that were retired, oldest first.

    `committed_bytes`: of the journal. Raises `StateError`, `StorageError`.
    """
    path = os.path.join(directory, JOURNAL_NAME)
    first_line = 1
    for lines in committed_lines(fs, path, committed_bytes):
        for number, line in enumerate(lines, start=first_line):
            if _RETIRED not in line:
                continue  # to decode the others would take most of the time
            for entry in decode_entries(line, path, first_line=number):
                if isinstance(entry, RetiredGeneration) and entry.source == source:
                    yield entry.position
        first_line += len(lines)


def retired_in(tail: Sequence[JournalEntry], source: str) -> list[Mapping[str, Json]]:
    """The last positions of the generations of `source` that the tail retires, in order."""
    return [entry.position for entry in tail if isinstance(entry, RetiredGeneration) and entry.source == source]


def following_of(
    journal: JournalFile, sources: Sequence[Source], configuration: Configuration, environment: Environment
) -> Following | None:
    """What the journal's tail says is read first; None without a tail, or if nothing is read."""
    if not journal.tail or not sources:
        return None
    from event_processor.engine.following import Following, Surroundings  # noqa: PLC0415 - only after a fallback

    surroundings = Surroundings(
        path=journal.path,
        bytes_max=configuration.batch.bytes_max,
        is_ordered=configuration.order_is_active,
        leave=journal.leave_tail,
        clock=environment.clock,
        wakeup=environment.wakeup,
        telemetry=environment.telemetry,
    )
    return Following(journal.tail, sources, surroundings)
