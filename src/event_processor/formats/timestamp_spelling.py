"""How a sink writes timestamps: one spelling for all of them, whatever the records wrote.

Owns: the names of the spellings, and what becomes of a timestamp in each. An instant is written in UTC.
Always: what is no timestamp is left as it is: a sink cannot reject.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from event_processor.timestamps import TimestampReader, canonical

__all__ = ["AS_IS", "TimestampSpelling", "is_spelling"]

AS_IS: Final = "as_is"
_NAMES: Final = (AS_IS, "rfc3339", "epoch_s", "epoch_ms")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_SCALAR_STARTS: Final = frozenset(b'"-0123456789')


def is_spelling(text: str) -> bool:
    """Whether `text` names a spelling, or is a pattern of strftime."""
    if text in _NAMES:
        return True
    try:
        return "%" in text and "\0" not in text and _EPOCH.strftime(text) != text
    except ValueError:
        return False


class TimestampSpelling:
    """Writes timestamps anew. Pure."""

    def __init__(self, spelling: str, reader: TimestampReader) -> None:
        """`spelling`: of those that `is_spelling` knows."""
        self._spelling: Final = spelling
        self._reader: Final = reader

    @property
    def changes_nothing(self) -> bool:
        """Whether each is left as it is."""
        return self._spelling == AS_IS

    def read(self, value: bytes) -> int | None:
        """The instant of a JSON value, in nanoseconds since 1970-01-01 UTC; None where it is no timestamp."""
        if value[0] not in _SCALAR_STARTS:
            return None
        try:
            return self._reader.read(msgspec.json.decode(value))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def respelt(self, value: bytes) -> bytes:
        """A JSON value, written anew where it is a timestamp."""
        ns = None if self.changes_nothing else self.read(value)
        return value if ns is None else self._written(ns)

    def _written(self, ns: int) -> bytes:
        if self._spelling == "epoch_ms":
            return b"%d" % (ns // _NS_PER_MS)
        if self._spelling == "epoch_s":
            sign, (seconds, fraction) = "-" * (ns < 0), divmod(abs(ns), _NS_PER_S)
            return f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".").encode()
        if self._spelling == "rfc3339":
            return f'"{canonical(ns)}"'.encode()
        instant = _EPOCH + timedelta(microseconds=ns // 1000)
        return msgspec.json.encode(instant.strftime(self._spelling))
