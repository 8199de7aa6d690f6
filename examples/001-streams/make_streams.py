"""Makes the four streams: records with the faults of real ones, all at once or live.

`python make_streams.py` writes 1,000 records to `events/NAME.jsonl`; `--live --rate 20 --seconds 20` appends 20 a second for
20 seconds. It prints as JSON what it wrote, by kind.
Always: without `--live`, the same options give the same bytes. Each line is one record, or one record that is cut short.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

SOURCES: Final = ("user_events", "transaction_data", "system_metrics", "security_logs")
START_S: Final = 1_760_000_000.0
FAR_FUTURE_S: Final = 4_102_444_800.0
"""The year 2100: no record is processed after it."""
EMPTY_SHARE: Final = 0.05
DUPLICATE_SHARE: Final = 0.02
FUTURE: Final = "future_timestamp"
TICK_S: Final = 0.02

Record = dict[str, Any]


def _without(name: str) -> Callable[[Record], str]:
    return lambda record: json.dumps({key: value for key, value in record.items() if key != name})


def _with(name: str, value: object) -> Callable[[Record], str]:
    return lambda record: json.dumps(record | {name: value})


FAULTS: Final[dict[str, Callable[[Record], str]]] = {
    "empty_source": _with("source", ""),
    "unknown_source": _with("source", "weather"),
    "missing_source": _without("source"),
    "priority_too_low": _with("priority", 0),
    "priority_too_high": _with("priority", 7),
    "priority_is_text": _with("priority", "high"),
    "missing_priority": _without("priority"),
    "negative_timestamp": lambda record: json.dumps(record | {"timestamp": -record["timestamp"]}),
    "timestamp_is_text": _with("timestamp", "yesterday"),
    "missing_timestamp": _without("timestamp"),
    "data_is_text": _with("data", "none"),
    "missing_data": _without("data"),
    "missing_sequence_id": _without("sequence_id"),
    "torn_json": lambda record: json.dumps(record)[: -1 - len(str(record["sequence_id"]))],
    FUTURE: lambda record: json.dumps(record | {"timestamp": FAR_FUTURE_S + record["sequence_id"]}),
}
"""Each fault, and the line that it makes of a sound record.

All but the last can be seen in the line, so the record is rejected. A timestamp of the future cannot be: a verdict must not depend
on a clock. The downstream API refuses such a record.
"""


@dataclass(slots=True)
class Written:
    """What was written. `valid`: distinct records without faults. `duplicates`: lines that repeat one of them."""

    records: int = 0
    valid: int = 0
    empty_data: int = 0
    duplicates: int = 0
    faulty: Counter[str] = field(default_factory=Counter)
    valid_by_source: Counter[str] = field(default_factory=Counter)
    valid_by_priority: Counter[int] = field(default_factory=Counter)

    def document(self) -> dict[str, object]:
        """As it is printed. `rejected`: faults that are seen in the line. `refused`: those that the API finds."""
        refused = self.faulty[FUTURE]
        return {
            "records": self.records,
            "valid": self.valid,
            "empty_data": self.empty_data,
            "duplicates": self.duplicates,
            "rejected": self.faulty.total() - refused,
            "refused": refused,
            "faulty": dict(sorted(self.faulty.items())),
            "valid_by_source": dict(sorted(self.valid_by_source.items())),
            "valid_by_priority": {str(key): count for key, count in sorted(self.valid_by_priority.items())},
        }


class Streams:
    """The lines of the four streams, in the order in which they come, and what was made so far."""

    def __init__(self, seed: int, faulty: float) -> None:
        """`faulty`: the share of records with a fault, from 0 to 1."""
        self.written: Final = Written()
        self._random: Final = random.Random(seed)  # noqa: S311 - made-up records
        self._faulty: Final = faulty
        self._next: Final = Counter(dict.fromkeys(SOURCES, 0))
        self._last: Final[dict[str, str]] = {}

    def line(self, now_s: float) -> tuple[str, str]:
        """The stream of the next record, and its line. Its timestamp is `now_s`, rounded down to milliseconds."""
        stream = self._random.choice(SOURCES)
        self.written.records += 1
        if stream in self._last and self._random.random() < DUPLICATE_SHARE:
            self.written.duplicates += 1
            return stream, self._last[stream]
        record = self._record(stream, now_s)
        if self._random.random() < self._faulty:
            fault = self._random.choice(tuple(FAULTS))
            self.written.faulty[fault] += 1
            return stream, FAULTS[fault](record)
        self.written.valid += 1
        self.written.empty_data += not record["data"]
        self.written.valid_by_source[stream] += 1
        self.written.valid_by_priority[record["priority"]] += 1
        self._last[stream] = json.dumps(record)
        return stream, self._last[stream]

    def _record(self, stream: str, now_s: float) -> Record:
        self._next[stream] += 1
        return {
            "source": stream,
            "timestamp": int(now_s * 1000) / 1000,
            "priority": self._random.choices((1, 2, 3, 4), (40, 30, 20, 10))[0],
            "data": {} if self._random.random() < EMPTY_SHARE else self._data(stream),
            "sequence_id": self._next[stream],
        }

    def _data(self, stream: str) -> Record:
        chance = self._random
        match stream:
            case "user_events":
                return {"user_id": chance.randrange(10_000), "action": chance.choice(("login", " click", "view ", "logout"))}
            case "transaction_data":
                return {"amount": chance.randrange(100, 100_000) / 100, "currency": chance.choice(("EUR", "USD", "GBP"))}
            case "system_metrics":
                return {"cpu": chance.randrange(1000) / 10, "memory": chance.randrange(1000) / 10, "host": "web-1"}
            case _:
                return {"address": f"192.0.2.{chance.randrange(256)}", "severity": chance.choice(("notice", "warning", "alert"))}


def all_at_once(streams: Streams, records: int, rate: float) -> Iterator[tuple[str, str]]:
    """So many lines, `rate` a second by their timestamps."""
    for number in range(records):
        yield streams.line(START_S + number / rate)


def live(streams: Streams, records: int, rate: float) -> Iterator[tuple[str, str]]:
    """So many lines, each when its time has come."""
    begun_s = time.monotonic()
    for number in range(records):
        while time.monotonic() - begun_s < number / rate:
            time.sleep(TICK_S)
        yield streams.line(time.time())


def main() -> None:
    """Writes the streams, and prints what was written."""
    parser = argparse.ArgumentParser(description="Makes the four streams of records.")
    parser.add_argument("--folder", default="events", help="where the files are (events)")
    parser.add_argument("--records", type=int, default=1000, help="how many records, in all streams together (1000)")
    parser.add_argument("--rate", type=float, default=20.0, help="records a second, in all streams together (20)")
    parser.add_argument("--faulty", type=float, default=0.15, help="the share of records with a fault (0.15)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--live", action="store_true", help="append at this rate, instead of all at once")
    parser.add_argument("--seconds", type=float, default=20.0, help="with --live: for how long (20)")
    options = parser.parse_args()
    streams = Streams(options.seed, options.faulty)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        files = {
            name: opened.enter_context((folder / f"{name}.jsonl").open("a" if options.live else "w", encoding="utf-8"))
            for name in SOURCES
        }
        records = int(options.rate * options.seconds) if options.live else options.records
        for name, line in (live if options.live else all_at_once)(streams, records, options.rate):
            files[name].write(line + "\n")
            if options.live:
                files[name].flush()
    print(json.dumps(streams.written.document()))


if __name__ == "__main__":
    main()
