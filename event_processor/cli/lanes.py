"""How commands show lanes: as facts, as words of a line, and as the summary of a run.

Owns: the words for the figures of lanes.
Always: pure. A figure that is not known is left out.
Never: reads a figure (`operations/lanes.py` and the daemon do).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from event_processor.engine.delivery.reports import GroupReport, LaneReport, SnapshotReport
from event_processor.operations.lanes import LanesStatus, outbox_forecast

__all__ = ["lane_facts", "lane_group_facts", "lane_summary", "lane_words", "snapshot_summary"]

GROUPS_SHOWN_MAX = 12


def lane_facts(status: LanesStatus) -> dict[str, object]:
    """A row for each lane and each snapshot, and one for the outbox; empty without them."""
    snapshots: dict[str, object] = {f"sink {each.sink}": _snapshot_fact(each) for each in status.snapshots}
    if not status.lanes:
        return snapshots
    forecast = outbox_forecast(status.full_in_s)
    outbox = f"{status.outbox.undelivered_bytes:,} of {status.bytes_max:,} bytes wait{f'; {forecast}' if forecast else ''}"
    return {**{f"sink {lane.sink}": _fact(lane) for lane in status.lanes}, **snapshots, "outbox": outbox}


def _snapshot_fact(snapshot: SnapshotReport) -> str:
    """A snapshot in a line."""
    since = f" since {snapshot.since}" if snapshot.since else ""
    return "; ".join(filter(None, [f"{snapshot.state}{since}: {_as_of(snapshot)}", snapshot.words, snapshot.remedy]))


def _as_of(snapshot: SnapshotReport) -> str:
    """How far a snapshot is."""
    if snapshot.as_of is None:
        return f"as of an unknown record; {snapshot.committed:,} are committed"
    rows = "" if snapshot.rows is None else f", {snapshot.rows:,} rows"
    left_out = f", {snapshot.left_out:,} left out" if snapshot.left_out else ""
    return f"as of record {snapshot.as_of:,}{rows}{left_out}, {snapshot.behind:,} records behind"


def _fact(lane: LaneReport) -> str:
    """A lane in a line."""
    since = f" since {lane.since}" if lane.since else ""
    rate = f", {lane.rate_per_s:.1f}/s" if lane.since else ""
    counts = f"{lane.delivered:,} delivered{rate}, {lane.failed:,} failed, {lane.skipped:,} skipped, {lane.pending:,} pending"
    return "; ".join(filter(None, [f"{lane.state}{since}: {counts}", lane.words, lane.remedy]))


def lane_group_facts(status: LanesStatus) -> dict[str, object]:
    """For each lane its figures, then those by source and by the value of each field."""
    facts: dict[str, object] = {}
    for lane in status.lanes:
        if lane.since:
            facts[f"{lane.sink} figures"] = (
                f"mean {lane.mean_elapsed_ms:,.1f} ms, request {lane.mean_request_ms:,.1f} ms; "
                f"errors {lane.error_rate_before:.1%} before retries, {lane.error_rate:.1%} after; {lane.limit_hits:,} limit hits"
            )
        for by, groups in _groups(lane):
            facts[f"{lane.sink} by {by}"] = _shown(groups)
    return facts


def _groups(lane: LaneReport) -> Iterator[tuple[str, Mapping[str, GroupReport]]]:
    """The groups of a lane, each with the name of its kind."""
    if lane.by_source:
        yield "source", lane.by_source
    yield from ((field, groups) for field, groups in lane.by_field.items() if groups)


def _shown(groups: Mapping[str, GroupReport]) -> str:
    """The largest groups, by name."""
    shown = (f"{name} {each.processed:,}, {each.rate_per_s:.1f}/s{_failures(each)}" for name, each in _largest(groups))
    return "; ".join(shown) + _unshown(groups)


def _largest(groups: Mapping[str, GroupReport]) -> list[tuple[str, GroupReport]]:
    return sorted(sorted(groups.items(), key=lambda item: -item[1].processed)[:GROUPS_SHOWN_MAX])


def _unshown(groups: Mapping[str, GroupReport]) -> str:
    return f", and {len(groups) - GROUPS_SHOWN_MAX} more" if len(groups) > GROUPS_SHOWN_MAX else ""


def _failures(group: GroupReport) -> str:
    return f" ({group.failed:,} failed)" if group.failed else ""


def lane_words(status: LanesStatus) -> dict[str, object]:
    """The lanes as words of one line; empty without lanes."""
    if not status.lanes:
        return {}
    return {
        "lanes": ",".join(f"{lane.sink}:{lane.state}" for lane in status.lanes),
        "delivered": sum(lane.delivered for lane in status.lanes),
        "delivered_per_s": f"{sum(lane.rate_per_s for lane in status.lanes):.1f}",
        "pending": sum(lane.pending for lane in status.lanes),
        "failed": sum(lane.failed for lane in status.lanes),
    }


def lane_summary(lanes: Sequence[LaneReport]) -> Iterator[str]:
    """The lines about the lanes at the end of a run: for each its counts and its figures, and the figures of all together."""
    for lane in lanes:
        counts = f"{lane.delivered:,} delivered, {lane.failed:,} failed, {lane.skipped:,} skipped, {lane.pending:,} pending"
        words = "; ".join(filter(None, [lane.words, lane.remedy]))
        yield f"sink {lane.sink}: {counts}" + (f"; {lane.state}: {words}" if words else "")
        yield f"  {_figures([lane])}"
        for by, groups in _groups(lane):
            shown = (f"{name} {each.processed:,}{_failures(each)}" for name, each in _largest(groups))
            yield f"  by {by}: {', '.join(shown)}{_unshown(groups)}"
    if len(lanes) > 1:
        yield f"all sinks: {_figures(lanes)}"


def snapshot_summary(snapshots: Sequence[SnapshotReport]) -> Iterator[str]:
    """The lines about snapshots at the end of a run."""
    for each in snapshots:
        words = "; ".join(filter(None, [each.words, each.remedy]))
        yield f"sink {each.sink}: {_as_of(each)}" + (f"; {each.state}: {words}" if words else "")


def _figures(lanes: Sequence[LaneReport]) -> str:
    """The figures of one run: rates add up, means and shares are weighted."""
    processed, requests = sum(lane.processed for lane in lanes), sum(lane.requests for lane in lanes)

    def mean(of: Callable[[LaneReport], float], weight: Callable[[LaneReport], int], whole: int) -> float:
        return sum(of(lane) * weight(lane) for lane in lanes) / whole if whole else 0.0

    elapsed_ms = mean(lambda lane: lane.mean_elapsed_ms, lambda lane: lane.processed, processed)
    request_ms = mean(lambda lane: lane.mean_request_ms, lambda lane: lane.requests, requests)
    before = mean(lambda lane: lane.error_rate_before, lambda lane: lane.requests, requests)
    after = mean(lambda lane: lane.error_rate, lambda lane: lane.processed, processed)
    rate = sum(lane.run_rate_per_s for lane in lanes)
    backlog, hits = sum(lane.pending for lane in lanes), sum(lane.limit_hits for lane in lanes)
    return (
        f"{processed:,} processed, {rate:.1f}/s; mean time {elapsed_ms:,.1f} ms, request {request_ms:,.1f} ms; "
        f"error rate {before:.1%} before retries, {after:.1%} after; backlog {backlog:,}; {hits:,} limit hits"
    )
