"""What becomes of a record's data before it is sent.

Owns: `transformed`, and `Normalise`, the transform that `event-processor.toml` names.
Always: the result is not empty, also for empty data. It depends on the record alone: no clock, no random numbers.
Never: judges a record (`models.py` does). A record whose data is not an object stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def transformed(sequence_id: object, data: Mapping[str, object]) -> dict[str, object]:
    """The record's number, the number of its fields, and the fields by name, texts without spaces around them."""
    values = {name: value.strip() if isinstance(value, str) else value for name, value in sorted(data.items())}
    return {"sequence_id": sequence_id, "fields": len(values), "values": values}


class Normalise:
    """Adds `transformed_data` to each event that has data."""

    def __init__(self, options: dict[str, object]) -> None:
        """`options` is empty: there is nothing to choose."""

    def transform(self, events: Sequence[dict[str, object]]) -> list[dict[str, object] | str]:
        """Each event with its `transformed_data`."""
        return [_normalised(event) for event in events]


def _normalised(event: dict[str, object]) -> dict[str, object]:
    data = event.get("data")
    if not isinstance(data, dict):
        return event
    return event | {"transformed_data": transformed(event.get("sequence_id"), data)}
