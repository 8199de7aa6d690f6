"""The contract of a source, held by a bucket: each record once, in order, at its offset, however it is cut and wherever it is resumed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_processor.assembly import Environment
from event_processor.connectors.s3.options import S3SourceOptions
from event_processor.connectors.s3.past_generation import ObjectGeneration
from event_processor.connectors.s3.positions import read_position
from event_processor.connectors.s3.source import S3Source
from event_processor.model.connector import SourceContext
from event_processor.model.event import Chunk, Json
from event_processor.storage.durable import OperatingSystem
from support.processes import wait_until
from support.s3_server import ACCESS_KEY, SECRET, S3Server, s3_of_tests

LIMIT = 40
WORLD = Environment(fs=OperatingSystem())
EXAMPLES = 12


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_of_tests() as server:
        yield server


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_SECRET_OF_TESTS", SECRET)


class Reading:
    """What was committed of a bucket: the positions of open and of retired generations, and the records by key and offset."""

    def __init__(self, server: S3Server, bucket: str) -> None:
        self.options = S3SourceOptions(
            type="s3",
            url=f"s3://{bucket}/**/*.log*",
            endpoint=server.address,
            access_key_id=ACCESS_KEY,
            secret_access_key_env="S3_SECRET_OF_TESTS",
            record_bytes_max=LIMIT,
            poll_interval_ms=1,
        )
        self.open: dict[int, dict[str, Json]] = {}
        self.retired: list[dict[str, Json]] = []
        self.records: list[tuple[str, int, bytes | int]] = []

    def opened(self) -> S3Source:
        source = S3Source(self.options, SourceContext("bucket", WORLD, retired=lambda: list(self.retired)))
        source.open(self.open, len(self.open) + len(self.retired) + 1)
        return source

    def take(self, chunk: Chunk) -> None:
        """Commits a chunk, and holds it to the contract."""
        known = self.open.get(chunk.generation)
        if known is None:
            assert chunk.generation == len(self.open) + len(self.retired) + 1, "generations are numbered one after the other"
        assert chunk.offset == (known["offset"] if known else 0), "chunks follow each other"
        position: dict[str, Json] = json.loads(json.dumps(dict(chunk.position)))
        assert position["offset"] == chunk.end_offset
        key = self.options.key_of(str(position["path"]))
        self.records += [(key, offset, record) for offset, record in cut(chunk.content, chunk.offset)]
        if chunk.content:
            assert chunk.final == (not chunk.content.endswith(b"\n")), (
                "only the end of an object ends a record without a line end"
            )
        if chunk.oversized_bytes:
            self.records.append((key, chunk.offset, chunk.oversized_bytes))
        self.open[chunk.generation] = position
        if chunk.retired:
            self.retired.append(self.open.pop(chunk.generation))

    def read_on(self, sizes: Iterator[int], chunks_max: int | None) -> None:
        """One life of a process: reads to the end of what is there, or dies after so many chunks."""
        with closing(self.opened()) as source:
            left = chunks_max

            def is_over() -> bool:
                nonlocal left
                if left == 0:
                    return True
                chunk = source.read(next(sizes))
                if chunk is not None:
                    self.take(chunk)
                    left = None if left is None else left - 1
                    return False
                return source.wait_s() is None

            wait_until(is_over, "the bucket is read")


def cut(content: bytes, start: int) -> list[tuple[int, bytes]]:
    """An independent way to cut lines: their offsets, without their ends."""
    found, offset = [], start
    for line in content.splitlines(keepends=True) if b"\r" not in content else content.replace(b"\r", b" ").splitlines(True):
        found.append((offset, line.rstrip(b"\n")))
        offset += len(line)
    return found


def expected(content: bytes) -> list[tuple[int, bytes | int]]:
    """The records of an object; one over the limit is its length with its line end."""
    return [
        (offset, record if len(record) <= LIMIT else len(record) + (offset + len(record) < len(content)))
        for offset, record in cut(content, 0)
    ]


LINES = st.lists(st.sampled_from([b"", b"a", b'{"id": 1}', b"x" * LIMIT, b"y" * (LIMIT + 1), b"z" * 300]), max_size=8)
CONTENTS = st.builds(lambda lines, is_ended: b"\n".join(lines) + (b"\n" if is_ended and lines else b""), LINES, st.booleans())
KEYS = st.sampled_from([f"{folder}{name}.log" for folder in ("", "a/", "b/c/") for name in "stuv"])


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.dictionaries(KEYS, st.tuples(CONTENTS, st.booleans()), max_size=5), min_size=1, max_size=3),
    deaths=st.lists(st.integers(0, 6), max_size=4),
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5),
)
def test_each_record_of_each_object_comes_once_however_often_the_process_dies_and_whenever_objects_come(
    server: S3Server,
    batches: Sequence[dict[str, tuple[bytes, bool]]],
    deaths: Sequence[int],
    sizes: Sequence[int],
) -> None:
    bucket = server.new_bucket()
    reading = Reading(server, bucket)
    want: list[tuple[str, int, bytes | int]] = []
    turns = iter(lambda: sizes[len(reading.records) % len(sizes)], 0)
    for number, batch in enumerate(batches):
        for key, (content, is_packed) in batch.items():
            # An object is another one in each batch: a part of them has smaller keys than what was read.
            name = f"{key}{number}"
            server.put(bucket, name, gzip.compress(content) if is_packed else content)
            want += [(name, offset, record) for offset, record in expected(content)]
        for chunks in deaths if number == 0 else ():
            reading.read_on(turns, chunks)
        reading.read_on(turns, None)
    assert sorted(reading.records, key=repr) == sorted(want, key=repr)
    assert not reading.open
    for position in reading.retired:
        read_again(reading, position)


def read_again(reading: Reading, position: dict[str, Json]) -> None:
    """A generation read again has the same records."""
    known = read_position(position)
    key = reading.options.key_of(known.path)
    with closing(ObjectGeneration(reading.options, known, WORLD)) as generation:
        found: list[tuple[str, int, bytes | int]] = []
        for piece in generation.pieces(0, known.offset, 50):
            found += [(key, offset, record) for offset, record in cut(piece.content, piece.offset)]
            if piece.oversized_bytes:
                found.append((key, piece.offset, piece.oversized_bytes))
    wanted = [each for each in reading.records if each[0] == key]
    assert found == wanted
    # A generation may have ended before its object does, and is read again only up to there.
    middle = wanted[len(wanted) // 2][1] if wanted else 0
    with closing(ObjectGeneration(reading.options, known, WORLD)) as generation:
        assert [piece.end_offset for piece in generation.pieces(0, middle, 1_000)][-1:] == ([middle] if middle else [])
