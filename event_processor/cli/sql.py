"""`sql`: the tables of sinks in databases.

Owns: the commands of the group and their output.
Always: `plan` changes nothing. `apply` changes nothing of a sink that has a conflict.
Never: no table is read or changed here; `operations/tables.py` does that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from event_processor.cli.configured_names import remote_sink_names
from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import counted, one_line, write_json, write_lines
from event_processor.model.connector import TableChanges
from event_processor.model.errors import ExitCode
from event_processor.operations.tables import tables_of_sinks

__all__ = ["app"]

app = typer.Typer(help="Tables of sinks in databases: show what must be changed, and do it.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]", help="The name of one sink; left out: all.", show_default=False, autocompletion=remote_sink_names
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("plan")
def plan(context: typer.Context, name: Name = "", *, as_json: AsJson = False) -> None:
    """Show the statements that make the tables as the sinks need them. Changes nothing. Works while a daemon runs.

    Exits with 0 if nothing is to be done, with 78 otherwise.
    """
    found = _found(context, name, is_done=False)
    _write(found, "to do", as_json=as_json)
    if any(changes.statements or changes.conflicts for _, changes in found):
        raise typer.Exit(ExitCode.CONFIGURATION)


@app.command("apply")
def apply(context: typer.Context, name: Name = "", *, as_json: AsJson = False) -> None:
    """Run the statements that `plan` shows, each sink's in one transaction. Works while a daemon runs.

    A sink with a conflict is not changed: then it exits with 78.
    """
    found = _found(context, name, is_done=True)
    _write(found, "done", as_json=as_json)
    if any(changes.conflicts for _, changes in found):
        raise typer.Exit(ExitCode.CONFIGURATION)


def _found(context: typer.Context, name: str, *, is_done: bool) -> list[tuple[str, TableChanges]]:
    configuration = load(invocation(context)).configuration
    return list(tables_of_sinks(configuration, real_environment(configuration), name, is_done=is_done))


def _write(found: list[tuple[str, TableChanges]], how: str, *, as_json: bool) -> None:
    if as_json:
        sinks = [
            {
                "sink": sink,
                "table": changes.table,
                "statements": list(changes.statements),
                "conflicts": list(changes.conflicts),
                "applied": how == "done" and not changes.conflicts,
            }
            for sink, changes in found
        ]
        write_json({"sinks": sinks})
        return
    if not found:
        write_lines(["no sink here has tables"])
    for sink, changes in found:
        if changes.conflicts:
            write_lines(one_line(f"{sink}: conflict: {words}") for words in changes.conflicts)
            write_lines([f"{sink}: nothing is changed: change the table by hand, or name another table"])
            continue
        count = counted(len(changes.statements), "statement")
        write_lines([f"{sink}: table {changes.table}: {f'{count} {how}' if changes.statements else 'as the sink needs it'}"])
        write_lines(f"{statement};" for statement in changes.statements)
