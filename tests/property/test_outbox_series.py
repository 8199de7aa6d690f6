"""Random lives of a series and its readers on a simulated disk, against a list of records and their chains."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.model.released import Released
from event_processor.storage.outbox import OutboxSeries, SeriesView
from event_processor.storage.outbox_reader import OutboxReader
from support.engine import FakeClock
from support.outbox import chains, place_of
from support.simulated_fs import SimulatedCrash, SimulatedFileSystem

FOLDER = "/state"


@dataclass(frozen=True)
class Saved:
    """What a checkpoint says of the series."""

    appended: Mapping[str, int] = field(default_factory=dict)
    sequence: int = 0
    chain: str = ""


class Life:
    """A series, its checkpoints with their predecessors, and readers that never go back."""

    def __init__(self, seed: int, file_bytes_max: int, first: int) -> None:
        self.fs = SimulatedFileSystem(seed)
        self.fs.plant(f"{FOLDER}/lock", b"")
        self.file_bytes_max = file_bytes_max
        self.first = first
        self.records: list[tuple[bytes, bytes]] = []
        self.saved = self.predecessor = Saved(sequence=first)
        self.tokens = 0
        self.places = [first, first]
        """How far each reader is; they survive as cursors do."""
        self.open()

    def token(self) -> str:
        self.tokens += 1
        return f"{self.tokens:x}"

    def open(self) -> None:
        self.series = OutboxSeries(
            self.fs,
            FOLDER,
            "events",
            appended=self.saved.appended,
            sequence=self.saved.sequence,
            chain=self.saved.chain,
            new_token=self.token,
            clock=FakeClock(),
            file_bytes_max=self.file_bytes_max,
        )
        self.readers = [OutboxReader(self.fs, self.series.view, place) for place in self.places]
        self.series.on_publish(self.follow)
        # As the store does: what no checkpoint names is removed.
        self.unlink()

    def follow(self, view: SeriesView) -> None:
        for reader in self.readers:
            reader.follow(view)

    def unlink(self) -> None:
        for name in self.fs.names(f"{FOLDER}/outbox"):
            if f"outbox/{name}" not in {**self.saved.appended, **self.predecessor.appended}:
                self.fs.unlink(f"{FOLDER}/outbox/{name}")

    def batch(self, sizes: list[list[int]]) -> tuple[Released, list[tuple[bytes, bytes]]]:
        """The records of some pieces. What they are depends on their sequence alone, as those of a log do."""
        sequence = self.first + len(self.records)
        pieces, places, records = [], [], []
        for piece in sizes:
            made = []
            for size in piece:
                sequence += 1
                made.append((place_of(7 * sequence, sequence), b'{"id": %d, "x": "%b"}' % (sequence, b"\xc3\xa9" * size)))
            pieces.append(b"".join(record + b"\n" for _, record in made))
            places.append([place for place, _ in made])
            records += made
        return Released(pieces, len(records), places), records

    def commit(self, sizes: list[list[int]]) -> None:
        released, records = self.batch(sizes)
        self.series.write(released)
        self.series.sync()
        self.predecessor, self.saved = self.saved, Saved(dict(self.series.appended()), self.series.sequence, self.series.chain)
        self.records += records
        self.series.publish()
        self.unlink()

    def die(self, *, power_cut: bool) -> None:
        self.fs = self.fs.crash() if power_cut else self.fs.kill()
        self.open()

    def read(self, number: int, bytes_max: int) -> None:
        """The next records are the right ones; within the limit, if there is more than one."""
        reader, place = self.readers[number], self.places[number]
        unread_bytes = reader.unread_bytes()
        found = reader.read(bytes_max)
        expected = self.records[place - self.first :][: len(found)]
        wanted = chains(self.records, self.first)[place - self.first :][: len(found)]
        assert [record.sequence for record, _ in found] == list(range(place + 1, place + 1 + len(expected)))
        assert [bytes(record.object) for record, _ in found] == [record for _, record in expected]
        assert [record.place["line"] for record, _ in found] == [record.sequence for record, _ in found]
        assert [record.chain for record, _ in found] == wanted
        assert sum(size for _, size in found) <= bytes_max or len(found) == 1
        assert bool(found) == (place < self.first + len(self.records))
        assert reader.unread_bytes() == unread_bytes - sum(size for _, size in found)
        self.places[number] += len(found)


SIZES = st.lists(st.lists(st.sampled_from([0, 1, 20, 300, 3000]), min_size=1, max_size=4), max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("commit"), SIZES),
    st.tuples(st.just("commit"), SIZES),
    st.tuples(st.just("read"), st.integers(0, 1), st.sampled_from([1, 200, 5000, 1 << 20])),
    st.tuples(st.just("die before the checkpoint"), SIZES, st.booleans()),
    st.tuples(st.just("die anywhere"), SIZES, st.integers(1, 12), st.booleans()),
    st.tuples(st.just("die"), st.booleans()),
    st.tuples(st.just("drop")),
)


def step(life: Life, what: tuple[object, ...]) -> None:
    match what:
        case ("commit", list(sizes)):
            life.commit(sizes)
        case ("read", int(number), int(bytes_max)):
            life.read(number, bytes_max)
        case ("die before the checkpoint", list(sizes), bool(power_cut)):
            life.series.write(life.batch(sizes)[0])
            life.series.sync()
            life.die(power_cut=power_cut)
        case ("die anywhere", list(sizes), int(nth), bool(power_cut)):
            life.fs.crash_at(nth)
            with suppress(SimulatedCrash):
                life.series.write(life.batch(sizes)[0])
                life.series.sync()
            life.die(power_cut=power_cut)
        case ("die", bool(power_cut)):
            life.die(power_cut=power_cut)
        case ("drop",):
            life.series.drop_before(min(life.places))
        case _:
            raise AssertionError(what)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([1, 500, 4000]), st.sampled_from([0, 41]), st.lists(STEPS, max_size=25))
def test_every_committed_record_is_read_once_in_order_with_its_chain(
    seed: int, file_bytes_max: int, first: int, steps: list[tuple[object, ...]]
) -> None:
    life = Life(seed, file_bytes_max, first)
    for what in steps:
        step(life, what)
    for number in (0, 1):
        while life.places[number] < life.first + len(life.records):
            life.read(number, 2000)
        life.read(number, 1)
    life.series.drop_before(min(life.places))
    life.commit([])
    life.commit([])
    assert [name for name in life.fs.paths() if "outbox" in name] == []


@settings(deadline=None, max_examples=100)
@given(st.lists(SIZES, min_size=1, max_size=6), st.sampled_from([1, 500, 4000]), st.data())
def test_a_reader_that_starts_at_any_record_reads_those_after_it(
    batches: list[list[list[int]]], file_bytes_max: int, data: st.DataObject
) -> None:
    life = Life(1, file_bytes_max, 0)
    for sizes in batches:
        life.commit(sizes)
    after = data.draw(st.integers(0, len(life.records)))
    life.readers[0] = OutboxReader(life.fs, life.series.view, after)
    life.places[0] = after
    while life.places[0] < len(life.records):
        life.read(0, data.draw(st.integers(1, 10_000)))
