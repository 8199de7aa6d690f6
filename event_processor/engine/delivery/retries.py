"""Failed records that an operator repaired: a second series for one sink, beside its main one.

Owns: `state/delivery/NAME.retry.jsonl`: lines of the form of an outbox, with sequences and a chain of their own.
Always: only an operator's command appends, under the file's lock, and durably. The lane takes only whole lines that are durable.
The n-th retry of a record has its first key and `:rN`, so no two lines have one key.
Never: removes or changes a line: the file says which records were retried already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import msgspec

from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER
from event_processor.engine.delivery.keys import RETRY
from event_processor.engine.delivery.orders import LaneOrders, Ordered, SkipRequest
from event_processor.model.delivery import OutboxRecord
from event_processor.model.errors import StateError
from event_processor.storage.append_file import append_made, committed_lines, last_line, whole_lines_bytes
from event_processor.storage.durable import FileSystem, prepare_directory, storage_call
from event_processor.storage.outbox import SeriesView
from event_processor.storage.outbox_reader import chain_after_record

__all__ = [
    "Retry",
    "RetryOrders",
    "RetrySeries",
    "append_retries",
    "first_key",
    "planned_retries",
    "retry_lane_name",
    "retry_path",
]

Choose = Callable[[Mapping[str, int]], Sequence["Retry"]]
"""What to retry, from the number of the last retry by first key."""
_DECODER: Final = msgspec.json.Decoder(OutboxRecord)


@dataclass(frozen=True, slots=True)
class Retry:
    """A repaired record. `key`: the one that it had first. `number`: of this retry, from 1. `place`: where it comes from."""

    key: str
    number: int
    place: Mapping[str, Any]
    object: msgspec.Raw


def retry_lane_name(sink: str) -> str:
    """The name of the lane of a sink's retried records."""
    return f"{sink}.{RETRY}"


def retry_path(directory: str, sink: str) -> str:
    """The file of the retried records of a sink."""
    return os.path.join(directory, DELIVERY_FOLDER, f"{retry_lane_name(sink)}.jsonl")


def first_key(key: str, place: Mapping[str, Any]) -> str:
    """The key that a failed record had first: before its retries."""
    return str(place["key"]) if RETRY in place and "key" in place else key


def planned_retries(fs: FileSystem, path: str, whole_bytes: int, choose: Choose, now: str) -> list[OutboxRecord]:
    """The lines that `choose` adds after the first `whole_bytes` of the file. Raises `StateError`, `StorageError`."""
    last: dict[str, int] = {}
    sequence, link = 0, ""
    for line in chain.from_iterable(committed_lines(fs, path, whole_bytes)):
        record = _decoded(line, path)
        sequence, link = record.sequence, record.chain
        key, number = str(record.place.get("key")), int(str(record.place.get(RETRY, "r0"))[1:])
        last[key] = max(number, last.get(key, 0))
    planned = []
    for each in choose(last):
        sequence += 1
        place = {name: value for name, value in each.place.items() if name not in ("key", RETRY)}
        place |= {"key": each.key, RETRY: f"r{each.number}"}
        record = OutboxRecord(sequence, place, now, 0.0, "", each.object)
        link = chain_after_record(link, record)
        planned.append(msgspec.structs.replace(record, chain=link))
    return planned


def append_retries(fs: FileSystem, directory: str, sink: str, choose: Choose, now: str) -> list[OutboxRecord]:
    """Appends what `choose` returns, durably. `choose` is called under the file's lock. Returns the new lines.

    Raises `LockedError` if another process appends, `StateError`, `StorageError`. If we die within, some of the lines may be there;
    the same command again adds the rest, because it does not choose what is there.
    """
    path = retry_path(directory, sink)
    prepare_directory(fs, os.path.dirname(path))
    planned: list[OutboxRecord] = []

    def made(whole_bytes: int) -> list[bytes]:
        planned[:] = planned_retries(fs, path, whole_bytes, choose, now)
        return [msgspec.json.encode(record) for record in planned]

    append_made(fs, path, made)
    return planned


def _decoded(line: bytes, path: str) -> OutboxRecord:
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError as error:
        raise StateError(
            f"{path}: has a line that is not a retried record: {error}",
            hint="restore the file from a backup, or let the sink begin anew: event-processor sinks drop",
        ) from error


class RetrySeries:
    """The file as the lane reads it: as far as it is known to be durable. Used by one thread at a time."""

    def __init__(self, fs: FileSystem, directory: str, sink: str) -> None:
        """Reads nothing yet."""
        self._fs: Final = fs
        self._path: Final = retry_path(directory, sink)
        self._size_bytes = 0
        self.view = SeriesView(RETRY, 0, "", ())

    def look(self) -> SeriesView:
        """The series as it is now. If an operator's command is appending, that of before. Raises `StateError`, `StorageError`."""
        with storage_call("stat", self._path):
            status = self._fs.status(self._path)
        if status is None or status.size_bytes == self._size_bytes:
            return self.view
        with storage_call("open", self._path):
            descriptor = self._fs.open(self._path, os.O_RDWR)
        try:
            with storage_call("lock", self._path):
                if self._fs.lock(descriptor):
                    self._take(descriptor)
        finally:
            self._fs.close(descriptor)
        return self.view

    def _take(self, descriptor: int) -> None:
        """Takes the whole lines. Under the lock: nothing is half written, or may be cut off again."""
        size_bytes = self._fs.status_of(descriptor).size_bytes
        whole_bytes = whole_lines_bytes(self._fs, descriptor, size_bytes)
        # The command that wrote them may have died before its fsync. If a line that was sent were gone after a power cut, another
        # record could get its sequence.
        self._fs.sync(descriptor)
        if whole_bytes:
            record = _decoded(last_line(self._fs, descriptor, whole_bytes), self._path)
            self.view = SeriesView(RETRY, record.sequence, record.chain, ((self._path, 1, whole_bytes),))
        # Last, so that a file that cannot be read is an error at each look.
        self._size_bytes = size_bytes


class RetryOrders:
    """What operators ask of the lane of retried records. See `Orders`."""

    def __init__(self, orders: LaneOrders, series: RetrySeries) -> None:
        self._orders: Final = orders
        self._series: Final = series

    def look(self) -> Ordered:
        """See `Orders`: also what was added to the series."""
        return replace(self._orders.look(), released=self._series.look())

    def remove(self, requests: Iterable[SkipRequest]) -> None:
        """See `Orders`."""
        self._orders.remove(list(requests))
