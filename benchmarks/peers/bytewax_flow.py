"""Bytewax, one worker. `python -m benchmarks.peers.bytewax_flow FILE [--snapshots] [--buckets N]`.

Every step works on a batch of events at a time; operators called for each event took longer. The ids stand in sets, one for each bucket of the
id's hash: without snapshots one bucket, which was the fastest. With a recovery store each second writes every set anew that was touched, so
the cost grows with the ids that were ever seen: a million records took seconds, two or three million took minutes in some runs. 16 buckets were
the fastest at a million. The usual way, a state for each id (`--buckets 0`), took over thirty times as long there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import timedelta
from zlib import crc32

import bytewax.operators as op
import msgspec
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main

from benchmarks.peers.result import arguments, print_result

BATCH_LINES = 1_000
SNAPSHOT_BUCKETS = 16
SNAPSHOTS_EVERY = timedelta(seconds=1)


class Event(msgspec.Struct, gc=False):
    """The three fields that the work needs."""

    id: str
    category: str
    value: float


class Firsts(StatefulBatchLogic[Event, Event, set[str]]):
    """The events of one bucket whose id was not there before."""

    def __init__(self, seen: set[str] | None) -> None:
        self.seen = set() if seen is None else seen

    def on_batch(self, values: list[Event]) -> tuple[Iterable[Event], bool]:
        seen = self.seen
        firsts = []
        for event in values:
            if event.id not in seen:
                seen.add(event.id)
                firsts.append(event)
        return firsts, False

    def snapshot(self) -> set[str]:
        return set(self.seen)


class Once(StatefulBatchLogic[Event, Event, bool]):
    """The first event of one id."""

    def __init__(self, seen: bool | None) -> None:
        self.seen = bool(seen)

    def on_batch(self, values: list[Event]) -> tuple[Iterable[Event], bool]:
        firsts = [] if self.seen else values[:1]
        self.seen = True
        return firsts, False

    def snapshot(self) -> bool:
        return self.seen


class Total(StatefulBatchLogic[Event, tuple[int, float], tuple[int, float]]):
    """Count and sum of one category, told at the end."""

    def __init__(self, total: tuple[int, float] | None) -> None:
        self.count, self.sum = total or (0, 0.0)

    def on_batch(self, values: list[Event]) -> tuple[Iterable[tuple[int, float]], bool]:
        self.count += len(values)
        for event in values:
            self.sum += event.value
        return (), False

    def on_eof(self) -> tuple[Iterable[tuple[int, float]], bool]:
        return ((self.count, self.sum),), True

    def snapshot(self) -> tuple[int, float]:
        return self.count, self.sum


class Decoding:
    """Lines to events, counted: of a run from beginning to end, as here, the number of records."""

    def __init__(self) -> None:
        self.records = 0
        self.decode = msgspec.json.Decoder(Event).decode

    def __call__(self, lines: list[str]) -> list[Event]:
        self.records += len(lines)
        decode = self.decode
        return [decode(line) for line in lines]


def dataflow(path: str, buckets: int, decoding: Decoding, totals: list[tuple[str, tuple[int, float]]]) -> Dataflow:
    """The whole flow; what `totals` holds at the end are pairs of a category and its (count, sum). No buckets: a state an id."""
    names = [str(number) for number in range(buckets)]

    def keyed(events: list[Event]) -> list[tuple[str, Event]]:
        if not buckets:
            return [(event.id, event) for event in events]
        if buckets == 1:
            return [("0", event) for event in events]
        # Not `hash`: it differs from process to process, and a snapshot would be of no use to the next.
        return [(names[crc32(event.id.encode()) % buckets], event) for event in events]

    flow = Dataflow("peer")
    lines = op.input("lines", flow, FileSource(path, batch_size=BATCH_LINES))
    events = op.flat_map_batch("decode", lines, decoding)
    by_bucket = op.flat_map_batch("by_bucket", events, keyed)
    firsts = op.stateful_batch("firsts", by_bucket, Firsts if buckets else Once)
    by_category = op.flat_map_batch("by_category", firsts, lambda pairs: [(event.category, event) for _, event in pairs])
    op.output("totals", op.stateful_batch("total", by_category, Total), TestingSink(totals))
    return flow


def main() -> None:
    """Reads one file."""
    parser = arguments(__doc__)
    parser.add_argument("--snapshots", action="store_true", help="with a recovery store and a snapshot a second")
    parser.add_argument("--buckets", type=int, help="sets of ids; 0: a state for each id")
    options = parser.parse_args()
    fastest = SNAPSHOT_BUCKETS if options.snapshots else 1
    decoding = Decoding()
    totals: list[tuple[str, tuple[int, float]]] = []
    flow = dataflow(options.file, fastest if options.buckets is None else options.buckets, decoding, totals)
    if options.snapshots:
        with tempfile.TemporaryDirectory() as folder:
            init_db_dir(folder, 1)
            run_main(flow, epoch_interval=SNAPSHOTS_EVERY, recovery_config=RecoveryConfig(folder))
    else:
        run_main(flow)
    print_result(decoding.records, [(name, count, total) for name, (count, total) in totals])


if __name__ == "__main__":
    main()
