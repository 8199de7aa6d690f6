"""Bytes that have a meaning around records.

Owns: the byte order mark, and what a blank line is made of.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BLANK_BYTES", "BYTE_ORDER_MARK"]

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
BLANK_BYTES: Final = b" \t\r"
