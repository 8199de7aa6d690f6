"""Columns as Python values, to be compared with what a person wrote down."""

from __future__ import annotations

from event_processor.model.columns import Columns
from event_processor.model.event import EventId

__all__ = ["categories_of", "ids_of", "timestamps_of"]


def ids_of(columns: Columns) -> list[EventId]:
    return columns.ids.to_list()


def categories_of(columns: Columns) -> list[str] | None:
    if columns.categories is None:
        return None
    return [columns.categories.names[code] for code in columns.categories.codes.tolist()]


def timestamps_of(columns: Columns) -> list[object] | None:
    return None if columns.timestamps is None else list(columns.timestamps.to_list())
