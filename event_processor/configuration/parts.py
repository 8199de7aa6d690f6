"""The part of a configuration that a state depends on, its hash, and what differs between two configurations.

Owns: `config_parts`, `config_hash`, `changed_parts`, `changed_keys`.
Always: a key that a later release adds changes no hash while it keeps the behaviour of earlier releases.
Never: decides whether a configuration may continue a state (`assembly/state_configuration.py` does).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from event_processor.configuration.configuration import AGGREGATES, Configuration
from event_processor.model.event import Json

__all__ = ["LATER_KEYS", "PartChange", "changed_keys", "changed_parts", "config_hash", "config_parts"]

CONFIG_HASH_BYTES: Final = 16
SHARD_KEY: Final = "engine.shard"
LATER_KEYS: Final[Mapping[str, Json]] = {"event.category_numbers": "reject", "event.timestamp_format": "auto"}
"""Keys that earlier releases did not have, and the values that say what those releases did."""


def config_parts(configuration: Configuration) -> dict[str, Json]:
    """The part of the configuration that the state depends on: flat dotted keys, values as JSON.

    A key that a later release adds must be left out here while its value keeps the behaviour of earlier releases. Otherwise an
    upgrade alone would refuse every state.
    """
    parts: dict[str, Json] = {}
    for name, source in configuration.sources.items():
        parts |= {f"sources.{name}.{key}": value for key, value in source.identity().items()}
    for number, transform in enumerate(configuration.transforms):
        parts |= {f"transforms[{number}].{key}": value for key, value in transform.parts().items()}
    for section in ("event", "dedup", "order", "totals"):
        options: dict[str, Json] = getattr(configuration, section).model_dump(mode="json")
        parts |= {f"{section}.{key}": value for key, value in options.items()}
    for key, earlier in LATER_KEYS.items():
        if parts[key] == earlier:
            del parts[key]
    del parts["order.idle_release_ms"]  # the journal records each flush, so the state does not depend on its time
    for name, aggregate in configuration.aggregates.items():
        said: dict[str, Json] = aggregate.model_dump(mode="json")
        _without_defaults(said)
        # As pairs, because the order of the columns matters.
        said["measures"] = [[column, text] for column, text in aggregate.measures.items()]
        parts |= {f"{AGGREGATES}.{name}.{key}": value for key, value in said.items()}
    if configuration.engine.shard:
        parts[SHARD_KEY] = configuration.engine.shard
    return parts


def _without_defaults(said: dict[str, Json]) -> None:
    """Removes the keys of an aggregate that earlier releases did not have, if they say what those releases did, or what other keys say."""
    if said["where_missing"] == "leave_out":
        del said["where_missing"]
    window = said["window"]
    if isinstance(window, dict):
        # The seconds say the same, in the words of earlier releases.
        del window["size"], window["every"]
        if window["time_from"] == "all":
            del window["time_from"]


def config_hash(parts: Mapping[str, Json]) -> str:
    """The hash of `config_parts` in hexadecimal. It does not depend on the order of the keys."""
    canonical = orjson.dumps(dict(parts), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=CONFIG_HASH_BYTES).hexdigest()


@dataclass(frozen=True, slots=True)
class PartChange:
    """A key that differs between two configurations. A value is None if that configuration does not have the key."""

    key: str
    before: Json
    after: Json

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}"


def _shown(value: Json) -> str:
    return "(absent)" if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def changed_keys(before: Configuration, after: Configuration) -> tuple[str, ...]:
    """The dotted keys of two configurations that differ, ascending: all keys, not only those that the state depends on."""
    parts, others = (dict(_flat("", each.model_dump(mode="json", by_alias=True))) for each in (before, after))
    return tuple(change.key for change in changed_parts(parts, others))


def _flat(key: str, value: Json) -> Iterator[tuple[str, Json]]:
    """Yields the leaves of a value, by dotted key. An array is a leaf."""
    if not isinstance(value, dict) or not value:
        yield key, value
        return
    for name, below in value.items():
        yield from _flat(f"{key}.{name}" if key else name, below)


def changed_parts(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[PartChange]:
    """The keys whose values differ, ascending; empty if the two hashes are equal."""
    pairs = ((key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys()))
    return [PartChange(key, old, new) for key, old, new in pairs if _shown(old) != _shown(new)]
