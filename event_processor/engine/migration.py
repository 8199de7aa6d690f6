"""A state of version 1, converted to version 2.

Owns: the keys that version 1 named differently, the values that it did not keep, and the words that report these.
Always: pure; counts, sums and ids stay as they are. What version 1 did not keep is None, never a guess.
Never: writes anything. `checkpoint.py` writes the state in version 2 at the first start, and keeps the old checkpoint beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from event_processor.aggregation.documents import AggregateDocument, CategoryTotal
from event_processor.configuration.parts import config_hash
from event_processor.engine.state import OrderSummary
from event_processor.model.event import Json

__all__ = ["KEPT_NAME", "VERSION", "to_version_2", "unknown_parts"]

VERSION: Final = 1
KEPT_NAME: Final = "checkpoint.version-1.json"
"""The first start keeps the old checkpoint under this name."""
_ORDER_KEY: Final = "order.active"
_POSITION_KEYS: Final = ("path", "device", "inode", "offset", "head_hash", "tail_hash")


def to_version_2(state: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, Any]:
    """`state` in the form of version 2. `meta` holds the configuration that made it.

    Raises `KeyError`, `TypeError` or `AttributeError` for another shape.
    """
    recorded: dict[str, Json] = meta["config"] if isinstance(meta.get("config"), dict) else {}
    # The checksum does not cover `meta`. So `meta` holds the configuration that made the state only if the hash is that of the
    # state.
    parts = recorded if config_hash(recorded) == state["config_hash"] else {}
    active = bool(parts[_ORDER_KEY]) if _ORDER_KEY in parts else bool(state["order"]["released"] or state["order"]["held"])
    hashed = {key: value for key, value in parts.items() if key != _ORDER_KEY}
    return {
        **state,
        "config_hash": config_hash(hashed) if parts else state["config_hash"],
        "sources": {name: _source(each) for name, each in state["sources"].items()},
        "categories": {name: _category(each, parts) for name, each in state["categories"].items()},
        "aggregates": {name: _aggregate(each) for name, each in state["aggregates"].items()},
        "order": {**state["order"], "active": active},
    }


def unknown_parts(
    categories: Mapping[str, CategoryTotal], aggregates: Mapping[str, AggregateDocument], order: OrderSummary
) -> list[str]:
    """What a state that was just converted from version 1 does not know, in words; empty if it knows everything."""
    without_values = sum(total.values is None for total in categories.values())
    without_rows = [name for name, each in aggregates.items() if each.rows is None]
    words = []
    if without_values:
        words.append(f"the number of values, and so the mean, of {without_values} categories")
    if without_rows:
        words.append(f"the number of rows of {', '.join(without_rows)}")
    if order.held:
        words.append(f"the places of {order.held} held events")
    return words


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    generations = [
        {"generation": file["generation"], "line": file["line"], "position": {key: file[key] for key in _POSITION_KEYS}}
        for file in source["files"]
    ]
    retired = source["retired"]
    return {
        "generations": generations,
        "retired": {
            "generations": retired["files"],
            "size_bytes": retired["size_bytes"],
            "records": retired["records"],
        },
        "counts": source["counts"],
    }


def _category(total: Mapping[str, Any], parts: Mapping[str, Json]) -> dict[str, Any]:
    """Every event had a value, or no event had one. For a mix, version 1 did not keep the number."""
    if total["min"] is None:
        values = 0
    elif parts.get("event.value_missing") == "reject":
        values = total["count"]
    else:
        return {**total, "values": None, "mean": None}
    from event_processor.aggregation.exact_sum import exact_mean  # noqa: PLC0415 - only for a state of version 1

    return {**total, "values": values, "mean": exact_mean(total["sum_parts"], values) if values else None}


def _aggregate(aggregate: Mapping[str, Any]) -> dict[str, Any]:
    if aggregate["kind"] == "groups":
        return {**aggregate, "rows": len(aggregate["groups"])}
    # Rows that were written before are not counted anywhere, unless no row was due yet.
    return {**aggregate, "rows": 0 if aggregate["next_row"] is None else None}
