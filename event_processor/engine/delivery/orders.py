"""What operators ask of a lane, as files beside its cursor: that it pauses, that it skips records, that it sends repaired ones.

Owns: `state/delivery/NAME.paused`, and the requests to skip, `state/delivery/NAME.skip.TOKEN.json`.
Always: a request is durable before the operator is answered. The lane removes it only after the cursor that carries it out is
durable. A request that is found twice changes nothing the second time.
Never: runs in the delivery loop's thread: a slow disk must not delay answers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec import Struct

from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER
from event_processor.storage.durable import (
    FileSystem,
    create_file,
    prepare_directory,
    read_file,
    remove_files,
    replace_file,
    storage_call,
)

if TYPE_CHECKING:
    from event_processor.engine.delivery.window import Released

__all__ = [
    "SKIPPED",
    "LaneOrders",
    "Ordered",
    "Orders",
    "SkipRequest",
    "is_paused",
    "pause",
    "request_path",
    "request_skip",
    "resume",
    "skip_requests",
]

SKIPPED: Final = "an operator skipped it"


class SkipRequest(Struct, frozen=True):
    """The records of one lane that an operator gives up, by sequence. `path`: of the file; not in it."""

    sequences: frozenset[int]
    path: str = ""


@dataclass(frozen=True, slots=True)
class Ordered:
    """What is asked of a lane now. `has_retries`: there is a file of repaired records.

    `released`: how far the series goes, if it is one that operators append to; None if commits do.
    """

    is_paused: bool = False
    skips: tuple[SkipRequest, ...] = ()
    has_retries: bool = False
    released: Released | None = None

    @property
    def sequences(self) -> frozenset[int]:
        """All sequences to skip."""
        return frozenset().union(*(each.sequences for each in self.skips))


class Orders(Protocol):
    """Where a lane learns what operators ask. Used by one thread at a time, never by the delivery loop's."""

    def look(self) -> Ordered:
        """What is asked now. Raises `StorageError`."""
        ...

    def remove(self, requests: Sequence[SkipRequest]) -> None:
        """These were carried out, and a durable cursor says so. Raises `StorageError`."""
        ...


class LaneOrders:
    """The files of one lane. See `Orders`."""

    def __init__(self, fs: FileSystem, directory: str, sink: str, name: str) -> None:
        """`sink` is what an operator names. `name` is the lane's: another one for the retried records of the same sink."""
        self._fs: Final = fs
        self._directory: Final = directory
        self._sink: Final = sink
        self._name: Final = name

    def look(self) -> Ordered:
        """See `Orders`. Lists the folder once, whatever is in it."""
        folder = os.path.join(self._directory, DELIVERY_FOLDER)
        with storage_call("list", folder):
            names = set(self._fs.names(folder))
        return Ordered(
            is_paused=f"{self._sink}.paused" in names,
            skips=tuple(
                _read_request(self._fs, os.path.join(folder, name)) for name in sorted(names) if _is_skip(name, self._name)
            ),
            has_retries=f"{self._name}.retry.jsonl" in names,
        )

    def remove(self, requests: Sequence[SkipRequest]) -> None:
        """See `Orders`. If we die before this, the next start finds them again: all their records were answered."""
        remove_files(self._fs, [request.path for request in requests])


def is_paused(fs: FileSystem, directory: str, sink: str) -> bool:
    """Whether an operator paused the sink. Raises `StorageError`."""
    with storage_call("stat", _paused_path(directory, sink)):
        return fs.status(_paused_path(directory, sink)) is not None


def pause(fs: FileSystem, directory: str, sink: str) -> bool:
    """Pauses the sink, durably. Returns whether it was not paused before. Raises `StorageError`."""
    path = _paused_path(directory, sink)
    if is_paused(fs, directory, sink):
        return False
    prepare_directory(fs, os.path.dirname(path))
    create_file(fs, path, [])
    with storage_call("fsync", os.path.dirname(path)):
        # If we die before this, the sink may be paused or not; the operator was not answered.
        fs.sync_directory(os.path.dirname(path))
    return True


def resume(fs: FileSystem, directory: str, sink: str) -> bool:
    """Ends the pause, durably. Returns whether there was one. Raises `StorageError`."""
    path = _paused_path(directory, sink)
    if not is_paused(fs, directory, sink):
        return False
    remove_files(fs, [path])
    with storage_call("fsync", os.path.dirname(path)):
        # If we die before this, the sink may still be paused after a power cut; the operator was not answered.
        fs.sync_directory(os.path.dirname(path))
    return True


def _paused_path(directory: str, sink: str) -> str:
    return os.path.join(directory, DELIVERY_FOLDER, f"{sink}.paused")


def request_path(directory: str, name: str, token: str) -> str:
    """The file of a request to skip."""
    return os.path.join(directory, DELIVERY_FOLDER, f"{name}.skip.{token}.json")


def request_skip(fs: FileSystem, directory: str, name: str, sequences: frozenset[int], token: str) -> str:
    """Leaves a request for the lane, durably. Returns its path: the lane removes it. Raises `StorageError`."""
    path = request_path(directory, name, token)
    replace_file(fs, path, [msgspec.json.encode({"sequences": sorted(sequences)})], token)
    return path


def skip_requests(names: Sequence[str], name: str) -> list[str]:
    """The file names among `names` that are requests to skip records of the lane `name`."""
    return [each for each in names if _is_skip(each, name)]


def _is_skip(file_name: str, name: str) -> bool:
    # A sink's name has no dot in it.
    return file_name.startswith(f"{name}.skip.") and file_name.endswith(".json")


def _read_request(fs: FileSystem, path: str) -> SkipRequest:
    """One request. One that cannot be read skips nothing."""
    try:
        return SkipRequest(msgspec.json.decode(read_file(fs, path) or b"", type=SkipRequest).sequences, path)
    except msgspec.DecodeError:
        return SkipRequest(frozenset(), path)
