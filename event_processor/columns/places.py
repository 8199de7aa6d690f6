"""Places as JSON, for the outbox.

Owns: the text of a place: its names and their order.
Always: equal places give equal bytes, because the chain of the outbox covers them.
Never: makes a text before a caller reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from event_processor.columns.event_slices import Place

__all__ = ["place_texts"]

_ENCODER: Final = msgspec.json.Encoder()


def place_texts(places: Iterable[Place]) -> list[bytes]:
    """Each place as a JSON object with `source`, `generation`, `offset` and `line`, in this order."""
    beginnings: dict[tuple[str, int], str] = {}
    texts = []
    for source, generation, offset, line in places:
        beginning = beginnings.get((source, generation))
        if beginning is None:
            beginning = f'{{"source":{_ENCODER.encode(source).decode()},"generation":{generation},"offset":'
            beginnings[source, generation] = beginning
        texts.append(f'{beginning}{offset},"line":{line}}}'.encode())
    return texts
