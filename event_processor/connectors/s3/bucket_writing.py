"""The requests of a sink: objects that are made once, and one that is replaced only as it was read.

Owns: `WritableBucket`, what the refusals of conditional requests mean, and what is done if the service has no conditions.
Always: each request is made once, and ends after `timeout_s`. What is written is written whole or not at all. Without conditions, a look comes
before the write: another process may write between the two, so a caller must not rely on it. After the service has shown that it has conditions,
a refusal (501) is an error like any other: nothing is written without them.
Never: decides what a refusal does to a lane.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from event_processor.connectors.s3.client import RequestError, refusal_of_404, request_error, store_of
from event_processor.connectors.s3.sink_options import S3SinkOptions
from event_processor.model.file_system import FileSystem

__all__ = ["ChangedError", "Stored", "WritableBucket"]

T = TypeVar("T")
_NOT_IMPLEMENTED: Final = "501"
_NOT_METADATA: Final = frozenset({"Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control"})


class ChangedError(Exception):
    """A condition did not hold: there is an object already, or it is not the one that was read."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was read. `metadata`: our own names."""

    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


class WritableBucket:
    """A bucket that is written. Used by one event loop."""

    def __init__(self, options: S3SinkOptions, fs: FileSystem, environment: Mapping[str, str] | None) -> None:
        """Connects to nothing yet."""
        self._options: Final = options
        self._fs: Final = fs
        self._environment: Final = os.environ if environment is None else environment
        self._store: Any = None
        self.has_conditions: bool | None = None
        """Whether the service looks at conditions. None if it is not known; the caller finds out with `put_against`."""

    async def connect(self) -> None:
        """Reads the secrets anew. Raises `ConfigurationError`, `StorageError`."""
        self._store = await asyncio.to_thread(store_of, self._options, self._fs, self._environment)

    async def create(self, key: str, content: bytes, metadata: Mapping[str, str] | None = None) -> str:
        """Makes an object. Returns its ETag. Raises `ChangedError` if there is one, `RequestError`."""
        return await self._put_if(key, content, None, metadata)

    async def replace(self, key: str, content: bytes, etag: str) -> str:
        """Replaces an object. Returns its ETag. Raises `ChangedError` if it is another one by now, `RequestError`."""
        return await self._put_if(key, content, etag, None)

    async def _put_if(self, key: str, content: bytes, etag: str | None, metadata: Mapping[str, str] | None) -> str:
        """Puts an object if there is none, or, with an ETag, if it is that one."""
        if self.has_conditions is not False:
            try:
                return await self._put(key, content, _mode(etag), metadata)
            except RequestError as error:
                if error.status != _NOT_IMPLEMENTED or self.has_conditions:
                    raise
                # The service says that it does not know the header. Nothing was written.
        stored = await self.look(key)
        if (stored.etag if stored else None) != etag:
            raise ChangedError
        return await self._put(key, content, "overwrite", metadata)

    async def put_against(self, key: str, content: bytes, etag: str | None) -> str | None:
        """Puts an object that is there, if there is none, or, with an ETag that it does not have, if it is that one.

        Raises `ChangedError` if the service looked at the condition, `RequestError`. Otherwise returns the new ETag; None if the service
        refused the condition (501). Either may be chance once: an object that was just deleted, a proxy that is not ready.
        """
        try:
            return await self._put(key, content, _mode(etag), None)
        except RequestError as error:
            if error.status != _NOT_IMPLEMENTED:
                raise
            return None

    async def put(self, key: str, content: bytes) -> None:
        """Makes or replaces an object. Raises `RequestError`."""
        await self._put(key, content, "overwrite", None)

    async def read(self, key: str) -> Stored | None:
        """An object; None if there is none. Raises `RequestError`."""

        async def found() -> Stored:
            result = await obstore.get_async(self._store, key)
            return Stored(str(result.meta["e_tag"] or ""), _metadata(result.attributes), bytes(await result.bytes_async()))

        return await _answered_or_none(found)

    async def look(self, key: str) -> Stored | None:
        """An object without its content; None if there is none. Raises `RequestError`."""

        async def found() -> Stored:
            result = await obstore.get_async(self._store, key, options={"head": True})
            return Stored(str(result.meta["e_tag"] or ""), _metadata(result.attributes))

        return await _answered_or_none(found)

    async def keys(self, folder: str) -> list[str]:
        """All keys below a folder, ascending. Raises `RequestError`."""

        async def found() -> list[str]:
            stream = obstore.list(self._store, folder)
            return sorted([str(each["path"]) async for page in stream for each in page])

        return await _answered(found)

    async def _put(self, key: str, content: bytes, mode: Any, metadata: Mapping[str, str] | None) -> str:
        async def put() -> str:
            attributes: Any = dict(metadata or {})
            result = await obstore.put_async(self._store, key, content, mode=mode, attributes=attributes, use_multipart=False)
            return str(result["e_tag"] or "")

        try:
            return await _answered(put)
        except FileNotFoundError:
            if isinstance(mode, dict):
                # As some services say that the object is not the one with this ETag any more.
                raise ChangedError from None
            raise RequestError("404", is_refused=True, status="404") from None


def _mode(etag: str | None) -> Any:
    """How an object is put if there is none, or, with an ETag, if it is that one."""
    return "create" if etag is None else {"e_tag": etag}


async def _answered_or_none(request: Callable[[], Awaitable[Stored]]) -> Stored | None:
    try:
        return await _answered(request)
    except FileNotFoundError:
        return None


async def _answered(request: Callable[[], Awaitable[T]]) -> T:
    """One request. Raises `FileNotFoundError`, `ChangedError`, `RequestError`."""
    try:
        return await request()
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, AlreadyExistsError | PreconditionError):
            raise ChangedError from None
        if isinstance(error, FileNotFoundError):
            raise refusal_of_404(error) or FileNotFoundError from None
        raise request_error(error) from None


def _metadata(attributes: Mapping[Any, str]) -> dict[str, str]:
    return {str(name).lower(): value for name, value in attributes.items() if name not in _NOT_METADATA}
