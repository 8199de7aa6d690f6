"""A source that numbers its records, with gaps: places, dead letters, the journal and `explain` have these numbers, also after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from event_processor.assembly import CONNECTORS
from event_processor.configuration.configuration import Configuration
from event_processor.model.connector import Connector, PastGeneration, Piece, SourceContext, World
from event_processor.model.contracts import Source
from event_processor.model.event import Chunk, Json
from event_processor.model.options import SourceOptions
from event_processor.operations.explanation import explain
from event_processor.operations.verification import verify
from event_processor.storage.durable import OperatingSystem
from support.engine import environment, run

TOPIC: dict[int, bytes] = {}
"""Each record by its number."""


class NumberedOptions(SourceOptions):
    type: Literal["numbered"] = "numbered"
    chunk_records: int = 2

    def identity(self) -> Mapping[str, Json]:
        return {"type": self.type}


class Numbered:
    """One generation: all records in order, `chunk_records` at a time; a long one alone."""

    def __init__(self, options: NumberedOptions, name: str) -> None:
        self.name = name
        self._options = options
        self._next = 5

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        if 1 in positions:
            self._next = int(str(positions[1]["offset"]))

    def read(self, bytes_max: int) -> Chunk | None:
        numbers = [number for number in sorted(TOPIC) if number >= self._next][: self._options.chunk_records]
        if not numbers:
            return None
        long = next((number for number in numbers if len(TOPIC[number]) > self._options.record_bytes_max), None)
        if long is not None:
            numbers = [number for number in numbers if number < long] or [long]
        begin, self._next = self._next, numbers[-1] + 1
        content = b"".join(TOPIC[number] + b"\n" for number in numbers)
        is_long = numbers == [long]
        return Chunk(
            self.name,
            1,
            begin,
            b"" if is_long else content,
            {"offset": self._next, "path": "topic/0"},
            oversized_bytes=len(content) if is_long else 0,
            places=np.array(numbers, np.int64),
        )

    def lag_bytes(self) -> int:
        return 0

    def has_more(self) -> bool:
        return False

    def wait_s(self) -> float | None:
        return None

    def acknowledge(self) -> None: ...

    def close(self) -> None: ...


class Past:
    head = b""

    def __init__(self, options: NumberedOptions) -> None:
        self._limit = options.record_bytes_max

    def pieces(self, start: int, end: int, bytes_max: int) -> Iterator[Piece]:
        for number in sorted(number for number in TOPIC if start <= number < end):
            is_long = len(TOPIC[number]) > self._limit
            line, place = TOPIC[number] + b"\n", np.array([number], np.int64)
            begin, start = start, number + 1
            yield Piece(begin, b"" if is_long else line, oversized_bytes=len(line) if is_long else 0, places=place)

    def close(self) -> None: ...


class NumberedConnector(Connector):
    type_name = "numbered"
    source_options = NumberedOptions

    def source(self, options: NumberedOptions, context: SourceContext) -> Source:
        return Numbered(options, context.name)

    def reopen(self, options: NumberedOptions, position: Mapping[str, Json], world: World) -> PastGeneration | None:
        return Past(options)


def event(number: int, **more: Any) -> bytes:
    return json.dumps({"id": number, "category": "c", "value": 1.0, **more}).encode()


@pytest.fixture(autouse=True)
def _connector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(CONNECTORS._known, "numbered", NumberedConnector())
    TOPIC.clear()
    TOPIC.update({5: event(1), 6: b"{bad", 9: event(2), 10: b"", 17: b'"' + b"x" * 100 + b'"', 30: event(3), 31: b"worse"})
    yield
    TOPIC.clear()


def configured(folder: Path, **sections: Any) -> Configuration:
    return Configuration.model_validate(
        {
            "sources": {"live": NumberedOptions(record_bytes_max=80)},
            "event": {"timestamp": ""},
            "order": {"buffer_events": 0},
            "state": {"dir": str(folder / "state")},
            **sections,
        }
    )


def letters(folder: Path) -> list[tuple[int, int]]:
    lines = (folder / "state" / "dead_letters.jsonl").read_bytes().splitlines()
    return [(each["line"], each["offset"]) for each in map(json.loads, lines)]


def test_dead_letters_and_the_journal_have_the_numbers_and_a_gap_ends_no_run(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    for number in (31, 30, 17):
        kept = TOPIC.pop(number)
        run(OperatingSystem(), configuration)
        TOPIC[number] = kept
    run(OperatingSystem(), configuration)
    state = json.loads((tmp_path / "state" / "checkpoint.json").read_bytes())["state"]
    assert state["counts"] == {"records": 7, "accepted": 3, "duplicate": 0, "rejected": 3, "blank": 1, "late": 0}
    assert letters(tmp_path) == [(2, 6), (5, 17), (7, 31)]
    assert (state["journal"]["from"], state["journal"]["to"]) == (5, 32)
    assert not (tmp_path / "state" / "journal.jsonl").read_bytes()


def test_verify_reads_the_same_and_explain_names_the_number(tmp_path: Path) -> None:
    configuration = configured(tmp_path)
    run(OperatingSystem(), configuration)
    world = environment(OperatingSystem())
    assert verify(configuration, world, progress=lambda *_: None).differences == ()
    history = explain(configuration, world, "3", progress=lambda *_: None).ids[1]
    assert [(each.path, each.line, each.offset) for each in history.accepted] == [("topic/0", 6, 30)]


def test_a_position_as_id_has_the_number(tmp_path: Path) -> None:
    configuration = configured(tmp_path, event={"id": "@position", "timestamp": ""})
    run(OperatingSystem(), configuration)
    state = json.loads((tmp_path / "state" / "checkpoint.json").read_bytes())["state"]
    assert state["categories"]["c"]["last_id"] == ["live", 1, 30]
