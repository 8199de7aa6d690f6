"""The command line: a file per command, and this list of them.

To add a command, write `cli/NAME.py` and add a line to `COMMANDS`. The file defines one public function

    def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="…")] = False) -> None:
        '''What it does, in one sentence: this is its --help.'''
        loaded = load(invocation(context))

or, for a group of commands, `app`, a `typer.Typer`. `invocation(context)` (cli/invocation.py) is what the global options said,
`load` (cli/loading.py) the configuration they lead to. Results go to stdout through `cli/output.py` alone. A command ends by
returning, by `typer.Exit(ExitCode.X)`, or by any `EventProcessorError`, which the boundary prints with its hint.

Always: only the module of the command that is called is imported, so that `--help` and `version` are quick; whatever is heavy
may stand at the top of a command's file. Global options may stand before or behind the command.
Never: nothing is computed here; what a command does is one call to `operations`, `assembly` or `configuration_files`.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from event_processor.cli import boundary
from event_processor.cli.command_line import CommandEntry
from event_processor.cli.output import drop_unwritten

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = (
    CommandEntry("run", "event_processor.cli.run", "Read the log and keep the checkpoint, until stopped."),
    CommandEntry("process", "event_processor.cli.process", "Read finished files, or standard input, once, and write the result."),
    CommandEntry("status", "event_processor.cli.status", "Say whether a daemon is alive and keeps up."),
    CommandEntry("top", "event_processor.cli.top", "Show the status, live."),
    CommandEntry("inspect", "event_processor.cli.inspect_state", "Show what is committed."),
    CommandEntry("explain", "event_processor.cli.explain", "Say what became of one id."),
    CommandEntry("verify", "event_processor.cli.verify", "Recompute everything from the log and compare."),
    CommandEntry("replay", "event_processor.cli.replay", "Make a fresh state from the log and swap it in."),
    CommandEntry("reset", "event_processor.cli.reset", "Move the state aside."),
    CommandEntry("dead-letters", "event_processor.cli.dead_letters", "List, export, retry or purge rejected records."),
    CommandEntry("init", "event_processor.cli.init", "Write a commented configuration."),
    CommandEntry("config", "event_processor.cli.config", "Show the effective configuration and where each value came from."),
    CommandEntry("validate", "event_processor.cli.validate", "Check the configuration; every fault at once."),
    CommandEntry("version", "event_processor.cli.version", "Show the version, Python's and the dependencies'."),
)
"""In the order in which --help lists them: the name, the module, and one sentence."""


def main() -> None:
    """The console script: runs the command line of this process and exits with its code."""
    # numpy's linear algebra, which nothing here uses, would start a thread a core when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # pydantic would look through every installed package for plugins, which nothing here uses.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    exit_code = boundary.run(sys.argv[1:], COMMANDS)
    drop_unwritten()
    sys.exit(exit_code)
