"""Uploads: files that come in pieces, each resumed where the one before ended.

Owns: `UploadStore`: which uploads there are, the offset of each, and when a piece is durable.
Always: an offset that was answered is durable: content first, then the file that says how much of it counts. A job reads no further. Bytes after the offset were
never acknowledged, and the next piece replaces them.
Never: two pieces of an upload at the same time; a byte after the announced length.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from threading import Lock, RLock
from typing import Final

import msgspec

from event_processor.assembly import Environment
from event_processor.configuration.configuration import JobsOptions
from event_processor.model.clock import utc_text, wall_ns_of
from event_processor.model.errors import StorageError
from event_processor.service.jobs.counts import JobCounts
from event_processor.service.jobs.job import RefusedError
from event_processor.storage.durable import create_file, prepare_directory, read_file, remove_tree, replace_file, storage_call
from event_processor.storage.probes import free_bytes

__all__ = ["Piece", "Upload", "UploadStore"]

TOKEN: Final = "upload"  # noqa: S105 - a part of a file's name
DOCUMENT: Final = "upload.json"
_ID: Final = re.compile(r"[0-9a-f]{16}")


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One upload, as it is kept: `offset` of `length` bytes are durable."""

    id: str
    length: int
    offset: int
    changed_at: str
    version: int = 1

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""
        return self.offset == self.length


class UploadStore:
    """The uploads of one folder. Used by several threads, after `open`."""

    def __init__(self, environment: Environment, directory: str, counts: JobCounts | None = None) -> None:
        self.directory: Final = directory
        self.counts: Final = counts or JobCounts()
        self._environment: Final = environment
        self._fs: Final = environment.fs
        self._lock: Final = RLock()
        self._uploads: dict[str, Upload] = {}
        self._unreadable: set[str] = set()
        self._busy: set[str] = set()
        self._is_open = False

    def open(self) -> None:
        """Reads the uploads. The caller holds the lock of the folder above. Raises `StorageError`."""
        prepare_directory(self._fs, self.directory)
        with storage_call("list", self.directory):
            names = self._fs.names(self.directory)
        with self._lock:
            self._uploads, self._unreadable = {}, set()
            for name in filter(_ID.fullmatch, names):
                self._read(name)
            self._is_open = True

    def _read(self, upload_id: str) -> None:
        """Reads one upload. The caller holds the lock."""
        document = self.document(upload_id)
        self._unreadable.discard(upload_id)
        try:
            content = read_file(self._fs, document)
            upload = msgspec.json.decode(content or b"", type=Upload)
            with storage_call("fsync", document):
                # Its writer may have died, or failed, after the rename: what it says is answered only when a power cut leaves it.
                self._fs.sync_directory(self._folder(upload_id))
            self._uploads[upload_id] = upload
        except StorageError as error:
            # The jobs and the other uploads do not wait for it. A request for it reads it again.
            self._unreadable.add(upload_id)
            self._environment.telemetry.jobs_unavailable(path=document, reason=error.message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # It was never answered, or its disk lost it: the client begins anew.
            self._uploads.pop(upload_id, None)
            with suppress(StorageError, OSError):
                remove_tree(self._fs, self._folder(upload_id))

    def create(self, length: int, options: JobsOptions) -> Upload:
        """A new upload of `length` bytes. Raises `RefusedError`, `StorageError`."""
        self._require_open()
        if length > options.upload_bytes_max:
            words = f"{length} bytes are more than an upload may have: {options.upload_bytes_max} (jobs.upload_bytes_max)"
            raise RefusedError("too_large", words, "split it, or name a file or a URL as the input")
        with self._lock:
            # What was announced by others comes still, so it is no room for this one.
            announced = sum(each.length - each.offset for each in self._uploads.values())
            self._require_room(options, announced + length)
            if len(self._uploads) >= options.uploads_max:
                words = f"{len(self._uploads)} uploads are kept (jobs.uploads_max)"
                raise RefusedError("full", words, "delete some: DELETE /v1/uploads/ID", wait_s=60)
            upload = Upload(id=self._environment.new_token(), length=length, offset=0, changed_at=self._now())
            prepare_directory(self._fs, self._folder(upload.id))
            # If we die between the two, there is content without a document, and the next start removes it.
            create_file(self._fs, self._content(upload.id), ())
            self._write(upload)
        return upload

    def has_room(self, options: JobsOptions, further_bytes: int = 0) -> bool:
        """Whether `jobs.free_bytes_min` are free on the disk after `further_bytes` came. Raises `StorageError`."""
        with storage_call("statvfs", self.directory):
            return not options.free_bytes_min or free_bytes(self.directory) - further_bytes >= options.free_bytes_min

    def _require_room(self, options: JobsOptions, further_bytes: int) -> None:
        if not self.has_room(options, further_bytes):
            raise RefusedError(
                "closed", "the disk of the jobs has no room for it (jobs.free_bytes_min)", "free some space", wait_s=30
            )

    def get(self, upload_id: str) -> Upload:
        """One upload. Raises `RefusedError`."""
        self._require_open()
        with self._lock:
            if upload_id in self._unreadable:
                self._read(upload_id)
            if upload_id in self._unreadable:
                raise RefusedError("closed", "the upload cannot be read now", "see the log of the service", wait_s=5)
            upload = self._uploads.get(upload_id)
        if upload is None:
            raise RefusedError("missing", "no such upload", "it was deleted, or kept for jobs.keep_s; begin anew")
        return upload

    def content(self, upload_id: str) -> str:
        """The path of an upload's content, whole or still coming. Raises `RefusedError` if there is no such upload."""
        self.get(upload_id)
        return self._content(upload_id)

    def document(self, upload_id: str) -> str:
        """The path of the file that says how much of an upload's content counts."""
        return os.path.join(self._folder(upload_id), DOCUMENT)

    def is_coming(self, upload_id: str) -> bool:
        """Whether there is such an upload, and a part of it is missing."""
        with self._lock:
            upload = self._uploads.get(upload_id)
        return upload is not None and not upload.is_complete

    def is_silent(self, upload_id: str, age_s: int) -> bool:
        """Whether nothing came for `age_s` seconds, and no request sends to it now."""
        with self._lock:
            upload = self._uploads.get(upload_id)
            if upload is None or upload_id in self._busy:
                return False
            return (wall_ns_of(upload.changed_at) or 0) < self._environment.clock.wall_ns() - age_s * 10**9

    def begin(self, upload_id: str, offset: int, options: JobsOptions) -> Piece:
        """The next piece of an upload, which must begin at `offset`. Close it in any case. Raises `RefusedError`, `StorageError`."""
        with self._lock:
            upload = self.get(upload_id)
            if upload_id in self._busy:
                raise RefusedError(
                    "conflict", "another request sends to this upload now", "ask for its offset, then go on", wait_s=1
                )
            if offset != upload.offset:
                words = f"the upload goes on at byte {upload.offset}, not at {offset}"
                raise RefusedError("conflict", words, "send what comes from there", offset=upload.offset)
            # Rows and other programs take room as well, so what was there at the announcement may be gone.
            self._require_room(options, 0)
            piece = Piece(self, upload, self._environment, self._content(upload_id))
            self._busy.add(upload_id)
        return piece

    def remove(self, upload_id: str, in_use: Collection[str]) -> None:
        """Removes an upload, unless it is `in_use` by a job. Raises `RefusedError`, `StorageError`."""
        with self._lock:
            self.get(upload_id)
            if upload_id in in_use or upload_id in self._busy:
                raise RefusedError("conflict", "the upload is in use", "wait for its job, or cancel it", wait_s=1)
            # If we die within this, the next start finds an upload without its file, or with less content, and removes it.
            del self._uploads[upload_id]
            self._remove(upload_id)

    def older_than(self, age_s: int) -> Sequence[str]:
        """The uploads to which no byte was added for `age_s` seconds, and to which none is sent now."""
        limit_ns = self._environment.clock.wall_ns() - age_s * 10**9
        with self._lock:
            found = [each.id for each in self._uploads.values() if (wall_ns_of(each.changed_at) or 0) < limit_ns]
            return [upload_id for upload_id in found if upload_id not in self._busy]

    def ended(self, upload: Upload, offset: int | None) -> Upload:
        """A piece of `upload` is durable up to `offset`; None if nothing of it is. Raises `StorageError`."""
        with self._lock:
            self._busy.discard(upload.id)
            if offset is None:
                return upload
            changed = msgspec.structs.replace(upload, offset=offset, changed_at=self._now())
            # If we die before this is durable, the piece was not acknowledged, and the client sends it again.
            try:
                self._write(changed)
            except StorageError:
                # The document may say either, and a job may have read up to the new offset: the next request reads what it says.
                self._unreadable.add(upload.id)
                raise
            self.counts.receives(offset - upload.offset)
            return changed

    def __len__(self) -> int:
        with self._lock:
            return len(self._uploads)

    def _write(self, upload: Upload) -> None:
        replace_file(self._fs, self.document(upload.id), [msgspec.json.encode(upload), b"\n"], TOKEN)
        self._uploads[upload.id] = upload

    def _remove(self, upload_id: str) -> None:
        folder = self._folder(upload_id)
        # The document first: content without it is removed at the next start.
        with storage_call("unlink", folder):
            self._fs.unlink(self.document(upload_id))
        remove_tree(self._fs, folder)
        with storage_call("fsync", self.directory):
            self._fs.sync_directory(self.directory)

    def _folder(self, upload_id: str) -> str:
        return os.path.join(self.directory, upload_id)

    def _content(self, upload_id: str) -> str:
        return os.path.join(self._folder(upload_id), "content")

    def _now(self) -> str:
        return utc_text(self._environment.clock.wall_ns())

    def _require_open(self) -> None:
        if not self._is_open:
            raise RefusedError("closed", "the uploads are being opened", "send it again", wait_s=1)


class Piece:
    """A piece of an upload on its way. Its calls may come from several threads: a request that ends does not wait for its last write."""

    def __init__(self, store: UploadStore, upload: Upload, environment: Environment, path: str) -> None:
        """Opens the content, and cuts off what was never acknowledged. Raises `StorageError`."""
        self._store: Final = store
        self._upload: Final = upload
        self._fs: Final = environment.fs
        self._path: Final = path
        self._end = upload.offset
        self._is_broken = False
        self._is_closed = False
        self._lock: Final = Lock()
        with storage_call("open", path):
            self._descriptor = self._fs.open(path, os.O_WRONLY)
        try:
            with storage_call("truncate", path):
                self._fs.truncate(self._descriptor, upload.offset)
        except BaseException:
            self._fs.close(self._descriptor)
            raise

    def add(self, content: bytes) -> None:
        """Writes the next bytes. Raises `RefusedError` if they are more than were announced, `StorageError`."""
        if self._end + len(content) > self._upload.length:
            words = f"the upload has {self._upload.length} bytes, and more came"
            raise RefusedError("too_large", words, "announce the whole length at POST /v1/uploads", offset=self._end)
        with self._lock:
            if self._is_closed:
                # The number of the descriptor may mean another file by now.
                raise RefusedError("conflict", "the request has ended", "ask for the offset, then go on", wait_s=1)
            try:
                self._write(content)
            except BaseException:
                self._is_broken = True
                raise

    def _write(self, rest: bytes) -> None:
        while rest:
            with storage_call("write", self._path):
                written = self._fs.write_at(self._descriptor, rest, self._end)
            self._end += written
            rest = rest[written:]

    def close(self) -> Upload:
        """Makes durable what was added, and says how far the upload is. Raises `StorageError`; then nothing of the piece counts."""
        with self._lock:
            self._is_closed = True
            return self._close()

    def _close(self) -> Upload:
        offset: int | None = None
        try:
            if not self._is_broken and self._end > self._upload.offset:
                with storage_call("fsync", self._path):
                    # If we die before this, the bytes may be there or not: the offset does not cover them.
                    self._fs.sync(self._descriptor)
                offset = self._end
        finally:
            self._fs.close(self._descriptor)
            if offset is None:
                self._store.ended(self._upload, None)
        return self._upload if offset is None else self._store.ended(self._upload, offset)
