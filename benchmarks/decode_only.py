"""The yardstick: `msgspec` decoding the lines of a log into a struct of three fields, and nothing else.

    python -m benchmarks.decode_only FILE --ids string --chunk-bytes 262144

Nothing is kept, checked, deduplicated or added up: what any program over such a log spends before it begins to do its work. Prints the
number of events as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["CHUNK_BYTES", "best_chunk_bytes", "decode"]

CHUNK_BYTES: Final = (65_536, 131_072, 262_144, 524_288, 1_048_576)
PASSES: Final = 3
TRIED_BYTES: Final = 20_000_000


class TextEvent(msgspec.Struct, gc=False):
    """Of an id that is a string."""

    id: str
    category: str
    value: float


class IntegerEvent(msgspec.Struct, gc=False):
    """Of an id that is an integer."""

    id: int
    category: str
    value: float


def decode(path: Path, ids: str, chunk_bytes: int, bytes_max: int = 1 << 62) -> int:
    """Decodes the file's first `bytes_max` bytes, in chunks of whole lines; returns how many events there were."""
    events = 0
    decoder = msgspec.json.Decoder(IntegerEvent if ids == "integer" else TextEvent)
    for chunk in _chunks(path, chunk_bytes, bytes_max):
        events += len(decoder.decode_lines(chunk))
    return events


def best_chunk_bytes(path: Path, ids: str) -> int:
    """The size of chunks with which it is fastest here."""
    best: dict[int, float] = {}
    for _ in range(PASSES):
        for chunk_bytes in CHUNK_BYTES:
            start_s = time.perf_counter()
            decode(path, ids, chunk_bytes, TRIED_BYTES)
            best[chunk_bytes] = min(best.get(chunk_bytes, 1e9), time.perf_counter() - start_s)
    return min(best, key=lambda chunk_bytes: best[chunk_bytes])


def _chunks(path: Path, chunk_bytes: int, bytes_max: int) -> Iterator[bytes]:
    """Whole lines, about `chunk_bytes` at a time. What follows the last line end is left out."""
    rest = b""
    with path.open("rb", buffering=0) as log:
        while bytes_max > 0 and (content := log.read(chunk_bytes)):
            bytes_max -= len(content)
            end = content.rfind(b"\n") + 1
            yield rest + content[:end]
            rest = content[end:]


def main() -> None:
    """Decodes one file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("file", type=Path)
    parser.add_argument("--ids", default="string")
    parser.add_argument("--chunk-bytes", type=int, default=262_144)
    options = parser.parse_args()
    print(json.dumps({"records": decode(options.file, options.ids, options.chunk_bytes)}))


if __name__ == "__main__":
    main()
