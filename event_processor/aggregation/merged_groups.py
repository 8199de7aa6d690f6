"""The groups of several shards as one aggregate.

Owns: adding groups of shards, and what aggregates of shards leave out together.
Always: sums are added exactly, so the measures are those of one process that read everything. First and last values have the number of
the record in the log as their key, so they are in the order of the log.
Never: changes a document that it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from event_processor.aggregation.documents import WindowCounts
from event_processor.aggregation.groups import GroupCounts, GroupTotal, GroupTotals, GroupTotalsDocument
from event_processor.aggregation.left_out import FirstLeftOut, LeftOut
from event_processor.aggregation.measures import EventMeasurer, GroupKey, group_key
from event_processor.aggregation.windows.entries import merge_entries
from event_processor.configuration.aggregates import AggregateOptions

__all__ = ["merged_groups", "merged_left_out", "summed"]

_Counts = TypeVar("_Counts", GroupCounts, WindowCounts)


def merged_groups(
    options: AggregateOptions, measurer: EventMeasurer, documents: Sequence[GroupTotalsDocument]
) -> GroupTotalsDocument:
    """One document of all shards, at least one. It may have more groups than `groups_max`, if each shard has few enough."""
    groups: dict[GroupKey, GroupTotal] = {}
    for each in (group for document in documents for group in document.groups):
        key = group_key([each.group[name] for name in options.group_by])
        present = groups.get(key)
        entry = each.entry if present is None else merge_entries(present.entry, each.entry)
        groups[key] = GroupTotal(each.group, {}, entry)
    counts = summed([document.counts for document in documents])
    left_out = merged_left_out([document.left_out for document in documents])
    merged = GroupTotalsDocument(counts, tuple(groups.values()), len(groups), left_out)
    return GroupTotals(options, measurer, merged).document()


def summed(several: Sequence[_Counts]) -> _Counts:
    """The sum of each count."""
    kind = type(several[0])
    return kind(**{name: sum(getattr(each, name) for each in several) for name in kind.__struct_fields__})


def merged_left_out(several: Sequence[LeftOut | None]) -> LeftOut | None:
    """What no shard has, and the first places of all; None if a shard does not know it."""
    known = [each for each in several if each is not None]
    if len(known) < len(several):
        return None
    absent = tuple(name for name in known[0].fields_absent if all(name in each.fields_absent for each in known))
    return LeftOut(absent, _first(each.first_unfit for each in known), _first(each.first_over_limit for each in known))


def _first(places: Iterable[FirstLeftOut | None]) -> FirstLeftOut | None:
    """The first place in the log. Of several sources: by name."""
    found = [each for each in places if each is not None]
    return min(found, key=lambda each: (each.source, each.generation, each.line), default=None)
