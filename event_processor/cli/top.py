"""`top`: shows the status, live.

Owns: the command, and the two forms of an update: a table on a terminal, one line in a pipe.
Always: nothing is changed.
Never: the status is not read here; `operations/status.py` does that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated

import typer
from msgspec import UNSET
from rich.console import Console
from rich.live import Live

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.lanes import lane_group_facts, lane_words
from event_processor.cli.output import table_of, write_lines
from event_processor.cli.status import facts_of
from event_processor.operations.status import StatusFrame, watch_status

__all__ = ["command"]


def command(
    context: typer.Context,
    *,
    interval_s: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two updates.")] = 1.0,
    count: Annotated[int | None, typer.Option(min=1, help="Stop after this many updates. Default: at Ctrl-C.")] = None,
) -> None:
    """Show the status and the rate, live. In a pipe, each update is one line. Changes nothing."""
    configuration = load(invocation(context)).configuration
    frames = watch_status(configuration, real_environment(configuration), interval_s=interval_s, count=count)
    with suppress(KeyboardInterrupt):
        if sys.stdout is not None and sys.stdout.isatty():
            _draw(frames)
        else:
            for frame in frames:
                write_lines([_line(frame)])


def _draw(frames: Iterable[StatusFrame]) -> None:
    with Live(console=Console(), auto_refresh=False, screen=True) as live:
        for frame in frames:
            facts = {**facts_of(frame.status), "rate": _rate(frame), **lane_group_facts(frame.status.lanes), **_conditions(frame)}
            live.update(table_of(("", ""), list(facts.items())), refresh=True)


def _conditions(frame: StatusFrame) -> dict[str, object]:
    """What needs an operator, one row each."""
    return {f"condition {number}": condition for number, condition in enumerate(frame.status.conditions, start=1)}


def _rate(frame: StatusFrame) -> str:
    return "" if frame.records_per_s is None else f"{frame.records_per_s:,.0f} records/s"


def _line(frame: StatusFrame) -> str:
    """One update as `key=value` words. `-` means unknown."""
    status, committed = frame.status, frame.status.committed
    words: dict[str, object] = {"alive": str(status.is_alive).lower()}
    if committed is not None:
        words |= {
            "records": committed.counts.records,
            "records_per_s": "-" if frame.records_per_s is None else f"{frame.records_per_s:.0f}",
            **({} if committed.counts.foreign is UNSET else {"foreign": committed.counts.foreign}),
            "lag_bytes": committed.lag_bytes,
            "age_s": "-" if committed.age_s is None else f"{committed.age_s:.1f}",
            "held_events": committed.held_events,
            "dead_letters": committed.dead_letters,
        }
    words |= lane_words(status.lanes)
    words["conditions"] = sum(each.fails for each in status.conditions)
    if committed is not None and committed.lost:
        words["lost"] = committed.lost
    return " ".join(f"{key}={value}" for key, value in words.items())
