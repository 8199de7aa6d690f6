"""Where a partition resumes.

Owns: `PartitionPosition` and its form as JSON in the checkpoint.
Always: `offset` is the offset of the next record to read. A generation is one stretch of one partition of one topic: after a seek, or if the
topic was made again, another generation begins.
Never: asks a broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from event_processor.model.errors import StateError
from event_processor.model.event import Json

__all__ = ["OUTSIDE_P2", "PartitionPosition", "read_position"]

OUTSIDE_P2: Final = frozenset({"topic_id", "epoch"})
"""Fields of a position that belong to the cluster and not to the records."""


class PartitionPosition(Struct, frozen=True, omit_defaults=True):
    """The position of one generation.

    `path`: topic and partition, for people. `topic_id`: empty if the broker has none. `start`: the offset at which the generation began.
    `epoch`: the leader epoch of the last record, -1 if there is none. `records`, `bytes`: how many were read, and their size.
    `siblings`: while no checkpoint has them yet, the starts of the partitions that begin together with this one, by number.
    """

    path: str
    partition: int
    start: int
    offset: int
    topic_id: str = ""
    epoch: int = -1
    records: int = 0
    bytes: int = 0
    siblings: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Json]:
        """As in the checkpoint."""
        built: dict[str, Json] = msgspec.to_builtins(self)
        return built


def read_position(position: Mapping[str, Json]) -> PartitionPosition:
    """The position in a checkpoint. Raises `StateError` if it is not one of ours."""
    try:
        return msgspec.convert(dict(position), PartitionPosition)
    except msgspec.ValidationError as error:
        raise StateError(
            f"the state has a position that is none of Kafka: {error}", hint="name the source as it was when the state was made"
        ) from error
