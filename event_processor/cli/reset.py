"""`reset`: moves the state aside.

Owns: the command, its question and its output.
Always: nothing is deleted.
Never: nothing is moved here; `operations/reset.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import confirm, one_line, require_answerable, write_lines
from event_processor.operations.reset import Reset
from event_processor.operations.state_access import owned_state

__all__ = ["command"]


def command(context: typer.Context, *, yes: Annotated[bool, typer.Option("--yes", help="Move without asking.")] = False) -> None:
    """Move the whole state and the sinks' files aside. Nothing is deleted. The daemon must be stopped.

    The next start reads the log from its beginning. The intake is not moved: it is a log too, and is read again.
    """
    require_answerable(yes=yes)
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    with owned_state(configuration, environment):
        reset = Reset(configuration, environment)
        moves = reset.moves()
        if not moves:
            write_lines([f"{one_line(configuration.state.dir)}: no state here; nothing to move"])
            return
        write_lines(f"{one_line(move.path)} -> {one_line(move.new_path)}" for move in moves)
        confirm("Move all of this aside?", yes=yes)
        reset.apply()
    write_lines(["moved; the next start reads the log from its beginning"])
