"""A status as JSON: what `status --json` writes, and what the HTTP server answers for it.

Owns: the names of the keys.
Always: pure. A key keeps its name, type and meaning (docs/json-output.md).
Never: reads anything.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from event_processor.engine.delivery.reports import SnapshotReport
from event_processor.model.snapshots import SNAPSHOT_WORDS
from event_processor.operations.lanes import LanesStatus
from event_processor.operations.status import Status

__all__ = ["snapshot_documents", "status_document"]


def status_document(status: Status, shortfalls: Sequence[str]) -> dict[str, object]:
    """The status as JSON. docs/json-output.md says what each key means."""
    return {
        "state_directory": status.state_directory,
        "alive": status.is_alive,
        "owner": status.owner,
        "keeping_up": not shortfalls,
        "shortfalls": list(shortfalls),
        "committed": msgspec.to_builtins(status.committed),
        "conditions": msgspec.to_builtins(status.conditions),
        "last_known_conditions": msgspec.to_builtins(status.last_known),
        "lanes": _lane_documents(status.lanes),
        "outbox": _outbox_document(status.lanes),
        "snapshots": snapshot_documents(status.lanes.snapshots),
        "verified": _verification_document(status),
    }


def _verification_document(status: Status) -> dict[str, object] | None:
    """The last verification in `status --json`; None if this state was never verified."""
    if status.verified is None:
        return None
    document: dict[str, object] = msgspec.to_builtins(status.verified)
    del document["version"]  # of the file
    return document


def _lane_documents(status: LanesStatus) -> list[dict[str, object]]:
    """The lanes in `status --json`."""
    documents = []
    for lane in status.lanes:
        promised = status.guarantees.get(lane.sink)
        documents.append({**msgspec.to_builtins(lane), "guarantee": promised.words if promised else None})
    return documents


def _outbox_document(status: LanesStatus) -> dict[str, object] | None:
    """The outbox in `status --json`; None without lanes."""
    if not status.lanes:
        return None
    full_in_s = status.full_in_s
    return {
        "undelivered_bytes": status.outbox.undelivered_bytes,
        "bytes_max": status.bytes_max,
        "growth_bytes_per_s": status.outbox.growth_bytes_per_s,
        "full_in_s": None if full_in_s is None else round(full_in_s),
    }


def snapshot_documents(snapshots: Sequence[SnapshotReport]) -> list[dict[str, object]]:
    """The snapshots in `status --json` and `sinks list --json`. docs/json-output.md says what each key means."""
    return [{**msgspec.to_builtins(each), "behind": each.behind, "guarantee": SNAPSHOT_WORDS} for each in snapshots]
