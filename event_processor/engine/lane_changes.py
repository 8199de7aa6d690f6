"""A lane that is dropped, replaced, or that gets another name: several files and the checkpoint change together.

Owns: `state/lane-change.json`, what is to be done, and doing it.
Always: the file is durable before the first step, and is removed after the last. Each step may be repeated, so after a death
anywhere the next start does the rest, before it opens a lane. The caller holds the lock of the state.
Never: removes a record: what is given up is moved aside.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.checkpoint_document import Checkpoint
from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER, cursor_path, read_cursor, write_cursor
from event_processor.engine.delivery.failed_records import FailedRecords, failed_lines, failed_path, is_from
from event_processor.engine.delivery.orders import skip_requests
from event_processor.engine.delivery.retries import retry_lane_name
from event_processor.model.errors import StateError
from event_processor.storage.durable import FileSystem, read_file, remove_files, replace_file, storage_call

__all__ = ["CHANGE_NAME", "LaneChange", "finish_lane_change", "lane_files", "resent_path", "start_lane_change"]

CHANGE_NAME: Final = "lane-change.json"


class LaneChange(Struct, frozen=True):
    """What is to be done with the lane `name` of the state `state_id`.

    With `new_name` it is renamed: records up to the sequence `through` were released under the old name. Otherwise it is dropped,
    and `aside` is part of the names of the files that are moved aside. `replaced`: lanes of an earlier state whose files are moved
    aside, because the state `state_id` sends under other keys; then `name` is empty. With `cursor`, the lane goes back to it, and its
    failed records after that are moved aside.
    """

    state_id: str
    name: str = ""
    new_name: str = ""
    through: int = 0
    aside: str = ""
    replaced: tuple[str, ...] = ()
    cursor: CursorDocument | None = None


def lane_files(name: str) -> tuple[str, ...]:
    """The names of the files that a lane and its retried records may have, except what operators asked."""
    retry = retry_lane_name(name)
    return (f"{name}.failed.jsonl", f"{retry}.jsonl", f"{retry}.failed.jsonl", f"{retry}.json", f"{name}.json")


def start_lane_change(fs: FileSystem, directory: str, change: LaneChange, token: str) -> None:
    """Makes it durable that `change` is to be done. Raises `StorageError`; then nothing is to be done.

    If we die after this, the next start does it.
    """
    replace_file(fs, os.path.join(directory, CHANGE_NAME), [msgspec.json.encode(change)], token)


def finish_lane_change(fs: FileSystem, directory: str, store: CheckpointStore, checkpoint: Checkpoint) -> Checkpoint:
    """Does what was begun, if something was. `checkpoint`: as `store` loaded it. Returns the present one.

    Raises `StateError`, `StorageError`; then the next start does the rest.
    """
    path = os.path.join(directory, CHANGE_NAME)
    content = read_file(fs, path)
    if content is None:
        return checkpoint
    try:
        change = msgspec.json.decode(content, type=LaneChange)
    except msgspec.DecodeError as error:
        raise StateError(
            f"{path}: is not a change of a lane: {error}", hint="restore the state from a backup, or remove the file"
        ) from error
    # After a reset this is another state, with other lanes.
    if change.state_id == checkpoint.state.state_id:
        folder = os.path.join(directory, DELIVERY_FOLDER)
        if change.cursor is not None:
            _go_back(fs, directory, change, change.cursor)
        elif change.replaced:
            for name in change.replaced:
                _move_aside(fs, folder, directory, replace(change, name=name))
        else:
            (_rename_files if change.new_name else _move_aside)(fs, folder, directory, change)
            checkpoint = _saved(store, checkpoint, change)
    remove_files(fs, [path])
    # If we die before this, the next start does all of it again, and finds nothing left to do.
    _sync(fs, directory)
    return checkpoint


def resent_path(directory: str, change: LaneChange) -> str:
    """Where the failed records are kept that are sent again."""
    return os.path.join(directory, DELIVERY_FOLDER, f"{change.name}.failed.{change.aside}.jsonl")


def _go_back(fs: FileSystem, directory: str, change: LaneChange, cursor: CursorDocument) -> None:
    """Moves failed records that are sent again aside, and puts the cursor back. If we die within, the next start does it again."""
    present = read_cursor(fs, directory, change.name)
    first = cursor.sequence + 1
    with storage_call("stat", failed_path(directory, change.name)):
        status = fs.status(failed_path(directory, change.name))
    # After a death within, the file may be the new one already, and the cursor still the old one.
    failed_bytes = min(present.failed_bytes if present else 0, status.size_bytes if status else 0)

    if cursor.failed_bytes < failed_bytes:
        kept: list[bytes] = []
        resent: list[bytes] = []
        for line, record in failed_lines(fs, directory, change.name, failed_bytes):
            (resent if is_from(record, change.state_id, first) else kept).append(line + b"\n")
        # If we die after this, it is written again, the same: the records are still in the other file.
        replace_file(fs, resent_path(directory, change), resent, "new")
        # If we die after this, the cursor counts more bytes than there are; it is replaced before a lane is opened.
        replace_file(fs, failed_path(directory, change.name), kept, "new")
    write_cursor(fs, directory, change.name, cursor)


def _rename_files(fs: FileSystem, folder: str, directory: str, change: LaneChange) -> None:
    """Gives the files the new name. If we die between two of them, the next start renames the rest; none is opened before."""
    old, new = change.name, change.new_name
    # Also of retried records: a receiver that holds the cursor knows it by the earlier name.
    lanes = ((retry_lane_name(old), retry_lane_name(new)), (old, new))
    cursors = [read_cursor(fs, directory, name) for name, _ in lanes]
    for ours, theirs in zip(lane_files(old)[:-2], lane_files(new)[:-2], strict=True):
        _move(fs, folder, ours, theirs)
    _move(fs, folder, f"{old}.paused", f"{new}.paused")
    for name in skip_requests(fs.names(folder), old):
        _move(fs, folder, name, f"{new}{name.removeprefix(old)}")
    for (ours, theirs), cursor in zip(lanes, cursors, strict=True):
        if cursor is None:
            continue
        write_cursor(fs, directory, theirs, replace(cursor, earlier_names=(*cursor.earlier_names, (old, change.through))))
        # If we die before the next line, both cursors are there, and the new one is written once more, the same.
        remove_files(fs, [cursor_path(directory, ours)])
        _sync(fs, folder)


def _move_aside(fs: FileSystem, folder: str, directory: str, change: LaneChange) -> None:
    """Moves cursors and retried records aside. Failed records stay. If we die between two files, the next start moves the rest."""
    for name in (change.name, retry_lane_name(change.name)):
        # Without a cursor, every whole line of failed records counts: those that no cursor counted are cut off now. What is
        # unreadable or too short stays as it is: dropping the lane is the way out of that.
        with suppress(StateError):
            cursor = read_cursor(fs, directory, name)
            if cursor is not None and cursor.failed_bytes:
                FailedRecords(fs, directory, name, cursor.failed_bytes).close()
    for file_name in skip_requests(fs.names(folder), change.name):
        remove_files(fs, [os.path.join(folder, file_name)])
    for file_name in lane_files(change.name):
        if ".failed." not in file_name:
            stem, dot, extension = file_name.rpartition(".")
            _move(fs, folder, file_name, f"{stem}.{change.aside}{dot}{extension}")


def _saved(store: CheckpointStore, checkpoint: Checkpoint, change: LaneChange) -> Checkpoint:
    """Makes a checkpoint durable in which the lane has its new name, or is gone; and makes it the predecessor too.

    If we die before the second save, a fallback finds the old lane; `change` is still there, and is done again. If only the second
    save is missing, the next start makes it.
    """
    lanes = dict(checkpoint.state.lanes)
    found = lanes.pop(change.name, None)
    if found is not None and change.new_name:
        lanes[change.new_name] = found
    changed = Checkpoint(replace(checkpoint.state, lanes=lanes), checkpoint.meta)
    for _ in range(2 if found else 1):
        store.save(changed)
    return changed


def _move(fs: FileSystem, folder: str, name: str, new_name: str) -> None:
    path = os.path.join(folder, name)
    with storage_call("rename", path):
        if fs.status(path) is not None:
            fs.rename(path, os.path.join(folder, new_name))
    _sync(fs, folder)


def _sync(fs: FileSystem, folder: str) -> None:
    with storage_call("fsync", folder):
        if fs.status(folder) is not None:
            fs.sync_directory(folder)
