"""An input that is still written, as a source: only what has come is read, however it comes and wherever a run was broken off."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Mapping
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
RAW_BLOCK_BYTES = 65_536
"""A compressed input is decoded in whole blocks of so many bytes."""
TEXT = b"0123456789\none\ntwo\nthree"
RECORDS = [b"0123456789", b"one", b"two", b"three"]


class Arriving:
    """One state over an input that comes in pieces, through any number of lives."""

    def __init__(self, root: Path, content: bytes, **form: object) -> None:
        self.content = content
        self.file, self.document = root / "content", root / "upload.json"
        self.telemetry = Recorder()
        self.chunks: list[Chunk] = []
        self.parts: dict[int, Mapping[str, Json]] = {}
        template = FileSourceOptions.model_validate({"path": ConfiguredPath("x"), "record_bytes_max": LIMIT, **form})
        options = InputFilesOptions.of(template, [str(self.file)], [len(content)])
        self.options = options.model_copy(update={"arriving": str(self.document)})
        self.come(0)
        self.source = self.opened()

    def come(self, offset: int, unacknowledged: bytes = b"x\ny\n") -> None:
        """So much counts. What is behind it in the file was never acknowledged."""
        self.file.write_bytes(self.content[:offset] + (unacknowledged if offset < len(self.content) else b""))
        self.document.write_text(json.dumps({"id": "0", "offset": offset, "length": len(self.content)}))

    def opened(self) -> InputFiles:
        source = InputFiles("input", self.options, fs=OperatingSystem(), telemetry=self.telemetry)
        source.open(self.parts, 2 if self.parts or any(chunk.retired for chunk in self.chunks) else 1)
        return source

    def live_again(self) -> None:
        self.source.close()
        self.source = self.opened()

    def read_all(self, bytes_max: int = 1_000_000) -> bool:
        """Reads what is there. Returns whether that was the end of the input."""
        while (chunk := self.source.read(bytes_max)) is not None or self.source.wait_s() == 0:
            if chunk is None:
                continue
            self.chunks.append(chunk)
            self.parts = {} if chunk.retired else {chunk.generation: chunk.position}
        return self.source.wait_s() is None

    def records(self) -> list[bytes | int]:
        found: list[bytes | int] = []
        for chunk in self.chunks:
            found += [chunk.oversized_bytes] if chunk.oversized_bytes else chunk.content.splitlines()
        return found


def expected(content: bytes) -> list[bytes | int]:
    """The records of the whole content: one that is over the limit by its length with its end."""
    lines = content.split(b"\n")
    ended = [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    return [len(line) if len(line.removesuffix(b"\n")) > LIMIT else line.removesuffix(b"\n") for line in ended]


contents = st.lists(st.integers(min_value=0, max_value=40), max_size=12).map(
    lambda sizes: b"\n".join(b"%x" % (number % 16) * size for number, size in enumerate(sizes))
)


@settings(max_examples=60, deadline=None)
@given(
    content=contents,
    stops=st.lists(st.tuples(st.integers(min_value=0, max_value=400), st.booleans()), max_size=6),
    bytes_max=st.integers(min_value=1, max_value=64),
    pack=st.sampled_from([bytes, gzip.compress, bz2.compress, lzma.compress]),
)
def test_the_records_are_those_of_the_whole_input_however_it_comes(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    stops: list[tuple[int, bool]],
    bytes_max: int,
    pack: Callable[[bytes], bytes],
) -> None:
    packed = pack(content)
    run = Arriving(tmp_path_factory.mktemp("arriving"), packed)
    for offset, is_broken_off in sorted((min(stop, len(packed)), broken) for stop, broken in stops):
        run.come(offset)
        assert run.read_all(bytes_max) is (offset == len(packed))
        if is_broken_off:
            run.live_again()
    run.come(len(packed))
    assert run.read_all(bytes_max)
    assert run.records() == expected(content)
    assert "file_damaged" not in run.telemetry.names()


def test_what_has_come_is_read_up_to_its_last_whole_line_and_the_end_of_the_input_ends_the_last_one(tmp_path: Path) -> None:
    run = Arriving(tmp_path, TEXT)
    # Its first 16 bytes say whether it is compressed.
    for offset, count, unread_bytes in ((0, 0, 24), (15, 0, 24), (17, 2, 9), (23, 3, 5)):
        run.come(offset)
        assert (run.read_all(), run.records(), run.source.lag_bytes()) == (False, RECORDS[:count], unread_bytes)
    run.come(24)
    assert (run.read_all(), run.records(), run.source.lag_bytes()) == (True, RECORDS, 0)


@pytest.mark.parametrize(("pack", "count"), [(gzip.compress, 40_000), (bz2.compress, 80_000), (lzma.compress, 40_000)])
def test_a_compressed_input_is_read_in_its_whole_blocks_and_decoded_once(
    tmp_path: Path, pack: Callable[[bytes], bytes], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Numbers that do not repeat: the packed input has several blocks, also of bzip2, which has 900 kB of content in each.
    content = b"".join(b"%d\n" % (number * 982_451_653 % 10**12) for number in range(count))
    packed = pack(content)
    blocks = len(packed) // RAW_BLOCK_BYTES
    assert blocks >= 2
    run = Arriving(tmp_path, packed)
    read: list[int] = []
    real = OperatingSystem.read

    def noted(fs: OperatingSystem, descriptor: int, size_bytes: int, offset: int) -> bytes:
        if size_bytes == RAW_BLOCK_BYTES:
            read.append(offset)
        return real(fs, descriptor, size_bytes, offset)

    monkeypatch.setattr(OperatingSystem, "read", noted)
    for number in range(1, blocks + 1):
        run.come(number * RAW_BLOCK_BYTES + 1)
        assert not run.read_all()
        assert len(read) >= number
    assert 0 < len(run.records()) < count
    run.come(len(packed))
    assert run.read_all()
    assert run.records() == expected(content)
    assert sorted(set(read)) == read, "no block was read twice"


def test_the_items_of_a_document_are_read_as_it_comes(tmp_path: Path) -> None:
    items = [{"id": number} for number in range(20_000)]
    run = Arriving(tmp_path, json.dumps({"items": items}).encode(), format="json", json_item_path="items.item")
    run.come(2 * RAW_BLOCK_BYTES)
    assert not run.read_all()
    assert 0 < len(run.records()) < len(items)
    run.live_again()
    run.come(len(run.content))
    assert run.read_all()
    assert [json.loads(record) for record in run.records() if isinstance(record, bytes)] == items


def test_a_damage_is_found_before_the_rest_comes(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(bytes(range(256)) * 10, 0))
    run = Arriving(tmp_path, bytes(packed[:-8]) + b"\0" * 8 + bytes(3 * RAW_BLOCK_BYTES))
    run.come(2 * RAW_BLOCK_BYTES)
    run.read_all()
    assert run.read_all()
    assert run.telemetry.names().count("file_damaged") == 1


def test_nothing_is_read_that_a_power_cut_could_take_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Arriving(tmp_path, TEXT)
    durable = [run.document.read_bytes()]
    monkeypatch.setattr(OperatingSystem, "sync_directory", lambda _fs, _folder: durable.append(run.document.read_bytes()))
    run.come(19)
    assert not run.read_all()
    run.document.write_bytes(durable[-1])
    run.live_again()
    run.come(24)
    assert run.read_all()
    assert run.records() == RECORDS
    # At the start of the test, when more had come, at the start of the second life, when the rest had come; at no look in vain.
    assert [json.loads(each)["offset"] for each in durable] == [0, 19, 19, 24]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: run.document.unlink(), "is gone"),
        (lambda run: run.document.write_text("torn"), "does not say how much"),
        (lambda run: run.document.write_text('{"offset": 9, "length": 8}'), "9 of 8 bytes"),
        (lambda run: run.document.write_text('{"offset": 3, "length": 24}'), "before, it was 19 of 24"),
        (lambda run: run.document.write_text('{"offset": 19, "length": 25}'), "19 of 25 bytes"),
        (lambda run: (run.come(24), run.file.write_bytes(TEXT[:19])), "although 24 bytes of it had come"),
        (lambda run: (run.come(24), run.file.write_bytes(TEXT[:22])), "ends at byte 22, although 24 bytes"),
        (lambda run: (run.come(24), run.file.write_bytes(TEXT[:18])), "ends at byte 18, although 24 bytes"),
        (lambda run: run.file.write_bytes(TEXT[:18]), "ends at byte 18, although 19 bytes"),
        (lambda run: (run.come(24), run.file.write_bytes(TEXT.upper())), "no longer holds the bytes"),
    ],
)
def test_what_vanishes_ends_the_run_and_is_never_the_end_of_the_input(
    tmp_path: Path, change: Callable[[Arriving], object], words: str
) -> None:
    run = Arriving(tmp_path, TEXT)
    run.come(19)
    assert not run.read_all()
    change(run)
    with pytest.raises(InputGoneError, match=words):
        run.read_all()
