"""Where an object resumes.

Owns: `ObjectPosition` and its form as JSON in the checkpoint.
Always: `offset` counts the bytes of the decompressed content that were read as whole records.
Never: asks a service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from event_processor.model.errors import StateError
from event_processor.model.event import Json

__all__ = ["OUTSIDE_P2", "ObjectPosition", "read_position"]

OUTSIDE_P2: Final = frozenset({"etag"})
"""The field of a position that belongs to the service and not to the records."""


class ObjectPosition(Struct, frozen=True):
    """The position in one object. `path`: as in s3://bucket/key. `size_bytes`: of the object, as it is stored.

    `plain`: whether the content is stored as it is read, so that `offset` is an offset of the object too.
    """

    path: str
    etag: str
    size_bytes: int
    offset: int
    plain: bool

    def to_json(self) -> dict[str, Json]:
        """As in the checkpoint."""
        built: dict[str, Json] = msgspec.to_builtins(self)
        return built


def read_position(position: Mapping[str, Json]) -> ObjectPosition:
    """The position in a checkpoint. Raises `StateError` if it is not one of ours."""
    try:
        return msgspec.convert(dict(position), ObjectPosition)
    except msgspec.ValidationError as error:
        raise StateError(
            f"the state has a position that is none of an object: {error}",
            hint="name the source as it was when the state was made",
        ) from error
