"""`explain`: shows what happened to one id.

Owns: the command and its output.
Always: a place is shown with its path, line and byte. Without a remote sink, nothing is shown of remote sinks.
Never: no log is read here; `operations/explanation.py` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import counted, one_line, progress_bar, write_json, write_lines
from event_processor.model.event import EventId
from event_processor.operations.explanation import Explanation, IdHistory, Occurrence, explain, explanation_document
from event_processor.operations.lane_history import LaneHistory, OneTry

__all__ = ["command"]

RESULTS: Final = {
    "held": "waits in the order buffer",
    "before": "not sent: released before this sink started",
    "answered": "answered long ago",
}
"""The results that are shown in other words than their own."""


def command(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The id. If it has several fields, a JSON array: '[\"a\", 1]'.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what happened to one id: where it was accepted, came again, or was rejected, and what remote sinks did. Reads the log."""
    configuration = load(invocation(context)).configuration
    with progress_bar("reading the log") as progress:
        explanation = explain(configuration, real_environment(configuration), event_id, progress=progress)
    if as_json:
        write_json(explanation_document(explanation))
    else:
        write_lines(_lines(explanation))


def _lines(explanation: Explanation) -> Iterator[str]:
    """Each id that was found, and its places. If none was found, one line with all ids that the text may mean."""
    known = [history for history in explanation.ids if history.is_known]
    for history in known:
        yield f"{_name(history.id)}:"
        yield from _places(history)
    if not known:
        meant = " or ".join(_name(history.id) for history in explanation.ids)
        yield f"{meant}: not found in {counted(explanation.records, 'record')}"


def _places(history: IdHistory) -> Iterator[str]:
    if history.foreign:
        yield f"  belongs to shard {history.shard}, which says what became of it"
    outcomes = {
        "accepted": history.accepted,
        "duplicate": history.duplicates,
        "rejected": history.rejected,
        "foreign": history.foreign,
    }
    for word, places in outcomes.items():
        for place in places:
            yield f"  {word:<9}  {_place(place)}"
            if word == "accepted":
                here = (place.source, place.generation, place.offset)
                lanes = [each for each in history.lanes if (each.source, each.generation, each.offset) == here]
                yield from _deliveries(lanes)
    if history.unlisted:
        yield f"  and {history.unlisted:,} more"


def _place(place: Occurrence) -> str:
    reason = f": {one_line(place.reason)}" if place.reason else ""
    where = f"{one_line(place.path)}:{place.line} ({'offset' if place.is_numbered else 'byte'} {place.offset})"
    return f"{where}, source {place.source}, generation {place.generation}{reason}"


def _deliveries(lanes: list[LaneHistory]) -> Iterator[str]:
    """When the record was released, and a line for each sink and each retry."""
    if not lanes:
        return
    names = [f"{each.sink} {each.retry}".strip() for each in lanes]
    width = max(9, *map(len, names))
    yield f"  {'released':<{width}}  {_release(lanes)}"
    for name, each in zip(names, lanes, strict=True):
        yield f"  {name:<{width}}  {_delivery(each)}"


def _release(lanes: list[LaneHistory]) -> str:
    """When the record was released. All lanes have the same series; a retry has another."""
    main = [each for each in lanes if not each.retry]
    if found := next((each for each in main if each.released_at), None):
        return f"sequence {found.sequence}, {found.released_at}"
    results = {each.result for each in main}
    if "held" in results:
        return "not yet"
    if results == {"before"}:
        return "before a remote sink started; no outbox has its record"
    if results == {"skipped"}:
        return "while every sink was detached; no outbox has its record"
    return "long ago; its record is no longer in the outbox"


def _delivery(lane: LaneHistory) -> str:
    """How it ended, and the tries."""
    if lane.result == "delivered" and not lane.at:
        ended = "delivered; its last tries are no longer known"
    else:
        ended = RESULTS.get(lane.result, lane.result) + (f" at {lane.at}" if lane.at else "")
    if lane.result != "delivered":
        answer = one_line(f"{lane.status} {lane.reason}".strip())
        ended += f": {answer}" if answer else ""
    return f"{ended}; {_tries(lane)}" if lane.last_tries else ended


def _tries(lane: LaneHistory) -> str:
    """The known tries. If there were more, their number says so."""
    known = lane.last_tries
    words = "try" if len(known) == 1 else "tries"
    more = "the last " if known[0].number > 1 or (lane.tries or 0) > len(known) else ""
    return f"{more}{len(known)} {words}: " + ", ".join(map(_try, known))


def _try(tried: OneTry) -> str:
    stage = "" if tried.stage == "deliver" else f"{tried.stage}: "
    answer = f"{tried.status} {tried.words}".strip() or tried.verdict
    wait = f" (wait {tried.next_in_s:,.1f} s)" if tried.next_in_s else ""
    return one_line(f"{tried.at} {stage}{answer}{wait}")


def _name(event_id: EventId) -> str:
    kind = "integer" if isinstance(event_id, int) else "string" if isinstance(event_id, str) else "several fields"
    return f"{one_line(event_id if isinstance(event_id, str) else msgspec.json.encode(event_id).decode())} ({kind})"
