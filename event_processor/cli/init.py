"""`init`: writes a configuration to start with: ten lines, or every key.

Owns: the command, and the durable write of the file.
Always: the file is whole, or it is not there.
Never: no existing file is replaced.
"""

from __future__ import annotations

import errno
import os
from typing import Annotated

import typer

from event_processor.cli.context import CONNECTOR_OPTIONS
from event_processor.cli.output import write_lines
from event_processor.configuration import CONFIGURATION_FILE_NAME
from event_processor.configuration.template import configuration_template, short_template
from event_processor.model.errors import StorageError, UsageError
from event_processor.storage.durable import FileSystem, OperatingSystem, create_file, prepare_directory, remove_files

__all__ = ["command"]


def command(
    directory: Annotated[str, typer.Argument(metavar="[DIR]", help="The folder. Created if missing.")] = ".",
    *,
    full: Annotated[bool, typer.Option("--full", help="Every key, its default and its meaning.")] = False,
) -> None:
    """Write event-processor.toml to begin with: ten lines, or with --full every key, its default and its meaning.

    An existing file is not changed.
    """
    path = os.path.normpath(os.path.join(directory, CONFIGURATION_FILE_NAME))
    text = configuration_template(CONNECTOR_OPTIONS) if full else short_template(CONNECTOR_OPTIONS)
    write_template(OperatingSystem(), path, text)
    write_lines([f"wrote {path}; edit it, then run 'event-processor validate'"])


def write_template(fs: FileSystem, path: str, text: str) -> None:
    """Writes a new file, durably. Raises `UsageError` if it already exists, `StorageError` if it cannot be written."""
    folder = os.path.dirname(path) or "."
    prepare_directory(fs, folder)
    try:
        create_file(fs, path, [text.encode()])
        fs.sync_directory(folder)
    except StorageError as error:
        if error.errno == errno.EEXIST:
            raise UsageError(f"{path}: this file already exists", hint="name another folder, or move the file aside") from error
        # Half a configuration would look like a whole one.
        remove_files(fs, [path])
        raise
