"""The files of a lane's progress: its cursor, read and replaced as a whole.

Owns: `state/delivery/NAME.json`.
Always: on disk is a whole cursor, or none. If it cannot be read, the lane does not start from zero.
Never: moves a cursor.
"""

from __future__ import annotations

import os
from typing import Final

import msgspec

from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.model.errors import StateError
from event_processor.storage.durable import FileSystem, read_file, replace_file

__all__ = ["DELIVERY_FOLDER", "cursor_path", "read_cursor", "write_cursor"]

DELIVERY_FOLDER: Final = "delivery"


def cursor_path(directory: str, name: str) -> str:
    """The cursor file of the lane of sink `name`, in a state directory."""
    return os.path.join(directory, DELIVERY_FOLDER, f"{name}.json")


def read_cursor(fs: FileSystem, directory: str, name: str) -> CursorDocument | None:
    """The committed cursor of a lane; None if it never had one. Raises `StateError` if it cannot be read, `StorageError`."""
    path = cursor_path(directory, name)
    content = read_file(fs, path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=CursorDocument)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise StateError(
            f"{path}: is not the cursor of a lane: {error}",
            hint="restore the file from a backup, or let the sink begin anew: event-processor sinks drop",
        ) from error


def write_cursor(fs: FileSystem, directory: str, name: str, document: CursorDocument) -> None:
    """Replaces the cursor durably. The folder exists. Raises `StorageError`; then the old cursor is still there.

    If we die before the rename, the old cursor counts, and what was answered since is sent again under the same keys.
    """
    content = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    replace_file(fs, cursor_path(directory, name), [content], "new")
