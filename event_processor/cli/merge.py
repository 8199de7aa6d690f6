"""`merge`: adds the states of all shards to one state, to be read.

Owns: the command and its output.
Always: what the result leaves out, or what may differ from one process, is on standard error and in the result.
Never: nothing is added here; `operations/merging.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from event_processor.cli.context import invocation, real_environment
from event_processor.cli.output import counted, foreign_notes, one_line, write_lines, write_notes
from event_processor.configuration.configuration import Configuration, ConfiguredPath, LogOptions, StateOptions
from event_processor.engine.checkpoint_document import encode_checkpoint
from event_processor.model.errors import UsageError
from event_processor.operations.merging import merge_states, write_merged

__all__ = ["command"]

STANDARD_OUTPUT = "-"


def command(
    context: typer.Context,
    states: Annotated[list[str], typer.Argument(metavar="STATE…", help="The state directories of all shards.")],
    *,
    output: Annotated[
        str,
        typer.Option(
            metavar="DIR", help="A folder for the merged state and the rows of windows; - writes the state to standard output."
        ),
    ],
    partial: Annotated[
        bool, typer.Option("--partial", help="Shards may be missing, or may have read differently far. The result says so.")
    ] = False,
) -> None:
    """Add the states of all shards exactly: a state to read, not to resume. Works while daemons run.

    Exits with 64 if a shard is missing or named twice, 65 if the states are not of one pipeline at one place of the log.
    """
    if not output:
        raise UsageError("--output has an empty name", hint="name a folder, or - for standard output")
    called = invocation(context)
    log = LogOptions(level=called.log_level or "info", format=called.log_format or "auto")
    # The states say how they were made. So no configuration is read: it would describe one shard.
    configuration = Configuration(sources={}, state=StateOptions(dir=ConfiguredPath(states[0])), log=log)
    environment = real_environment(configuration)
    merged = merge_states(states, environment, partial=partial)
    write_notes(f"note: {one_line(note)}" for note in merged.notes)
    if output == STANDARD_OUTPUT:
        if merged.rows:
            write_notes([f"note: the rows of {', '.join(merged.rows)} are not shown; --output DIR writes them"])
        write_lines([encode_checkpoint(merged.checkpoint).decode().rstrip("\n")])
        return
    path = write_merged(merged, output, environment)
    counts = merged.checkpoint.state.counts
    outcomes = f"{counts.accepted} accepted, {counts.duplicate} duplicate, {counts.rejected} rejected, {counts.blank} blank"
    write_lines(
        [f"{counted(len(states), 'shard')}: {counts.records} records: {outcomes}", *foreign_notes(counts), f"checkpoint: {path}"]
    )
