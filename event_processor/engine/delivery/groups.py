"""The groups of a lane's records, for figures: by source, and by the value of fields that the sink names.

Owns: `Grouping`, and how a value becomes the name of a group.
Always: only the named fields are decoded, and nothing if none is named. There are at most `GROUPS_MAX` groups of a kind, and one for
the rest.
Never: is relied on by delivery itself; fails, whatever a record holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from event_processor.columns.field_paths import Absent, FieldPath, field_path, reach
from event_processor.model.delivery import OutboxRecord
from event_processor.model.record_blocks import RecordBlock, Runs

__all__ = ["GROUPS_MAX", "NONE", "OTHER", "Grouping"]

GROUPS_MAX: Final = 100
OTHER: Final = "(other)"
"""The values beyond the first `GROUPS_MAX`."""
NONE: Final = "(none)"
"""A field that is missing or null."""
NAME_CHARACTERS_MAX: Final = 64
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Grouping:
    """The names of the groups of each record. Used by one thread."""

    def __init__(self, fields: Sequence[str]) -> None:
        """`fields`: names of fields of the record; a dotted name reaches inside."""
        self.fields: Final = tuple(fields)
        self._paths: Final[list[FieldPath]] = [field_path(name) for name in fields]
        self._first_keys: Final = frozenset(keys[0] for path in self._paths for keys in path)

    def names(self, record: OutboxRecord) -> tuple[str, ...]:
        """The name of its source (of a row: its aggregate), then one for each field."""
        source = str(record.place.get("source") or record.place.get("aggregate") or "")
        if not self._paths:
            return (source,)
        document = self._document(record)
        return (source, *(_name(reach(document, path)) for path in self._paths))

    def names_of(self, records: RecordBlock) -> Runs[tuple[str, ...]]:
        """The same, for all records of a block."""
        if records.places is None or self._paths:
            names = [self.names(records.record(index)) for index in range(len(records))]
            return Runs(names, range(1, len(names) + 1))
        sources = records.places.sources
        return Runs([(source,) for source, _ in sources.values], sources.ends)

    def _document(self, record: OutboxRecord) -> dict[str, Any]:
        """The record with nothing but what the fields may need."""
        try:
            found = _OBJECT.decode(record.object)
            return {key: msgspec.json.decode(found[key]) for key in self._first_keys if key in found}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return {}


def _name(value: object) -> str:
    """The name of a value's group: a text as it is, anything else as JSON; cut."""
    if value is None or isinstance(value, Absent):
        return NONE
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= NAME_CHARACTERS_MAX else text[: NAME_CHARACTERS_MAX - 1] + "…"
