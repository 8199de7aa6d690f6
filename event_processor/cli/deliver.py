"""`deliver`: sends records to a remote sink again, from one record on.

Owns: the command and its output.
Always: says how many records are sent again, and asks, before anything changes.
Never: sends: the next daemon does. No lane is changed here; `operations/lane_rebuilding.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import confirm, counted, one_line, progress_bar, require_answerable, write_lines
from event_processor.operations.lane_rebuilding import lane_rebuilding

__all__ = ["command"]


def command(
    context: typer.Context,
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="The first record to send again, by its sequence.")],
    sink: Annotated[str, typer.Option("--sink", metavar="NAME", help="The sink.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking.")] = False,
) -> None:
    """Send records to a remote sink again, from one record on, under the same keys. The daemon must be stopped."""
    require_answerable(yes=yes)
    configuration = load(invocation(context)).configuration
    with lane_rebuilding(configuration, real_environment(configuration)) as lanes:
        resend = lanes.preview(sink, first)
        counts = f"{resend.delivered:,} delivered, {resend.failed:,} failed, {resend.skipped:,} skipped"
        write_lines([f"{sink}: from record {first} on, {counts}; they are sent again under the same keys"])
        confirm(f"Send {counted(resend.records, 'record')} again?", yes=yes)
        with progress_bar("reading the log") as progress:
            kept_as = lanes.send_again(resend, progress)
    waits = "waits" if resend.records == 1 else "wait"
    write_lines([f"{sink}: {counted(resend.records, 'record')} {waits} again; the next daemon sends them"])
    if kept_as:
        write_lines([f"failed records that are sent again are kept as {one_line(kept_as)}"])
