"""The ring of tries: what it holds, and that it stays small."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.engine.delivery.tries import Try, TryRing, tries_in
from event_processor.storage.durable import OperatingSystem
from support.simulated_fs import SimulatedFileSystem


def tried(number: int, sink: str = "a", *sequences: int) -> Try:
    return Try(f"2026-01-01T00:00:00.{number:06}Z", sink, "deliver", sequences or (number,), 1, 2.5, "wait", "503", "busy", 1.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), max_size=80))
def test_it_holds_the_last_tries_in_order_and_never_more_than_two_files(steps: list[tuple[int, bool]]) -> None:
    fs = SimulatedFileSystem(0)
    fs.plant("/state/history/x", b"")
    size = len(b'{"at":"2026-01-01T00:00:00.000001Z","sink":"a","stage":"deliver","sequences":[1]') + 100
    ring = TryRing(fs, "/state", file_bytes_max=10 * size)
    written: list[int] = []
    for count, restarts in steps:
        for _ in range(count):
            written.append(len(written))
            ring.note(tried(written[-1]))
        ring.flush()
        if restarts:
            ring = TryRing(fs, "/state", file_bytes_max=10 * size)
    found = [each.sequences[0] for each in tries_in(fs, "/state", "a", range(len(written)))]
    assert found == written[len(written) - len(found) :]
    assert len(found) >= min(len(written), 8)
    assert len(found) < 40


def test_tries_are_found_by_sink_and_record_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    tmp_path.joinpath("history").mkdir()
    ring = TryRing(OperatingSystem(), str(tmp_path))
    for each in (tried(1, "a", 1, 2), tried(2, "b", 1), tried(3, "a", 3), tried(4, "a", 2)):
        ring.note(each)
    ring.flush()
    with tmp_path.joinpath("history", "tries.0.jsonl").open("a") as file:
        file.write('{"at": "torn')
    assert [each.at[-3:-1] for each in tries_in(OperatingSystem(), str(tmp_path), "a", [2])] == ["01", "04"]


def test_a_ring_that_cannot_be_written_keeps_what_it_was_told(tmp_path: Path) -> None:
    ring = TryRing(OperatingSystem(), str(tmp_path))
    ring.note(tried(1))
    ring.flush()
    assert list(tries_in(OperatingSystem(), str(tmp_path), "a", [1])) == []
    tmp_path.joinpath("history").mkdir()
    ring.note(tried(2))
    ring.flush()
    assert len(list(tries_in(OperatingSystem(), str(tmp_path), "a", [1, 2]))) == 2
