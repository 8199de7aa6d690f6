"""One contract for every source and format: each record has one outcome, at its own place, however it is cut and wherever it is resumed."""

from __future__ import annotations

import base64
import json
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.assembly.connectors import make_source
from event_processor.assembly.formats import format_factory
from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.source_options import FileSourceOptions, InputFilesOptions, StandardInputOptions
from event_processor.model.connector import SourceContext
from event_processor.model.contracts import Source
from event_processor.model.event import Chunk, Json
from event_processor.storage.durable import OperatingSystem
from support.columns import categories_of, ids_of
from support.engine import configuration, environment, run
from support.source_kinds import KINDS, Bad, Blank, Kind, Record, Row, Written

RESUMABLE = ("file", "input files")
SOURCES = (*RESUMABLE, "standard input")
PACKED = frozenset(name for name, kind in KINDS.items() if kind.pack(b"a") != b"a")
"""Standard input is read as it comes: compressed bytes are refused there."""
CASES = [(source, kind) for source in SOURCES for kind in KINDS if not (source == "standard input" and kind in PACKED)]
CHUNKS_MAX = 10_000

ROWS = st.builds(
    Row,
    id=st.integers(-(2**63), 2**63 - 1),
    category=st.sampled_from(["c", "é", 'qu"ote', "a;semi,colon", "x" * 60]),
    value=st.integers(-4000, 4000).map(lambda number: number / 4),
)
EVERY_CASE = pytest.mark.parametrize(("source", "kind"), CASES)


def lists_of_records(kind: Kind) -> st.SearchStrategy[list[Record]]:
    """Rows, records at fault, and blank ones where there may be any; never a blank one at the end, which may be nothing."""
    blank = st.nothing() if kind.is_document else st.just(Blank())
    anything = st.lists(ROWS | ROWS | st.builds(Bad, st.booleans()) | blank, max_size=8)
    return anything.map(lambda records: records[:-1] if records and isinstance(records[-1], Blank) else records)


@contextmanager
def written_to_disk(written: Written) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        path.write_bytes(written.file)
        yield path


@contextmanager
def options_of(source: str, kind: Kind, path: Path) -> Iterator[FileSourceOptions]:
    """What the configuration, or the command line, says of the file as a source of this kind."""
    template = FileSourceOptions.model_validate({"path": ConfiguredPath(str(path)), "retire_ms": 0, **kind.source})
    if source == "file":
        yield template
    elif source == "input files":
        yield InputFilesOptions.of(template, [str(path)], [path.stat().st_size])
    else:
        with path.open("rb") as file:
            yield StandardInputOptions.of(template, file.fileno())


def settings_of(kind: Kind, options: FileSourceOptions, folder: Path) -> Configuration:
    made = configuration(str(folder), event={"timestamp": ""}, order={"buffer_events": 0}, **kind.sections)
    return made.model_copy(update={"sources": {"log": options}})


@dataclass
class Reading:
    """Reads as the processor does: what it found, and where each part resumes, as it stands in a checkpoint."""

    kind: Kind
    options: FileSourceOptions
    path: Path
    parts: Mapping[int, Mapping[str, Json]] = field(default_factory=dict)
    next_part: int = 1
    lines: int = 0
    events: list[tuple[Any, str, float]] = field(default_factory=list)
    blank_count: int = 0
    letters: list[tuple[int, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        factory = format_factory(settings_of(self.kind, self.options, self.path.parent), self.options)
        # As a further process gets it.
        self.format = pickle.loads(pickle.dumps(factory))()

    def opened(self) -> Source:
        made = make_source(self.options, SourceContext("log", environment(OperatingSystem()), finished=True))
        made.open(self.parts, self.next_part)
        return made

    def take(self, chunk: Chunk) -> None:
        """Counts a chunk, and holds it to the contract."""
        known = self.parts.get(chunk.generation)
        if known is None:
            assert chunk.generation == self.next_part, "parts are numbered one after the other"
            self.next_part += 1
        assert chunk.offset == (known["offset"] if known else 0), "chunks follow each other without a gap"
        assert chunk.position["offset"] == chunk.end_offset
        assert chunk.final or not chunk.content or chunk.content.endswith(b"\n"), "only the end of finished input ends a record"
        parts = {**self.parts, chunk.generation: chunk.position}
        if chunk.retired:
            del parts[chunk.generation]
        self.parts = {int(part): resume for part, resume in json.loads(json.dumps(parts)).items()}
        if chunk.content:
            self._count(chunk)

    def _count(self, chunk: Chunk) -> None:
        columns = self.format.decode(chunk)
        assert len(columns.rows) + columns.blank_count + len(columns.rejections) == columns.record_count
        assert columns.values is not None
        self.events += zip(ids_of(columns), categories_of(columns) or [], columns.values.tolist(), strict=True)
        self.blank_count += columns.blank_count
        self.letters += [
            (self.lines + each.row + 1, chunk.offset + int(columns.starts[each.row]), columns.record(each.row))
            for each in columns.rejections
        ]
        self.lines += columns.record_count

    def has_what(self, written: Written) -> None:
        assert self.events == written.events
        assert self.blank_count == written.blank_count
        assert self.letters == written.letters
        assert self.lines == len(written.records)


def read_on(source: Source, bytes_max: int) -> Chunk | None:
    """The next chunk; None at the end of the input."""
    for _ in range(CHUNKS_MAX):
        chunk = source.read(bytes_max)
        if chunk is not None or source.wait_s() is None:
            return chunk
    raise AssertionError("it waits for ever")


@EVERY_CASE
@settings(max_examples=settings().max_examples // 5, deadline=None)
@given(data=st.data(), ended=st.booleans(), bytes_max=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_every_record_has_its_outcome_at_its_place_whatever_the_chunks(
    source: str, kind: str, data: st.DataObject, ended: bool, bytes_max: list[int]
) -> None:
    of_kind = KINDS[kind]  # type: ignore[index]
    written = of_kind.write(data.draw(lists_of_records(of_kind)), ended=ended)
    with written_to_disk(written) as path, options_of(source, of_kind, path) as options:
        reading = Reading(of_kind, options, path)
        opened = reading.opened()
        for turn in range(CHUNKS_MAX):
            chunk = read_on(opened, bytes_max[turn % len(bytes_max)])
            if chunk is None:
                break
            reading.take(chunk)
        opened.close()
        reading.has_what(written)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", RESUMABLE)
@settings(max_examples=settings().max_examples // 5, deadline=None)
@given(data=st.data(), ended=st.booleans(), bytes_max=st.integers(1, 300), uncommitted=st.integers(0, 3))
def test_it_resumes_exactly_from_every_chunk_boundary_by_a_position_in_json(
    source: str, kind: str, data: st.DataObject, ended: bool, bytes_max: int, uncommitted: int
) -> None:
    """Each chunk is read by a life of its own, which dies some chunks further on; those were not committed, and come again."""
    of_kind = KINDS[kind]  # type: ignore[index]
    written = of_kind.write(data.draw(lists_of_records(of_kind)), ended=ended)
    with written_to_disk(written) as path, options_of(source, of_kind, path) as options:
        reading = Reading(of_kind, options, path)
        for _ in range(CHUNKS_MAX):
            life = reading.opened()
            chunk = read_on(life, bytes_max)
            for _ in range(uncommitted):
                life.read(bytes_max)
            life.close()
            if chunk is None:
                break
            reading.take(chunk)
        reading.has_what(written)


@dataclass
class Committed:
    """What a run of the whole engine left behind."""

    counts: dict[str, int]
    ids: list[int]
    letters: list[dict[str, Any]]


def committed(source: str, kind: Kind, file: bytes, folder: Path) -> Committed:
    path = folder / "input"
    path.write_bytes(file)
    with options_of(source, kind, path) as options:
        run(OperatingSystem(), settings_of(kind, options, folder), drain=True)
    state = json.loads((folder / "state" / "checkpoint.json").read_bytes())["state"]
    sink, letters = folder / "out" / "ordered.jsonl", folder / "state" / "dead_letters.jsonl"
    return Committed(
        {name: count for name, count in state["counts"].items() if name != "late"},
        [json.loads(line)["id"] for line in sink.read_bytes().splitlines()] if sink.exists() else [],
        [json.loads(line) for line in letters.read_bytes().splitlines()] if letters.exists() else [],
    )


@EVERY_CASE
@pytest.mark.parametrize("bad", [Bad(is_read=False), Bad(is_read=True)], ids=["unreadable", "unfit"])
def test_a_bad_record_in_the_middle_is_one_dead_letter_with_its_place_and_its_own_bytes(
    source: str, kind: str, bad: Bad, tmp_path: Path
) -> None:
    of_kind = KINDS[kind]  # type: ignore[index]
    written = of_kind.write([Row(1, "c", 0.5), Row(2, "é", 1.5), bad, Row(3, "c", 2.5)])
    found = committed(source, of_kind, written.file, tmp_path)
    ((line, offset, record),) = written.letters
    header = int(bool(of_kind.header))
    assert found.counts == {"records": 4 + header, "accepted": 3, "duplicate": 0, "rejected": 1, "blank": header}
    assert found.ids == [1, 2, 3]
    (letter,) = found.letters
    assert (letter["line"], letter["offset"]) == (line, offset)
    assert own_bytes(letter) == record
    assert letter["reason"]


def own_bytes(letter: dict[str, Any]) -> bytes:
    if "record_base64" in letter:
        return base64.b64decode(letter["record_base64"])
    return bytes(letter["record"].encode())


@EVERY_CASE
def test_a_last_record_without_a_line_end_counts_once_where_the_input_is_finished(source: str, kind: str, tmp_path: Path) -> None:
    of_kind = KINDS[kind]  # type: ignore[index]
    written = of_kind.write([Row(1, "c", 0.5), Row(2, "c", 1.5)], ended=False)
    found = committed(source, of_kind, written.file, tmp_path)
    assert (found.counts["accepted"], found.ids, found.letters) == (2, [1, 2], [])


@EVERY_CASE
@pytest.mark.parametrize("is_packed", [True, False])
def test_an_empty_file_gives_nothing(source: str, kind: str, is_packed: bool, tmp_path: Path) -> None:
    of_kind = KINDS[kind]  # type: ignore[index]
    found = committed(source, of_kind, of_kind.pack(b"") if is_packed else b"", tmp_path)
    assert (set(found.counts.values()), found.ids, found.letters) == ({0}, [], [])
