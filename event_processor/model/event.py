"""The data types: JSON, id, chunk, dead letter.

Owns: their fields, and the limits on ids, categories, values and nesting.
Always: every value is frozen. Offsets are in bytes from the start of a file, or numbers of records of a topic.
Never: no behaviour is here, only data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import UNSET, Struct, UnsetType

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    IntArray: TypeAlias = NDArray[np.int64]

__all__ = [
    "CATEGORY_CHARACTERS_MAX",
    "ID_CHARACTERS_MAX",
    "NESTING_DEPTH_MAX",
    "VALUE_MAGNITUDE_END",
    "Chunk",
    "DeadLetter",
    "EventId",
    "Json",
    "SimpleId",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
SimpleId: TypeAlias = str | int
EventId: TypeAlias = "SimpleId | tuple[SimpleId, ...]"
"""A string of 1 to 1,024 characters, a signed 64-bit integer, or several of these. `1` and `"1"` are two ids."""

ID_CHARACTERS_MAX: Final = 1024
CATEGORY_CHARACTERS_MAX: Final = 256
VALUE_MAGNITUDE_END: Final = 2.0**960
"""A value's magnitude is strictly below this, so that a sum of up to 2^63 values cannot overflow a double."""
NESTING_DEPTH_MAX: Final = 100
"""How deep arrays and objects may be nested in a record. Deeper, parsers disagree, because each has its own stack limit."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive bytes of one generation of a source, from one read: whole records and nothing else.

    `content` holds whole records. Each ends with a line feed. Only if `final` is true, the last record may lack it (the input is
    finished, so its end ends the record).
    `position` is where the generation resumes after this chunk is committed, in the form in which the source wants it back.
    A record over the size limit is a chunk of its own: `content` is empty, and `oversized_bytes` is the record's length with its
    line feed.
    A chunk may hold no record. Then it only reports that `position` or `retired` changed.
    `retired`: the generation is finished and has no more chunks.
    `head`: the first bytes of the generation, at most 4,096 and none after this chunk, for a format that needs them.
    `own`: the records' own bytes, in as many bytes as `content`; empty if they are equal. They differ where a record of a document
    holds a line end that no line can hold.
    `places`: the offset of each record, ascending, in a source that numbers its records, with gaps; None if offsets are bytes. The chunk
    then ends after its last record, and `offset`, where the chunk before it ended, may be before its first.
    """

    source: str
    generation: int
    offset: int
    content: bytes
    position: Mapping[str, Json]
    final: bool = False
    oversized_bytes: int = 0
    retired: bool = False
    head: bytes = field(default=b"", compare=False, repr=False)
    own: bytes = field(default=b"", compare=False, repr=False)
    places: IntArray | None = field(default=None, compare=False, repr=False)

    @property
    def end_offset(self) -> int:
        """The offset after this chunk's last byte, or after its last record."""
        if self.places is not None:
            return int(self.places[-1]) + 1
        return self.offset + len(self.content) + self.oversized_bytes

    def offsets(self, starts: IntArray, rows: IntArray) -> IntArray:
        """The offsets of the records `rows`. Record i begins at `starts[i]` of `content`."""
        return self.offset + starts[rows] if self.places is None else self.places[rows]


class DeadLetter(Struct, frozen=True):
    """A rejected record or a failed event, kept with its place and the reason, to be repaired and retried.

    The fields are those of the file.

    `line` counts from 1, `offset` is in bytes. `field` names the bad field, or is empty. Exactly one of the last three is set:
    `record` if the bytes are UTF-8, `record_base64` if they are not, `length` (in bytes) if the record was too long to be held.
    """

    source: str
    generation: int
    line: int
    offset: int
    stage: str
    reason: str
    field: str
    record: str | UnsetType = UNSET
    record_base64: str | UnsetType = UNSET
    length: int | UnsetType = UNSET
