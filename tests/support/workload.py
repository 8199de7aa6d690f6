"""The log that the crash tests run on: small, and with everything in it that an outcome can come from.

Always: the same seed gives the same bytes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Final

__all__ = ["pieces", "workload_log"]

CATEGORIES: Final = ("orders", "refunds", "größe")
REJECTED: Final = (
    b'{"id": 1,',
    b'{"id": "x", "category": "orders", "value": "5"}',
    b"[1, 2]",
    b'{"id": "y", "value": 1e999}',
    b"\xff\xfe",
)


def workload_log(events: int, seed: int) -> bytes:
    """About `events` records, each ended: events out of order, duplicates with equal and with other content, rejected and blank ones."""
    chance = random.Random(seed)
    numbers = sorted(range(events), key=lambda number: number + chance.uniform(0, 12))
    lines: list[bytes] = []
    for place, number in enumerate(numbers):
        draw = chance.random()
        if draw < 0.12:
            lines.append(chance.choice(REJECTED))
        elif draw < 0.16:
            lines.append(chance.choice((b"", b" \t")))
        elif draw < 0.28:
            lines.append(_event(chance, chance.choice(numbers[: place + 1])))
        else:
            lines.append(_event(chance, number))
    return b"".join(line + chance.choice((b"\n", b"\n", b"\n", b"\r\n")) for line in lines)


def _event(chance: random.Random, number: int) -> bytes:
    event = {
        "id": number if number % 3 else f"evt-{number:06}",
        "category": chance.choice(CATEGORIES),
        "value": chance.choice((0.1, 1e16, -1e16, 3, -0.0, chance.uniform(-100, 100))),
        "timestamp": f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}Z",
    }
    return json.dumps(event, ensure_ascii=chance.random() < 0.5).encode()


def pieces(log: bytes, seed: int) -> Iterator[bytes]:
    """The log in pieces as a writer may append them: a few bytes, a torn line, a burst of lines."""
    chance = random.Random(seed)
    start = 0
    while start < len(log):
        size_bytes = chance.choice((chance.randrange(1, 20), chance.randrange(20, 200), chance.randrange(200, 4000)))
        yield log[start : start + size_bytes]
        start += size_bytes
