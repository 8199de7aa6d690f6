"""Records that a transform cannot read: those that are no JSON are left to the judge, any other is refused.

Always: a record that was not transformed is never an event.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn

from event_processor.contracts import Refusal

__all__ = ["unreadable"]


def unreadable(record: bytes, error: Exception) -> bytes | Refusal:
    """The record as it is, where it is no JSON object: then it is rejected as such. Else what kept it from being transformed."""
    try:
        document = _READER.decode(record.decode())
        is_object = isinstance(document, dict)
        json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair is no character, and the judge says so
    except (ValueError, RecursionError):
        is_object = False
    return Refusal(f"cannot be read to be transformed: {error}", "") if is_object else record


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


_READER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
