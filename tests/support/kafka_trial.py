"""A whole pipeline over a topic, with a database or another topic as its sink, and what an independent reading of the topic says must come out.

Owns: `KafkaTrial`: the load that it writes, the configuration, how far the program is, and the judgement at the end, for each partition and in
total.
Always: what is expected is computed here from the records that were written, and from what a client of our own reads back. Which copy of
a repeated event counts depends on the order in which partitions are read, so any first copy of a partition may count, but only one.
Never: imports the package.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from support.kafka_broker import KafkaBroker
from support.processes import Daemon, Finished, Pipeline, wait_until

__all__ = ["PARTITIONS", "UNFIT_BYTES", "Answered", "KafkaTrial", "Place"]

PARTITIONS: Final = 3
UNFIT_BYTES: Final = 2_000
"""An event that does not fit the sink is longer, every other one is much shorter."""
CATEGORIES: Final = 7
CONFIGURATION: Final = """
[sources.events]
type = "kafka"
brokers = "{brokers}"
topic = "{topic}"
poll_interval_ms = 20
client = {{ "reconnect.backoff.ms" = 10, "reconnect.backoff.max.ms" = 200 }}
[order]
buffer_events = 0
[batch]
bytes_max = 8192
{sink}
"""

Place = tuple[int, int]
"""A partition of the topic, and an offset in it."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What the receiver was found to hold: each delivered record, and the place of each that it refused, in the order of their sequence."""

    delivered: list[tuple[Place, dict[str, Any]]]
    failed: list[Place]


@dataclass
class KafkaTrial:
    """One pipeline in `folder`, whose sink is called `rows`, and one topic."""

    folder: Path
    broker: KafkaBroker
    seed: int = 7
    topic: str = ""
    pipeline: Pipeline = field(init=False)
    _written: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    _ids: int = 0

    def __post_init__(self) -> None:
        self.topic = self.broker.new_topic(PARTITIONS)
        self.pipeline = Pipeline(self.folder, self.folder)
        self._numbers = Random(self.seed)

    def configure(self, sink: str, *, brokers: str = "") -> None:
        """Writes the configuration. `sink`: the sections of the sink. `brokers`: of a proxy in between."""
        text = CONFIGURATION.format(brokers=brokers or self.broker.address, topic=self.topic, sink=sink)
        (self.folder / "pipeline.toml").write_text(text)

    # The load.

    def append(self, count: int) -> None:
        """Writes records into each partition: events, some repeated there or in another partition, some that do not fit the sink, and others
        that are no events, or empty. Before some of them, events of a transaction that is aborted.
        """
        numbers, by_partition = self._numbers, defaultdict[int, list[bytes]](list)
        for _ in range(count):
            chance = numbers.random()
            partition, id_ = numbers.randrange(PARTITIONS), self._ids
            if chance < 0.01:
                record = b""
            elif chance < 0.02:
                record = f"no event {id_}".encode()
            elif chance < 0.1 and id_:
                record = event(numbers.randrange(id_))
            else:
                record, self._ids = event(id_), id_ + 1
            by_partition[partition].append(record)
        if numbers.random() < 0.25:
            self.broker.transaction(self.topic, [event(10**6 + self._ids)] * 3, numbers.randrange(PARTITIONS), is_aborted=True)
        for partition, records in by_partition.items():
            self.broker.produce(self.topic, records, partition)
            self._written[partition] += records

    @property
    def released(self) -> int:
        """How many events there are, each counted once."""
        return self._ids

    # How far it is.

    def state(self) -> dict[str, Any]:
        """The committed state."""
        return dict(json.loads(self.pipeline.checkpoint.read_bytes())["state"])

    def committed(self) -> int:
        """How many events are committed; 0 without a checkpoint."""
        try:
            return int(self.state()["counts"]["accepted"])
        except FileNotFoundError:
            return 0

    def answered(self) -> int:
        """How many records the sink has answered, as its file says."""
        try:
            counts = self.mirror()["counts"]
        except FileNotFoundError:
            return 0
        return int(counts["delivered"] + counts["failed"])

    def mirror(self) -> dict[str, Any]:
        """The file of the sink's cursor."""
        return dict(json.loads((self.folder / "state" / "delivery" / "rows.json").read_bytes()))

    def lane(self) -> dict[str, Any]:
        """What the daemon last published about the sink; empty before it did."""
        try:
            published = json.loads((self.folder / "state" / "history" / "lanes.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return next((dict(each) for each in published["lanes"] if each["sink"] == "rows"), {})

    def kill_on_the_way(self, daemon: Daemon) -> None:
        """Kills the daemon at a place that the seed chooses: after so many events are committed, or delivered."""
        reached = self.committed if self._numbers.random() < 0.3 else self.answered
        before = reached()
        wanted = before + self._numbers.randrange(1, max(2, self.released - before + 1))
        self.wait_for(daemon, min(wanted, self.released), delivered=reached == self.answered)
        assert daemon.kill().exit_code < 0, "it runs until it is killed"

    def wait_for(self, daemon: Daemon, count: int, *, delivered: bool = True) -> None:
        """Waits until so many events are delivered, or committed, while the daemon lives."""
        reached = self.answered if delivered else self.committed
        wait_until(lambda: reached() >= count or not daemon.alive, f"{count} events are through")
        assert daemon.alive, daemon.said()

    def once(self) -> Finished:
        """Runs to the end of the topic."""
        finished = self.pipeline.run("--once")
        assert finished.exit_code == 0, finished
        assert "Traceback" not in finished.stderr
        return finished

    # What must be there.

    def require_end(self, found: Answered) -> None:
        """The receiver, the cursor's file, the dead letters and the checkpoint hold what was written, by partition and in total."""
        state = self.state()
        records = self._read_back()
        self._require_each_once(found, records)
        self._require_conservation(state, records, [place for place, _ in found.delivered] + found.failed)
        self._require_totals(state)
        counts = {"delivered": len(found.delivered), "failed": len(found.failed), "skipped": 0}
        mirror, lane = self.mirror(), state["lanes"]["rows"]
        assert mirror["counts"] == counts
        assert mirror["sequence"] == state["outbox"]["events"]["sequence"] == lane["from"] + sum(counts.values()) == self.released

    def places(self, generations: Iterable[tuple[int, int]]) -> list[Place]:
        """(generation, offset) as (partition, offset)."""
        known = {each["generation"]: each["position"]["partition"] for each in self.state()["sources"]["events"]["generations"]}
        return [(known[generation], offset) for generation, offset in generations]

    def _read_back(self) -> dict[Place, bytes]:
        """Every committed record of the topic by its place: those that were written, in their order, and no other."""
        found = {
            (each.partition() or 0, each.offset() or 0): each.value() or b"" for each in self.broker.read_committed(self.topic)
        }
        for partition in range(PARTITIONS):
            assert [value for (number, _), value in found.items() if number == partition] == self._written[partition]
        return found

    def _require_each_once(self, found: Answered, records: Mapping[Place, bytes]) -> None:
        for place, content in found.delivered:
            assert content == json.loads(records[place]), place
        accepted = [place for place, _ in found.delivered] + found.failed
        ids = [json.loads(records[place])["id"] for place in accepted]
        assert sorted(ids) == list(range(self.released))
        assert set(found.failed) == {place for place in accepted if len(records[place]) > UNFIT_BYTES}
        firsts: dict[tuple[int, int], int] = {}
        for (partition, offset), record in records.items():
            if _is_event(record):
                firsts.setdefault((partition, json.loads(record)["id"]), offset)
        for (partition, offset), id_ in zip(accepted, ids, strict=True):
            assert firsts[partition, id_] == offset, "an earlier one of the same partition counts"

    def _require_conservation(self, state: Mapping[str, Any], records: Mapping[Place, bytes], accepted: list[Place]) -> None:
        letters = [json.loads(line) for line in (self.folder / "state" / "dead_letters.jsonl").read_bytes().splitlines()]
        rejected = self.places((each["generation"], each["offset"]) for each in letters)
        assert sorted(rejected) == sorted(place for place, record in records.items() if record and not _is_event(record))
        positions = [each["position"] for each in state["sources"]["events"]["generations"]]
        assert sorted(each["partition"] for each in positions) == list(range(PARTITIONS)), "each partition is one generation"
        for position in positions:
            number = position["partition"]
            written = self._written[number]
            assert position["records"] == len(written)
            # Markers of transactions at the end are not records: the position may be before them.
            assert max(offset for partition, offset in records if partition == number) < position["offset"]
            assert position["offset"] <= self.broker.offsets(self.topic, number)[1]
        whole = [record for each in self._written.values() for record in each]
        blank, no_events = sum(not each for each in whole), len(rejected)
        assert state["counts"] == {
            "records": len(whole),
            "accepted": len(accepted),
            "duplicate": len(whole) - len(accepted) - no_events - blank,
            "rejected": no_events,
            "blank": blank,
            "late": 0,
        }
        assert state["sources"]["events"]["counts"] == state["counts"]

    def _require_totals(self, state: Mapping[str, Any]) -> None:
        counts = Counter(f"c{number % CATEGORIES}" for number in range(self.released))
        sums = {name: sum(number / 4 for number in range(self.released) if f"c{number % CATEGORIES}" == name) for name in counts}
        found = {name: (each["count"], each["sum"]) for name, each in state["categories"].items()}
        assert found == {name: (counts[name], sums[name]) for name in counts}


def event(number: int) -> bytes:
    """An event. Its value is a multiple of 1/4, so sums are exact in any order. Some do not fit the sink."""
    is_unfit = number % 291 == 13
    amount = "much" if is_unfit else number / 4
    more = {"kind": f"k{number % 3}" + "x" * (2 * UNFIT_BYTES * is_unfit)}
    whole = {"id": number, "category": f"c{number % CATEGORIES}", "value": number / 4, "amount": amount, "more": more}
    return json.dumps(whole).encode()


def _is_event(record: bytes) -> bool:
    return record.startswith(b"{")
