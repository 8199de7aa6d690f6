"""What became of single records of the intake, by their positions: for receipts.

Owns: the look at one place of a file, at the dead letters and at the lanes of remote sinks.
Always: reads only what is committed, and needs no lock. The log is never searched: `explain` does that. Of the dead letters, at most
`SEARCH_BYTES` are read for one receipt.
Never: decides whether a record is counted, or what it counts as.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from typing import Final, TypeAlias

import orjson

from event_processor.assembly import Environment, all_sources, reopen_generation
from event_processor.configuration.configuration import EVENTS, RESERVED_SOURCE_NAME, Configuration
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.model.event import Json
from event_processor.operations.lane_history import LaneHistory, lane_histories
from event_processor.storage.line_index import IndexedLines

__all__ = ["EARLIER", "PURGED", "Position", "begins_record", "lanes_of_record", "rejected_because"]

Position: TypeAlias = tuple[int, int]
"""A generation of the intake, and an offset in bytes."""
UNNUMBERED: Final = 0
"""Where a record is among all that were read is not known: the lanes then say less about a time in which they were detached."""
SEARCH_BYTES: Final = 16_777_216
PURGED: Final = "its dead letter was purged"
EARLIER: Final = (
    "its dead letter is not among the newest 16 MiB: event-processor dead-letters list --json has it, unless it was purged"
)
_OFFSET: Final = re.compile(rb'"line":\d+,"offset":(\d+),"stage":')


def begins_record(
    configuration: Configuration, environment: Environment, position: Mapping[str, Json], offset: int
) -> bool | None:
    """Whether a record begins at `offset` of the generation that was left at `position`; None if its file is gone.

    Reads one byte, besides what identifies the file. Raises `StateError`, `StorageError`.
    """
    options = all_sources(configuration, str(configuration.state.dir))[RESERVED_SOURCE_NAME]
    found = reopen_generation(options, position, environment)
    if found is None:
        return None
    with closing(found) as generation:
        return offset == 0 or any(piece.content == b"\n" for piece in generation.pieces(offset - 1, offset, 1))


def rejected_because(letters: IndexedLines, positions: Collection[Position]) -> dict[Position, str]:
    """Why the records at these positions were rejected; or, for each without a dead letter, why that is not known.

    Searches the newest `SEARCH_BYTES` of the dead letters, from the end on, until all are found. Raises `StateError` if the dead letters
    cannot be read, `StorageError`.
    """
    wanted, searched_bytes = set(positions), 0
    offsets = {str(offset).encode() for _, offset in wanted}
    reasons: dict[Position, str] = {}
    for line in letters.before(letters.count) if wanted else ():
        searched_bytes += len(line) + 1
        if searched_bytes > SEARCH_BYTES:
            break
        place = _OFFSET.search(line)
        if place is None or place[1] not in offsets:
            continue
        letter = orjson.loads(line)
        position = (letter["generation"], letter["offset"])
        if letter["source"] == RESERVED_SOURCE_NAME and position in wanted:
            reasons[position] = str(letter["reason"])
            wanted.remove(position)
            if not wanted:
                break
    return reasons | dict.fromkeys(wanted, PURGED if searched_bytes <= SEARCH_BYTES else EARLIER)


def lanes_of_record(
    configuration: Configuration, environment: Environment, checkpoint: Checkpoint, position: Position
) -> Sequence[LaneHistory]:
    """What each remote sink that reads events did with the accepted record at a position. Searches the outbox, the newest file first.

    Raises `StateError`, `StorageError`.
    """
    if not any(lane.input == EVENTS for lane in checkpoint.state.lanes.values()):
        return ()
    place = (RESERVED_SOURCE_NAME, *position)
    return lane_histories(configuration, environment, {place: UNNUMBERED}).get(place, ())
