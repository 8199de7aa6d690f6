"""`doctor`: looks at whether everything that is configured can be reached, read and written.

Owns: the command, and its output as text or JSON.
Always: one line for each finding, as soon as it is known.
Never: nothing is examined here; `operations/doctor.py` does that.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import one_line, write_json, write_lines
from event_processor.model.probes import Finding
from event_processor.operations.doctor import examine, exit_code_of

__all__ = ["command"]


def command(context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Look at whether everything that is configured can be reached, read and written. Sends no record, changes nothing.

    Exits with 0, with 78 if something must be corrected first, or with 69 if something cannot be reached now.
    """
    configuration = load(invocation(context)).configuration
    findings = []
    for finding in examine(configuration, real_environment(configuration)):
        findings.append(finding)
        if not as_json:
            write_lines([_line(finding)])
    code = exit_code_of(findings)
    if as_json:
        write_json({"ok": not code, "findings": [dataclasses.asdict(each) for each in findings]})
    if code:
        raise typer.Exit(code)


def _line(finding: Finding) -> str:
    return one_line(f"{finding.state}: {'; '.join(filter(None, [f'{finding.what}: {finding.words}', finding.remedy]))}")
