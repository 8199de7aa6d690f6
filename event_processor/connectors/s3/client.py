"""The client library: requests that another thread can end, and what their failures mean in words.

Owns: the import of obstore; how a store is made of the options; one thread that makes the requests; the words of a failure.
Always: the library tries once: when to try again is decided in one place, `requests.py`. No words hold a secret.
Never: decides what a failure does to a source.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from event_processor.connectors.s3.options import S3ClientOptions, S3SourceOptions
from event_processor.connectors.s3.sink_options import S3SinkOptions
from event_processor.model.answers import Verdict, verdict_of_http
from event_processor.model.errors import ConfigurationError
from event_processor.model.file_system import FileSystem
from event_processor.model.options import SecretPath
from event_processor.storage.durable import read_file

try:
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store
except ImportError as error:
    raise ConfigurationError(
        "obstore is not installed, so nothing can reach S3", hint='pip install "event-processor[s3]"'
    ) from error

__all__ = ["Bucket", "ClosedError", "Listed", "ObjectGoneError", "RequestError", "refusal_of_404", "request_error", "store_of"]

LISTED_MAX: Final = 1_000
"""The number of keys in one answer."""
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]{1,100})</Code>")
_OBJECT_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchObject", "KeyNotFound", "NotFound"})
"""The codes of a 404 that say that there is no such object. Another code is about something else."""
_WORDS_MAX: Final = 200
T = TypeVar("T")


class RequestError(Exception):
    """A request that gave no answer, or was refused. `is_refused`: only an operator can change that. `status`: of HTTP, if there is one."""

    def __init__(self, words: str, *, is_refused: bool = False, status: str = "") -> None:
        super().__init__(words)
        self.words: Final = words
        self.is_refused: Final = is_refused
        self.status: Final = status

    def remedy(self, where: str, rights: str) -> str:
        """What an operator does. `where`: the part of the configuration, such as "sources.events". `rights`: what the user must be allowed to."""
        if not self.is_refused:
            return f"start the service, or correct {where}.endpoint"
        if self.words.endswith("NoSuchBucket"):
            return f"create the bucket, or correct {where}.url"
        if self.words.endswith("RequestTimeTooSkewed"):
            return "set the clock of this machine: it differs from the service's by more than 15 minutes (timedatectl status)"
        return f"give this user the right to {rights}, or correct {where}: its keys, region or url"


class ObjectGoneError(Exception):
    """There is no such object any more, or it is another one. The message says which."""


class ClosedError(Exception):
    """The client was closed while a request was on its way."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    etag: str
    size_bytes: int


class Bucket:
    """The objects of one bucket. One thread makes requests, any thread may close it."""

    def __init__(
        self, options: S3SourceOptions | S3SinkOptions, fs: FileSystem, environment: Mapping[str, str] | None = None
    ) -> None:
        """Connects to nothing yet. `environment`: for our keys; None for the environment of the process. Raises `ConfigurationError`."""
        self._store: Final = store_of(options, fs, os.environ if environment is None else environment)
        self._loop: Final = asyncio.new_event_loop()
        self._thread: Final = threading.Thread(target=self._loop.run_forever, name=f"s3 {options.bucket}", daemon=True)
        self._thread.start()
        self._lock: Final = threading.Lock()
        self._is_closed = False

    def ask(self, key: str, etag: str, start: int, end: int) -> Future[bytes]:
        """Asks for the bytes of an object from `start` to `end`, with that ETag. `answer` gives them."""
        return self._started(self._bytes(key, etag, start, end))

    def answer(self, asked: Future[T]) -> T:
        """Waits for an answer. Raises `RequestError`, `ObjectGoneError`, `ClosedError`."""
        try:
            return asked.result()
        except CancelledError:
            raise ClosedError from None
        except FileNotFoundError as error:
            if (refusal := refusal_of_404(error)) is not None:
                raise refusal from None
            raise ObjectGoneError("it was deleted") from None
        except obstore.exceptions.PreconditionError:
            raise ObjectGoneError("it was replaced") from None
        except (BaseError, OSError, ValueError) as error:
            raise request_error(error) from None

    def page(self, folder: str, after: str) -> Sequence[Listed]:
        """The next keys below `folder`, ascending, after the key `after`; fewer than `LISTED_MAX` at the end. Raises as `answer`."""
        return self.answer(self._started(self._page(folder, after)))

    def head(self, key: str) -> Listed | None:
        """One object; None if there is none. Raises as `answer`."""
        try:
            return self.answer(self._started(self._head(key)))
        except ObjectGoneError:
            return None

    def put(self, key: str, content: bytes) -> None:
        """Makes or replaces an object, whole. Raises as `answer`."""
        self.answer(self._started(self._put(key, content)))

    def close(self) -> None:
        """Ends the requests that are on their way."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            # What was started before is in the loop before this.
            cancelled = asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop)
        cancelled.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _started(self, request: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if not self._is_closed:
                return asyncio.run_coroutine_threadsafe(request, self._loop)
        request.close()
        raise ClosedError

    async def _bytes(self, key: str, etag: str, start: int, end: int) -> bytes:
        result = await obstore.get_async(self._store, key, options={"if_match": etag, "range": (start, end)})
        content = bytes(await result.bytes_async())
        if len(content) != end - start:
            raise ValueError(f"{len(content):,} bytes came instead of {end - start:,}")
        return content

    async def _page(self, folder: str, after: str) -> list[Listed]:
        stream = obstore.list(self._store, folder or None, offset=after or None, chunk_size=LISTED_MAX)
        async for page in stream:
            return [_listed(each) for each in page]
        return []

    async def _put(self, key: str, content: bytes) -> None:
        await obstore.put_async(self._store, key, content, use_multipart=False)

    async def _head(self, key: str) -> Listed:
        return _listed(await obstore.head_async(self._store, key))


async def _cancel_all() -> None:
    others = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _listed(meta: Any) -> Listed:
    return Listed(str(meta["path"]), str(meta["e_tag"] or ""), int(meta["size"]))


def refusal_of_404(error: FileNotFoundError) -> RequestError | None:
    """The refusal, if a 404 says that something else than an object was not found: the bucket, or, as some services do, the user.

    Without this, a key that was mistyped would make the rest of an object lost.
    """
    code = _CODE.search(str(error))
    if code is None or code[1] in _OBJECT_GONE:
        return None
    return RequestError(f"404: {code[1]}", is_refused=True, status="404")


def request_error(error: Exception) -> RequestError:
    """What went wrong, on one line, without what the service repeats of our request."""
    text = str(error)
    found, code = _STATUS.search(text), _CODE.search(text)
    if found is None:
        first = text.split("\n", maxsplit=1)[0].strip()
        return RequestError(first.rpartition(" - ")[2][:_WORDS_MAX] or type(error).__name__)
    status = int(found[1])
    words = f"{status}: {code[1]}" if code else str(status)
    return RequestError(words, is_refused=verdict_of_http(status) is not Verdict.WAIT, status=str(status))


def store_of(options: S3SourceOptions | S3SinkOptions, fs: FileSystem, variables: Mapping[str, str]) -> S3Store:
    """The store. It takes what the options do not say from the environment, and then from the machine."""
    own: dict[str, Any] = {name: value for name in ("endpoint", "region") if (value := getattr(options, name)) is not None}
    if options.access_key_id is not None:
        own |= {"access_key_id": options.access_key_id, "secret_access_key": _secret(options, fs, variables)}
    address = options.endpoint or variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL") or ""
    client: dict[str, Any] = {"timeout": timedelta(seconds=options.timeout_s), "allow_http": address.startswith("http:")}
    if options.tls.ca_file is not None:
        client["root_certificate"] = _content("tls.ca_file", options.tls.ca_file, fs, variables)
    try:
        return S3Store(options.bucket, client_options=client, retry_config={"max_retries": 0}, **own)  # type: ignore[arg-type]
    except (BaseError, ValueError) as error:
        words = str(error).split("\n", maxsplit=1)[0][:_WORDS_MAX]
        raise ConfigurationError(f"{options.url}: {words}", hint="correct endpoint, region or tls") from error


def _secret(options: S3ClientOptions, fs: FileSystem, variables: Mapping[str, str]) -> str:
    if (name := options.secret_access_key_env) is not None:
        where, text = f"${name}", variables.get(name)
        if text is None:
            raise ConfigurationError(f"secret_access_key_env: the environment has no variable {name}", hint="set it")
    else:
        assert options.secret_access_key_file is not None, "an access key has a secret"
        where = options.secret_access_key_file
        text = _content("secret_access_key_file", where, fs, variables).decode("utf-8", "replace")
    if not text.strip():
        raise ConfigurationError(f"the secret in {where} is empty", hint="write the secret there")
    return text.strip()


def _content(key: str, path: SecretPath, fs: FileSystem, variables: Mapping[str, str]) -> bytes:
    try:
        place = path.in_environment(variables)
    except KeyError as error:
        raise ConfigurationError(f"{key}: {path}: the environment has no variable {error.args[0]}", hint="set it") from error
    content = read_file(fs, place)
    if content is None:
        raise ConfigurationError(f"{key}: {place} does not exist", hint="write it there, or name another file")
    return content
