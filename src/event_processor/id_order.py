"""The order of ids: integers by value, before strings by code point, before ids of several fields, part by part.

Always: a total order over every id there can be, the same in the order stage and in the totals. Python compares strings by
code point already, so that a list of ids of one kind needs no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from event_processor.event import EventId

__all__ = ["OrderKey", "SortableId", "id_key", "is_ascending"]

SortableId: TypeAlias = "int | str | tuple[tuple[int, int | str], ...]"
OrderKey: TypeAlias = tuple[int, SortableId]
"""(kind, value): kinds are compared first, so that values are compared only with their like."""

INTEGER, STRING, SEVERAL = 0, 1, 2


def id_key(event_id: EventId) -> OrderKey:
    """The key by which ids are sorted."""
    if isinstance(event_id, str):
        return STRING, event_id
    if isinstance(event_id, int):
        return INTEGER, event_id
    return SEVERAL, tuple((STRING if isinstance(part, str) else INTEGER, part) for part in event_id)


def is_ascending(ids: Sequence[EventId]) -> bool:
    """Whether the ids are known to rise, without a key an id: False also where they are of several kinds."""
    if not ids or isinstance(ids[0], tuple):
        return not ids
    try:
        return list(ids) == sorted(ids)
    except TypeError:
        return False
