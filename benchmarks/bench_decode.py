"""How long JSON Lines take to become columns, in nanoseconds an event: `python benchmarks/bench_decode.py`.

Each figure is the best of several passes over one chunk of 10,000 events, about 1 MB.
"""

from __future__ import annotations

import random
from time import perf_counter

from event_processor.config import EventOptions
from event_processor.event import Chunk
from event_processor.formats.jsonl import JsonLinesFormat

EVENTS = 10_000
PASSES = 50
PLAIN = EventOptions()
NESTED = EventOptions(value="payload.size", category="payload.kind")
BAD_EVERY = 100


def _line(number: int, chance: random.Random, *, nested: bool) -> str:
    """One event of about 100 bytes."""
    start = f'{{"id":"evt-{number:08d}-{chance.randrange(65536):04x}",'
    time = f'"timestamp":"2026-01-{number % 28 + 1:02d}T10:{number % 60:02d}:{number % 59:02d}Z"'
    kind, value = f"cat-{number % 40:02d}", f"{chance.random() * 1000:.2f}"
    if nested:
        return f'{start}"payload":{{"kind":"{kind}","size":{value}}},{time}}}'
    return f'{start}"category":"{kind}","value":{value},{time}}}'


def _lines(*, nested: bool = False) -> list[str]:
    chance = random.Random(7)
    return [_line(number, chance, nested=nested) for number in range(EVENTS)]


def _spoilt(lines: list[str], old: str, new: str, every: int = BAD_EVERY) -> list[str]:
    """One line in `every` with the last `old` replaced."""
    return [new.join(line.rsplit(old, 1)) if number % every == 0 else line for number, line in enumerate(lines)]


def _measure(name: str, lines: list[str], event: EventOptions = PLAIN, *, timestamps_used: bool = False) -> None:
    content = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
    chunk = Chunk(source="events", part=0, offset=0, content=content, resume={})
    reader = JsonLinesFormat(event, record_bytes_max=1 << 20, timestamps_used=timestamps_used)
    best_s = float("inf")
    for _ in range(PASSES):
        start_s = perf_counter()
        columns = reader.decode(chunk)
        best_s = min(best_s, perf_counter() - start_s)
    print(f"{name:<44}{best_s / len(lines) * 1e9:8.0f} ns/event {len(columns.rejections):7d} rejected")


def main() -> None:
    """Prints a line for each kind of log."""
    plain = _lines()
    _measure("clean", plain)
    _measure("clean, with characters beyond ASCII", [line.replace("cat-", "caté-") for line in plain])
    _measure("clean, \\r\\n", [line + "\r" for line in plain])
    _measure("nested fields", _lines(nested=True), NESTED)
    _measure("timestamps used", plain, timestamps_used=True)
    _measure(
        "timestamps used, epoch seconds (float)",
        [line.rsplit('"', 2)[0] + f"{1.7e9 + i / 8}}}" for i, line in enumerate(plain)],
        timestamps_used=True,
    )
    _measure("id of two fields", plain, EventOptions(id=("id", "category")))
    _measure("the position as id", plain, EventOptions(id="@position"))
    print(f"one line in {BAD_EVERY} bad:")
    _measure("  a string for a number", _spoilt(plain, '"value":', '"value":"x","v":'))
    _measure("  a missing field", _spoilt(plain, '"value"', '"valve"'))
    _measure("  torn", _spoilt(plain, '"}', ""))
    _measure("  NaN", _spoilt(plain, '"value":', '"value":NaN,"v":'))
    _measure("  1e999", _spoilt(plain, '"value":', '"value":1e999,"v":'))
    _measure("  not UTF-8", _spoilt(plain, "cat", "c\udcff"))
    _measure("  not UTF-8 among other characters", _spoilt([line.replace("cat-", "caté-") for line in plain], "cat", "c\udcff"))
    print("every line bad:")
    _measure("  a string for a number", _spoilt(plain, '"value":', '"value":"x","v":', 1))
    _measure("  NaN", _spoilt(plain, '"value":', '"value":NaN,"v":', 1))
    _measure("  two objects", [line + line for line in plain])


if __name__ == "__main__":
    main()
