"""What the checkpoint keeps of the index: which files hold the committed ids, and under which hash.

Always: small. An entry a segment, and segments are few, since they are merged: seven at the most that are new, and three for each power of four of the others, but for those that wait.
Never: no id stands in it but the greatest of each kind (`high_water.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, cast

import msgspec

from event_processor.deduplication.high_water import kind_of
from event_processor.errors import StateError
from event_processor.event import Json

__all__ = ["Manifest", "SegmentEntry"]

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class SegmentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A segment file: its name in the folder, how many ids it holds, how often they were merged, and its size."""

    file: str
    ids: _Positive
    level: _Count
    size_bytes: _Positive


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The committed index. `active` is "" where nothing was appended since the last segment was sealed; else `active_ids` > 0.

    `greatest_ids`: of the ids that are held, the greatest of each kind; None where an earlier version, which did not know, wrote it.
    """

    fingerprint: str
    seed: str
    active: str = ""
    active_ids: _Count = 0
    segments: tuple[SegmentEntry, ...] = ()
    greatest_ids: tuple[int | str, ...] | None = None

    @classmethod
    def of(cls, content: Mapping[str, Json]) -> Manifest:
        """As the checkpoint keeps it. Raises `StateError` for anything that `to_json` does not write."""
        try:
            manifest = msgspec.convert(content, cls)
        except msgspec.ValidationError as error:
            raise _unreadable(str(error)) from error
        if any(os.path.basename(name) != name for name in manifest.file_names):
            raise _unreadable("a file outside of the index's folder")
        if bool(manifest.active) != bool(manifest.active_ids):
            raise _unreadable(f'{manifest.active_ids} ids in the active file "{manifest.active}"')
        kinds = list(map(kind_of, manifest.greatest_ids or ()))
        if None in kinds or len(set(kinds)) < len(kinds):
            raise _unreadable("the greatest ids are not one of each kind")
        return manifest

    @property
    def file_names(self) -> tuple[str, ...]:
        """Every file that this manifest needs, by its name in the folder."""
        return tuple(entry.file for entry in self.segments) + ((self.active,) if self.active else ())

    @property
    def committed_ids(self) -> int:
        """How many ids are held."""
        return sum(entry.ids for entry in self.segments) + self.active_ids

    def to_json(self) -> dict[str, Json]:
        """For the checkpoint: what a JSON decoder would give back, lists for tuples."""
        content = cast("dict[str, Json]", msgspec.to_builtins(self))
        greatest_ids: Json = None if self.greatest_ids is None else list(self.greatest_ids)
        segments: Json = [cast("dict[str, Json]", msgspec.to_builtins(entry)) for entry in self.segments]
        return {**content, "segments": segments, "greatest_ids": greatest_ids}


def _unreadable(reason: str) -> StateError:
    return StateError(
        f"the checkpoint's list of the files of seen ids cannot be read: {reason}",
        hint="use the version that wrote the state, or make the state anew from the log: event-processor replay",
    )
