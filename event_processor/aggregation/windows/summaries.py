"""What a checkpoint says of the windows of one aggregate.

Owns: `WindowCounts` and `WindowSummary`, which are also the form in the checkpoint.
Always: a value.
Never: the entries of the windows (`entry_lines.py` has their form).
"""

from __future__ import annotations

from msgspec import Struct

from event_processor.aggregation.left_out import LeftOut

__all__ = ["WindowCounts", "WindowSummary"]


class WindowCounts(Struct, frozen=True):
    """`events` came to the aggregate; `late_window` of them were too late for at least one window.

    `over_limit` of them had a group beyond the limit. `unfit` events had a field that could not be measured, or a group that
    cannot be named; they are not among the `events`.
    """

    events: int = 0
    late_window: int = 0
    unfit: int = 0
    over_limit: int = 0


class WindowSummary(Struct, frozen=True, tag_field="kind", tag="windows"):
    """The content of the windows. None means unknown: no event came yet.

    `highest_ns`: the highest released timestamp. `next_row`: the first row not returned yet. `latest_cell`: the latest cell of
    any event so far. `held`: the number of entries. `held_hash`: a hash of them that does not depend on their order. `rows`: the
    number of rows returned; None if a state of version 1 did not keep it. `left_out`: None if an earlier version did not keep it.
    """

    counts: WindowCounts = WindowCounts()
    highest_ns: int | None = None
    next_row: int | None = None
    latest_cell: int | None = None
    held: int = 0
    held_hash: str = ""
    rows: int | None = 0
    left_out: LeftOut | None = None
