"""`validate`: lists all faults of the configuration, what differs from the present state, and what each sink guarantees.

Owns: the command, and its output as text or JSON.
Always: all faults are listed, not only the first.
Never: nothing is checked here: the loader of `configuration` and `operations/validation.py` do that.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from event_processor.assembly import Environment, lane_guarantees, remarks
from event_processor.assembly.state_configuration import OtherConfigurationError
from event_processor.cli.context import invocation, load
from event_processor.cli.output import write_json, write_lines
from event_processor.configuration import ConfigurationFaultsError, Fault
from event_processor.configuration.contradictions import cautions
from event_processor.model.errors import ConfigurationError, ExitCode
from event_processor.operations.validation import compare_with_state

__all__ = ["command"]


def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Check the configuration: list all faults, and what differs from the present state. Exits with 0 if there is nothing, or with 78.

    Imports the classes that the configuration names. Without faults, says what each sink guarantees. Notes name keys that are valid
    but seldom meant.
    """
    try:
        loaded = load(invocation(context), imports_classes=True)
    except ConfigurationFaultsError as error:
        if not as_json:
            raise
        write_json({"ok": False, "files": list(error.files), "faults": [_document(fault) for fault in error.faults]})
        raise typer.Exit(ExitCode.CONFIGURATION) from error
    environment = Environment()
    present = compare_with_state(loaded.configuration, environment)
    found = [*(f"note: {caution}" for caution in cautions(loaded.configuration)), *remarks(loaded.configuration, environment)]
    if present.unreadable:
        found.append(f"note: not compared with the state: {present.unreadable}")
    promised = lane_guarantees(loaded.configuration, environment.fs)
    if as_json:
        sinks = [
            {"name": name, "type": loaded.configuration.sinks[name].type, "guarantee": each.words, "by": each.by}
            for name, each in promised.items()
        ]
        remarked = {"remarks": found} if found else {}
        refused = {"state": _refusal(present.refusal)} if present.refusal else {}
        ok = present.refusal is None
        write_json({"ok": ok, "files": list(loaded.files), "faults": [], "sinks": sinks, **remarked, **refused})
        if not ok:
            raise typer.Exit(ExitCode.CONFIGURATION)
        return
    write_lines(found)
    write_lines(f"sink {name}: {each.words}: {each.by}" for name, each in promised.items())
    if present.refusal is not None:
        raise present.refusal
    write_lines([f"ok: {', '.join(loaded.files) or 'no configuration file; all values are defaults'}"])


def _refusal(error: ConfigurationError) -> dict[str, object]:
    """What differs from the present state, in the output of `validate --json`."""
    changes = error.changes if isinstance(error, OtherConfigurationError) else ()
    return {"message": error.message, "hint": error.hint, "changes": [asdict(change) for change in changes]}


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
