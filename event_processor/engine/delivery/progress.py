"""What a lane keeps on disk: its cursor and its failed records, saved together.

Owns: the order of the two writes, and what a lane starts from.
Always: failed records are durable before the cursor that counts them. A cursor of another state is never used.
Never: runs in the delivery loop's thread: a slow disk must not delay answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.delivery.cursor_file import DELIVERY_FOLDER, cursor_path, read_cursor, write_cursor
from event_processor.engine.delivery.failed_records import FailedRecords, bytes_through, failed_path
from event_processor.model.errors import StateError
from event_processor.model.event import Json
from event_processor.model.transactions import FailedRecord
from event_processor.storage.append_file import whole_bytes_of
from event_processor.storage.durable import FileSystem, prepare_directory

__all__ = ["LaneIdentity", "Progress"]


@dataclass(frozen=True, slots=True)
class LaneIdentity:
    """Which lane it is: its name, input and target, its state, and the place after which it started.

    The name is that of the sink; the lane of its retried records is called `NAME.retry`.
    """

    name: str
    input: str
    state_id: str
    target: Mapping[str, Json]
    started_after: int
    started_chain: str
    pipeline: str = ""
    shard: str = ""
    """The pipeline's name and shard, for a receiver that holds the cursor."""

    @property
    def sink(self) -> str:
        """The name of the sink. There is no dot in it."""
        return self.name.partition(".")[0]


class Progress:
    """The files of one lane. Used by one thread at a time."""

    def __init__(self, fs: FileSystem, directory: str, identity: LaneIdentity) -> None:
        """Reads the lane's cursor; a lane that starts now gets one, durably, so that its pending records are known to be so.

        A cursor of an earlier lane of this name, which was dropped, is replaced. If the cursor cannot be read or belongs to another
        state, or if failed records that it counts are gone, then `failure` says so, nothing is changed on disk, and `document` is
        that of a lane that starts. Raises `LockedError`, `StorageError`.
        """
        self._fs: Final = fs
        self._directory: Final = directory
        self._name: Final = identity.name
        self._failed: FailedRecords | None = None
        self.failure: StateError | None = None
        """Why the lane must not send."""
        self.weakness = ""
        """Why the receiver guarantees only at least once; written with the next cursor."""
        self.document = _beginning(identity, 0)
        prepare_directory(fs, f"{directory}/{DELIVERY_FOLDER}")
        try:
            self._open(identity)
        except StateError as error:
            # Only this lane stops: the commits and the other lanes go on.
            self.failure = error
            self.document = _beginning(identity, 0)
        except BaseException:
            self.close()
            raise

    def _open(self, identity: LaneIdentity) -> None:
        found = read_cursor(self._fs, self._directory, self._name)
        if found is not None and found.state_id != identity.state_id:
            raise StateError(
                f"{cursor_path(self._directory, self._name)}: belongs to the state {found.state_id}, not to {identity.state_id}",
                hint="restore the state it belongs to, or move the file aside to send everything that is pending here",
            )
        is_same = found is not None and (found.input, found.started_after) == (identity.input, identity.started_after)
        # A lane whose cursor was moved aside keeps its failed records: nothing else knows them.
        failed_bytes = found.failed_bytes if found else whole_bytes_of(self._fs, failed_path(self._directory, self._name))
        self.document = found if found is not None and is_same else _beginning(identity, failed_bytes)
        self.weakness = self.document.weakness
        self._failed = FailedRecords(self._fs, self._directory, self._name, self.document.failed_bytes)
        if not is_same or self.document.target != identity.target:
            self.document = replace(self.document, target=identity.target)
            # If we die before this, the next start does the same.
            write_cursor(self._fs, self._directory, self._name, self.document)

    def require(self) -> None:
        """Raises `failure`, if there is one."""
        if self.failure is not None:
            raise self.failure

    def save(self, document: CursorDocument, failed: Sequence[FailedRecord]) -> None:
        """Makes the cursor durable, and before it the failed records that it counts besides those of the cursor before.

        Raises `StorageError`: then the cursor before counts, and the records since are sent again under the same keys.
        """
        assert self._failed is not None, "a lane that failed at its start saves nothing"
        failed_bytes = self._failed.append(list(failed))
        # If we die here, the new lines are beyond the committed length, and are cut off.
        self.document = replace(document, failed_bytes=failed_bytes, weakness=self.weakness)
        write_cursor(self._fs, self._directory, self._name, self.document)

    def move(self, document: CursorDocument, after: int, failed: Sequence[FailedRecord]) -> None:
        """The receiver holds the cursor, and it is elsewhere: takes its place. Failed records after sequence `after` are `failed`.

        Raises `StorageError`, `LockedError`; then the receiver's cursor is taken at the next start.
        """
        assert self._failed is not None, "a lane that failed at its start moves nowhere"
        kept_bytes = bytes_through(self._fs, self._directory, self._name, self.document.failed_bytes, after)
        if kept_bytes < self.document.failed_bytes:
            # First the cursor: if we die after it, the next start cuts the file off, and the receiver has the rest.
            self.document = replace(document, failed_bytes=kept_bytes, weakness=self.weakness)
            write_cursor(self._fs, self._directory, self._name, self.document)
            self._failed.close()
            self._failed = FailedRecords(self._fs, self._directory, self._name, kept_bytes)
        self.save(document, failed)

    def close(self) -> None:
        """Releases the files."""
        if self._failed is not None:
            self._failed.close()


def _beginning(identity: LaneIdentity, failed_bytes: int) -> CursorDocument:
    """The cursor of a lane that starts. The failed records of an earlier lane of its name are kept."""
    return CursorDocument(
        state_id=identity.state_id,
        input=identity.input,
        target=identity.target,
        started_after=identity.started_after,
        sequence=identity.started_after,
        chain=identity.started_chain,
        failed_bytes=failed_bytes,
    )
