"""How long it takes to decode events in other forms than JSON Lines with RFC 3339, beside these.

Owns: the lines, and the measurement: in turns in one run, the least of several, in CPU time.
Always: every line is an event, whatever its form.
Never: writes a report. Run by hand: `python -m benchmarks.log_forms`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from event_processor.configuration.configuration import EventOptions
from event_processor.kernels.memory import keep_freed_memory
from event_processor.model.contracts import Format
from event_processor.model.event import Chunk
from event_processor.records.json_lines.format import JsonLinesFormat
from event_processor.records.log_lines import LogReader
from event_processor.records.objects import ObjectFormat

COUNT: Final = 20_000
TURNS: Final = 7
LIMIT_BYTES: Final = 1 << 20
PATTERN: Final = "%Y/%m/%d %H:%M:%S.%f"
LOCAL: Final = "%d.%m.%Y %H:%M:%S"
ESCAPE: Final = r"\x22a\x22"
REGEX: Final = (
    r"time=(?P<time>\S+) level=(?P<level>\S+) method=(?P<method>\S+) path=(?P<path>\S+) status=\d+ bytes=(?P<bytes>\d+)"
)
WEB: Final = "%d/%b/%Y:%H:%M:%S +0000"


def main() -> None:
    """Prints nanoseconds per event, and the ratio to the first form."""
    keep_freed_memory()
    best: dict[str, float] = {}
    forms = _forms()
    for _ in range(TURNS):
        for name, (format_, content) in forms.items():
            begin = time.process_time_ns()
            columns = format_.decode(Chunk("lines", 1, 0, content, {}, final=True))
            took = (time.process_time_ns() - begin) / COUNT
            assert len(columns.rows) == COUNT, name
            best[name] = min(best.get(name, took), took)
    first = next(iter(best.values()))
    for name, took in best.items():
        sys.stdout.write(f"{name:40s} {took:7.0f} ns {took / first:6.2f}\n")


def _forms() -> dict[str, tuple[Format, bytes]]:
    """By name: a format and its lines."""
    rnd = random.Random(1)
    first = datetime(2026, 1, 1, tzinfo=UTC)
    times = sorted(first + timedelta(milliseconds=rnd.randrange(10**10)) for _ in range(COUNT))

    def lines(written: Callable[[datetime], str]) -> bytes:
        events = (
            {"id": f"e-{n:08d}", "category": f"c{n % 8}", "value": n % 997 / 4, "timestamp": written(at)}
            for n, at in enumerate(times)
        )
        return "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in events).encode()

    def made(format_: str = "auto", zone: str = "UTC") -> Format:
        event = EventOptions(timestamp_format=format_, timestamp_zone=zone)
        return JsonLinesFormat(event, record_bytes_max=LIMIT_BYTES, timestamps_used=True)

    return {
        "RFC 3339": (made(), lines(lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))),
        PATTERN: (made(PATTERN), lines(lambda at: at.strftime(PATTERN))),
        f"{LOCAL} in Europe/Berlin": (made(LOCAL, "Europe/Berlin"), lines(lambda at: at.strftime(LOCAL))),
        "epoch_ns as text": (
            made("epoch_ns"),
            lines(lambda at: str((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000)),
        ),
        "the form of web servers": (made(), lines(lambda at: at.strftime(WEB))),
        **_log_lines(times),
    }


def _log_lines(times: Sequence[datetime]) -> dict[str, tuple[Format, bytes]]:
    """Lines that are not JSON, by the name of their form."""

    def read(form: str, timestamp: str, pattern: str = "") -> Format:
        reader = partial(LogReader, form, pattern, "bytes", record_bytes_max=LIMIT_BYTES)
        event = EventOptions.model_validate({"id": "@position", "category": "method", "value": "bytes", "timestamp": timestamp})
        return ObjectFormat(reader, event, record_bytes_max=LIMIT_BYTES, timestamps_used=True)

    def requests(escaped_every: int = 0) -> bytes:
        return "".join(
            f'203.0.113.{n % 200} - - [{at.strftime(WEB)}] "GET /p/{n % 97}?q={n} HTTP/1.1" 200 {n % 99_999} '
            f'"https://example.org/a" "Mozilla/5.0 (X11; Linux x86_64) {ESCAPE if escaped_every and n % escaped_every == 0 else "Firefox/140.0"}"\n'
            for n, at in enumerate(times)
        ).encode()

    def pairs(mark: str, between: str) -> bytes:
        found = (
            {
                "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "level": "info",
                "method": "GET",
                "path": f"/p/{n % 97}",
                "status": 200,
                "bytes": n,
            }
            for n, at in enumerate(times)
        )
        return "".join(between.join(f"{name}{mark}{text}" for name, text in each.items()) + "\n" for each in found).encode()

    return {
        "format = combined": (read("combined", "timestamp"), requests()),
        "… one line in 50 has an escape": (read("combined", "timestamp"), requests(escaped_every=50)),
        "format = logfmt": (read("logfmt", "time"), pairs("=", " ")),
        "format = ltsv": (read("ltsv", "time"), pairs(":", "\t")),
        "format = regex": (read("regex", "time", REGEX), pairs("=", " ")),
    }


if __name__ == "__main__":
    main()
