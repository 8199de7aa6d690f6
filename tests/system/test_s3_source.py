"""Objects of a bucket as a source, with a real S3 server: each record is counted once, whatever is killed, and everything can be read again."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, starmap
from operator import eq
from pathlib import Path
from random import Random
from typing import Any, Final

import obstore
import pytest
import zstandard

from support.numbered_events import CATEGORIES, OUTPUT, CommittedEvents, succeeded
from support.numbered_events import event as line_of
from support.processes import Daemon, Finished, Pipeline, wait_until
from support.s3_server import ACCESS_KEY, SECRET, FaultyRoad, S3Server, s3_of_tests

MEMORY_BYTES_MAX: Final = 600_000_000
"""A daemon needs less, whatever the size of an object."""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_of_tests() as server:
        yield server


def event(number: int) -> bytes:
    return line_of(number) + b"\n"


def events(*numbers: int) -> bytes:
    return b"".join(map(event, numbers))


@dataclass(frozen=True)
class World(CommittedEvents):
    """A pipeline over a bucket, in `folder`, and what must come out of it. Expected values come from the numbers of the events alone."""

    server: S3Server
    bucket: str
    address: str = ""

    def prepare(self, keys: str = "*.jsonl*", more: str = "", secret: str = SECRET) -> Pipeline:
        """Writes the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "secret").write_text(secret)
        (self.folder / "pipeline.toml").write_text(
            f'[sources.events]\ntype = "s3"\nurl = "s3://{self.bucket}/{keys}"\nendpoint = "{self.address or self.server.address}"\n'
            f'access_key_id = "{ACCESS_KEY}"\nsecret_access_key_file = "secret"\npoll_interval_ms = 50\nrange_bytes = 65536\n{more}\n'
            f"{OUTPUT}"
        )
        return Pipeline(self.folder, self.folder)

    def put(self, key: str, content: bytes) -> str:
        return self.server.put(self.bucket, key, content)

    def kill_at(self, daemon: Daemon, records: int) -> None:
        """Kills the daemon when at least so many records are committed."""
        wait_until(lambda: self.records >= records or not daemon.alive, f"{records} records")
        daemon.kill()

    def holds(self, *numbers: int) -> None:
        """Fails unless exactly these events were accepted, each once, in this order, and the totals are theirs."""
        assert self.written == list(numbers)
        counts = self.state["counts"]
        assert (counts["accepted"], counts["duplicate"], counts["rejected"]) == (len(numbers), 0, 0)
        self.require_totals(numbers)

    @property
    def lost(self) -> list[tuple[str, int, int | None, str]]:
        found: Mapping[str, Any] = self.state.get("lost", {})
        return [(each["path"], each["offset"], each.get("size_bytes"), each["reason"]) for each in found.get("entries", ())]


@pytest.fixture
def world(server: S3Server, tmp_path: Path) -> World:
    return World(tmp_path, server, server.new_bucket())


def lost_some(finished: Finished) -> str:
    """What a run said that found something to be lost."""
    assert finished.exit_code == 66, finished.stderr
    return finished.stderr


def test_objects_are_read_in_the_order_of_their_keys_and_one_that_comes_later_with_a_smaller_key_is_found(world: World) -> None:
    world.put("b/2.jsonl", events(1, 2))
    world.put("b/3.jsonl.gz", gzip.compress(events(3)) + gzip.compress(events(4)))
    world.put("b/4.jsonl.zst", zstandard.ZstdCompressor().compress(events(5)))
    world.put("b/5.jsonl", b"")
    world.put("b/6.jsonl", event(6).rstrip(b"\n"))
    world.put("b/c/1.jsonl", events(900))
    world.put("b/notes.txt", b"not one of them")
    pipeline = world.prepare("b/*.jsonl*")
    succeeded(pipeline.run("--once"))
    world.holds(1, 2, 3, 4, 5, 6)
    assert world.state["sources"]["events"]["retired"]["generations"] == 5
    assert world.state["sources"]["events"]["generations"] == []
    assert json.loads(pipeline.command_of("status", "--json").stderr)["committed"]["lag_bytes"] == 0
    world.put("b/1.jsonl", events(7))
    assert json.loads(pipeline.command_of("status", "--json").stderr)["committed"]["lag_bytes"] == len(events(7))
    succeeded(pipeline.run("--once"))
    world.holds(1, 2, 3, 4, 5, 6, 7)
    assert "ok: 7 records" in succeeded(pipeline.verify())
    assert f"s3://{world.bucket}/b/1.jsonl:1" in succeeded(pipeline.command_of("explain", "7"))
    succeeded(pipeline.command_of("replay", "--yes"))
    succeeded(pipeline.run("--once"))
    world.holds(1, 2, 3, 4, 5, 6, 7)
    assert f"s3://{world.bucket}/b/1.jsonl can be read" in pipeline.command_of("doctor").stderr


LARGE = range(1, 6_001)
"""About 270 KiB: several ranges, and many commits."""


def is_range(path: str, headers: Mapping[str, str], begin: int = 1) -> bool:
    """Whether a request asks for a part of an object from `begin` on or later."""
    return "range" in headers and int(headers["range"].removeprefix("bytes=").split("-")[0]) >= begin and "list-type" not in path


def written_lines(path: Path, size_bytes: int) -> int:
    """Writes events from 1 on, at least so many bytes. Returns how many."""
    with path.open("wb") as file:
        number = 0
        while file.tell() < size_bytes:
            file.write(events(*range(number + 1, number + 1_001)))
            number += 1_000
    return number


def packed_file(path: Path) -> Path:
    """The same file, compressed."""
    packed = path.with_suffix(".gz")
    with path.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return packed


def peak_memory_bytes(daemon: Daemon) -> int:
    """The most memory that a running process had; 0 if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{daemon.process_id}/status").read_text()
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.mark.crash
@pytest.mark.parametrize("packed", [False, True])
def test_killed_at_random_again_and_again_inside_an_object_every_record_is_counted_once(world: World, *, packed: bool) -> None:
    """`S3_OBJECT_BYTES`: the size of the object, 256 KiB by default; `S3_OBJECT_KILLS`: how many, 10 by default."""
    size_bytes, kills = int(os.environ.get("S3_OBJECT_BYTES", "262144")), int(os.environ.get("S3_OBJECT_KILLS", "10"))
    content = world.folder / "content"
    count = written_lines(content, size_bytes)
    world.put("b.jsonl", events(count + 1, count + 2))
    obstore.put(world.server.store(world.bucket), "a.jsonl", packed_file(content) if packed else content)
    # About 60 commits at the least, whatever the size.
    limits = {
        "batch.bytes_max": min(size_bytes // 64, 4 << 20),
        "sources.events.range_bytes": 1 << 16 if size_bytes < 1 << 26 else 8 << 20,
    }
    options = [each for key, value in limits.items() for each in ("--set", f"{key}={value}")]
    pipeline, random, done, peak_bytes = world.prepare(), Random(25), 0, 0
    for target in sorted(random.randrange(1, count * 9 // 10) for _ in range(kills)):
        daemon = pipeline.start(*options)
        wait_until(lambda: world.records >= target or not daemon.alive, f"{target} records")  # noqa: B023 - called at once
        peak_bytes = max(peak_bytes, peak_memory_bytes(daemon))
        daemon.kill()
        done += world.records < count
    assert done >= kills // 2, "it was killed on the way"
    assert 0 < peak_bytes < MEMORY_BYTES_MAX, peak_bytes
    succeeded(pipeline.run("--once", *options))
    numbers = range(1, count + 3)
    assert all(starmap(eq, zip(world.each_written(), numbers, strict=True))), "each once, in their order"
    counts = world.state["counts"]
    assert (counts["accepted"], counts["duplicate"], counts["rejected"]) == (len(numbers), 0, 0)
    world.require_totals(numbers)
    assert world.lost == []
    assert f"ok: {len(numbers):,} records" in succeeded(pipeline.command_of("verify", *options))


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_an_object_that_is_deleted_or_replaced_half_way_stays_counted_as_far_as_it_was_read_and_the_rest_is_lost(
    world: World, change: str
) -> None:
    content = events(*LARGE)
    world.put("a.jsonl", content)
    pipeline = world.prepare()
    world.kill_at(pipeline.start(), 100)
    counted = world.records
    assert counted < len(LARGE)
    offset = len(events(*LARGE[:counted]))
    if change == "deleted":
        world.server.delete(world.bucket, "a.jsonl")
    else:
        world.put("a.jsonl", events(10_001, 10_002))
    said = lost_some(pipeline.run("--once"))
    world.holds(*LARGE[:counted], *((10_001, 10_002) if change == "replaced" else ()))
    path = f"s3://{world.bucket}/a.jsonl"
    assert world.lost == [(path, offset, len(content) - offset, f"it was {change}")]
    assert f"{path}, from byte {offset:,}, {len(content) - offset:,} bytes: it was {change}" in said
    # It is said until a person acknowledges it, and counted only once.
    assert pipeline.command_of("status").exit_code == 69
    assert "losses that are not acknowledged" in succeeded(pipeline.run("--once"))
    assert len(world.lost) == 1
    succeeded(pipeline.command_of("lost", "--acknowledge"))
    assert world.lost == []
    ended = pipeline.verify()
    assert ended.exit_code == 66
    assert f"{path}: it was {change}" in ended.stderr


def test_a_damaged_object_is_counted_up_to_its_damage_and_the_rest_is_lost(world: World) -> None:
    packed = gzip.compress(events(*LARGE), compresslevel=0)
    world.put("a.jsonl.gz", packed[: len(packed) // 2])
    world.put("b.jsonl", events(9_001))
    pipeline = world.prepare()
    said = lost_some(pipeline.run("--once"))
    ((path, offset, size, reason),) = world.lost
    assert (path, size, reason) == (f"s3://{world.bucket}/a.jsonl.gz", None, "the gzip stream is cut short")
    whole = [
        number for number, end in zip(LARGE, accumulate(len(event(number)) for number in LARGE), strict=True) if end <= offset
    ]
    assert 1_000 < len(whole) < len(LARGE)
    world.holds(*whole, 9_001)
    assert "cut short" in said
    succeeded(pipeline.command_of("lost", "--acknowledge"))
    assert f"ok: {len(whole) + 1:,} records" in succeeded(pipeline.verify())


def test_an_object_that_was_read_and_is_replaced_later_is_read_as_another_one(world: World) -> None:
    world.put("a.jsonl", events(1, 2))
    pipeline = world.prepare()
    succeeded(pipeline.run("--once"))
    world.put("a.jsonl", events(3))
    assert "replaced" in succeeded(pipeline.run("--once"))
    # The same bytes have the same ETag: they were read.
    world.put("a.jsonl", events(1, 2))
    succeeded(pipeline.run("--once"))
    world.holds(1, 2, 3)


def test_a_service_that_fails_at_first_is_waited_for_and_what_it_answers_late_is_read(server: S3Server, tmp_path: Path) -> None:
    bucket = server.new_bucket()
    server.put(bucket, "a.jsonl", events(*LARGE))
    failed: list[str] = []

    def fails_twice_each(_method: str, path: str, headers: dict[str, str]) -> int | str | None:
        what = path.partition("?")[0] + headers.get("range", "")
        if failed.count(what) < 2:
            failed.append(what)
            return 503 if failed.count(what) == 1 else "stall"
        return None

    with FaultyRoad(server, fails_twice_each) as road:
        world = World(tmp_path, server, bucket, road.address)
        pipeline = world.prepare(more="timeout_s = 0.5")
        said = succeeded(pipeline.run("--once"))
        etags = {headers.get("if-match") for _, path, headers in road.seen if is_range(path, headers, 0)}
    world.holds(*LARGE)
    assert len(set(failed)) >= 4, "each range failed"
    assert len(etags) == 1
    assert None not in etags
    assert "503" in said


def test_an_object_that_goes_before_it_is_read_and_comes_back_the_same_is_read(server: S3Server, tmp_path: Path) -> None:
    bucket = server.new_bucket()
    server.put(bucket, "a.jsonl", events(1))
    gone: list[str] = []

    def is_gone_once(_method: str, path: str, headers: dict[str, str]) -> int | None:
        if "a.jsonl" not in path or "list-type" in path or "range" not in headers or gone:
            return None
        gone.append(path)
        return 404

    with FaultyRoad(server, is_gone_once) as road:
        world = World(tmp_path, server, bucket, road.address)
        daemon = world.prepare().start()
        wait_until(lambda: world.records == 1 or not daemon.alive, "it is read at the next listing")
        daemon.kill()
    assert gone
    world.holds(1)
    assert world.lost == []


def test_a_refusal_is_said_and_waited_for_and_nothing_is_lost(server: S3Server, tmp_path: Path) -> None:
    bucket = server.new_bucket()
    server.put(bucket, "a.jsonl", events(1))
    with FaultyRoad(server, lambda *_: 403) as road:
        # A server that looks at signatures refuses us itself.
        world = World(tmp_path, server, bucket, "" if server.checks_signatures else road.address)
        pipeline = world.prepare(secret="another-secret")
        daemon = pipeline.start()
        why = "403: SignatureDoesNotMatch" if server.checks_signatures else "403"
        wait_until(lambda: why in daemon.said(), "it says why")
        assert "another-secret" not in daemon.said()
        ended = pipeline.command_of("doctor")
        assert (ended.exit_code, why in ended.stderr) == (78, True)
        daemon.send(signal.SIGTERM)
        assert daemon.wait().exit_code == 0
    world = World(tmp_path, server, bucket)
    succeeded(world.prepare().run("--once"))
    world.holds(1)


def test_a_user_that_the_service_does_not_know_makes_nothing_of_an_object_lost(server: S3Server, tmp_path: Path) -> None:
    bucket = server.new_bucket()
    server.put(bucket, "a.jsonl", events(*LARGE))
    with FaultyRoad(server) as road:
        world = World(tmp_path, server, bucket, road.address)
        pipeline = world.prepare()
        world.kill_at(pipeline.start(), 100)
        assert world.records < len(LARGE)
        # As some services answer for an access key that they do not know.
        road.fault = lambda *_: "404 XAdminUserNotFound"
        daemon = pipeline.start()
        wait_until(lambda: "404: XAdminUserNotFound" in daemon.said(), "it says why")
        daemon.send(signal.SIGTERM)
        assert daemon.wait().exit_code == 0
        road.fault = lambda *_: None
        succeeded(pipeline.run("--once"))
    world.holds(*LARGE)
    assert world.lost == []


def test_a_daemon_finds_new_objects_and_stops_in_order_while_a_request_is_on_its_way(server: S3Server, tmp_path: Path) -> None:
    bucket = server.new_bucket()
    server.put(bucket, "b.jsonl", events(1))
    stalls: list[str] = []

    def stalls_at_large(_method: str, path: str, headers: dict[str, str]) -> int | str | None:
        if is_range(path, headers):
            stalls.append(path)
            return "stall"
        return None

    with FaultyRoad(server, stalls_at_large) as road:
        world = World(tmp_path, server, bucket, road.address)
        pipeline = world.prepare(more="timeout_s = 600")
        daemon = pipeline.start()
        wait_until(lambda: world.records == 1, "the first object is counted")
        server.put(bucket, "a.jsonl", events(2))
        wait_until(lambda: world.records == 2, "an object with a smaller key is counted")
        server.put(bucket, "c.jsonl", events(*LARGE[2:]))
        wait_until(lambda: bool(stalls), "its second range is asked for")
        daemon.send(signal.SIGTERM)
        assert daemon.wait().exit_code == 0
    world = World(tmp_path, server, bucket)
    succeeded(world.prepare().run("--once"))
    world.holds(*LARGE)


def test_a_bucket_that_is_missing_and_an_unreadable_compression_are_said(world: World) -> None:
    world.put("a.jsonl", b"\x04\x22\x4d\x18 is how lz4 begins")
    pipeline = world.prepare()
    ended = pipeline.run("--once")
    assert ended.exit_code == 78
    assert f"s3://{world.bucket}/a.jsonl: compressed with lz4, which is not read" in ended.stderr
    assert "Traceback" not in ended.stderr
    missing = World(world.folder / "other", world.server, "no-such-bucket")
    ended = missing.prepare().command_of("doctor")
    assert ended.exit_code == 78
    assert "404: NoSuchBucket" in ended.stderr


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_csv_and_documents_are_read_and_resumed_in_the_middle(world: World, kind: str) -> None:
    if kind == "csv":
        rows = b"".join(b"%d,c%d,%.2f\n" % (number, number % CATEGORIES, number / 4) for number in LARGE)
        content, more = b"id,category,value\n" + rows, 'format = "csv"\ncsv_types = {id = "integer"}'
    else:
        content, more = b'{"value": [' + b",".join(map(event, LARGE)) + b"]}", 'format = "json"\njson_item_path = "value.item"'
    world.put("a.jsonl", content)
    pipeline = world.prepare(more=more)
    world.kill_at(pipeline.start(), 100)
    assert world.records < len(LARGE)
    succeeded(pipeline.run("--once"))
    world.holds(*LARGE)
    assert "ok: " in succeeded(pipeline.verify())


def test_process_reads_objects_as_files_and_writes_its_result_as_an_object(world: World, tmp_path: Path) -> None:
    numbers = range(1, 4_001)
    content = [events(*numbers[:3_000]), events(*numbers[3_000:])]
    world.put("in/1.jsonl", content[0])
    world.put("in/2.jsonl.gz", gzip.compress(content[1]))
    (tmp_path / "file.jsonl").write_bytes(b"".join(content))
    pipeline = world.prepare("in/*.jsonl*")
    inputs = [f"s3://{world.bucket}/in/1.jsonl", f"s3://{world.bucket}/in/2.jsonl.gz"]
    out = f"s3://{world.bucket}/out/totals.jsonl"
    said = succeeded(pipeline.command_of("process", "--no-sinks", *inputs, "--output", out))
    assert "4000 records: 4000 accepted" in said
    succeeded(
        pipeline.command_of("process", "--no-sinks", str(tmp_path / "file.jsonl"), "--output", str(tmp_path / "totals.jsonl"))
    )
    found = bytes(obstore.get(world.server.store(world.bucket), "out/totals.jsonl").bytes())
    assert found == (tmp_path / "totals.jsonl").read_bytes()
    assert sum(json.loads(line)["count"] for line in found.splitlines()) == 4_000
    gone = pipeline.command_of("process", "--no-sinks", inputs[0], f"s3://{world.bucket}/in/3.jsonl", "--output", out)
    assert gone.exit_code == 66
    assert f"s3://{world.bucket}/in/3.jsonl: no such file" in gone.stderr
    same = pipeline.command_of("process", "--no-sinks", inputs[0], "--output", inputs[0])
    assert (same.exit_code, "already reads or writes this object" in same.stderr) == (64, True)
    refused = world.prepare("in/*.jsonl*", secret="another").command_of("process", "--no-sinks", inputs[0], "--output", out)
    assert refused.exit_code == 78
    assert "403" in refused.stderr
    assert "another" not in refused.stderr


def test_of_many_objects_those_that_come_late_with_smaller_keys_are_read_each_once(world: World) -> None:
    """`S3_OBJECTS`: how many; 1,020 by default, more than one answer of a listing. One in a hundred comes late."""
    objects = int(os.environ.get("S3_OBJECTS", "1020"))
    late = objects // 100

    async def put(numbers: range) -> None:
        """The object of number n has the key of n, in the order of numbers."""
        store, room = world.server.store(world.bucket), asyncio.Semaphore(16)

        async def one(number: int) -> None:
            async with room:
                await obstore.put_async(store, f"many/{number:08d}.jsonl", event(number))

        await asyncio.gather(*map(one, numbers))

    asyncio.run(put(range(late + 1, objects + 1)))
    pipeline = world.prepare("many/*.jsonl")
    first = range(late + 1, objects + 1)
    daemon = pipeline.start()
    for reached in range(0, len(first), 1_000):
        wait_until(lambda: world.records >= reached, f"{reached} records")  # noqa: B023 - called at once
    daemon.send(signal.SIGTERM)
    succeeded(daemon.wait())
    succeeded(pipeline.run("--once"))
    world.holds(*first)
    asyncio.run(put(range(1, late + 1)))
    succeeded(pipeline.run("--once"))
    world.holds(*first, *range(1, late + 1))
    assert world.state["sources"]["events"]["retired"]["generations"] == objects
    assert (world.folder / "state" / "checkpoint.json").stat().st_size < 20_000


def test_a_wrong_clock_is_said_with_what_to_do(server: S3Server, tmp_path: Path) -> None:
    bucket = server.new_bucket()
    server.put(bucket, "a.jsonl", events(1))
    with FaultyRoad(server, lambda *_: "RequestTimeTooSkewed") as road:
        pipeline = World(tmp_path, server, bucket, road.address).prepare()
        ended = pipeline.command_of("doctor")
        assert ended.exit_code == 78
        assert "403: RequestTimeTooSkewed" in ended.stderr
        assert "set the clock of this machine" in ended.stderr


def test_after_a_fallback_objects_are_read_in_the_order_of_before_although_a_smaller_key_came(world: World) -> None:
    rows = world.folder / "rows.db"
    pipeline = world.prepare(
        "a/*.jsonl",
        more=f'[sinks.rows]\ntype = "sql"\nurl = "sqlite:///{rows}"\ntable = "events"\ncolumns = {{ id = "integer" }}',
    )
    world.put("a/1.jsonl", events(1))
    succeeded(pipeline.run("--once"))
    earlier = (world.folder / "state" / "checkpoint.json").read_bytes()
    world.put("a/5.jsonl", events(2, 3))
    world.put("a/4.jsonl", events(4))
    succeeded(pipeline.run("--once"))
    world.holds(1, 4, 2, 3)
    # The disk lost the last checkpoint, and a smaller key comes.
    (world.folder / "state" / "checkpoint.json").write_bytes(b"lost")
    (world.folder / "state" / "checkpoint.previous.json").write_bytes(earlier)
    world.put("a/0.jsonl", events(5))
    succeeded(pipeline.run("--once"))
    world.holds(1, 4, 2, 3, 5)
    with sqlite3.connect(rows) as database:
        assert database.execute('SELECT id FROM events ORDER BY "_sequence"').fetchall() == [(each,) for each in (1, 4, 2, 3, 5)]
