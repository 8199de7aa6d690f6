r"""Messages of Kafka as the records of a chunk.

Owns: `Fetched`, consecutive messages of one partition, and how they become lines: metadata, line ends inside a record, records that are too long.
Always: a message is one record, whatever bytes it has. A line feed inside becomes a space. If the record is no JSON, it becomes a carriage
return, so that it does not become JSON: in a string both are a fault. `own` keeps the record's own bytes. Work per message is a few calls of C.
Never: decodes a record.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec
import numpy as np

from event_processor.connectors.kafka.source_options import Metadata
from event_processor.model.columns import IntArray

__all__ = ["Fetched", "Message", "Records", "text_of"]

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder().decode
_BASE64: Final = "base64:"


class Message(Protocol):
    """What is read of a message of the client library."""

    def value(self) -> bytes | str | None: ...
    def key(self) -> bytes | str | None: ...
    def headers(self) -> Sequence[tuple[str, bytes | str | None]] | None: ...
    def timestamp(self) -> tuple[int, int]: ...
    def offset(self) -> int | None: ...
    def leader_epoch(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Records:
    """Whole records, or one that is too long: then `content` is empty. `size_bytes`: with a line end each. The rest as in `Chunk`."""

    content: bytes
    own: bytes
    places: IntArray
    size_bytes: int
    epoch: int
    oversized_bytes: int = 0


class Fetched:
    """Consecutive messages of one partition that were fetched and not handed on yet."""

    def __init__(self, messages: Sequence[Message], metadata: frozenset[Metadata], record_bytes_max: int) -> None:
        self._record_bytes_max: Final = record_bytes_max
        values: list[bytes] = [message.value() or b"" for message in messages]  # type: ignore[misc]  # we set no deserializer
        if metadata:
            values = [with_metadata(value, message, metadata) for value, message in zip(values, messages, strict=True)]
        self._values: Final = values
        self._offsets: Final[list[int]] = [message.offset() or 0 for message in messages]
        self._sizes: Final = list(map(len, values))
        # They only rise within a partition. The messages themselves are not kept: thousands of objects would cost the garbage collector time.
        self._epoch: Final = _epoch_of(messages[-1])
        self._epochs: Final = None if _epoch_of(messages[0]) == self._epoch else list(map(_epoch_of, messages))
        self._next = 0

    def __len__(self) -> int:
        """How many records were not taken yet."""
        return len(self._values) - self._next

    @property
    def last_offset(self) -> int:
        """The offset of the last record."""
        return self._offsets[-1]

    @property
    def is_empty(self) -> bool:
        """Whether everything was taken."""
        return self._next == len(self._values)

    @property
    def next_offset(self) -> int:
        """The offset of the next record."""
        return self._offsets[self._next]

    def take(self, bytes_max: int, *, end: int | None = None) -> Records:
        """The next records: at least one, of at most `bytes_max` bytes, before the offset `end`. One that is too long comes alone."""
        begin = self._next
        stop = self._stop(begin, bytes_max, end)
        self._next = stop
        sizes, places = self._sizes[begin:stop], np.array(self._offsets[begin:stop], np.int64)
        size_bytes, epoch = sum(sizes) + len(sizes), self._epoch if self._epochs is None else self._epochs[stop - 1]
        if sizes[0] > self._record_bytes_max:
            return Records(b"", b"", places, size_bytes, epoch, oversized_bytes=size_bytes)
        content, own = lines_of(self._values[begin:stop])
        return Records(content, own, places, size_bytes, epoch)

    def _stop(self, begin: int, bytes_max: int, end: int | None) -> int:
        """The index after the last record to take."""
        stop = len(self._sizes)
        if end is not None:
            stop = max(begin + 1, int(np.searchsorted(self._offsets[begin:], end)) + begin)
        sizes = self._sizes[begin:stop]
        if sum(sizes) + len(sizes) > bytes_max:
            stop = begin + max(1, int(np.searchsorted(np.cumsum(np.array(sizes) + 1), bytes_max, side="right")))
        if max(self._sizes[begin:stop]) > self._record_bytes_max:
            long = next(place for place in range(begin, stop) if self._sizes[place] > self._record_bytes_max)
            stop = max(begin + 1, long)
        return stop


def _epoch_of(message: Message) -> int:
    epoch = message.leader_epoch()
    return -1 if epoch is None else epoch


def lines_of(values: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The records as lines, and their own bytes if these differ, else nothing. Both have the same length."""
    # One join and the line end at once: the bytes are copied only once. Most topics have no carriage return: that is found out fastest.
    own = b"\n".join((*values, b""))
    if own.count(b"\n") == len(values) and (b"\r" not in own or b"\r\n" not in own):
        return own, b""
    return b"\n".join(map(_on_one_line, values)) + b"\n", own


def _on_one_line(value: bytes) -> bytes:
    if b"\n" not in value and not value.endswith(b"\r"):
        return value
    try:
        _DECODE(value)
    except msgspec.DecodeError:
        pass
    else:
        # In JSON that is whole, all line ends are between two tokens. Readers of lines may take a carriage return for a line end.
        return value.replace(b"\n", b" ").replace(b"\r", b" ")
    line = value.replace(b"\n", b"\r")
    # A carriage return before the line feed would be taken for a part of the line's end.
    return line[:-1] + b" " if line.endswith(b"\r") else line


def with_metadata(value: bytes, message: Message, metadata: frozenset[Metadata]) -> bytes:
    """The record with its metadata as the last fields of its object. If a field is there twice, the last one counts.

    A record that is no object, or none that is complete, stays no object: the text begins with a comma, and ends where it ended.
    """
    body = value.strip(b" \t\r\n")
    if not (body.startswith(b"{") and body.endswith(b"}")):
        return value
    fields = b",".join(b'"@%s":%s' % (name.encode(), _TEXTS[name](message)) for name in sorted(metadata))
    comma = b"" if not body[1:-1].strip(b" \t\r\n") else b","
    return body[:-1] + comma + fields + b"}"


def text_of(value: bytes | str | None) -> str | None:
    """A key or a header as text: as it is if it is UTF-8, else `base64:` and its bytes, so that two never become one."""
    if value is None or isinstance(value, str):
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = _BASE64
    return _BASE64 + base64.b64encode(value).decode() if text.startswith(_BASE64) else text


def _headers(message: Message) -> bytes:
    return _ENCODE({name: text_of(value) for name, value in message.headers() or ()})


def _timestamp(message: Message) -> bytes:
    kind, milliseconds = message.timestamp()
    if not kind:
        return b"null"
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return b"null"  # a producer may write any number
    return _ENCODE(moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"))


_TEXTS: Final[dict[Metadata, Callable[[Message], bytes]]] = {
    "key": lambda message: _ENCODE(text_of(message.key())),
    "headers": _headers,
    "timestamp": _timestamp,
}
