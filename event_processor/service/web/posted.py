"""What the body of a posted request holds: records, and which of them the pipeline would reject.

Owns: the forms of a body (one object, an array, a line each; gzip), and `PostedJudge`.
Always: a record is judged exactly as the pipeline judges it when it reads it. A body that grows over its limit when it is decompressed is refused.
Never: appends.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from event_processor.assembly import all_sources, record_format
from event_processor.configuration.configuration import RESERVED_SOURCE_NAME, Configuration
from event_processor.model.event import Chunk
from event_processor.model.rejections import Rejection
from event_processor.service.web.answers import ProblemError

__all__ = ["PostedJudge", "decompressed", "posted_records"]

GZIP_WINDOW: Final = 31
"""The window of zlib for gzip."""
BLANKS: Final = b" \t\r\n"
NOT_AT_START: Final = 1
"""The offset of what is judged. A byte order mark is allowed only at the start of a file, and nothing that is posted is sure to be there."""


def decompressed(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """The body without its `Content-Encoding`. Raises `ProblemError`."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise ProblemError(
            415, f"Content-Encoding {encoding[:50]} is not read", hint="send it as gzip, or without a Content-Encoding"
        )
    parts: list[bytes] = []
    room = bytes_max + 1
    try:
        while body and room > 0:
            decoder = zlib.decompressobj(GZIP_WINDOW)
            parts.append(decoder.decompress(body, room))
            room -= len(parts[-1])
            # Whatever comes after the limit is never decompressed: a small body could become any size.
            if not decoder.eof and room > 0:
                raise ProblemError(400, "the gzip body is cut short", hint="send it whole")
            body = decoder.unused_data
    except zlib.error as error:
        raise ProblemError(400, f"the body is not gzip: {error}", hint="compress it as gzip, or omit Content-Encoding") from error
    if room <= 0:
        raise ProblemError(
            413,
            f"the body has more than {bytes_max} bytes when it is decompressed",
            hint="send less at once; the limit is http.body_bytes_max",
        )
    return b"".join(parts)


def posted_records(body: bytes, media_type: str) -> Sequence[bytes]:
    """The records of a body, each on one line without its end: the items of an array, one object, or its lines. Blank lines are none.

    Raises `ProblemError` if it begins like an array and is none.
    """
    if body[:1] == b"[" or body.lstrip(BLANKS)[:1] == b"[":
        try:
            return [_on_one_line(item) for item in msgspec.json.decode(body, type=list[msgspec.Raw])]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProblemError(
                400, f"the body is no JSON array: {error}", hint="nothing of it was appended; repair it"
            ) from error
    if media_type == "application/json":
        return [record] if (record := _on_one_line(body)) else []
    # A look at the first byte is quicker than a strip. Blanks around an object may stay: the pipeline reads it all the same.
    return [line for line in body.split(b"\n") if line[:1] == b"{" or line.strip(BLANKS)]


def _on_one_line(record: bytes | msgspec.Raw) -> bytes:
    """Between JSON tokens a line feed means the same as a space. Inside a string it is not valid."""
    return bytes(record).replace(b"\r", b" ").replace(b"\n", b" ").strip(BLANKS)


class PostedJudge:
    """Says which records the pipeline of a configuration would reject. Used by one thread. Code of the user may decide, and take long."""

    def __init__(self, configuration: Configuration) -> None:
        """Raises `ConfigurationError`."""
        options = all_sources(configuration, str(configuration.state.dir))[RESERVED_SOURCE_NAME]
        self._format: Final = record_format(configuration, options)
        self._record_bytes_max: Final = options.record_bytes_max

    def judge(self, records: Sequence[bytes]) -> Sequence[Rejection]:
        """The records that would be rejected, by their place, ascending. Whether one is a duplicate is known only when it is counted."""
        limit = self._record_bytes_max
        is_any_long = max(map(len, records), default=0) > limit
        long = {row for row, record in enumerate(records) if len(record) > limit} if is_any_long else set()
        content = (
            b"".join(b"{}\n" if row in long else record + b"\n" for row, record in enumerate(records))
            if long
            else _lines(records)
        )
        columns = self._format.decode(Chunk(RESERVED_SOURCE_NAME, 1, NOT_AT_START, content, {}))
        found = columns.rejections
        if not long:
            return found
        too_long = [Rejection(row, "read", "record over the size limit (record_bytes_max)", "") for row in sorted(long)]
        return sorted([*(each for each in found if each.row not in long), *too_long], key=lambda each: each.row)


def _lines(records: Sequence[bytes]) -> bytes:
    return b"\n".join(records) + b"\n"
