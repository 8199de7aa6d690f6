"""A ring on disk: what was written is read back; what is torn, old or foreign is nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from event_processor.storage.durable import OperatingSystem
from event_processor.storage.ring import MISSING, Ring, RingLayout

LAYOUT = RingLayout(10, 8, ("some", "other"))
HEADER_BYTES, RECORD_BYTES = 4096, 256


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history" / "a.ring"


def ring(path: Path, layout: RingLayout = LAYOUT) -> Ring:
    return Ring(OperatingSystem(), str(path), layout)


def begins(path: Path) -> list[int]:
    found = ring(path).read()
    return [] if found is None else found.begins_s.tolist()


def test_what_was_written_is_read_back_in_the_order_of_time(path: Path) -> None:
    written = ring(path)
    assert written.begin("me") == MISSING
    written.write(120, 105, [3.0, 4.5])
    written.write(100, 95, [1.0, 2.5])
    found = ring(path).read()
    assert found is not None
    assert (found.owner, found.begins_s.tolist(), found.since_s.tolist()) == ("me", [100, 120], [95, 105])
    assert found.values.tolist() == [[1.0, 2.5], [3.0, 4.5]]
    assert written.record(120) == (105, [3.0, 4.5])
    assert written.record(110) is None


def test_a_period_takes_the_place_of_the_one_a_turn_before_and_the_file_does_not_grow(path: Path) -> None:
    written = ring(path)
    written.begin("me")
    for begin_s in range(0, 300, 10):
        written.write(begin_s, begin_s, [1.0, 1.0])
    assert begins(path) == list(range(220, 300, 10))
    assert path.stat().st_size == HEADER_BYTES + 8 * RECORD_BYTES
    assert written.record(140) is None, "its place has a later one"


def test_a_torn_record_is_none_and_the_others_stay(path: Path) -> None:
    written = ring(path)
    written.begin("me")
    for begin_s in (80, 90, 100):
        written.write(begin_s, begin_s, [1.0, 1.0])
    with path.open("r+b") as file:
        file.seek(HEADER_BYTES + 1 * RECORD_BYTES + 17)
        file.write(b"\x01")
    assert begins(path) == [80, 100]
    assert written.begin("you") == "", "a torn record is no reason to lose the others"
    assert begins(path) == [80, 100]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b""), "its header cannot be read"),
        (lambda path: path.write_bytes(os.urandom(9000)), "its header cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "it has 6143 bytes instead of 6144"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'"other"', b'"owner"')), "it is of another version"),
    ],
)
def test_a_damaged_file_is_nothing_to_a_reader_and_is_made_anew_by_the_next_writer(
    path: Path, damage: object, words: str
) -> None:
    written = ring(path)
    written.begin("me")
    written.write(80, 80, [1.0, 1.0])
    damage(path)  # type: ignore[operator]
    assert ring(path).read() is None
    assert written.begin("me") == words
    assert begins(path) == []
    written.write(90, 90, [1.0, 1.0])
    assert begins(path) == [90]


def test_without_a_file_there_is_nothing_to_read(path: Path) -> None:
    assert ring(path).read() is None
    assert ring(path).record(80) is None
