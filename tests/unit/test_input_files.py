"""Finished files as a source: each once, in the order of their names, wherever reading was broken off."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.finished import InputFiles
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions
from event_processor.model.errors import InputGoneError
from event_processor.model.event import Chunk, Json
from event_processor.storage.durable import OperatingSystem
from support.file_source import Recorder

LIMIT = 16


class Run:
    """One state over some files, as the processor keeps it, through any number of lives."""

    def __init__(self, root: Path, contents: list[bytes], *, packed: list[bool] | None = None) -> None:
        self.telemetry = Recorder()
        self.chunks: list[Chunk] = []
        self.parts: dict[int, Mapping[str, Json]] = {}
        self.next_part = 1
        self.retired: list[int] = []
        paths = [root / f"{number}.jsonl" for number in range(len(contents))]
        for path, content, is_packed in zip(paths, contents, packed or [False] * len(contents), strict=True):
            path.write_bytes(gzip.compress(content) if is_packed else content)
        self.paths = [str(path) for path in paths]
        template = FileSourceOptions(path=ConfiguredPath("x"), record_bytes_max=LIMIT)
        sizes = [path.stat().st_size for path in paths]
        self.options = InputFilesOptions.of(template, self.paths, sizes)

    def open(self) -> InputFiles:
        source = InputFiles("input", self.options, fs=OperatingSystem(), telemetry=self.telemetry)
        source.open(self.parts, self.next_part)
        return source

    def live(self, bytes_max: int, chunks_max: int = 10_000) -> bool:
        """Opens, takes up to so many chunks, closes; whether the end was reached."""
        source = self.open()
        try:
            for _ in range(chunks_max):
                chunk = source.read(bytes_max)
                if chunk is None:
                    assert source.wait_s() is None
                    assert source.lag_bytes() == 0
                    return True
                self.take(chunk)
            return False
        finally:
            source.close()

    def take(self, chunk: Chunk) -> None:
        if chunk.generation not in self.parts:
            assert chunk.generation == self.next_part, "the n-th file is part n"
            self.next_part += 1
            assert chunk.offset == 0
        else:
            assert chunk.offset == self.parts[chunk.generation]["offset"]
        self.parts[chunk.generation] = chunk.position
        assert chunk.position["offset"] == chunk.end_offset
        if chunk.retired:
            del self.parts[chunk.generation]
            self.retired.append(chunk.generation)
        self.chunks.append(chunk)

    def records(self) -> list[bytes | int]:
        found: list[bytes | int] = []
        for chunk in self.chunks:
            found += [chunk.oversized_bytes] if chunk.oversized_bytes else chunk.content.splitlines()
        return found


def records_of(content: bytes) -> list[bytes | int]:
    lines = content.split(b"\n")
    rest = [lines[-1]] if lines[-1] else []
    sized = [(line, len(line) + 1) for line in lines[:-1]] + [(line, len(line)) for line in rest]
    return [line if len(line) <= LIMIT else size for line, size in sized]


CONTENTS = st.lists(st.lists(st.binary(max_size=24).map(lambda line: line.translate(bytes([120] * 256))), max_size=6), max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    files=CONTENTS.filter(bool),
    ended=st.booleans(),
    packed=st.lists(st.booleans(), min_size=5, max_size=5),
    bytes_max=st.integers(1, 60),
    lives=st.lists(st.integers(0, 5), max_size=6),
)
def test_every_record_is_read_once_in_the_order_of_the_files_wherever_it_was_broken_off(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[bytes]],
    ended: bool,
    packed: list[bool],
    bytes_max: int,
    lives: list[int],
) -> None:
    contents = [b"\n".join(lines) + (b"\n" if ended and lines else b"") for lines in files]
    run = Run(tmp_path_factory.mktemp("inputs"), contents, packed=packed[: len(contents)])
    for chunks in lives:
        run.live(bytes_max, chunks)
    assert run.live(bytes_max)
    assert run.records() == [record for content in contents for record in records_of(content)]
    assert run.retired == list(range(1, len(contents) + 1))
    assert run.parts == {}
    read = len(run.chunks)
    assert run.live(bytes_max)
    assert len(run.chunks) == read, "nothing is read again behind the end"


def test_one_file_is_open_at_a_time(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"a\nb\n"] * 5)
    source = run.open()
    while (chunk := source.read(2)) is not None:
        run.take(chunk)
        links = [
            os.readlink(f"/proc/self/fd/{name}")
            for name in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{name}")
        ]
        assert sum(link.startswith(str(tmp_path)) for link in links) <= 1
    source.close()


def test_what_is_ahead_is_known_by_its_size_on_the_disk(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"a\nb\n", b"cc\n", b""])
    source = run.open()
    sizes = [source.lag_bytes()]
    assert source.has_more()
    while (chunk := source.read(2)) is not None:
        run.take(chunk)
        sizes.append(source.lag_bytes())
    assert sizes == [7, 5, 3, 3, 0, 0, 0]
    assert not source.has_more()
    source.close()


def test_a_file_that_ends_before_its_time_stays_open_in_the_state_and_the_next_is_read(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"one\ntwo\n" * 500, b"three\n"], packed=[True, False])
    whole = Path(run.paths[0]).read_bytes()
    Path(run.paths[0]).write_bytes(whole[:-9])
    assert run.live(100_000)
    assert run.retired == [2]
    assert list(run.parts) == [1]
    assert run.records()[-1] == b"three"
    assert run.live(100_000)
    assert [(facts["path"], facts["reason"]) for facts in run.telemetry.facts("file_damaged")] == [
        (run.paths[0], "the gzip stream is cut short"),
        (run.paths[0], "as an earlier run found"),
    ]


def test_the_last_file_that_ends_before_its_time_is_told_again_by_a_later_life(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"one\ntwo\n" * 500], packed=[True])
    Path(run.paths[0]).write_bytes(Path(run.paths[0]).read_bytes()[:-9])
    assert run.live(100_000)
    read = len(run.chunks)
    assert run.live(100_000)
    assert len(run.chunks) == read
    assert len(run.telemetry.facts("file_damaged")) == 2


def test_a_file_that_is_damaged_from_its_first_byte_is_known_to_the_state(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"x", b"two\n"])
    Path(run.paths[0]).write_bytes(b"\x1f\x8b\x08nonsense")
    assert run.live(100)
    assert run.records() == [b"two"]
    assert (list(run.parts), run.retired) == ([1], [2])


@pytest.mark.parametrize("content", [b"other\nbytes\n", b"on"])
def test_a_file_with_other_bytes_than_those_that_were_read_ends_the_run(tmp_path: Path, content: bytes) -> None:
    run = Run(tmp_path, [b"one\ntwo\n"])
    run.live(4, 1)
    Path(run.paths[0]).write_bytes(content)
    with pytest.raises(InputGoneError, match="no longer holds the bytes"):
        run.open()


def test_a_file_that_is_cut_while_it_is_read_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"one\ntwo\n"])
    source = run.open()
    assert source.read(4) is not None
    os.truncate(run.paths[0], 2)
    with pytest.raises(InputGoneError, match="no longer holds the bytes"):
        source.read(4)
    source.close()


def test_a_file_that_is_gone_before_its_turn_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"one\n", b"two\n"])
    source = run.open()
    os.unlink(run.paths[1])
    assert source.read(100) is not None
    assert source.read(100) is not None
    with pytest.raises(InputGoneError, match=r"1\.jsonl: cannot be read any more: No such file"):
        source.read(100)
    source.close()


def test_leading_nuls_are_passed_over_and_told(tmp_path: Path) -> None:
    run = Run(tmp_path, [b"\0\0\0one\n"])
    source = run.open()
    chunk = source.read(100)
    assert chunk is not None
    assert (chunk.offset, chunk.content) == (3, b"one\n")
    assert run.telemetry.facts("leading_nuls_skipped")[0]["size_bytes"] == 3
    source.close()
