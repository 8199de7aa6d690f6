"""Standard input as a source: a pipe, read once, however its writer writes."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator

import pytest

from event_processor.configuration.configuration import ConfiguredPath
from event_processor.connectors.files.source_options import FileSourceOptions, StandardInputOptions
from event_processor.connectors.files.standard_input import StreamSource
from event_processor.model.errors import StateError, UsageError
from event_processor.model.event import Chunk
from support.file_source import ManualClock, Recorder


class Pipe:
    """A pipe, its writing end, and the source on its reading end. The source's waits take no time: its clock goes on by itself."""

    def __init__(self, **keys: object) -> None:
        self.reading, self.writing = os.pipe()
        template = FileSourceOptions.model_validate({"path": ConfiguredPath("x"), **keys})
        self.telemetry = Recorder()
        self.clock = HastyClock()
        self.source = StreamSource(
            "input", StandardInputOptions.of(template, self.reading), clock=self.clock, telemetry=self.telemetry
        )
        self.source.open({}, 1)

    def write(self, content: bytes) -> None:
        os.write(self.writing, content)

    def end(self) -> None:
        os.close(self.writing)
        self.writing = -1

    def close(self) -> None:
        self.source.close()
        for descriptor in (self.reading, self.writing):
            if descriptor >= 0:
                os.close(descriptor)

    def read_all(self, bytes_max: int = 1000) -> list[Chunk]:
        chunks = []
        while (chunk := self.source.read(bytes_max)) is not None:
            chunks.append(chunk)
        return chunks


class HastyClock(ManualClock):
    """Each look at it takes a fiftieth of a second."""

    def monotonic_s(self) -> float:
        self.now_s += 0.02
        return self.now_s


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def contents(chunks: list[Chunk]) -> list[bytes]:
    return [chunk.content for chunk in chunks]


def test_a_record_waits_for_its_end_and_the_stream_ends_the_last(pipe: Pipe) -> None:
    pipe.write(b"one\ntw")
    assert pipe.source.read(1000) is None
    assert pipe.source.wait_s() == 0.0
    assert pipe.source.has_more()
    pipe.write(b"o\nthree")
    pipe.end()
    chunks = pipe.read_all()
    assert contents(chunks) == [b"one\ntwo\n", b"three"]
    assert [chunk.final for chunk in chunks] == [False, True]
    assert pipe.source.wait_s() is None
    assert not pipe.source.has_more()


def test_an_empty_stream_gives_nothing(pipe: Pipe) -> None:
    pipe.end()
    assert pipe.read_all() == []
    assert pipe.source.wait_s() is None


def test_chunks_are_gathered_to_the_size_that_was_asked_for(pipe: Pipe) -> None:
    for _ in range(5):
        pipe.write(b"aaa\nbbb\n")
    pipe.end()
    assert contents(pipe.read_all(16)) == [b"aaa\nbbb\n" * 2, b"aaa\nbbb\n" * 2, b"aaa\nbbb\n"]


def test_a_position_says_how_far_the_stream_was_read(pipe: Pipe) -> None:
    pipe.write(b"one\ntwo\n")
    pipe.end()
    first, second = pipe.read_all(4)
    assert (first.generation, first.offset, first.position["offset"]) == (1, 0, 4)
    assert (second.generation, second.offset, second.position["offset"]) == (1, 4, 8)


def test_a_read_ends_in_bounded_time_though_its_writer_is_silent(pipe: Pipe) -> None:
    began_s = pipe.clock.now_s
    assert pipe.source.read(1000) is None
    assert pipe.clock.now_s - began_s < 1


def test_a_stream_cannot_be_resumed() -> None:
    made = Pipe()
    with pytest.raises(StateError, match="cannot be resumed"):
        made.source.open({1: {"offset": 7}}, 2)
    made.close()


@pytest.mark.parametrize("cut", [1, 2, 3, 10])
def test_compressed_bytes_are_refused_with_what_to_do_however_they_arrive(pipe: Pipe, cut: int) -> None:
    packed = gzip.compress(b"one\n")
    pipe.write(packed[:cut])
    if cut < 4:
        assert pipe.source.read(1000) is None
    pipe.write(packed[cut:])
    pipe.end()
    with pytest.raises(UsageError, match="compressed") as refused:
        pipe.read_all()
    assert "zcat" in refused.value.hint


def test_a_stream_shorter_than_any_magic_is_read(pipe: Pipe) -> None:
    pipe.write(b"1\n")
    pipe.end()
    assert contents(pipe.read_all()) == [b"1\n"]


def test_the_items_of_a_document_are_records() -> None:
    made = Pipe(format="json", json_item_path="value.item")
    made.write(b'{"value": [{"id": 1},\n {"id"')
    made.write(b": 2}]}")
    made.end()
    assert contents(made.read_all()) == [b'{"id": 1}\n{"id": 2}\n']
    assert made.telemetry.names() == []
    made.close()


def test_a_document_that_is_cut_short_keeps_what_came_before_and_is_told() -> None:
    made = Pipe(format="json")
    made.write(b'[{"id": 1}, {"id": 2')
    made.end()
    assert contents(made.read_all())[0].startswith(b'{"id": 1}\n')
    assert [facts["path"] for facts in made.telemetry.facts("file_damaged")] == ["standard input"]
    assert made.source.wait_s() is None
    made.close()


def test_behind_a_fault_of_a_document_nothing_is_read() -> None:
    made = Pipe(format="json")
    made.write(b'[{"id": 1} oops')
    assert contents(made.read_all()) == [b'{"id": 1}\n']
    assert made.source.wait_s() is None
    made.close()
