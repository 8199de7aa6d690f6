"""`validate`: lists all faults of the configuration, what each sink guarantees, and what a person should know about the input.

Owns: the command, and its output as text or JSON.
Always: all faults are listed, not only the first.
Never: nothing is checked here; the loader of `configuration` does that.
"""

from __future__ import annotations

from typing import Annotated

import typer

from event_processor.assembly import Environment, guarantees, remarks
from event_processor.cli.context import invocation, load
from event_processor.cli.output import write_json, write_lines
from event_processor.configuration import ConfigurationFaultsError, Fault
from event_processor.configuration.contradictions import cautions
from event_processor.model.errors import ExitCode

__all__ = ["command"]


def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Check the configuration and list all faults. Exits with 0 if there is none, or else with 78.

    Without faults, says what each sink guarantees. Notes name keys that are valid but seldom meant.
    """
    try:
        loaded = load(invocation(context))
    except ConfigurationFaultsError as error:
        if not as_json:
            raise
        write_json({"ok": False, "files": list(error.files), "faults": [_document(fault) for fault in error.faults]})
        raise typer.Exit(ExitCode.CONFIGURATION) from error
    found = [*(f"note: {caution}" for caution in cautions(loaded.configuration)), *remarks(loaded.configuration, Environment())]
    promised = guarantees(loaded.configuration)
    if as_json:
        sinks = [
            {"name": name, "type": loaded.configuration.sinks[name].type, "guarantee": each.words, "by": each.by}
            for name, each in promised.items()
        ]
        remarked = {"remarks": found} if found else {}
        write_json({"ok": True, "files": list(loaded.files), "faults": [], "sinks": sinks, **remarked})
        return
    write_lines(found)
    write_lines(f"sink {name}: {each.words}: {each.by}" for name, each in promised.items())
    write_lines([f"ok: {', '.join(loaded.files) or 'no configuration file; all values are defaults'}"])


def _document(fault: Fault) -> dict[str, object]:
    """A fault in the output of `validate --json`. docs/json-output.md says what each key means."""
    return {
        "from": fault.origin.kind,
        "place": fault.origin.place or None,
        "line": fault.origin.line or None,
        "key": fault.key or None,
        "value": fault.value or None,
        "wanted": fault.wanted,
        "suggestion": fault.suggestion or None,
        "message": str(fault),
    }
