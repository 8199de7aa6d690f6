"""The decoder alone: how long a chunk of lines takes to become columns, for lines of every kind, fit and unfit.

Always: one process, one chunk of about a megabyte that is in memory; the best of several passes, the kinds in turns.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.progress import Progress
from benchmarks.results import Json
from event_processor.configuration.configuration import EventOptions
from event_processor.model.event import Chunk
from event_processor.records.json_lines.format import JsonLinesFormat

__all__ = ["KINDS", "measure_decode"]

RECORD_BYTES_MAX: Final = 1 << 20
PLAIN: Final = EventOptions()


@dataclass(frozen=True, slots=True)
class Kind:
    """Lines: each plain one after `change`, or one in `every` of them."""

    change: Callable[[str], str] = str
    every: int = 1
    nested: bool = False
    event: EventOptions = PLAIN
    timestamps_used: bool = False


def _text_value(line: str) -> str:
    return line.replace('"value":', '"value":"x","v":')


def _no_number(line: str) -> str:
    return line.replace('"value":', '"value":NaN,"v":')


def _beyond_ascii(line: str) -> str:
    return line.replace("cat-", "caté-")


KINDS: Final = {
    "clean": Kind(),
    "clean, beyond ASCII": Kind(_beyond_ascii),
    "clean, \\r\\n": Kind(lambda line: line + "\r"),
    "clean, spaces behind colons and commas": Kind(lambda line: line.replace('":', '": ').replace(',"', ', "')),
    "clean, a field more in one of ten": Kind(lambda line: '{"n":1,' + line[1:], every=10),
    "nested fields": Kind(nested=True, event=EventOptions(value="payload.size", category="payload.kind")),
    "timestamps used": Kind(timestamps_used=True),
    "an id of two fields": Kind(event=EventOptions(id=("id", "category"))),
    "the position as id": Kind(event=EventOptions(id="@position")),
    "1 % a text for the number": Kind(_text_value, every=100),
    "1 % without the value": Kind(lambda line: line.replace('"value"', '"valve"'), every=100),
    "1 % torn": Kind(lambda line: line.removesuffix('"}'), every=100),
    "1 % NaN": Kind(_no_number, every=100),
    "1 % not UTF-8": Kind(lambda line: line.replace("cat", "c\udcff"), every=100),
    "all a text for the number": Kind(_text_value),
    "all NaN": Kind(_no_number),
    "all two objects": Kind(lambda line: line + line),
}


def measure_decode(events: int, passes: int, progress: Progress) -> Json:
    """Nanoseconds a line, and how many lines are rejected, by kind; `events` lines a chunk."""
    chunks = {name: _chunk(kind, events) for name, kind in KINDS.items()}
    formats = {
        name: JsonLinesFormat(kind.event, record_bytes_max=RECORD_BYTES_MAX, timestamps_used=kind.timestamps_used)
        for name, kind in KINDS.items()
    }
    results: Json = {name: {"ns": float("inf"), "rejected": 0} for name in KINDS}
    for number in range(passes):
        progress.say(f"decode: pass {number + 1} of {passes}")
        for name, chunk in chunks.items():
            formats[name].decode(chunk)  # what the kind before left behind, cold memory above all, is not this one's
            start_s = time.perf_counter()
            columns = formats[name].decode(chunk)
            spent_ns = (time.perf_counter() - start_s) * 1e9 / events
            results[name] = {"ns": min(results[name]["ns"], round(spent_ns, 1)), "rejected": len(columns.rejections)}
    return {"events": events, "kinds": results}


def _chunk(kind: Kind, events: int) -> Chunk:
    chance = random.Random(7)
    lines = [_line(number, chance, nested=kind.nested) for number in range(events)]
    changed = [kind.change(line) if number % kind.every == 0 else line for number, line in enumerate(lines)]
    content = "".join(line + "\n" for line in changed).encode("utf-8", "surrogateescape")
    return Chunk(source="events", generation=0, offset=0, content=content, position={})


def _line(number: int, chance: random.Random, *, nested: bool) -> str:
    """One event of about 100 bytes."""
    start = f'{{"id":"evt-{number:08d}-{chance.randrange(65536):04x}",'
    when = f'"timestamp":"2026-01-{number % 28 + 1:02d}T10:{number % 60:02d}:{number % 59:02d}Z"'
    kind, value = f"cat-{number % 40:02d}", f"{chance.random() * 1000:.2f}"
    if nested:
        return f'{start}"payload":{{"kind":"{kind}","size":{value}}},{when}}}'
    return f'{start}"category":"{kind}","value":{value},{when}}}'
