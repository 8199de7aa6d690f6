"""The command line: one file per command, and the list of all commands.

To add a command, write `cli/NAME.py` and add a line to `COMMANDS`. The file defines one public function

def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="…")] = False) -> None:
'''What it does, in one sentence: this is its --help.'''
loaded = load(invocation(context))

or, for a group of commands, `app`, a `typer.Typer`. `cli/context.py` has `invocation(context)`, the global options, and `load`,
which reads the configuration that they select. Results go to stdout only through `cli/output.py`. A command ends by returning, by
`typer.Exit(ExitCode.X)`, or by any `EventProcessorError`. The boundary prints that error with its hint.

Owns: `COMMANDS`, and `main`, the console script.
Always: only the module of the called command is imported, so `--help` and `version` are fast. A command's file may import heavy
modules at its top, if it always needs them. Global options may be given before or after the command.
Never: nothing is computed here. A command makes one call to `operations`, `assembly` or `configuration`.
"""

from __future__ import annotations

import gc
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
    CommandEntry("metrics", "event_processor.cli.metrics", "Write what is committed as metrics for Prometheus."),
    CommandEntry("top", "event_processor.cli.top", "Show the status, live."),
    CommandEntry("report", "event_processor.cli.report", "Write the page as a file, for a ticket."),
    CommandEntry("inspect", "event_processor.cli.inspect_state", "Show what is committed."),
    CommandEntry("explain", "event_processor.cli.explain", "Show what happened to one id."),
    CommandEntry("verify", "event_processor.cli.verify", "Recompute everything from the log, and compare."),
    CommandEntry("merge", "event_processor.cli.merge", "Add the states of all shards to one, to be read."),
    CommandEntry("kafka", "event_processor.cli.kafka", "Move sources that read Kafka, with a preview."),
    CommandEntry("lost", "event_processor.cli.lost", "List input that is lost, and acknowledge it."),
    CommandEntry("replay", "event_processor.cli.replay", "Rebuild the state from the log, and replace the present one."),
    CommandEntry("reload", "event_processor.cli.reload", "Let the daemon read its configuration again, and wait for the answer."),
    CommandEntry("reset", "event_processor.cli.reset", "Move the state aside."),
    CommandEntry("dead-letters", "event_processor.cli.dead_letters", "List, export, retry or purge rejected records."),
    CommandEntry("sinks", "event_processor.cli.sinks", "List, pause, resume, skip, drop, rename or attach remote sinks."),
    CommandEntry("deliver", "event_processor.cli.deliver", "Send records to a remote sink again."),
    CommandEntry("produce", "event_processor.cli.produce", "Send the lines of a file to a topic of Kafka, at a rate."),
    CommandEntry("sql", "event_processor.cli.sql", "Show and make the tables of sinks in databases."),
    CommandEntry("init", "event_processor.cli.init", "Write a configuration to begin with: ten lines, or every key."),
    CommandEntry("config", "event_processor.cli.config", "Show the effective configuration and where each value came from."),
    CommandEntry("validate", "event_processor.cli.validate", "Check the configuration and list all faults."),
    CommandEntry("test", "event_processor.cli.trial", "Show what sample records would become, or run the configured tests."),
    CommandEntry("doctor", "event_processor.cli.doctor", "Look at whether everything configured can be reached and written."),
    CommandEntry("version", "event_processor.cli.version", "Show the version, Python's and the dependencies'."),
)
"""Name, module and one sentence of each command, in the order of --help."""


def main() -> None:
    """The console script: runs the command line of this process and exits with its code."""
    # Nothing here uses numpy's linear algebra. Without this, its import would start one thread for each core.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Nothing here uses pydantic's plugins. Without this, pydantic would search every installed package for them.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # What is imported stays, so the collector need not look through it again and again. The boundary enables it before the command.
    gc.disable()
    exit_code = boundary.run(sys.argv[1:], COMMANDS)
    drop_unwritten()
    sys.exit(exit_code)
