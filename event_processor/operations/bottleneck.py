"""Why it is not faster: what the loop and the remote sinks wait for, in words.

Owns: which figures decide, and the words.
Always: pure. A sentence has only figures that were measured: in the last minute, or (the highest rate) in the last hour.
Never: reads anything; guesses how fast something could be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from event_processor.engine.delivery.gate import ANSWERS, HELD, LIMIT, OUTAGE
from event_processor.engine.delivery.lane_waits import IDLE, SENDING, STOPPED
from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.stages import COMMIT, DECODING, FSYNC, IDS, ORDER, READING, STAGES, TOTALS, WAITING
from event_processor.operations.history import COLUMNS, HOUR_S, SETTLED_S, TIMES, Past
from event_processor.storage.ring import FloatArray

__all__ = ["SPAN_S", "Bottleneck", "SinkWaits", "StageShare", "bottleneck_of"]

SPAN_S: Final = 60
_LATELY_S: Final = 5
_IDLE_SHARE: Final = 0.5
"""If the loop waits for records for so much of the time, nothing else is the reason."""
_SLACK_SHARE: Final = 0.1
_LAG_S_MAX: Final = 1.0
"""A loop that waits for a tenth of the time, and lately let no byte wait for a second, keeps up."""
_PEAK_RATIO: Final = 2
_PEAK_MIN: Final = 1000

_WORK: Final[Mapping[str, tuple[str, str]]] = {
    WAITING: ("waiting for records", ""),
    READING: ("reading the input", "a faster disk for the log, or for Kafka a nearer broker"),
    DECODING: ("decoding records", "set engine.workers to the number of free cores"),
    IDS: ("looking for duplicates", "more memory for the cache of the system; or dedup.enabled = false, if no id can come twice"),
    ORDER: ("the order stage, windows and aggregates", "fewer aggregates, or longer windows; or shards (engine.shard)"),
    TOTALS: ("adding up totals", "fewer categories; or shards (engine.shard)"),
    FSYNC: (
        "waiting for the disk (fsync)",
        "a larger batch.pace_ms: fewer commits, and each record waits a little longer; or a faster disk",
    ),
    COMMIT: ("commits, without their fsyncs", "fewer sinks or categories; or a larger batch.pace_ms: fewer commits"),
}
"""What the loop does in each stage, and what would make it faster."""
_SINK_HINTS: Final[Mapping[str, str]] = {
    LIMIT: "raise requests_per_s, or put more records into a request (request_events_max), if the service allows it",
    ANSWERS: "raise concurrency, or put more records into a request (request_events_max), if the service bears it",
    HELD: "the service decides; it goes on by itself",
    OUTAGE: "nothing is lost: it is tried again and again; look at the service",
    STOPPED: "event-processor status says what to do",
    SENDING: "more records in a request (request_events_max), or fewer figures_by",
}


@dataclass(frozen=True, slots=True)
class StageShare:
    """The share of the last minute that the loop spent in a stage."""

    stage: str
    share: float
    words: str


@dataclass(frozen=True, slots=True)
class SinkWaits:
    """What a remote sink waited for in the last minute; `shares` by reason, the largest first."""

    sink: str
    words: str
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The answer in one or two sentences, what would help, and the figures behind it."""

    words: str
    hint: str
    stages: tuple[StageShare, ...] = ()
    sinks: tuple[SinkWaits, ...] = ()


def bottleneck_of(past: Past, lanes: Sequence[LaneReport], *, now_s: int, outbox_is_full: bool = False) -> Bottleneck:
    """What limits the pipeline now. `past`: the ring of seconds. `now_s`: seconds since 1970. Pure."""
    sinks = tuple(SinkWaits(each.sink, _sink_words(each), each.waits_for) for each in lanes)
    if past.is_owned and not past.is_alive:
        return Bottleneck(
            "It is not known: no daemon keeps its figures here.", "its log says why (history_unavailable)", sinks=sinks
        )
    if not past.is_alive or past.records is None:
        return Bottleneck("No daemon runs.", "start it: event-processor run", sinks=sinks)
    minute = _Minute.of(past, now_s)
    shares = minute.shares()
    stages = tuple(
        StageShare(stage, round(share, 3), _stage_words(stage, share, minute))
        for stage, share in sorted(shares.items(), key=lambda each: -each[1])
    )
    if outbox_is_full and shares[WAITING] >= _SLACK_SHARE:
        lane = max(lanes, key=lambda each: each.pending_bytes)
        words = f"The sources are paused, because the outbox is full. {_sink_words(lane)}"
        return Bottleneck(words, _sink_hint(lane), stages, sinks)
    if shares[WAITING] < _IDLE_SHARE and (minute.lag_s >= _LAG_S_MAX or shares[WAITING] < _SLACK_SHARE):
        busiest = _busiest(shares)
        return Bottleneck(_capital(_stage_words(busiest, shares[busiest], minute)), _WORK[busiest][1], stages, sinks)
    slow = [each for each in lanes if each.pending and _reason(each) not in (IDLE, "")]
    if slow:
        lane = max(slow, key=lambda each: each.pending)
        return Bottleneck(f"Counting keeps up. {_sink_words(lane)}", _sink_hint(lane), stages, sinks)
    return Bottleneck(_waiting_words(minute, shares), "nothing: it is as fast as what it reads", stages, sinks)


@dataclass(frozen=True, slots=True)
class _Minute:
    """Sums of the last minute. `peak`: the most records in one second of the last hour. `lag_s`: the longest in the last seconds."""

    values: Mapping[str, float]
    lag_s: float
    peak: float

    @classmethod
    def of(cls, past: Past, now_s: int) -> _Minute:
        assert past.records is not None, "there is a ring"
        begins_s, values = past.records.begins_s, past.records.values
        end_s = now_s - SETTLED_S
        is_recent = (begins_s >= end_s - SPAN_S) & (begins_s <= now_s)
        lately = _column(values[(begins_s >= end_s - _LATELY_S) & (begins_s <= now_s)], "lag_s")
        hour = _column(values[(begins_s >= end_s - HOUR_S) & (begins_s <= now_s)], "records")
        names = (*COLUMNS, *TIMES)
        found = dict(zip(names, values[is_recent].sum(axis=0).tolist(), strict=True))
        # Since its last record it had nothing to do: otherwise there were another one.
        last_s = int(begins_s[is_recent].max(initial=end_s - SPAN_S - 1))
        found[f"{WAITING}_s"] += max(0, end_s - last_s - 1)
        return cls(found, float(lately.max(initial=0.0)), float(hour.max(initial=0.0)))

    @property
    def elapsed_s(self) -> float:
        """The seconds that the stages add up to."""
        return sum(self.values[f"{stage}_s"] for stage in STAGES)

    @property
    def rate_per_s(self) -> float:
        """The records of a second."""
        return self.values["records"] / self.elapsed_s if self.elapsed_s else 0.0

    def shares(self) -> dict[str, float]:
        """The share of each stage; of a daemon that has just started, it waits."""
        elapsed_s = self.elapsed_s
        return {stage: self.values[f"{stage}_s"] / elapsed_s if elapsed_s else float(stage == WAITING) for stage in STAGES}


def _column(values: FloatArray, name: str) -> FloatArray:
    return np.asarray(values[:, COLUMNS.index(name)], np.float64)


def _busiest(shares: Mapping[str, float]) -> str:
    return max((stage for stage in STAGES if stage != WAITING), key=lambda stage: shares[stage])


def _stage_words(stage: str, share: float, minute: _Minute) -> str:
    """What a stage takes, as a sentence without its capital."""
    if stage == FSYNC:
        syncs, sync_s = minute.values["syncs"], minute.values["sync_s"]
        each = f" ({1000 * sync_s / syncs:.1f} ms each)" if syncs else ""
        return f"waiting for the disk: {share:.0%} of the time goes into fsync{each}."
    if stage == WAITING:
        return f"waiting for records: {share:.0%} of the time."
    return f"{_WORK[stage][0]}: {share:.0%} of the time."


def _waiting_words(minute: _Minute, shares: Mapping[str, float]) -> str:
    words = [f"Waiting for records: the input brings {_number(minute.rate_per_s)} a second."]
    busy = 1 - shares[WAITING]
    if busy >= _SLACK_SHARE:
        words.append(f"{busy:.0%} of the time it is busy, most of it with {_WORK[_busiest(shares)][0]}.")
    if minute.peak >= max(_PEAK_MIN, _PEAK_RATIO * minute.rate_per_s):
        words.append(f"In one second of the last hour it counted {_number(minute.peak)}.")
    return " ".join(words)


def _reason(lane: LaneReport) -> str:
    """What a lane waited for most; "" if it was never looked at."""
    return max(lane.waits_for, key=lambda each: lane.waits_for[each], default="")


def _sink_words(lane: LaneReport) -> str:
    """What a sink waits for, as a sentence."""
    name, reason = f"The sink {lane.sink}", _reason(lane)
    waiting = f" {lane.pending:,} records wait." if lane.pending else ""
    words = {
        LIMIT: f"{name} waits for its limit of {lane.limit}.",
        ANSWERS: f"{name} waits for the answers of its service ({lane.mean_request_ms:,.0f} ms each).",
        HELD: f"{name} waits because its service asked for it.",
        OUTAGE: f"{name} waits for its service, which takes nothing now.",
        STOPPED: f"{name} is {lane.state}.",
        SENDING: f"{name} sends as fast as it can.",
        IDLE: f"{name} has nothing to send.",
    }
    return words.get(reason, f"{name} is {lane.state}.") + waiting


def _sink_hint(lane: LaneReport) -> str:
    return lane.remedy or _SINK_HINTS.get(_reason(lane), "")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _number(value: float) -> str:
    """A number for people, with about three digits."""
    if value >= 1e6:
        return f"{value / 1e6:.3g} million"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
