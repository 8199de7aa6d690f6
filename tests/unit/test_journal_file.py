"""The file of the reading journal: what counts, what is kept beyond the committed length, and what a death leaves."""

from __future__ import annotations

import pytest

from event_processor.engine.journal import (
    IdleRelease,
    JournalEntry,
    JournalRun,
    LossFound,
    RetiredGeneration,
    encode_entries,
    entries_until_torn,
)
from event_processor.engine.journal_file import JournalFile
from event_processor.model.errors import StorageError
from event_processor.model.losses import Loss
from event_processor.storage.append_file import AppendFile
from support.simulated_fs import Fault, SimulatedFileSystem

PATH = "/d/journal.jsonl"
CLOSED = JournalRun("a", 1, 0, 10)
OPEN = JournalRun("b", 1, 0, 20)
GROWN = JournalRun("b", 1, 0, 30)
RELEASE = IdleRelease(7)


def disk(content: bytes = b"") -> SimulatedFileSystem:
    fs = SimulatedFileSystem(1, short_io_odds=0.0)
    fs.plant(PATH, content)
    return fs


def opened(
    fs: SimulatedFileSystem,
    committed_bytes: int = 0,
    *,
    open_run: JournalRun | None = None,
    has_lanes: bool = True,
    follows: bool = False,
) -> JournalFile:
    return JournalFile(fs, PATH, committed_bytes, open_run=open_run, has_lanes=has_lanes, follows=follows)


def lines(*entries: JournalEntry) -> bytes:
    return encode_entries(entries)


def test_the_open_run_is_beyond_the_length_and_is_replaced() -> None:
    fs = disk()
    journal = opened(fs)
    journal.write([CLOSED], OPEN)
    journal.sync()
    assert fs.content(PATH) == lines(CLOSED, OPEN)
    assert journal.length_bytes == len(lines(CLOSED))
    journal.write([], GROWN)
    assert (fs.content(PATH), journal.length_bytes) == (lines(CLOSED, GROWN), len(lines(CLOSED)))
    journal.write([GROWN, RELEASE], None)
    assert (fs.content(PATH), journal.length_bytes) == (lines(CLOSED, GROWN, RELEASE), len(lines(CLOSED, GROWN, RELEASE)))


def test_the_open_run_is_durable_and_costs_nothing_while_it_does_not_change() -> None:
    fs = disk()
    journal = opened(fs)
    journal.write([], OPEN)
    journal.sync()
    calls = dict(fs.calls)
    journal.write([], OPEN)
    journal.sync()
    assert dict(fs.calls) == calls
    assert fs.crash().content(PATH) == lines(OPEN)


def test_without_lanes_the_open_run_is_not_written() -> None:
    fs = disk(lines(CLOSED, OPEN))
    journal = opened(fs, len(lines(CLOSED)), open_run=OPEN, has_lanes=False)
    assert fs.content(PATH) == lines(CLOSED)
    calls = dict(fs.calls)
    journal.write([], GROWN)
    journal.sync()
    assert dict(fs.calls) == calls


def test_a_restart_keeps_the_open_run_and_nothing_else() -> None:
    for beyond, kept in (
        (lines(OPEN), lines(OPEN)),
        (lines(OPEN, RELEASE), lines(OPEN)),
        (lines(GROWN), b""),
        (lines(OPEN)[:-3], b""),
    ):
        fs = disk(lines(CLOSED) + beyond)
        journal = opened(fs, len(lines(CLOSED)), open_run=OPEN)
        assert fs.content(PATH) == lines(CLOSED) + kept
        assert journal.tail == ()
        journal.write([], GROWN)
        assert fs.content(PATH) == lines(CLOSED, GROWN)
        assert journal.length_bytes == len(lines(CLOSED))


def test_a_tail_is_the_whole_lines_until_one_that_is_no_entry() -> None:
    whole = lines(CLOSED, RELEASE)
    for rubbish in (b"", b"{", lines(OPEN)[:-1], b"\0\0\n" + lines(OPEN), b'{"what":"else"}\n' + lines(OPEN)):
        assert [entry for entry, _ in entries_until_torn(whole + rubbish)] == [CLOSED, RELEASE]
        fs = disk(whole + rubbish)
        assert opened(fs, follows=True).tail == (CLOSED, RELEASE)
        assert fs.content(PATH) == whole
    fs = disk(whole)
    assert opened(fs, len(lines(CLOSED)), follows=True).tail == (RELEASE,)
    assert opened(disk(), follows=True).tail == ()


def test_what_is_made_again_only_moves_the_length_and_is_durable_before_it_counts() -> None:
    fs = disk()
    descriptor = AppendFile(fs, PATH, 0)
    descriptor.append(lines(CLOSED, RELEASE, GROWN))
    # The process that wrote the tail was killed before its fsync.
    descriptor.close()
    journal = opened(fs, follows=True)
    journal.write([], JournalRun("a", 1, 0, 5))
    assert (journal.tail, journal.length_bytes) == ((CLOSED, RELEASE, GROWN), 0)
    journal.write([CLOSED], None)
    assert (journal.tail, journal.length_bytes) == ((RELEASE, GROWN), len(lines(CLOSED)))
    journal.sync()
    assert fs.copy(2).crash().content(PATH) == lines(CLOSED, RELEASE, GROWN)
    journal.write([RELEASE], OPEN)
    assert len(journal.tail) == 1
    # The last entry may be the run that was open.
    journal.write([], GROWN)
    assert not journal.tail
    assert journal.length_bytes == len(lines(CLOSED, RELEASE))
    calls = dict(fs.calls)
    journal.write([], GROWN)
    assert dict(fs.calls) == calls
    journal.write([GROWN], CLOSED)
    assert fs.content(PATH) == lines(CLOSED, RELEASE, GROWN, CLOSED)


def test_a_tail_that_a_killed_process_wrote_is_durable_before_the_first_checkpoint() -> None:
    fs = disk()
    file = AppendFile(fs, PATH, 0)
    file.append(lines(CLOSED, RELEASE))
    file.close()
    journal = opened(fs, follows=True)
    journal.write([], None)
    journal.sync()
    assert fs.crash().content(PATH) == lines(CLOSED, RELEASE)


def test_a_tail_that_was_left_is_cut_off_by_the_next_commit_whatever_it_has() -> None:
    fs = disk(lines(CLOSED, RELEASE))
    journal = opened(fs, follows=True)
    journal.leave_tail()
    journal.write([], None)
    assert fs.content(PATH) == b""


@pytest.mark.parametrize("is_left", [False, True])
def test_another_entry_than_the_one_that_is_there_replaces_the_rest(is_left: bool) -> None:
    fs = disk(lines(CLOSED, RELEASE, GROWN))
    journal = opened(fs, follows=True)
    journal.write([CLOSED], None)
    if is_left:
        journal.leave_tail()
        assert fs.content(PATH) == lines(CLOSED, RELEASE, GROWN)
    journal.write([] if is_left else [IdleRelease(6)], OPEN)
    assert journal.tail == ()
    assert fs.content(PATH) == (lines(CLOSED, OPEN) if is_left else lines(CLOSED, IdleRelease(6), OPEN))


def test_a_loss_is_put_before_the_rest_of_the_tail() -> None:
    loss = LossFound(Loss("a", 1, "a.jsonl", 10))
    fs = disk(lines(CLOSED, RELEASE))
    journal = opened(fs, follows=True)
    journal.write([loss, CLOSED], None)
    assert journal.tail == (RELEASE,)
    assert fs.content(PATH) == lines(loss, CLOSED, RELEASE)
    assert journal.length_bytes == len(lines(loss, CLOSED))


def test_a_generation_that_is_retired_at_another_path_is_the_same_entry() -> None:
    kept = RetiredGeneration("a", 1, {"path": "a.jsonl.1"}, 40)
    made = RetiredGeneration("a", 1, {"path": "a.jsonl.2"}, 40)
    journal = opened(disk(lines(kept, RELEASE)), follows=True)
    journal.write([made], None)
    assert journal.tail == (RELEASE,)
    journal = opened(disk(lines(kept, RELEASE)), follows=True)
    journal.write([RetiredGeneration("a", 1, {"path": "a.jsonl.2"}, 41)], None)
    assert journal.tail == ()


def test_after_a_failed_cut_nothing_more_is_written() -> None:
    fs = disk()
    journal = opened(fs)
    journal.write([], OPEN)
    fs.fail(Fault(nth=1, errno=5, kinds=frozenset({"truncate"})))
    for _ in range(2):
        with pytest.raises(StorageError):
            journal.write([OPEN], GROWN)
    journal.close()
