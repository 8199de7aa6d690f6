"""A series of the outbox and its reader: the form of a line, full files, dropped files, and what a reader refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from event_processor.model.errors import StateError, StorageError
from event_processor.model.released import NOTHING_RELEASED, Released
from event_processor.storage.durable import OperatingSystem
from event_processor.storage.outbox import OutboxSeries, SeriesView, chain_after
from event_processor.storage.outbox_reader import OutboxReader
from support.engine import FakeClock
from support.outbox import chains, outbox_line, place_of

FS = OperatingSystem()


def released(first: int, count: int, *, size_bytes: int = 1) -> tuple[Released, list[tuple[bytes, bytes]]]:
    """Some records, numbered from `first`, and the same as (place, object)."""
    records = [(place_of(10 * n, n), b'{"id": %d, "text": "%b"}' % (n, b"x" * size_bytes)) for n in range(first, first + count)]
    lines = b"".join(object_ + b"\n" for _, object_ in records)
    return Released((lines,), count, ([place for place, _ in records],)), records


class Outbox:
    """A series in a folder, its commits, and what was written."""

    def __init__(self, folder: Path, *, file_bytes_max: int = 1 << 20) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.records: list[tuple[bytes, bytes]] = []
        self.appended: Mapping[str, int] = {}
        self._tokens = iter(f"{n:x}" for n in range(1000))
        self._opened = ExitStack()
        self._file_bytes_max = file_bytes_max
        self.series = self.open()

    def open(self, *, sequence: int = 0, chain: str = "") -> OutboxSeries:
        self.close()
        self.series = OutboxSeries(
            FS,
            str(self.folder),
            "events",
            appended=self.appended,
            sequence=sequence,
            chain=chain,
            new_token=lambda: next(self._tokens),
            clock=self.clock,
            file_bytes_max=self._file_bytes_max,
        )
        self._opened.callback(self.series.close)
        return self.series

    def commit(self, count: int = 0, *, size_bytes: int = 1) -> SeriesView:
        batch, records = released(len(self.records) + 1, count, size_bytes=size_bytes) if count else (NOTHING_RELEASED, [])
        self.series.write(batch)
        self.series.sync()
        self.appended = dict(self.series.appended())
        self.records += records
        self.series.publish()
        return self.series.view

    def reader(self, after: int = 0, view: SeriesView | None = None) -> OutboxReader:
        reader = OutboxReader(FS, view or self.series.view, after)
        self._opened.callback(reader.close)
        return reader

    def path(self, number: int = 0) -> Path:
        return Path(self.series.view.files[number][0])

    def close(self) -> None:
        self._opened.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Outbox]]:
    with ExitStack() as opened:

        def made(**options: int) -> Outbox:
            outbox = Outbox(tmp_path, **options)
            opened.callback(outbox.close)
            return outbox

        yield made


def sequences(reader: OutboxReader, bytes_max: int = 1 << 20) -> list[int]:
    return [record.sequence for record, _ in reader.read(bytes_max)]


def test_a_line_has_the_sequence_the_place_the_times_the_chain_and_the_object_as_it_was(make: Callable[..., Outbox]) -> None:
    outbox = make()
    outbox.series.batch_begun(outbox.clock.monotonic_s() - 1.2345)
    outbox.commit(2)
    lines = outbox.path().read_bytes().splitlines()
    assert [outbox_line(line) for line in lines] == [
        {
            "sequence": n,
            "place": json.loads(place),
            "@now": "1970-01-12T13:46:40.000Z",
            "@elapsed_ms": 1234.5,
            "chain": chain,
            "object": json.loads(object_),
        }
        for n, ((place, object_), chain) in enumerate(zip(outbox.records, chains(outbox.records), strict=True), start=1)
    ]
    assert all(line.endswith(b'"object":' + object_ + b"}") for line, (_, object_) in zip(lines, outbox.records, strict=True))
    assert outbox.path().name == "events.000000000001.0.jsonl"
    assert outbox.appended == {"outbox/events.000000000001.0.jsonl": outbox.path().stat().st_size}


def test_the_chain_depends_on_every_part_and_on_where_a_part_ends() -> None:
    whole = chain_after("", 1, b'{"a":1}', b"{}")
    assert whole == chains([(b'{"a":1}', b"{}")])[0]
    others = [("0", 1, b'{"a":1}', b"{}"), ("", 2, b'{"a":1}', b"{}"), ("", 1, b'{"a":2}', b"{}"), ("", 1, b'{"a":1}', b"{ }")]
    moved = [chain_after("1", 1, b"{}", b"{}"), chain_after("", 11, b"{}", b"{}"), chain_after("", 1, b"1{}", b"{}")]
    assert len({whole, *(chain_after(*parts) for parts in others), *moved}) == 8


def test_a_batch_is_in_one_file_and_a_full_file_is_followed_by_another(make: Callable[..., Outbox]) -> None:
    outbox = make(file_bytes_max=1000)
    for _ in range(3):
        outbox.commit(10)
    view = outbox.commit(1)
    assert [first for _, first, _ in view.files] == [1, 11, 21, 31]
    assert (view.sequence, view.chain) == (31, chains(outbox.records)[-1])
    assert [Path(path).stat().st_size for path, _, _ in view.files] == [length for _, _, length in view.files]
    assert sequences_of_all(outbox.reader()) == list(range(1, 32))


def sequences_of_all(reader: OutboxReader, bytes_max: int = 300) -> list[int]:
    found = []
    while part := sequences(reader, bytes_max):
        found += part
    return found


def test_the_view_changes_only_when_it_is_published(make: Callable[..., Outbox]) -> None:
    outbox = make()
    views: list[SeriesView] = []
    outbox.series.on_publish(views.append)
    outbox.series.write(released(1, 1)[0])
    outbox.series.sync()
    assert [view.sequence for view in views] == [0]
    outbox.series.publish()
    assert [view.sequence for view in views] == [0, 1]


def test_what_no_checkpoint_covers_is_cut_off_and_written_again_under_the_same_sequences(make: Callable[..., Outbox]) -> None:
    outbox = make()
    before = outbox.commit(2)
    outbox.series.write(released(3, 2, size_bytes=9)[0])
    outbox.series.sync()
    outbox.open(sequence=before.sequence, chain=before.chain)
    assert outbox.path().stat().st_size == before.files[0][2]
    after = outbox.commit(2)
    assert (after.sequence, after.chain) == (4, chains(outbox.records)[-1])


def test_a_series_of_a_state_with_events_begins_after_them(make: Callable[..., Outbox]) -> None:
    outbox = make()
    outbox.open(sequence=7)
    assert sequences(outbox.reader(7)) == []
    outbox.commit(2)
    assert sequences(outbox.reader(7)) == [8, 9]
    assert outbox.series.chain == chains(outbox.records, 7)[-1]


def test_dropped_files_leave_the_next_checkpoint_and_no_earlier_one(make: Callable[..., Outbox]) -> None:
    outbox = make(file_bytes_max=100)
    for _ in range(3):
        outbox.commit(1)
    assert not outbox.series.drop_before(0)
    assert outbox.series.drop_before(2)
    assert len(outbox.series.appended()) == 3
    assert [first for _, first, _ in outbox.commit().files] == [3]
    assert not outbox.series.drop_before(2)
    # A cursor that is ahead of the outbox drops nothing that is written later.
    assert outbox.series.drop_before(100)
    view = outbox.commit(1)
    assert ([first for _, first, _ in view.files], view.oldest) == ([4], 4)


def test_a_dropped_open_file_is_followed_by_a_new_one(make: Callable[..., Outbox]) -> None:
    outbox = make()
    outbox.commit(2)
    assert outbox.series.drop_before(2)
    view = outbox.commit()
    assert (view.files, view.sequence, view.oldest) == ((), 2, 3)
    reader = outbox.reader(2)
    assert sequences(reader) == []
    reader.follow(outbox.commit(1))
    assert sequences(reader) == [3]


def test_an_open_file_that_others_remove_is_noticed(make: Callable[..., Outbox]) -> None:
    outbox = make()
    outbox.series.require_presence()
    outbox.commit(1)
    outbox.series.require_presence()
    outbox.path().unlink()
    with pytest.raises(StorageError, match="was removed"):
        outbox.series.require_presence()


def test_a_full_file_that_is_missing_or_short_is_an_error_at_the_start(make: Callable[..., Outbox]) -> None:
    outbox = make(file_bytes_max=10)
    view = outbox.commit(1)
    outbox.path().write_bytes(b"{}\n")
    with pytest.raises(StateError, match=r"events\.0+1\.0\.jsonl: missing, or shorter"):
        outbox.open(sequence=1, chain=view.chain)


def test_a_reader_returns_at_most_the_bytes_that_were_asked_for_but_at_least_one_record(make: Callable[..., Outbox]) -> None:
    outbox = make()
    outbox.commit(3, size_bytes=5000)
    sizes = [len(line) + 1 for line in outbox.path().read_bytes().splitlines()]
    reader = outbox.reader()
    assert reader.unread_bytes() == sum(sizes)
    assert [size for _, size in reader.read(1)] == sizes[:1]
    assert reader.unread_bytes() == sum(sizes[1:])
    assert [size for _, size in reader.read(sizes[1] + sizes[2])] == sizes[1:]
    assert (reader.read(1), reader.unread_bytes(), reader.sequence) == ([], 0, 3)


def test_a_reader_never_reads_beyond_its_view(make: Callable[..., Outbox]) -> None:
    outbox = make()
    view = outbox.commit(1)
    outbox.commit(1)
    reader = outbox.reader(view=view)
    assert (sequences(reader), sequences(reader)) == ([1], [])
    reader.follow(outbox.series.view)
    assert sequences(reader) == [2]


def test_a_reader_after_a_record_in_the_middle_passes_over_those_before(make: Callable[..., Outbox]) -> None:
    outbox = make(file_bytes_max=1000)
    for _ in range(3):
        outbox.commit(10)
    reader = outbox.reader(15)
    lengths = [length for _, _, length in outbox.series.view.files]
    middle = sum(len(line) + 1 for line in outbox.path(1).read_bytes().splitlines()[5:])
    assert reader.unread_bytes() == middle + lengths[2]
    assert sequences_of_all(reader) == list(range(16, 31))
    assert outbox.reader(40).read(10) == []


def test_a_reader_goes_on_in_a_file_that_was_unlinked_and_needs_no_earlier_one(make: Callable[..., Outbox]) -> None:
    outbox = make(file_bytes_max=300)
    outbox.commit(4)
    reader = outbox.reader()
    assert sequences(reader, 1) == [1]
    outbox.commit(1)
    gone = outbox.path()
    outbox.series.drop_before(4)
    outbox.commit()
    gone.unlink()
    assert sequences_of_all(reader) == [2, 3, 4]
    reader.follow(outbox.series.view)
    assert sequences(reader) == [5]


def test_records_that_are_gone_are_an_error_that_names_them(make: Callable[..., Outbox]) -> None:
    outbox = make(file_bytes_max=10)
    for _ in range(3):
        outbox.commit(1)
    outbox.series.drop_before(2)
    outbox.commit()
    with pytest.raises(StateError, match="the outbox of events: records 1 to 2 are gone") as raised:
        outbox.reader().read(10)
    assert raised.value.exit_code == 65
    with pytest.raises(StateError, match="records 2 to 2 are gone"):
        outbox.reader(1).read(10)
    assert sequences(outbox.reader(2)) == [3]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (b"not a record", "is not a record of an outbox"),
        (b"\xff\xfe", "is not a record of an outbox"),
        (b'{"sequence": 2}', "is not a record of an outbox"),
    ],
)
def test_a_line_that_is_no_record_is_an_error_that_names_it(make: Callable[..., Outbox], wrong: bytes, reason: str) -> None:
    outbox = make()
    outbox.commit(3)
    lines = outbox.path().read_bytes().splitlines()
    outbox.path().write_bytes(b"\n".join([lines[0], wrong.ljust(len(lines[1])), lines[2], b""]))
    reader = outbox.reader()
    assert sequences(reader, 1) == [1]
    with pytest.raises(StateError, match=rf"events\.0+1\.0\.jsonl:2: {reason}"):
        reader.read(1)
    with pytest.raises(StateError, match=r"jsonl:2: "):
        outbox.reader(2).read(1)


def test_a_gap_within_a_file_or_between_two_is_an_error(make: Callable[..., Outbox]) -> None:
    outbox = make(file_bytes_max=300)
    outbox.commit(3)
    outbox.commit(1)
    lines = outbox.path().read_bytes().splitlines(keepends=True)
    view = outbox.series.view
    path, first, length = view.files[0]
    outbox.path().write_bytes(lines[0] + lines[2] + lines[1])
    with pytest.raises(StateError, match="jsonl:2: has sequence 3, but 2 belongs here"):
        outbox.reader().read(1000)
    shorter = SeriesView("events", 4, view.chain, ((path, first, length - len(lines[1])), view.files[1]))
    outbox.path().write_bytes(lines[0] + lines[1])
    reader = outbox.reader(view=shorter)
    assert sequences(reader) == [1, 2]
    with pytest.raises(StateError, match="jsonl:3: ends without a whole line"):
        reader.read(1000)


def test_a_file_that_is_missing_or_cut_is_an_error(make: Callable[..., Outbox]) -> None:
    outbox = make()
    outbox.commit(2)
    content = outbox.path().read_bytes()
    outbox.path().write_bytes(content[:-3])
    with pytest.raises(StateError, match="shorter than the"):
        outbox.reader().read(10_000)
    outbox.path().unlink()
    with pytest.raises(StateError, match="is missing"):
        outbox.reader().read(10_000)
