"""The best that an expert writes by hand: msgspec, a set and a dict. `python -m benchmarks.peers.msgspec_loop FILE`.

Chunks of whole lines are decoded in C; what is left in Python is one look into the set and two additions an event. Structs outside the
garbage collector, the collector off: a program that makes no cycles needs none.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import msgspec

from benchmarks.peers.result import arguments, print_result

CHUNK_BYTES = 262_144


class Event(msgspec.Struct, gc=False):
    """The three fields that the work needs."""

    id: str
    category: str
    value: float


def chunks(path: str) -> Iterator[bytes]:
    """Whole lines, about `CHUNK_BYTES` at a time; a last line without its end is one too."""
    rest = b""
    with open(path, "rb", buffering=0) as log:
        while content := log.read(CHUNK_BYTES):
            end = content.rfind(b"\n") + 1
            if end:
                yield rest + content[:end]
                rest = content[end:]
            else:
                rest += content
    if rest:
        yield rest


def main() -> None:
    """Reads one file."""
    options = arguments(__doc__).parse_args()
    gc.disable()
    decode_lines = msgspec.json.Decoder(Event).decode_lines
    records = 0
    seen: set[str] = set()
    add = seen.add
    totals: dict[str, list[float]] = {}
    for chunk in chunks(options.file):
        events = decode_lines(chunk)
        records += len(events)
        for event in events:
            event_id = event.id
            if event_id in seen:
                continue
            add(event_id)
            total = totals.get(event.category)
            if total is None:
                total = totals[event.category] = [0, 0.0]
            total[0] += 1
            total[1] += event.value
    print_result(records, [(name, int(count), value) for name, (count, value) in totals.items()])


if __name__ == "__main__":
    main()
