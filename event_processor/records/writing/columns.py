"""The columns that a sink writes, as its options name them.

Owns: `Column` and how its text is read; the names of the forms of timestamps; the types of columns.
Never: reads a value (`rows.py` does). Options need this file, and nothing else of the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

__all__ = ["AS_IS", "RFC3339", "Column", "ColumnType", "column_of", "is_spelling"]

ColumnType: TypeAlias = Literal["string", "integer", "number", "boolean", "timestamp"]
AS_IS: Final = "as_is"
RFC3339: Final = "rfc3339"
_NAMES: Final = (AS_IS, RFC3339, "epoch_s", "epoch_ms")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AS: Final = " as "


def is_spelling(text: str) -> bool:
    """Whether `text` is the name of a form, or a strftime pattern."""
    if text in _NAMES:
        return True
    try:
        return "%" in text and "\0" not in text and _EPOCH.strftime(text) != text
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Column:
    """A field (a dotted name also reaches inside objects), and the name of its column."""

    field: str
    name: str


def column_of(text: str) -> Column:
    """Parses "field" or "field as name"."""
    field, found, name = text.rpartition(_AS)
    return Column(field.strip(), name.strip()) if found else Column(text.strip(), text.strip())
