"""The file source across the lives of a path: rotation, copies, truncation, replacement, removal, and many files."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

import pytest

from event_processor.connectors.files.following.names import order_within
from event_processor.connectors.files.following.rotation import Candidate, in_order, missing_links
from event_processor.storage.durable import FileStatus
from support.file_source import RETIRE_S, LogFolder, Reader

LOG = "events.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> LogFolder:
    return LogFolder(tmp_path)


@pytest.fixture
def reader(folder: LogFolder) -> Reader:
    """A reader that has read and committed one line."""
    reader = Reader(folder)
    folder.append(LOG, b"first\n")
    assert reader.read() == [b"first"]
    reader.commit()
    return reader


def test_a_renamed_file_is_followed_until_it_is_quiet(folder: LogFolder, reader: Reader) -> None:
    folder.rotate()
    folder.append(LOG, b"new\n")
    assert reader.read() == []
    folder.append(f"{LOG}.1", b"late\n")
    assert reader.read() == [b"late"]
    folder.clock.now_s += RETIRE_S - 0.5
    assert reader.read() == []
    folder.clock.now_s += 0.5
    assert reader.read() == [b"new"]
    assert reader.telemetry.names().count("file_retired") == 1


def test_a_deadline_that_passes_unseen_is_not_taken_for_the_end(folder: LogFolder, reader: Reader) -> None:
    folder.rotate()
    folder.append(LOG, b"new\n")
    assert reader.read() == []
    folder.clock.now_s += RETIRE_S
    assert reader.source is not None
    assert reader.source.wait_s() == 0
    assert reader.read() == [b"new"]
    assert reader.source.wait_s() is None


def test_the_torn_last_line_of_a_rotated_file_is_ended_by_its_end(folder: LogFolder, reader: Reader) -> None:
    folder.append(LOG, b"torn")
    folder.rotate()
    folder.append(LOG, b"new\n")
    assert reader.read() == []
    assert reader.read_all() == [b"torn", b"new"]
    assert [chunk.final for chunk in reader.chunks if chunk.content == b"torn"] == [True]


def test_a_generation_is_retired_only_behind_its_successors_first_chunk(folder: LogFolder, reader: Reader) -> None:
    folder.rotate()
    folder.append(LOG, b"new\n")
    reader.read_all()
    assert [(chunk.generation, chunk.content, chunk.retired) for chunk in reader.chunks[1:]] == [
        (2, b"new\n", False),
        (1, b"", True),
    ]


def test_a_crash_between_a_generation_and_its_successor_loses_nothing(folder: LogFolder) -> None:
    reader = Reader(folder, bytes_max=4)
    folder.append(LOG, b"one\n")
    reader.read()
    reader.stop()
    for record in (b"two\n", b"six\n", b"ten\n"):
        folder.rotate()
        folder.append(LOG, record)
    folder.clock.now_s += RETIRE_S
    for _ in range(20):
        reader.read(1)
        reader.stop()
    assert reader.records == [b"one", b"two", b"six", b"ten"]


@pytest.mark.parametrize("compressed", [[], [3], [2, 3], [1, 2, 3]])
def test_three_rotations_while_stopped_are_read_in_order(folder: LogFolder, reader: Reader, compressed: list[int]) -> None:
    folder.append(LOG, b"rest\n")
    reader.stop()
    for record in (b"a\n", b"b\n", b"c\n"):
        folder.rotate()
        folder.append(LOG, record)
    for number in compressed:
        folder.compress(f"{LOG}.{number}")
    assert reader.read_all() == [b"rest", b"a", b"b", b"c"]
    assert "file_lost" not in reader.telemetry.names()


def test_a_rotation_by_date_is_read_in_order(folder: LogFolder) -> None:
    reader = Reader(folder, rotated=folder.path("events-*.jsonl"))
    folder.append(LOG, b"a\n")
    reader.read()
    reader.stop()
    for day, record in ((1, b"b\n"), (2, b"c\n")):
        os.rename(folder.path(LOG), folder.path(f"events-2026010{day}.jsonl"))
        folder.append(LOG, record)
    assert reader.read_all() == [b"b", b"c"]


def test_what_was_rotated_before_the_first_start_is_left_alone(folder: LogFolder) -> None:
    folder.append(f"{LOG}.1", b"history\n")
    folder.append(LOG, b"one\n")
    assert Reader(folder).read_all() == [b"one"]


def test_a_missing_link_is_reported(folder: LogFolder, reader: Reader) -> None:
    reader.stop()
    for record in (b"a\n", b"b\n", b"c\n"):
        folder.rotate()
        folder.append(LOG, record)
    os.unlink(folder.path(f"{LOG}.2"))
    assert reader.read_all() == [b"b", b"c"]
    assert [facts["path"] for facts in reader.telemetry.facts("file_lost")] == [f"{folder.path(LOG)} (rotation 2)"]


def test_a_file_that_was_pushed_out_is_reported_and_what_is_newer_is_read(folder: LogFolder, reader: Reader) -> None:
    reader.stop()
    for record in (b"a\n", b"b\n", b"c\n"):
        folder.rotate(keep=2)
        folder.append(LOG, record)
    assert reader.read_all() == [b"a", b"b", b"c"]
    assert reader.telemetry.facts("file_lost")[0]["offset"] == 6


def test_a_lost_file_does_not_bring_its_predecessors_back(folder: LogFolder, reader: Reader) -> None:
    folder.rotate()
    folder.append(LOG, b"second\n")
    reader.read_all()
    reader.stop()
    folder.replace(LOG, b"other\n")
    assert reader.read_all() == [b"other"]
    assert "file_lost" in reader.telemetry.names()


def test_copytruncate_is_not_read_twice(folder: LogFolder, reader: Reader) -> None:
    folder.copytruncate()
    folder.append(LOG, b"second\n")
    assert reader.read_all() == [b"second"]


def test_what_a_copy_holds_beyond_our_offset_is_read_from_the_copy(folder: LogFolder, reader: Reader) -> None:
    folder.append(LOG, b"behind\n")
    folder.copytruncate()
    folder.append(LOG, b"second\n")
    assert reader.read_all() == [b"behind", b"second"]
    assert [chunk.generation for chunk in reader.chunks if chunk.content] == [1, 1, 2]


def test_copytruncate_while_stopped_is_read_through_its_copies(folder: LogFolder, reader: Reader) -> None:
    reader.stop()
    folder.append(LOG, b"behind\n")
    folder.copytruncate()
    folder.append(LOG, b"second\n")
    folder.copytruncate()
    folder.compress(f"{LOG}.2")
    folder.append(LOG, b"third\n")
    assert reader.read_all() == [b"behind", b"second", b"third"]


def test_a_copy_that_was_made_while_nothing_was_read_yet_is_read(folder: LogFolder) -> None:
    reader = Reader(folder)
    folder.append(LOG, b"unfinished")
    assert reader.read() == []
    folder.append(LOG, b" line\n")
    folder.copytruncate()
    folder.append(LOG, b"second\n")
    assert reader.read_all() == [b"unfinished line", b"second"]


def test_a_copy_of_what_came_and_went_while_an_empty_file_was_waited_for_is_read(folder: LogFolder, reader: Reader) -> None:
    folder.truncate(LOG)
    assert reader.read_all() == []
    folder.append(LOG, b"between\n")
    folder.copytruncate()
    folder.append(LOG, b"second\n")
    assert reader.read_all() == [b"between", b"second"]


def test_a_copy_of_what_came_and_went_before_an_empty_file_was_replaced_is_read(folder: LogFolder, reader: Reader) -> None:
    folder.truncate(LOG)
    assert reader.read_all() == []
    folder.append(LOG, b"between\n")
    folder.copytruncate()
    folder.replace(LOG, b"second\n")
    assert reader.read_all() == [b"between", b"second"]


def test_a_copy_of_what_came_before_a_file_was_removed_unread_is_read(folder: LogFolder, reader: Reader) -> None:
    folder.truncate(LOG)
    assert reader.read_all() == []
    folder.append(LOG, b"between\n")
    folder.copytruncate()
    folder.append(LOG, b"removed\n")
    os.unlink(folder.path(LOG))
    folder.append(LOG, b"second\n")
    assert reader.read_all() == [b"between", b"second"]
    assert "file_lost" in reader.telemetry.names()


def test_a_compressed_file_without_a_record_is_stepped_over_once(folder: LogFolder, reader: Reader) -> None:
    reader.stop()
    for content in (b"", b"unfinished"):
        folder.rotate()
        folder.append(LOG, content)
    folder.compress(f"{LOG}.1") if not os.path.getsize(folder.path(f"{LOG}.1")) else None
    folder.rotate()
    folder.append(LOG, b"new\n")
    assert reader.read_all() == [b"unfinished", b"new"]


def test_an_unfinished_line_that_its_writer_takes_back_changes_nothing(folder: LogFolder, reader: Reader) -> None:
    folder.append(LOG, b"unfinished")
    assert reader.read() == []
    os.truncate(folder.path(LOG), len(b"first\n"))
    folder.append(LOG, b"new\n")
    assert reader.read_all() == [b"new"]
    assert reader.telemetry.names() == ["file_opened"]


def test_a_rewrite_under_a_long_unfinished_line_is_seen(folder: LogFolder) -> None:
    reader = Reader(folder, record_bytes_max=16)
    folder.append(LOG, b"first\n" + b"x" * 40)
    assert reader.read() == [b"first"]
    folder.write_at(LOG, 0, b"y" * 10 + b"\n" + b"z" * 34 + b"\n")
    folder.rotate()
    folder.append(LOG, b"new\n")
    assert reader.read_all() == [b"y" * 10, b"over the limit: 35", b"new"]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_truncated_file_opens_a_new_generation(folder: LogFolder, reader: Reader, stopped: bool) -> None:
    if stopped:
        reader.stop()
    folder.truncate(LOG)
    folder.append(LOG, b"new\n")
    assert reader.read_all() == [b"new"]
    assert reader.telemetry.facts("file_truncated") == [
        {"source": "events", "path": folder.path(LOG), "generation": 1, "offset": 6, "size_bytes": 4}
    ]
    assert list(reader.parts) == [2]


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("content", [b"other\n", b"other\nlonger\n"])
def test_a_file_rewritten_in_its_place_opens_a_new_generation(
    folder: LogFolder, reader: Reader, stopped: bool, content: bytes
) -> None:
    if stopped:
        reader.stop()
    folder.write_at(LOG, 0, content)
    assert reader.read_all() == content.removesuffix(b"\n").split(b"\n")
    assert reader.telemetry.names().count("file_replaced") == 1


def test_a_change_far_behind_the_head_is_seen_before_the_next_record(folder: LogFolder) -> None:
    reader = Reader(folder, bytes_max=100_000)
    folder.append(LOG, b"x" * 5000 + b"\n" + b"y" * 20 + b"\n")
    reader.read()
    folder.write_at(LOG, 5003, b"Z")
    folder.append(LOG, b"new\n")
    assert len(reader.read_all()) == 3
    assert [chunk.generation for chunk in reader.chunks if chunk.content] == [1, 2]


def test_a_chunk_read_while_the_file_changed_is_discarded(
    folder: LogFolder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is cut and written anew between the read of the bytes and the proof of what stands before them."""
    assert reader.source is not None
    fs = reader.source._context.fs
    original = fs.read
    is_armed = True

    def cut_between(descriptor: int, size_bytes: int, offset: int) -> bytes:
        nonlocal is_armed
        content = original(descriptor, size_bytes, offset)
        if is_armed and offset == 6 and content:
            is_armed = False
            folder.truncate(LOG)
            folder.append(LOG, b"another content\n")
        return content

    folder.append(LOG, b"never\n")
    monkeypatch.setattr(fs, "read", cut_between)
    assert reader.read_all() == [b"another content"]


def test_a_replaced_file_is_read_to_its_end_by_its_descriptor(folder: LogFolder, reader: Reader) -> None:
    folder.append(LOG, b"unread\n")
    folder.replace(LOG, b"new\n")
    assert reader.read_all() == [b"unread", b"new"]
    assert "file_replaced" in reader.telemetry.names()


def test_an_editors_copy_with_the_same_beginning_is_the_same_generation(folder: LogFolder, reader: Reader) -> None:
    folder.replace(LOG, b"first\nadded\n")
    assert reader.read_all() == [b"added"]
    assert list(reader.parts) == [1]


def test_a_deleted_file_is_finished_and_a_new_one_waited_for(folder: LogFolder, reader: Reader) -> None:
    folder.append(LOG, b"last")
    os.unlink(folder.path(LOG))
    assert reader.read_all() == [b"last"]
    assert reader.telemetry.names()[-2:] == ["file_missing", "file_retired"]
    folder.append(LOG, b"new\n")
    assert reader.read_all() == [b"new"]
    assert list(reader.parts) == [2]


def test_a_renamed_file_without_a_successor_is_followed_for_ever(folder: LogFolder, reader: Reader) -> None:
    folder.rotate()
    reader.read_all()
    folder.clock.now_s += 86_400
    folder.append(f"{LOG}.1", b"still\n")
    assert reader.read() == [b"still"]


def test_the_same_inode_with_other_content_is_another_file(folder: LogFolder, reader: Reader) -> None:
    """The kernel gives a free inode to the next file."""
    reader.stop()
    resume = dict(reader.parts[1])
    folder.replace(LOG, b"other!\n")
    resume["inode"] = os.stat(folder.path(LOG)).st_ino
    reader.parts = {1: resume}
    assert reader.read_all() == [b"other!"]


@pytest.mark.parametrize("cut_bytes", [1, 12])
def test_a_gzip_file_cut_short_gives_what_decodes_and_is_reported(folder: LogFolder, reader: Reader, cut_bytes: int) -> None:
    folder.append(LOG, b"a\nb\n")
    reader.stop()
    folder.rotate()
    folder.append(LOG, b"new\n")
    folder.compress(f"{LOG}.1")
    packed = folder.path(f"{LOG}.1.gz")
    os.truncate(packed, os.path.getsize(packed) - cut_bytes)
    folder.touch(f"{LOG}.1.gz")
    got = reader.read_all()
    assert got[-1] == b"new"
    assert got[:-1] == [b"a", b"b"][: len(got) - 1]
    assert [facts["reason"] for facts in reader.telemetry.facts("file_damaged")] == ["the gzip stream is cut short"]
    assert [facts["reason"] for facts in reader.telemetry.facts("file_lost")] == [
        "cannot be decoded to its end: the gzip stream is cut short"
    ]


def test_zstandard_is_read(folder: LogFolder, reader: Reader) -> None:
    zstandard = pytest.importorskip("zstandard")
    folder.append(LOG, b"a\n" * 3 + b"b\n")
    reader.stop()
    content = Path(folder.path(LOG)).read_bytes()
    os.unlink(folder.path(LOG))
    half = zstandard.ZstdCompressor().compress(content[:8])
    folder.append(f"{LOG}.1.zst", half + zstandard.ZstdCompressor().compress(content[8:]))
    folder.append(LOG, b"new\n")
    assert reader.read_all() == [b"a", b"a", b"a", b"b", b"new"]


def test_zstandard_without_its_extra_is_passed_over_and_reported(
    folder: LogFolder, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rotate()
    reader.stop()
    folder.append(f"{LOG}-20261129.zst", b"\x28\xb5\x2f\xfd" + bytes(20))
    folder.append(LOG, b"new\n")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    for _ in range(2):
        assert reader.read_all() in ([b"new"], [])
        reader.stop()
        folder.rotate()
        folder.append(LOG, b"")
    lost = [facts["path"] for facts in reader.telemetry.facts("file_lost")]
    assert lost == [folder.path(f"{LOG}-20261129.zst")]
    assert "event-processor[zstd]" in str(reader.telemetry.facts("file_unreadable")[0]["reason"])


def test_a_half_written_compressed_twin_is_not_read(folder: LogFolder, reader: Reader) -> None:
    reader.stop()
    folder.rotate()
    folder.append(LOG, b"second\nthird\n")
    folder.rotate()
    half = zlib.compressobj(wbits=31)
    folder.append(f"{LOG}.1.gz", half.compress(b"second\n") + half.flush(zlib.Z_SYNC_FLUSH))
    folder.append(LOG, b"new\n")
    assert reader.read_all() == [b"second", b"third", b"new"]


def test_many_files_are_served_in_turn(folder: LogFolder) -> None:
    for name in ("b.log", "a.log", "c.log"):
        folder.append(name, b"".join(b"%s%d\n" % (name[:1].encode(), n) for n in range(3)))
    reader = Reader(folder, "*.log", bytes_max=3)
    assert reader.read() == [b"a0", b"b0", b"c0", b"a1", b"b1", b"c1", b"a2", b"b2", b"c2"]


def test_a_path_that_always_has_more_does_not_keep_others_waiting(folder: LogFolder) -> None:
    reader = Reader(folder, "*.log", bytes_max=3)
    folder.append("a.log", b"a0\n" * 100)
    assert reader.read(5) == [b"a0"] * 5
    folder.append("b.log", b"b0\n")
    assert b"b0" in reader.read(3)


def test_new_matches_of_a_glob_appear_and_rotated_ones_are_no_sources(folder: LogFolder) -> None:
    reader = Reader(folder, "*")
    folder.append("a.log", b"a\n")
    folder.append("a.log.1", b"history\n")
    assert reader.read_all() == [b"a"]
    folder.append("b.log", b"b\n")
    assert reader.read_all() == [b"b"]
    folder.rotate("b.log")
    folder.append("b.log", b"bb\n")
    assert reader.read_all() == [b"bb"]


def test_a_match_that_is_gone_leaves_the_state(folder: LogFolder) -> None:
    reader = Reader(folder, "*.log")
    folder.append("a.log", b"a\n")
    folder.append("b.log", b"b\n")
    reader.read_all()
    os.unlink(folder.path("a.log"))
    assert reader.read_all() == []
    assert list(reader.parts) == [2]


def _candidate(name: str, modified_ns: int, *, is_live: bool = False) -> Candidate:
    status = FileStatus(1, 1, 1, is_directory=False, is_regular=True, modified_ns=modified_ns)
    return Candidate(name, status, is_live, order_within(name))


@pytest.mark.parametrize(
    ("modified", "expected"),
    [
        ({"l.1": 9, "l.2": 8, "l.10": 1}, ["l.10", "l.2", "l.1"]),
        ({"l.1": 5, "l.2": 5, "l.10": 5}, ["l.10", "l.2", "l.1"]),
        ({"l.1": 1, "l.2": 2, "l.3": 3}, ["l.3", "l.2", "l.1"]),
        ({"l.1": 4, "l.2": 3, "l.3": 2, "l.4": 9}, ["l.4", "l.3", "l.2", "l.1"]),
        ({"l.1": 9, "l.2.gz": 8, "l.3.zst": 7}, ["l.3.zst", "l.2.gz", "l.1"]),
        ({"l-20260102": 1, "l-20260101": 2}, ["l-20260101", "l-20260102"]),
        ({"l.last": 2, "l.1": 1, "l.bak": 3}, ["l.1", "l.last", "l.bak"]),
    ],
)
def test_rotated_files_are_ordered_by_their_scheme(modified: dict[str, int], expected: list[str]) -> None:
    candidates = [_candidate("l", 0, is_live=True), *(_candidate(name, time) for name, time in modified.items())]
    assert [each.path for each in in_order(candidates)] == [*expected, "l"]


def test_missing_links_are_the_numbers_between() -> None:
    assert missing_links(_candidate("l.5", 1), _candidate("l.2.gz", 2)) == [4, 3]
    assert missing_links(_candidate("l.1", 1), _candidate("l", 2, is_live=True)) == []
    assert missing_links(_candidate("l.3", 1), _candidate("l", 2, is_live=True)) == [2, 1]
    assert missing_links(_candidate("l-20260101", 1), _candidate("l-20260103", 2)) == []
