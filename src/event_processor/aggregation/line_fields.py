"""Fields of accepted events, read again from their lines.

Owns: what a line says of a field where the fast decoder refuses to read it: a number beyond every double, which is JSON all the same.
Always: what is read of an event does not depend on those around it: where a block fails, it is halved until the line at fault stands alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from typing import Any, Final

import msgspec

from event_processor.arrivals import EventSlice
from event_processor.schema import BlockDecoder, field_path, reach

__all__ = ["LineFields"]

_INTEGER_DIGITS_MAX: Final = 300
"""Past this an integer is beyond every limit here; to read it exactly would cost the square of its length."""


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else inf


_READER: Final = json.JSONDecoder(parse_int=_integer)


class LineFields:
    """Reads the same fields of any events. Pure."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names` are dotted. Raises `ConfigurationError` where a field would be inside another."""
        self._paths: Final = [field_path(name) for name in names]
        self._decoder: Final = BlockDecoder([(path, Any) for path in self._paths])

    def read(self, events: EventSlice) -> list[list[object]]:
        """For each field the values of all events, as they stand; an `Absent` where there is none, an infinity for a number that no double holds."""
        columns = self._decoded(events.lines, events.count)
        return self._halved(events.lines.split(b"\n")[:-1]) if columns is None else columns

    def _decoded(self, lines: bytes, count: int) -> list[list[object]] | None:
        """None where the fast decoder refuses one of the lines."""
        try:
            decoded = self._decoder.decode(lines)
        except (msgspec.MsgspecError, RecursionError):
            return None
        assert len(decoded) == count, "a line is an object"
        return self._decoder.columns(decoded)

    def _halved(self, lines: Sequence[bytes]) -> list[list[object]]:
        """The columns of a block, one half after the other."""
        if len(lines) == 1:
            document = _READER.decode(lines[0].decode())
            return [[reach(document, path)] for path in self._paths]
        columns: list[list[object]] = [[] for _ in self._paths]
        half = len(lines) // 2
        for part in (lines[:half], lines[half:]):
            found = self._decoded(b"\n".join([*part, b""]), len(part))
            for column, more in zip(columns, self._halved(part) if found is None else found, strict=True):
                column.extend(more)
        return columns
