"""Records that are gone before they were read: how they are noticed, and the words that stop the process.

Owns: the errors of an expired offset, of a log that is too short, and of a topic that was made again; what a seek would skip.
Always: such an error is a `StateError` (65) and names the way out, `event-processor kafka seek`, which counts what it skips.
Never: moves a position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from event_processor.connectors.kafka.positions import PartitionPosition
from event_processor.connectors.kafka.survey import Bounds
from event_processor.model.errors import StateError

__all__ = ["expired", "made_again", "too_short"]


def expired(source: str, topic: str, gone: Mapping[int, tuple[int, Bounds]]) -> StateError:
    """Records were deleted (retention, or by hand) before they were read. `gone`: by partition, the next offset and the bounds."""
    count = sum(bounds.begin - offset for offset, bounds in gone.values())
    places = "; ".join(
        f"partition {partition} was read up to offset {offset}, and its log begins at {bounds.begin}"
        for partition, (offset, bounds) in gone.items()
    )
    return StateError(
        f"source {source!r}: up to {_records(count)} of {_partitions(gone)} of topic {topic} were deleted before they were read: {places}",
        hint=_way_out(source, f"skips {_records(count)} of {_partitions(gone)}, and counts them as lost"),
    )


def too_short(source: str, topic: str, gone: Mapping[int, tuple[int, Bounds]]) -> StateError:
    """The log ends before what was read of it: the cluster lost records that it had shown as committed."""
    places = "; ".join(
        f"partition {partition} was read up to offset {offset}, and its log ends at {bounds.end}"
        for partition, (offset, bounds) in gone.items()
    )
    return StateError(
        f"source {source!r}: topic {topic} has lost records that were read: {places}",
        hint=_way_out(source, "goes on at its end"),
    )


def made_again(source: str, topic: str, known: Sequence[PartitionPosition], found_id: str) -> StateError:
    """The topic is another one of the same name."""
    read_id = next((each.topic_id for each in known if each.topic_id), "")
    places = "; ".join(f"partition {each.partition} up to offset {each.offset}" for each in known)
    return StateError(
        f"source {source!r}: topic {topic} was deleted and made again: its id is {found_id}, not {read_id}; of the old one was read: {places}",
        hint=_way_out(source, "goes on with the new topic, and counts as lost what was not read of the old one"),
    )


def _way_out(source: str, what: str) -> str:
    return f"'event-processor kafka seek --source {source} --to available' {what}; --dry-run shows it first"


def _records(count: int) -> str:
    return f"{count:,} record{'' if count == 1 else 's'}"


def _partitions(gone: Mapping[int, object]) -> str:
    return f"{len(gone)} partition{'' if len(gone) == 1 else 's'}"
