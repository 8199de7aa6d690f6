"""`deliver`: sends records to a remote sink again, from one record on.

Owns: the command and its output.
Always: says how many records are sent again, and asks, before anything changes.
Never: sends: the next daemon does. No lane is changed here; `operations/lane_rebuilding.py` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from event_processor.cli.configured_names import remote_sink_names
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import confirm, counted, one_line, progress_bar, require_answerable, write_lines
from event_processor.operations.lane_rebuilding import Resend, lane_rebuilding

__all__ = ["command"]


def command(
    context: typer.Context,
    first: Annotated[int, typer.Option("--from", metavar="N", min=1, help="The first record to send again, by its sequence.")],
    sink: Annotated[str, typer.Option("--sink", metavar="NAME", help="The sink.", autocompletion=remote_sink_names)],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking.")] = False,
) -> None:
    """Send records to a remote sink again, from one record on, under the same keys. The daemon must be stopped."""
    require_answerable(yes=yes)
    configuration = load(invocation(context)).configuration
    with lane_rebuilding(configuration, real_environment(configuration)) as lanes:
        resend = lanes.preview(sink, first)
        write_lines(_announced(resend))
        if resend.records:
            confirm(f"Put {counted(resend.records, 'record')} back?", yes=yes)
        with progress_bar("reading the log") as progress:
            kept_as = lanes.send_again(resend, progress)
    write_lines(_done(resend, kept_as))


def _announced(resend: Resend) -> Iterator[str]:
    counts = f"{resend.delivered:,} delivered, {resend.failed:,} failed, {resend.skipped:,} skipped"
    if resend.by_receiver:
        yield f"{resend.sink}: from record {resend.first} on, {counts}; its receiver holds the cursor, and gets what it does not have"
    elif resend.records:
        yield f"{resend.sink}: from record {resend.first} on, {counts}; they are sent again under the same keys"
    if resend.from_log:
        yield f"{resend.sink}: the outbox does not have all of them: the log is read again"


def _done(resend: Resend, kept_as: str) -> Iterator[str]:
    if resend.records:
        waits = "waits" if resend.records == 1 else "wait"
        yield f"{resend.sink}: {counted(resend.records, 'record')} {waits} again, for the next daemon"
    else:
        yield f"{resend.sink}: what waits from record {resend.first} on is in the outbox again"
    if kept_as:
        yield f"their failed records are kept as {one_line(kept_as)}"
