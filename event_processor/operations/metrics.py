"""What is committed, as metrics: families of samples, independent of how they are written.

Owns: the names of the metrics, their labels, and what each is made of.
Always: pure. Counters come from the checkpoint and from the cursors, so they survive restarts and are equal to them. The values of each label
are names of the configuration, or from a fixed list.
Never: reads anything; knows a format.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from msgspec import UnsetType

from event_processor import __version__
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.kernels.library import LIBRARY
from event_processor.operations.conditions import CONDITION_KINDS, LOST, OTHER_KIND
from event_processor.operations.lanes import LanesStatus
from event_processor.operations.status import CommittedStatus, Status

__all__ = ["MetricFamily", "lag_seconds", "metric_families"]

OUTCOMES: Final = ("accepted", "duplicate", "rejected", "blank")


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One metric. `name` is without the `_total` of a counter. Each sample has a value for each of `labels`."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]
    samples: Sequence[tuple[tuple[str, ...], float]]


def metric_families(status: Status, checkpoint: Checkpoint | None) -> Iterator[MetricFamily]:
    """Yields the metrics of one moment. `status` was made from `checkpoint`."""
    about = (__version__, platform.python_version(), str(LIBRARY is not None).lower())
    yield MetricFamily(
        "event_processor_build_info", "gauge", "1; the version of the program.", ("version", "python", "kernels"), [(about, 1)]
    )
    yield _gauge("running", "Whether a process owns the state (1) or not (0).", status.is_alive)
    yield _conditions(status)
    yield from _of_lanes(status.lanes)
    if status.committed is not None and checkpoint is not None:
        yield from _committed(status.committed, checkpoint)


def lag_seconds(lag_s: float, by_source: Mapping[str, float | None]) -> Iterator[MetricFamily]:
    """Yields how long the oldest unread byte waits, in all and by source: only a running daemon sees that."""
    yield _gauge("lag_seconds", "How long the oldest byte that is not committed has been seen waiting.", lag_s)
    samples = [((name,), seconds) for name, seconds in sorted(by_source.items()) if seconds is not None]
    words = "The same for each source of which it can be measured."
    yield MetricFamily("event_processor_source_lag_seconds", "gauge", words, ("source",), samples)


def _gauge(name: str, words: str, value: float | None) -> MetricFamily:
    samples = [] if value is None else [((), float(value))]
    return MetricFamily(f"event_processor_{name}", "gauge", words, (), samples)


def _conditions(status: Status) -> MetricFamily:
    """A sample for each kind, also for those that are not present, so that an alert sees them end."""
    found = Counter(each.kind if each.kind in CONDITION_KINDS else OTHER_KIND for each in status.conditions if each.kind != LOST)
    if status.committed is not None and status.committed.lost:
        found[LOST] = status.committed.lost
    samples = [((kind,), float(found[kind])) for kind in sorted({*CONDITION_KINDS, OTHER_KIND})]
    return MetricFamily("event_processor_condition", "gauge", "How many conditions of this kind are present.", ("kind",), samples)


def _of_lanes(lanes: LanesStatus) -> Iterator[MetricFamily]:
    """The remote sinks, and what waits for them."""
    results = [
        ((lane.sink, result), float(count))
        for lane in lanes.lanes
        for result, count in (("delivered", lane.delivered), ("failed", lane.failed), ("skipped", lane.skipped))
    ]
    words = "Records of a remote sink by result, since it was added."
    yield MetricFamily("event_processor_deliveries", "counter", words, ("sink", "result"), results)
    pending = [((lane.sink,), float(lane.pending)) for lane in lanes.lanes]
    yield MetricFamily("event_processor_pending", "gauge", "Records that wait for a remote sink.", ("sink",), pending)
    behind = [((each.sink,), float(each.behind)) for each in lanes.snapshots]
    words = "Records that the table of a snapshot does not cover yet."
    yield MetricFamily("event_processor_snapshot_behind", "gauge", words, ("sink",), behind)
    yield _gauge("outbox_bytes", "Bytes in the outbox that a remote sink has not got.", lanes.outbox.undelivered_bytes)
    yield _gauge("outbox_bytes_max", "The limit of event_processor_outbox_bytes.", lanes.bytes_max)


def _committed(committed: CommittedStatus, checkpoint: Checkpoint) -> Iterator[MetricFamily]:
    state = checkpoint.state
    records = [
        ((name, outcome), float(getattr(source.counts, outcome)))
        for name, source in sorted(state.sources.items())
        for outcome in OUTCOMES
    ]
    yield MetricFamily("event_processor_records", "counter", "Committed records by outcome.", ("source", "outcome"), records)
    foreign = [
        ((name,), float(source.counts.foreign))
        for name, source in sorted(state.sources.items())
        if not isinstance(source.counts.foreign, UnsetType)
    ]
    words = "Records of other shards, which are in no other count."
    yield MetricFamily("event_processor_foreign", "counter", words, ("source",), foreign)
    late = [((name,), float(source.counts.late)) for name, source in sorted(state.sources.items())]
    yield MetricFamily(
        "event_processor_late", "counter", "Accepted events that came too late for their order.", ("source",), late
    )
    # An aggregate can leave out several fields: one sample for all of them.
    left_out: Counter[tuple[str, ...]] = Counter()
    for each in committed.left_out:
        left_out[each.outcome, each.aggregate or each.sink] += each.count
    samples = [(labels, float(count)) for labels, count in sorted(left_out.items())]
    words = "Events of which a result does not contain everything."
    yield MetricFamily("event_processor_left_out", "gauge", words, ("outcome", "of"), samples)
    yield _gauge("lag_bytes", "Bytes in the sources after the committed positions.", committed.lag_bytes)
    by_source = [((name,), float(lag.bytes)) for name, lag in committed.lag_by_source.items() if not lag.unknown]
    words = "The same for each source of which it is known."
    yield MetricFamily("event_processor_source_lag_bytes", "gauge", words, ("source",), by_source)
    yield _gauge(
        "checkpoint_age_seconds", "Seconds since the last commit; it grows while there is nothing to read.", committed.age_s
    )
    yield _gauge("lag_records", "Records after the committed positions, of sources that number them.", committed.lag_records)
    yield _gauge("lag_unknown", "Sources whose lag could not be found out; it is in no other metric.", len(committed.lag_unknown))
    yield _gauge("categories", "Categories with a total.", committed.categories)
    yield _gauge("held_events", "Events in the order buffer.", committed.held_events)
    yield _gauge("dead_letters", "Rejected records in the dead-letter file.", committed.dead_letters)
