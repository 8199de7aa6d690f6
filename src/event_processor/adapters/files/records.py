"""Where records end: cutting on the line feed and nothing else. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["LINE_END_BYTES_MAX", "whole_records_end"]

LINE_END_BYTES_MAX: Final = 2
"""Carriage return and line feed."""


def whole_records_end(content: bytes, record_bytes_max: int) -> tuple[int, bool]:
    r"""Where the leading run of whole records within the limit ends, and whether the record behind it is over the limit.

    `content` starts at a record. The limit counts a record without its line end (`\n` or `\r\n`). Costs one search
    for each `record_bytes_max` bytes, not one for each record.
    """
    start = 0
    while True:
        end = content.rfind(b"\n", start, start + record_bytes_max + 1) + 1
        if not end and content[start + record_bytes_max : start + record_bytes_max + LINE_END_BYTES_MAX] == b"\r\n":
            end = start + record_bytes_max + LINE_END_BYTES_MAX
        if not end:
            break
        start = end
    rest_bytes = len(content) - start
    may_end_yet = rest_bytes == record_bytes_max + 1 and content.endswith(b"\r")
    return start, rest_bytes > record_bytes_max and not may_end_yet
