"""`report`: the page as a file, for a ticket.

Owns: the command.
Always: the file is replaced as a whole. It is complete: it asks for nothing when it is opened.
Never: overwrites a file that is not a page by its name; chooses what is in it (`operations/report.py` does).
"""

from __future__ import annotations

import json
import os
from typing import Annotated, Final

import typer

from event_processor.cli.context import invocation, load, real_environment
from event_processor.cli.output import write_lines
from event_processor.model.errors import UsageError
from event_processor.operations.report import report_document
from event_processor.service.web.page import report_page
from event_processor.storage.durable import replace_file

__all__ = ["command"]

NAME: Final = "report"
ENDINGS: Final = (".html", ".htm")


def command(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE.html", help="The file to write; an existing one is replaced.")],
    *,
    without_records: Annotated[
        bool, typer.Option("--without-records", help="Leave out what rejected records hold; their places and reasons stay.")
    ] = False,
) -> None:
    """Write the page as one file, for a ticket. Works with and without a daemon. Changes nothing."""
    if not file.lower().endswith(ENDINGS):
        raise UsageError(f"{file}: a report's name ends with .html", hint="so that no log or state is replaced by mistake")
    configuration = load(invocation(context)).configuration
    environment = real_environment(configuration)
    document = report_document(configuration, environment, with_records=not without_records)
    # ASCII holds every text, also a byte of a file name that is no character.
    content = report_page(json.dumps(document, separators=(",", ":"))).encode()
    replace_file(environment.fs, file, [content], NAME)
    write_lines([f"{os.path.abspath(file)}: {len(content):,} bytes"])
