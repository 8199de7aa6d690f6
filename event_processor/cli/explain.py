"""`explain`: shows what happened to one id.

Owns: the command and its output.
Always: a place is shown with its path, line and byte.
Never: no log is read here; `operations/explanation.py` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import counted, one_line, progress_bar, write_json, write_lines
from event_processor.model.event import EventId
from event_processor.operations.explanation import Explanation, IdHistory, Occurrence, explain

__all__ = ["command"]


def command(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The id. If it has several fields, a JSON array: '[\"a\", 1]'.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what happened to one id: where it was accepted, where it came again, where it was rejected. Reads the log."""
    configuration = load(invocation(context)).configuration
    with progress_bar("reading the log") as progress:
        explanation = explain(configuration, real_environment(configuration), event_id, progress=progress)
    if as_json:
        write_json(msgspec.to_builtins(explanation))
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
    for word, places in (("accepted", history.accepted), ("duplicate", history.duplicates), ("rejected", history.rejected)):
        for place in places:
            yield f"  {word:<9}  {_place(place)}"
    if history.unlisted:
        yield f"  and {history.unlisted:,} more"


def _place(place: Occurrence) -> str:
    reason = f": {one_line(place.reason)}" if place.reason else ""
    where = f"{one_line(place.path)}:{place.line} (byte {place.offset})"
    return f"{where}, source {place.source}, generation {place.generation}{reason}"


def _name(event_id: EventId) -> str:
    kind = "integer" if isinstance(event_id, int) else "string" if isinstance(event_id, str) else "several fields"
    return f"{one_line(event_id if isinstance(event_id, str) else msgspec.json.encode(event_id).decode())} ({kind})"
