"""`verify --sink` of a sink that writes objects: what its manifest names against the log, with a real S3 server."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import obstore
import pytest

from event_processor.connectors.s3.committed_objects import S3Objects
from event_processor.model.committed_rows import LaneOfRows, ReleasedRecord, RowsCompared
from event_processor.model.delivery import OutboxRecord
from event_processor.model.transactions import CursorOwner
from support.command_line import Shell, shell_in
from support.lanes import BAD, DELIVERED, STATE_ID, MemoryOutbox, ScriptedEnricher, records
from support.numbered_events import event
from support.s3_server import ACCESS_KEY, SECRET, FaultyRoad, S3Server, s3_of_tests
from support.s3_sink_world import Fault, FaultyBucket, KilledError, S3SinkWorld, killed

FOLDER = "out/event-processor/archive"
OBJECTS = f"{FOLDER}/objects-0001"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_of_tests() as server:
        yield server


class Place:
    """A pipeline of 25 events, with objects of ten, and commands in this process."""

    def __init__(self, server: S3Server, shell: Shell, compression: str = "none") -> None:
        self.server, self.shell, self.bucket = server, shell, server.new_bucket()
        shell.path("secret").write_text(SECRET)
        shell.path("log.jsonl").write_bytes(b"".join(event(number) + b"\n" for number in range(1, 26)))
        self.configure(server.address, compression)
        assert shell.call("run", "--once") == 0, shell.err

    def configure(self, address: str, compression: str = "none") -> None:
        self.shell.path("event-processor.toml").write_text(
            f'[sources.log]\npath = "log.jsonl"\n[order]\nbuffer_events = 0\n[sinks.archive]\ntype = "s3"\nurl = "s3://{self.bucket}/out"\n'
            f'endpoint = "{address}"\naccess_key_id = "{ACCESS_KEY}"\nsecret_access_key_file = "secret"\ntimeout_s = 5\n'
            f'object_events_max = 10\nstart = "beginning"\ncompression = "{compression}"\n'
        )

    @property
    def store(self) -> Any:
        return self.server.store(self.bucket)

    def key(self, first: int, suffix: str = ".jsonl") -> str:
        return f"{OBJECTS}/{first:020}{suffix}"

    def content(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())

    def change(self, key: str, content: bytes, metadata: dict[str, str] | None = None) -> None:
        """Writes other content, with the metadata that the object has, or other ones."""
        attributes = obstore.get(self.store, key, options={"head": True}).attributes
        kept = {name: attributes[name] for name in attributes if name != "Content-Type"} if metadata is None else metadata
        obstore.put(self.store, key, content, attributes=kept, use_multipart=False)

    def differences(self) -> list[dict[str, Any]]:
        assert self.shell.call("verify", "--sink", "archive", "--json") == 65, self.shell.out + self.shell.err
        return list(json.loads(self.shell.out)["differences"])


@pytest.fixture
def place(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(server, shell_in(tmp_path, monkeypatch, capsys))


def test_untouched_objects_are_ok_and_what_the_manifest_does_not_name_is_reported(place: Place) -> None:
    begin = f"sink archive: ok: objects s3://{place.bucket}/{FOLDER}/, records 1 to 25: 25 delivered, 0 failed, 0 skipped"
    assert place.shell.call("verify", "--sink", "archive") == 0, place.shell.out + place.shell.err
    assert place.shell.out.splitlines() == [begin, "sink archive: 3 objects compared"]
    # An object of a process that died before the manifest; one of another program; and another beginning of the sink.
    unnamed = [place.key(26), f"{OBJECTS}/notes.txt", f"{FOLDER}/objects-0002/{1:020}.jsonl"]
    for key in unnamed:
        obstore.put(place.store, key, b"{}\n")
    assert place.shell.call("verify", "--sink", "archive") == 0
    found = [f"sink archive: not compared: s3://{place.bucket}/{key}: the manifest does not name it" for key in unnamed]
    assert place.shell.out.splitlines() == [begin, "sink archive: 3 objects compared", *found]
    document = place.shell.json("verify", "--sink", "archive")
    (table,) = document["tables"]
    assert (table["kind"], table["gone"], table["through"], len(table["notes"])) == ("objects", 0, 25, 4)


def test_a_line_that_was_changed_is_named_with_its_record(place: Place) -> None:
    key = place.key(11)
    place.change(key, place.content(key).replace(event(13), event(99)))
    (found,) = place.differences()
    offset = sum(len(event(number)) + 1 for number in range(1, 13))
    assert (found["sequence"], found["line"], found["offset"]) == (13, 13, offset)
    assert (found["committed"], found["recomputed"]) == (event(99).decode(), event(13).decode())
    assert f"line 3 of s3://{place.bucket}/{key}" in found["path"]
    assert place.shell.call("verify", "--sink", "archive") == 65
    assert place.shell.out.startswith("sink archive: 1 difference: objects s3://")


def test_a_line_that_is_missing_or_too_many_is_two_differences_and_not_one_for_each_line_after_it(place: Place) -> None:
    key = place.key(1)
    lines = place.content(key).splitlines(keepends=True)
    place.change(key, b"".join(lines[:4] + lines[5:]))
    count, first = place.differences()
    assert (count["committed"], count["recomputed"], count["sequence"]) == (9, 10, 1)
    assert (first["sequence"], first["committed"], first["recomputed"]) == (5, event(6).decode(), event(5).decode())
    place.change(key, b"".join([*lines, lines[-1]]))
    (count,) = place.differences()
    assert (count["committed"], count["recomputed"]) == (11, 10)
    # A line that is torn at the end.
    place.change(key, b"".join(lines)[:-1])
    assert [each["sequence"] for each in place.differences()] == [1, 10]


def test_an_object_that_is_gone_is_66_and_says_nothing_about_the_others(place: Place) -> None:
    place.server.delete(place.bucket, place.key(11))
    assert place.shell.call("verify", "--sink", "archive") == 66
    assert "sink archive: not all could be compared: objects" in place.shell.out
    assert "sink archive: gone: the object of record 11 (records 11 to 20 are in no object)" in place.shell.out
    key = place.key(21)
    place.change(key, place.content(key).replace(event(22), event(99)))
    assert [each["sequence"] for each in place.differences()] == [22]


def test_metadata_of_another_program_a_manifest_that_was_changed_and_one_that_is_gone_are_65(place: Place) -> None:
    key, manifest = place.key(21), f"{FOLDER}/manifest.json"
    own = obstore.get(place.store, key, options={"head": True}).attributes
    kept = {name: str(own[name]) for name in own if name != "Content-Type"}
    place.change(key, place.content(key), {"made-by": "another"})
    (found,) = place.differences()
    assert f"the metadata of s3://{place.bucket}/{key}" in found["path"]
    place.change(key, place.content(key), {**kept, "chain": "0" * 32})
    (found,) = place.differences()
    assert "the chain in the metadata of" in found["path"]
    place.change(key, place.content(key), kept)
    content = place.content(manifest)
    chain = json.loads(content)["chain"]
    obstore.put(place.store, manifest, content.replace(chain.encode(), b"0" * len(chain)))
    (found,) = place.differences()
    assert (found["committed"], found["recomputed"]) == ("0" * len(chain), chain)
    place.server.delete(place.bucket, manifest)
    assert place.shell.call("verify", "--sink", "archive") == 65
    assert "its manifest does not know this pipeline, but 25 records were answered" in place.shell.err


def test_a_service_that_is_away_is_69_and_one_that_refuses_us_is_78(place: Place) -> None:
    place.configure("http://127.0.0.1:1")
    assert place.shell.call("verify", "--sink", "archive") == 69
    assert "sinks.archive: http://127.0.0.1:1: " in place.shell.err
    with FaultyRoad(place.server, lambda *_: "AccessDenied") as road:
        place.configure(road.address)
        assert place.shell.call("verify", "--sink", "archive") == 78
        assert f"sinks.archive: {road.address}: 403: AccessDenied" in place.shell.err


def test_compressed_objects_are_compared_and_one_that_is_damaged_is_a_difference(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(server, shell_in(tmp_path, monkeypatch, capsys), "gzip")
    assert place.shell.call("verify", "--sink", "archive") == 0, place.shell.out
    key = place.key(1, ".jsonl.gz")
    place.change(key, place.content(key)[:-9])
    (found,) = place.differences()
    assert f"the content of s3://{place.bucket}/{key}" in found["path"]
    lines = gzip.compress(b"".join(event(number) + b"\n" for number in range(1, 11)))
    place.change(key, lines)
    assert place.shell.call("verify", "--sink", "archive") == 0, place.shell.out


LANE = LaneOfRows(CursorOwner("pipeline", "remote", "remote", STATE_ID, "events"), 0, "", enriched=("model", "answer.x"))


def compared(world: S3SinkWorld, released: Sequence[OutboxRecord]) -> RowsCompared:
    objects = S3Objects(world.options(), FaultyBucket(world.options(), Fault()), sink="remote", pipeline="pipeline", shard="")
    try:
        cursor = objects.cursor(LANE)
        assert cursor is not None
        comparison = objects.comparison(LANE, cursor, 100)
        comparison.compare(
            [ReleasedRecord(each.sequence, msgspec.json.encode(each.place), each.chain, bytes(each.object)) for each in released]
        )
        return comparison.finish()
    finally:
        objects.close()


def test_failed_records_are_not_looked_for_in_objects_and_are_gone_if_their_object_is(server: S3Server, tmp_path: Path) -> None:
    world, released = S3SinkWorld.of(server), records(9)
    enricher = ScriptedEnricher(
        "model", lambda request: BAD if any(each.sequence == 5 for each in request.records) else DELIVERED
    )
    world.deliver(tmp_path, MemoryOutbox(released), request_events_max=3, enrichers={"model": enricher})
    found = compared(world, released)
    assert (found.differences, found.failed, found.rows, found.gone) == ((), 1, 8, 0)
    (key,) = (each for each in world.all_keys() if "/failed-" in each)
    world.server.delete(world.bucket, key)
    found = compared(world, released)
    assert (found.differences, found.gone) == ((), 1)
    assert f"gone: s3://{world.bucket}/{key}: failed records of the records 4 to 6" in found.notes


def test_what_an_enricher_set_is_not_compared_and_everything_else_is(server: S3Server, tmp_path: Path) -> None:
    world, released = S3SinkWorld.of(server), records(6)
    world.deliver(tmp_path, MemoryOutbox(released))
    (key,) = world.named()
    attributes = obstore.get(server.store(world.bucket), key, options={"head": True}).attributes
    kept = {name: str(attributes[name]) for name in attributes if name != "Content-Type"}
    lines = [json.dumps({**record, "answer": {"x": 7}}) for record in world.named()[key]]

    def put(lines: Sequence[str]) -> None:
        obstore.put(
            server.store(world.bucket), key, "".join(f"{each}\n" for each in lines).encode(), attributes=kept, use_multipart=False
        )

    plain = [
        msgspec.structs.replace(each, object=msgspec.Raw(bytes(each.object)[:-1] + b', "answer": {"x": 8}}')) for each in released
    ]
    put(lines)
    found = compared(world, plain)
    assert (found.differences, found.columns_not_compared) == ((), ("model", "answer.x"))
    put([*lines[:2], lines[2].replace('"n": 3', '"n": 4'), *lines[3:]])
    assert [each.sequence for each in compared(world, plain).differences] == [3]


@pytest.mark.parametrize("bounds", [(5, 3), (3, 5), (4, 12)])
def test_objects_of_tries_without_conditional_writes_are_counted_and_are_no_difference(
    server: S3Server, tmp_path: Path, bounds: tuple[int, int]
) -> None:
    world, released = S3SinkWorld.of(server), records(12)
    first, second = bounds
    outbox = MemoryOutbox(released)
    with pytest.raises(KilledError):
        # Killed between its second object and the manifest.
        world.deliver(tmp_path, outbox, world.receiver_of(Fault(6, event=killed, ignored="refuse")), request_events_max=first)
    world.deliver(tmp_path, outbox, world.receiver_of(Fault(ignored="refuse")), request_events_max=second)
    found = compared(world, released)
    assert (found.differences, found.gone, found.rows) == ((), 0, 12)
    assert any("only records that others have too" in each for each in found.notes)
