"""The start of a file that goes with each of its chunks: a header of any length is in it, wherever the file is cut, opened and read again."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import re
from contextlib import closing
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.finished import InputFiles
from event_processor.connectors.files.following.source import FileSource
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions
from event_processor.model.errors import StorageError
from event_processor.model.event import Chunk
from event_processor.records.content_cutter import ContentCutter
from event_processor.records.heads import HEAD_BYTES_MIN, HeaderPlace, HeadKeeper, head_of
from event_processor.records.json_lines.lines import cut_lines
from event_processor.storage.durable import OperatingSystem
from event_processor.storage.forwarding import ForwardingFileSystem
from support.command_line import shell_in
from support.file_source import LogFolder, Reader, Recorder, chunks_of_lives

NAMES = ["id", "category", "value", *(f"measurement_{number:04d}" for number in range(297))]
HEADER = (",".join(NAMES) + "\n").encode()
PREAMBLE = b"Report\n" + b"# comment\n" * 500
ROWS = [f"{number},c{number % 2},{number}{',x' * 297}\n".encode() for number in range(30)]
KEYS = {"csv_skip_lines": 1, "csv_comment": "#"}


def objects_of(chunk: Chunk, options: FileSourceOptions) -> list[dict[str, object]]:
    """What a reader that knows nothing else makes of one chunk."""
    make = options.object_reader("value")
    assert make is not None
    lines = cut_lines(chunk.content, at_file_start=chunk.offset == 0, record_bytes_max=1 << 20)
    found = make().read(chunk, lines)
    assert not found.rejections
    return [json.loads(line) for line in found.content.splitlines()]


@given(
    skip_lines=st.integers(0, 2),
    comments=st.integers(0, 3),
    length=st.integers(1, 3 * HEAD_BYTES_MIN),
    nuls=st.sampled_from([0, 10, HEAD_BYTES_MIN]),
    sizes=st.lists(st.integers(500, 5000), min_size=1, max_size=4),
    limit=st.sampled_from([HEAD_BYTES_MIN, 9000, 1 << 20]),
)
def test_the_head_ends_with_the_header_wherever_blocks_end(
    *, skip_lines: int, comments: int, length: int, nuls: int, sizes: list[int], limit: int
) -> None:
    start = bytes(nuls) + b"s\n" * skip_lines + b"#c\n" * comments + b"h" * length + b"\n"
    content = start + b"1,2\n" * 3000
    place = HeaderPlace(skip_lines, b"#", has_header=True)
    keeper, at = HeadKeeper(place, limit), 0
    for size in cycle(sizes):
        if at >= len(content):
            break
        keeper.take(content[at : at + size])
        at += size
    assert content.startswith(keeper.head)
    assert len(keeper.head) >= max(HEAD_BYTES_MIN, min(len(start), limit))
    assert keeper.head == head_of(lambda size, offset: content[offset : offset + size], HeadKeeper(place, limit), len(content))
    assert len(keeper.head) <= max(2 * HEAD_BYTES_MIN, limit)


def test_without_a_header_the_head_is_as_short_as_ever() -> None:
    keeper = HeadKeeper(None, 1 << 20)
    keeper.take(b"x" * 10_000)
    assert len(keeper.head) == HEAD_BYTES_MIN


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("keys", [{}, KEYS, {"csv_encoding": "utf-16"}])
def test_a_file_opened_again_for_each_chunk_has_its_300_columns(
    keys: dict[str, object],
    is_packed: bool,
    tmp_path: Path,
) -> None:
    content = (PREAMBLE if keys is KEYS else b"") + HEADER + b"".join(ROWS)
    stored = content.decode().encode("utf-16") if "csv_encoding" in keys else content
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(stored) if is_packed else stored)
    template = FileSourceOptions.model_validate({"path": ConfiguredPath("x"), "format": "csv", **keys})
    options = InputFilesOptions.of(template, [str(path)], [path.stat().st_size])
    chunks = chunks_of_lives(options, 4096)
    found, opened = [each for chunk in chunks if chunk.content for each in objects_of(chunk, options)], len(chunks)
    assert opened > 5
    assert [each["id"] for each in found] == [str(number) for number in range(30)]
    assert {tuple(each) for each in found} == {tuple(NAMES)}


def test_a_live_file_and_a_stream_have_the_header_in_each_chunk(tmp_path: Path) -> None:
    content = PREAMBLE + HEADER + b"".join(ROWS)
    folder = LogFolder(tmp_path)
    folder.append("a.csv", content)
    reader = Reader(folder, "a.csv", format="csv", **KEYS)  # type: ignore[arg-type]
    reader.read()
    cutter, stream = ContentCutter(1 << 20, header=reader.options.header), io.BytesIO(content)
    while block := stream.read(1000):
        cutter.feed(block)
    cutter.end()
    cuts = []
    while cut := cutter.cut(4096):
        cuts.append(Chunk("a", 1, cut.offset, cut.content, {}, final=cut.final, head=cut.head))
    for chunks in (reader.chunks, cuts):
        assert len(chunks) > 5
        found = [each for chunk in chunks for each in objects_of(chunk, reader.options)]
        assert [each["id"] for each in found] == [str(number) for number in range(30)]


class FailsInTheHeader(ForwardingFileSystem):
    """A disk with a bad block after the first 4,096 bytes of each file."""

    def read(self, descriptor: int, size_bytes: int, offset: int) -> bytes:
        if offset == HEAD_BYTES_MIN:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(descriptor, size_bytes, offset)


def test_a_disk_that_fails_in_a_long_header_is_named_with_the_file(tmp_path: Path) -> None:
    folder = LogFolder(tmp_path)
    folder.append("a.csv", HEADER + b"".join(ROWS))
    path, disk = folder.path("a.csv"), FailsInTheHeader(OperatingSystem())
    reader = Reader(folder, "a.csv", format="csv")
    reader.read()
    assert reader.records[-1] == ROWS[-1].rstrip()
    live = FileSource(
        *("events", reader.options), fs=disk, clock=folder.clock, telemetry=Recorder(), finished=False, last_commit_ns=None
    )
    finished = InputFiles(
        "input", InputFilesOptions.of(reader.options, [path], [os.path.getsize(path)]), fs=disk, telemetry=Recorder()
    )
    for source in (live, finished):
        with pytest.raises(StorageError, match=re.escape(path)), closing(source):
            source.open(reader.parts, 2)


def test_a_state_of_300_columns_continues_and_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = shell_in(tmp_path, monkeypatch, capsys)
    shell.path("event-processor.toml").write_text('[sources.wide]\npath = "a.csv"\nformat = "csv"\n', encoding="utf-8")
    for rows in (ROWS[:10], ROWS[10:]):
        with open(shell.path("a.csv"), "ab") as file:
            file.write((b"" if os.path.getsize(file.name) else HEADER) + b"".join(rows))
        assert shell.call("run", "--once") == 0, shell.err
    counts = shell.json("inspect")["counts"]
    assert (counts["accepted"], counts["rejected"], counts["blank"]) == (30, 0, 1)
    assert shell.call("verify") == 0, shell.out
