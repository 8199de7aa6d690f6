"""The lines of a growing file, found from its end: the same lines as a reader of the whole file finds, for less."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.model.errors import StateError
from event_processor.storage.file_system import OperatingSystem
from event_processor.storage.line_index import MARK_BYTES, LineIndex
from support.simulated_fs import SimulatedFileSystem


class Metered(OperatingSystem):
    """Counts the bytes that are read."""

    read_bytes = 0

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        content = super().read(descriptor, size_bytes, offset)
        self.read_bytes += len(content)
        return content


LINE_BYTES = st.sampled_from([0, 1, 7, 1000, MARK_BYTES - 1, MARK_BYTES, 2 * MARK_BYTES])


@given(sizes=st.lists(LINE_BYTES, max_size=30), looks=st.lists(st.integers(0, 30), max_size=4), stop=st.integers(0, 31))
def test_it_finds_the_lines_of_the_whole_file_however_it_grew(sizes: list[int], looks: list[int], stop: int) -> None:
    lines = [b"%d" % number + b"x" * size for number, size in enumerate(sizes)]
    fs = SimulatedFileSystem(seed=1)
    descriptor = fs.open("/lines", 0o101)
    fs.write(descriptor, b"".join(line + b"\n" for line in lines))
    index = LineIndex(fs, "/lines")
    counts = [*sorted(min(each, len(lines)) for each in looks), len(lines)]
    earlier = [(count, index.lines(sum(len(line) + 1 for line in lines[:count]))) for count in counts]
    for count, found in earlier:
        assert found.count == count
        assert list(found.before(min(stop, count))) == lines[: min(stop, count)][::-1], "also through what it returned before"


def test_a_page_costs_the_same_wherever_it_is_and_a_second_look_only_what_was_added(tmp_path: Path) -> None:
    path, line = tmp_path / "lines", b"x" * 99 + b"\n"
    path.write_bytes(line * 100_000)
    fs = Metered()
    index = LineIndex(fs, str(path))
    found = index.lines(10_000_000)
    for stop in (100_000, 50_000, 10):
        fs.read_bytes = 0
        assert len([each for each, _ in zip(found.before(stop), range(10), strict=False)]) == 10
        assert fs.read_bytes <= 2 * (MARK_BYTES + len(line))
    with path.open("ab") as file:
        file.write(line * 3)
    fs.read_bytes = 0
    assert index.lines(10_000_300).count == 100_003
    assert fs.read_bytes == 300


def test_a_file_that_was_replaced_or_emptied_is_indexed_anew(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n")
    index = LineIndex(OperatingSystem(), str(path))
    assert index.lines(8).count == 2
    other = tmp_path / "other"
    other.write_bytes(b"a\nb\nc\nd\n")
    other.rename(path)
    assert list(index.lines(8).before(4)) == [b"d", b"c", b"b", b"a"]
    assert index.lines(0).count == 0
    assert list(index.lines(0).before(1)) == []


def test_a_file_that_is_shorter_than_what_was_committed_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n")
    index = LineIndex(OperatingSystem(), str(path))
    with pytest.raises(StateError, match="lines: missing, or shorter than the 9 bytes"):
        index.lines(9)
    found = index.lines(8)
    assert found.count == 2, "a look that failed leaves nothing behind"
    path.write_bytes(b"one\n")
    with pytest.raises(StateError, match="ends at byte 4, but 8 bytes were committed"):
        list(found.before(2))
