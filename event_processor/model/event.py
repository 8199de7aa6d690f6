"""The nouns: what an id, a chunk and a dead letter are. Data only; no behaviour beyond their own form.

Always: every value here is frozen, and offsets count bytes from the start of a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import UNSET, Struct, UnsetType

if TYPE_CHECKING:
    from collections.abc import Mapping

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
"""Values lie strictly below this in magnitude, so that no sum of up to 2^63 of them can overflow a double."""
NESTING_DEPTH_MAX: Final = 100
"""Arrays and objects one inside the other in one record. Beyond it, parsers disagree by the depth of their own stack."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive bytes of one generation of a source, as read at once: whole records and nothing else.

    `content` holds whole records, each ended by a line feed; only where `final` is true may the last one lack it (finished
    input: its end ends the record). `position` is where the generation resumes once this chunk is committed, as the source wants it
    back. A record over the size limit comes as a chunk of its own, with empty `content` and its length, line feed
    included, in `oversized_bytes`. A chunk may carry no record at all: then it only says that `position` or `retired` changed.
    `retired`: the generation is finished and will never give another chunk. `head`: its first bytes, 4,096 at the most and none behind
    this chunk, for a format that has to know them.
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

    @property
    def end_offset(self) -> int:
        """The offset behind this chunk's last byte."""
        return self.offset + len(self.content) + self.oversized_bytes


class DeadLetter(Struct, frozen=True):
    """A rejected record or a failed event, kept with its place and the reason, to be mended and retried: as it is written, field by field.

    `line` counts from 1, `offset` in bytes; `field` names the field at fault, or is empty. One of the last three is given: `record` where its bytes are
    UTF-8, `record_base64` where they are not, and `length`, in bytes, where it was too long to be held.
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
