"""Objects under paths such as `s3://bucket/key`, for runs over finished input: read as files are, and written whole.

Owns: `ObjectFiles`, the clients that it uses, and which paths are objects.
Always: an open object is read under one ETag. Every other path is the file system's. The client library is imported only if a path is an object.
Never: lists a bucket, or writes a part of an object.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

import xxhash
from pydantic import ValidationError

from event_processor.connectors.s3.options import S3ClientOptions, S3SourceOptions
from event_processor.model.clock import SystemClock
from event_processor.model.contracts import Clock
from event_processor.model.errors import ConfigurationError, InputGoneError, NotAnsweredError, UsageError
from event_processor.model.file_system import FILE_MODE, FileStatus, FileSystem
from event_processor.storage.forwarding import ForwardingFileSystem

if TYPE_CHECKING:
    from event_processor.connectors.s3.client import Bucket, Listed, RequestError
    from event_processor.connectors.s3.requests import Requests

__all__ = ["ObjectFiles", "ObjectServices", "is_object"]

SCHEME: Final = "s3://"
WAIT_S_MAX: Final = 60.0
"""A service that is away is waited for so long."""
KEPT_BYTES: Final = 65_536
"""So much of an object's beginning is kept: it is looked at again and again."""
INODE_MAX: Final = (1 << 63) - 1
SERVICE: Final = "the source or sink of type s3"


def is_object(path: str) -> bool:
    """Whether a path is that of an object."""
    return path.startswith(SCHEME)


@dataclass(slots=True)
class _OpenObject:
    """An object that is being read. `start`, `content`: the range that was read last. `head`: its first bytes."""

    path: str
    options: S3SourceOptions
    listed: Listed
    requests: Requests
    head: bytes = b""
    start: int = 0
    content: bytes = b""

    def read(self, size_bytes: int, offset: int) -> bytes:
        """At most `size_bytes` from `offset`; empty at the end. Raises `ObjectGoneError`."""
        if offset >= self.listed.size_bytes:
            return b""
        if offset + size_bytes <= len(self.head):
            return self.head[offset : offset + size_bytes]
        if not self.start <= offset < self.start + len(self.content):
            self._fetch(offset)
        return self.content[offset - self.start : offset - self.start + size_bytes]

    def _fetch(self, offset: int) -> None:
        is_next = offset == self.start + len(self.content)
        end = self._end_of(offset)
        self.start, self.content = offset, self.requests.range(self.listed, offset, end)
        if not offset:
            self.head = self.content[:KEPT_BYTES]
        if is_next and end < self.listed.size_bytes:
            self.requests.ask_ahead(self.listed, end, self._end_of(end))

    def _end_of(self, offset: int) -> int:
        return min(self.listed.size_bytes, offset + self.options.range_bytes)


class ObjectServices:
    """The services of all objects of one run: a client for each bucket. Used by one thread."""

    def __init__(self, client_of: Callable[[str], S3ClientOptions], fs: FileSystem, clock: Clock | None = None) -> None:
        """`client_of`: how the service of a bucket is reached. `fs`: for its secrets. Connects to nothing yet."""
        self._client_of: Final = client_of
        self._fs: Final = fs
        self._clock: Final = clock or SystemClock()
        self._buckets: Final[dict[str, tuple[Bucket, Requests]]] = {}
        self._since_s: float | None = None

    def at(self, path: str) -> tuple[S3SourceOptions, Requests]:
        """The service of an object. Raises `UsageError`, `ConfigurationError`."""
        from event_processor.connectors.s3.client import Bucket  # noqa: PLC0415 - an extra
        from event_processor.connectors.s3.requests import Requests  # noqa: PLC0415

        name = path.removeprefix(SCHEME).partition("/")[0]
        client = self._client_of(name)
        given = {key: getattr(client, key) for key in S3ClientOptions.model_fields}
        try:
            options = S3SourceOptions.model_validate({**given, "type": "s3", "url": path})
        except ValidationError as error:
            raise UsageError(f"{path}: is not the path of an object", hint="such as s3://bucket/prefix/key.jsonl") from error
        if name not in self._buckets:
            bucket = Bucket(options, self._fs)
            requests = Requests(bucket, self._clock, lambda failed: self._troubled(name, failed), self._answered)
            self._buckets[name] = bucket, requests
        return options, self._buckets[name][1]

    def close(self) -> None:
        """Ends the threads of the clients. Without it, the interpreter cannot end in order."""
        for bucket, requests in self._buckets.values():
            requests.stop()
            bucket.close()

    def _troubled(self, bucket: str, error: RequestError) -> None:
        """Raises if it is no use to wait, or if the service is away for too long."""
        now_s = self._clock.monotonic_s()
        self._since_s = now_s if self._since_s is None else self._since_s
        words = f"s3://{bucket}: {error.words}"
        if error.is_refused:
            raise ConfigurationError(words, hint=error.remedy(SERVICE, "read and to write its objects"))
        if now_s - self._since_s > WAIT_S_MAX:
            hint = f"{error.remedy(SERVICE, '')}, or AWS_ENDPOINT_URL; then run the same command again"
            raise NotAnsweredError(f"{words}, for {WAIT_S_MAX:g} s", hint=hint)

    def _answered(self) -> None:
        self._since_s = None


class ObjectFiles(ForwardingFileSystem):
    """A `FileSystem` with objects. Used by one thread."""

    def __init__(self, fs: FileSystem, services: ObjectServices) -> None:
        super().__init__(fs)
        self._services: Final = services
        self._open: Final[dict[int, _OpenObject]] = {}
        self._descriptors: Final = count(-2, -1)

    def over(self, fs: FileSystem) -> ObjectFiles:
        """The same objects over another file system."""
        return ObjectFiles(fs, self._services)

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        if not is_object(path):
            return super().open(path, flags, mode)
        options, requests = self._services.at(path)
        listed = requests.head(options.key_of(path))
        if listed is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        descriptor = next(self._descriptors)
        self._open[descriptor] = _OpenObject(path, options, listed, requests)
        return descriptor

    def close(self, descriptor: int) -> None:
        if self._open.pop(descriptor, None) is None:
            super().close(descriptor)

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        found = self._open.get(descriptor)
        if found is None:
            return super().read(descriptor, size_bytes, offset)
        from event_processor.connectors.s3.client import ObjectGoneError  # noqa: PLC0415 - an extra

        try:
            return found.read(size_bytes, offset)
        except ObjectGoneError as error:
            raise InputGoneError(
                f"{found.path}: {error} while it was read", hint="an object that is still written is not a finished input"
            ) from error

    def next_data(self, descriptor: int, offset: int) -> int:
        return offset if descriptor in self._open else super().next_data(descriptor, offset)

    def status(self, path: str) -> FileStatus | None:
        if not is_object(path):
            return super().status(path)
        options, requests = self._services.at(path)
        listed = requests.head(options.key_of(path))
        return None if listed is None else _status(listed)

    def status_of(self, descriptor: int) -> FileStatus:
        found = self._open.get(descriptor)
        return super().status_of(descriptor) if found is None else _status(found.listed)

    def put(self, path: str, parts: Iterable[bytes]) -> None:
        """Makes or replaces an object, whole or not at all. Raises `NotAnsweredError`, `ConfigurationError`."""
        options, requests = self._services.at(path)
        requests.put(options.key_of(path), b"".join(parts))


def _status(listed: Listed) -> FileStatus:
    """An object as a file: its ETag is its identity."""
    inode = xxhash.xxh3_64_intdigest(listed.etag.encode()) & INODE_MAX
    return FileStatus(0, inode, listed.size_bytes, is_directory=False, is_regular=True, modified_ns=0)
