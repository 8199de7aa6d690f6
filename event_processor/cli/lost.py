"""`lost`: lists the input that is lost, and acknowledges it.

Owns: the command and its output.
Always: what is acknowledged is exactly what was listed.
Never: nothing is decided here; `operations/lost.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import write_json, write_lines, write_table
from event_processor.operations.lost import RecordedLosses, acknowledge_losses, recorded_losses

__all__ = ["command"]


def command(
    context: typer.Context,
    *,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="You know of all of these: status and verify may be right again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List input that was lost before it was read, and acknowledge it. Works while a daemon runs: the daemon commits it."""
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    recorded = recorded_losses(configuration, environment)
    if not as_json:
        _write(recorded)
    if acknowledge:
        acknowledge_losses(configuration, environment, recorded.losses)
    if as_json:
        write_json(_document(recorded, acknowledged=acknowledge))
    elif acknowledge and recorded.losses.count:
        write_lines([f"acknowledged: {recorded.losses.count:,}"])


def _write(recorded: RecordedLosses) -> None:
    losses = recorded.losses
    if not losses.count:
        write_lines(["nothing is lost"])
        return
    rows = [
        (each.source, each.generation, each.path, each.offset, each.size_bytes, recorded.time_of(each), each.reason)
        for each in losses.entries
    ]
    write_table(("source", "generation", "file", "from byte", "bytes", "recorded", "reason"), rows)
    if losses.unlisted:
        write_lines([f"{losses.unlisted:,} more were only counted"])


def _document(recorded: RecordedLosses, *, acknowledged: bool) -> dict[str, object]:
    """The output of `lost --json`. docs/json-output.md says what each key means."""
    losses = [{**msgspec.structs.asdict(each), "recorded_at": recorded.time_of(each)} for each in recorded.losses.entries]
    return {
        "count": recorded.losses.count,
        "losses": losses,
        "unlisted": recorded.losses.unlisted,
        "acknowledged": acknowledged,
    }
