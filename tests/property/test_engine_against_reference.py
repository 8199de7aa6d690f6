"""The whole engine, from the bytes of a log to its files, against a model that computes everything at once."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_processor.assembly import Replica, open_replica
from event_processor.configuration.configuration import Configuration
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.model.telemetry import Telemetry
from event_processor.operations.log_reader import LogReader
from support.committed import Committed, canonical_state, read_committed
from support.engine import configuration, environment, run
from support.engine_lives import live_for, several_logs
from support.logs import adversarial_log, is_plain, logs, of_records
from support.reference import Fields, Options, Piece, evaluate_pieces
from support.simulated_fs import SimulatedFileSystem

FOLDER: Final = "/pipeline"
LINES: Final = int(os.environ.get("ADVERSARIAL_LINES", "2500"))
EXAMPLES: Final = 2000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 60
RECORD_BYTES_MAX: Final = 1_048_576
BATCH_SIZES: Final = (1024, 1500, 4096, 70_000, 4_194_304)


@dataclass(frozen=True)
class Case:
    """A configuration as the engine wants it, and what of it the model is told."""

    sections: dict[str, Any] = field(default_factory=dict)
    fields: Fields = field(default_factory=Fields)
    dedup: bool = True
    order_by: str = "id"
    buffer_events: int = 1024
    categories_max: int = 100_000

    def settings(self, *, batch_bytes: int) -> Configuration:
        return configuration(
            FOLDER,
            batch_bytes=batch_bytes,
            buffer_events=self.buffer_events,
            record_bytes_max=RECORD_BYTES_MAX,
            **self.sections,
        )

    def options(self, *, drained: bool) -> Options:
        return Options(
            fields=self.fields,
            record_bytes_max=RECORD_BYTES_MAX,
            dedup=self.dedup,
            order_by=self.order_by,
            buffer_events=self.buffer_events,
            categories_max=self.categories_max,
            finished=drained,
            drained=drained,
        )


CASES: Final = {
    "as it comes": Case(),
    "buffer of none": Case(buffer_events=0),
    "buffer of one": Case(buffer_events=1),
    "buffer of 16": Case(buffer_events=16),
    "by timestamp": Case(
        sections={"order": {"by": "timestamp"}}, fields=Fields(timestamp_needed=True), order_by="timestamp", buffer_events=16
    ),
    "by timestamp elsewhere, wide": Case(
        sections={"order": {"by": "timestamp"}, "event": {"timestamp_zone": "America/New_York"}},
        fields=Fields(timestamp_needed=True, timestamp_zone="America/New_York"),
        order_by="timestamp",
    ),
    "a value may be missing": Case(
        sections={"event": {"value_missing": "count_only"}}, fields=Fields(value_missing="count_only"), buffer_events=16
    ),
    "no value": Case(sections={"event": {"value": ""}}, fields=Fields(value=""), buffer_events=16),
    "one total": Case(sections={"event": {"category": ""}}, fields=Fields(category=""), buffer_events=16),
    "no timestamp": Case(sections={"event": {"timestamp": ""}}, fields=Fields(timestamp=""), buffer_events=16),
    "few categories": Case(sections={"totals": {"categories_max": 4}}, categories_max=4, buffer_events=16),
    "one category": Case(sections={"totals": {"categories_max": 1}}, categories_max=1, buffer_events=16),
    "duplicates count": Case(sections={"dedup": {"enabled": False}}, dedup=False, buffer_events=16),
    "fingerprints are keyed": Case(sections={"dedup": {"fingerprint": "blake2b"}}, buffer_events=16),
    "ids of two fields": Case(
        sections={"event": {"id": ("category", "id")}}, fields=Fields(id=("category", "id")), buffer_events=16
    ),
    "ids of one field as a list": Case(sections={"event": {"id": ("id",)}}, fields=Fields(id=("id",)), buffer_events=16),
    "ids by position": Case(sections={"event": {"id": "@position"}}, fields=Fields(id="@position"), buffer_events=16),
    "a category from within": Case(
        sections={"event": {"category": "deep.er", "value": "v.w", "value_missing": "count_only"}},
        fields=Fields(category="deep.er", value="v.w", value_missing="count_only"),
    ),
}


def hostile_log(lines: int, seed: int) -> bytes:
    """An adversarial log that does not begin with NULs: of those the source makes no record (see the last test)."""
    return of_records(adversarial_log(lines, seed))


def disk_with(content: bytes, *, seed: int = 0) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(seed)
    fs.plant(f"{FOLDER}/log.jsonl", content)
    return fs


def outcome(fs: SimulatedFileSystem) -> Committed:
    committed = read_committed(fs.content, FOLDER)
    assert committed is not None
    committed.assert_sound()
    return committed


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_log_gives_what_the_model_gives(name: str) -> None:
    case = CASES[name]
    seed = list(CASES).index(name)
    drain = bool(seed % 2)
    log = hostile_log(LINES, seed)
    fs = disk_with(log)
    run(fs, case.settings(batch_bytes=100_000), drain=drain)
    outcome(fs).assert_is(evaluate_pieces([Piece("log", log, generation=1)], case.options(drained=drain)))


@settings(max_examples=settings().max_examples // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    log=logs().map(of_records).filter(is_plain),
    name=st.sampled_from(sorted(CASES)),
    drain=st.booleans(),
    batch_bytes=st.sampled_from([1024, 4096]),
)
def test_a_small_log_gives_what_the_model_gives(log: bytes, name: str, drain: bool, batch_bytes: int) -> None:
    case = CASES[name]
    fs = disk_with(log)
    run(fs, case.settings(batch_bytes=batch_bytes), drain=drain)
    outcome(fs).assert_is(evaluate_pieces([Piece("log", log, generation=1)], case.options(drained=drain)))


@pytest.mark.parametrize("batch_bytes", BATCH_SIZES)
@pytest.mark.parametrize("name", ["buffer of 16", "few categories", "by timestamp", "ids of two fields"])
def test_batch_sizes_stops_and_a_growing_log_leave_the_same_state(name: str, batch_bytes: int) -> None:
    case = CASES[name]
    log = hostile_log(400, seed=5)
    whole = disk_with(log)
    run(whole, case.settings(batch_bytes=4_194_304), drain=True)
    expected = outcome(whole)
    fs = disk_with(b"", seed=batch_bytes)
    random = Random(batch_bytes)
    there_bytes = 0
    for life in range(20):
        there_bytes = min(len(log), there_bytes + random.choice([1, 200, 20_000, 400_000]))
        fs.plant(f"{FOLDER}/log.jsonl", log[:there_bytes])
        live_for(fs, case.settings(batch_bytes=random.choice([batch_bytes, 2048])), commits=random.randint(1, 8), seed=life)
        outcome(fs)
    fs.plant(f"{FOLDER}/log.jsonl", log)
    run(fs, case.settings(batch_bytes=batch_bytes), seed=100, drain=True)
    assert canonical_state(outcome(fs)) == canonical_state(expected)
    assert outcome(fs).sink == expected.sink
    assert outcome(fs).dead_letters == expected.dead_letters


def logs_of_several(seed: int) -> dict[str, bytes]:
    """Files of both sources, by path: hostile ones with ids in common, and an empty one."""
    contents = {f"{FOLDER}/shop/{name}.log": hostile_log(250, seed + n) for n, name in enumerate("abc")}
    return {**contents, f"{FOLDER}/shop/empty.log": b"", f"{FOLDER}/audit.log": hostile_log(300, seed + 9)}


def journal_of(committed: Committed) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in committed.journal.splitlines()]
    open_run = committed.state["journal"]
    return [*entries, open_run] if open_run else entries


def pieces_of(committed: Committed, contents: dict[str, bytes]) -> list[Piece]:
    """What the journal says was read, in its order; what was let go at the end is no reading."""
    paths = {
        (name, file["generation"]): f"{FOLDER}/{file['position']['path']}"
        for name, source in committed.state["sources"].items()
        for file in source["generations"]
    }
    pieces = []
    runs = [entry for entry in journal_of(committed) if entry["what"] == "read"]
    for entry in runs:
        content = contents[paths[entry["source"], entry["generation"]]]
        pieces.append(Piece(entry["source"], content[entry["from"] : entry["to"]], generation=entry["generation"]))
    return pieces


@pytest.mark.parametrize("batch_bytes", BATCH_SIZES)
def test_several_logs_give_what_the_model_gives_for_the_same_journal(batch_bytes: int) -> None:
    contents = logs_of_several(batch_bytes)
    fs = SimulatedFileSystem(batch_bytes)
    for path, content in contents.items():
        fs.plant(path, content)
    pipeline = several_logs(FOLDER, batch_bytes=batch_bytes, buffer_events=16)
    random = Random(batch_bytes)
    for life in range(4):
        live_for(fs, pipeline, commits=random.randint(1, 3), seed=life)
    run(fs, pipeline, seed=5, drain=True)
    committed = outcome(fs)
    options = Options(record_bytes_max=4096, buffer_events=16, finished=True, drained=True)
    committed.assert_is(evaluate_pieces(pieces_of(committed, contents), options))


def with_batches_of(batch_bytes: int, fs: SimulatedFileSystem, folder: str) -> Committed:
    """What `fs` has committed, computed once more below `folder` in the order of its journal, in batches of another size."""
    pipeline = several_logs(FOLDER, batch_bytes=batch_bytes, buffer_events=16)
    surroundings = environment(fs, seed=batch_bytes)
    checkpoint = CheckpointStore(fs, f"{FOLDER}/state", Telemetry()).peek()
    assert checkpoint is not None
    fs.make_directory(folder)
    fs.make_directory(f"{folder}/state")
    replica = Replica(f"{folder}/state", lambda _name, _path: f"{folder}/out/ordered.jsonl")
    reader = LogReader(pipeline, surroundings, checkpoint)
    processor = open_replica(pipeline, surroundings, replica, reading=False).processor
    processor.feed(reader.script())
    processor.close()
    reader.close()
    computed = read_committed(fs.content, folder)
    assert computed is not None
    return computed


def test_the_same_journal_gives_the_same_state_whatever_the_batches() -> None:
    contents = logs_of_several(3)
    fs = SimulatedFileSystem(3)
    for path, content in contents.items():
        fs.plant(path, content)
    for life in range(5):
        live_for(fs, several_logs(FOLDER, batch_bytes=3000 << life, buffer_events=16), commits=4, seed=life)
    run(fs, several_logs(FOLDER, batch_bytes=4096, buffer_events=16), seed=5, drain=True)
    read = outcome(fs)
    for batch_bytes in BATCH_SIZES:
        computed = with_batches_of(batch_bytes, fs, f"/again-{batch_bytes}")
        computed.assert_sound()
        assert canonical_state(computed) == canonical_state(read)
        assert (computed.sink, computed.dead_letters) == (read.sink, read.dead_letters)


def test_nuls_at_the_start_of_a_file_are_no_record_and_offsets_count_them() -> None:
    fs = disk_with(b"\x00" * 5000 + b'{"id": 1, "category": "c", "value": 1}\nbad\n')
    run(fs, Case().settings(batch_bytes=1024), drain=True)
    committed = outcome(fs)
    assert committed.counts == {"records": 2, "accepted": 1, "duplicate": 0, "rejected": 1, "blank": 0, "late": 0}
    assert [(letter["line"], letter["offset"]) for letter in committed.letters] == [(2, 5039)]
