"""`inspect`: shows what is committed.

Owns: the command, and its output as text or JSON.
Always: only committed values are shown.
Never: no state is read here; `operations/inspection.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from msgspec import UNSET

from event_processor.aggregation.documents import GroupTotalsDocument
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import one_line, shown_name, write_facts, write_json, write_lines, write_table
from event_processor.operations.inspection import Inspection, inspect_state

__all__ = ["command"]


def command(
    context: typer.Context,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    category: Annotated[str | None, typer.Option(help="Show only this category.")] = None,
) -> None:
    """Show what is committed: counts, categories, sources. Works while a daemon runs."""
    configuration = load(invocation(context)).configuration
    inspection = inspect_state(configuration, real_environment(configuration), category=category)
    if as_json:
        write_json(msgspec.to_builtins(inspection))
        return
    if category is None:
        _write_summary(inspection)
        if inspection.left_out:
            write_lines([*(f"left out: {one_line(each)}" for each in inspection.left_out), ""])
        _write_aggregates(inspection)
    if inspection.categories:
        _write_categories(inspection)
    else:
        wanted = "" if category is None else f" of category {one_line(category)!r}"
        write_lines([f"no event{wanted} is committed"])


def _write_summary(inspection: Inspection) -> None:
    counts = inspection.counts
    write_facts(
        {
            "state": f"{inspection.state_directory} ({inspection.state_id})",
            "last commit": inspection.written_at,
            "records": counts.records,
            "accepted": f"{counts.accepted:,}, of which {counts.late:,} late",
            "duplicate": counts.duplicate,
            "rejected": counts.rejected,
            "blank": counts.blank,
            **({} if counts.foreign is UNSET else {"foreign": counts.foreign}),
            "held": f"{inspection.held_events:,} events in the order buffer; {inspection.released:,} released",
            **({"lost": f"{inspection.lost.count:,} (event-processor lost)"} if inspection.lost.count else {}),
        }
    )
    write_lines([""])
    rows = [
        (name, each.generation, each.position.get("path", ""), each.position.get("offset", ""), each.line)
        for name, source in inspection.sources.items()
        for each in source.generations
    ]
    if rows:
        write_table(("source", "generation", "file", "bytes", "records"), rows)
        write_lines([""])


def _write_aggregates(inspection: Inspection) -> None:
    for name, aggregate in inspection.aggregates.items():
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in msgspec.structs.asdict(aggregate.counts).items())
        write_lines([f"aggregate {name}: {counts}"])
        if isinstance(aggregate, GroupTotalsDocument) and aggregate.groups:
            first = aggregate.groups[0]
            rows = [(*map(shown_name, each.group.values()), *each.measures.values()) for each in aggregate.groups]
            write_table((*first.group, *first.measures), rows)
        write_lines([""])


def _write_categories(inspection: Inspection) -> None:
    rows = [
        (
            *(name, total.count, total.sum, total.min, total.max, total.mean),
            *(shown_name(total.first_id), shown_name(total.last_id), shown_name(total.last_timestamp)),
        )
        for name, total in inspection.categories.items()
    ]
    write_table(("category", "count", "sum", "min", "max", "mean", "first id", "last id", "last timestamp"), rows)
