"""A lane into a real S3 server: every record is in exactly one object that the manifest names, whatever fails."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import obstore
import pytest

from event_processor.connectors.s3.client import RequestError
from event_processor.engine.delivery.cursor_file import read_cursor, write_cursor
from event_processor.engine.delivery.reports import LaneReport
from event_processor.storage.durable import OperatingSystem
from support.lanes import BAD, DELIVERED, Bench, MemoryOutbox, ScriptedEnricher, records
from support.numbered_events import event, succeeded
from support.processes import Pipeline, until
from support.s3_server import ACCESS_KEY, SECRET, FaultyRoad, S3Server, s3_of_tests
from support.s3_sink_world import Fault, KilledError, S3SinkWorld, killed, lost

MANIFEST_KEY = "out/pipeline/remote/manifest.json"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_of_tests() as server:
        yield server


@pytest.fixture
def world(server: S3Server) -> S3SinkWorld:
    return S3SinkWorld.of(server)


async def until_state(process: Bench, state: str) -> LaneReport:
    await until(lambda: process.lane.report().state == state)
    return process.lane.report()


@pytest.mark.parametrize("packed", [False, True])
def test_records_are_in_objects_that_the_manifest_names_in_their_order(
    world: S3SinkWorld, tmp_path: Path, *, packed: bool
) -> None:
    compression = "gzip" if packed else "none"
    report = world.deliver(tmp_path, MemoryOutbox(records(20)), world.receiver_of(compression=compression))
    assert world.numbers() == list(range(1, 21))
    suffix = ".jsonl.gz" if packed else ".jsonl"
    folder = "out/pipeline/remote/objects-0001/"
    assert list(world.named()) == [f"{folder}{number:020d}{suffix}" for number in (1, 8, 15)]
    assert (report.state, report.delivered) == ("idle", 20)
    world.require_true(tmp_path, report)
    attributes = obstore.get(world.server.store(world.bucket), f"{folder}{8:020d}{suffix}", options={"head": True}).attributes
    assert (attributes["from"], attributes["to"], attributes["sink"]) == ("8", "14", "remote")
    assert attributes["chain"] == records(20)[13].chain


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", [killed, lost])
def test_a_fault_at_any_write_and_other_bounds_neither_lose_nor_repeat_a_record(
    world: S3SinkWorld, tmp_path: Path, kind: object, *, after: bool
) -> None:
    """Each write of the lane once. Each life has another number of records in an object."""
    assert callable(kind)
    outbox = MemoryOutbox(records(12))
    for nth in count(1):
        state, here = tmp_path / f"state-{nth}", S3SinkWorld.of(world.server)
        fault = Fault(nth, after=after, event=kind)
        try:
            report = here.deliver(state, outbox, here.receiver_of(fault), request_events_max=5)
        except KilledError:
            report = here.deliver(state, outbox, request_events_max=(3, 5, 12)[nth % 3])
        assert here.numbers() == list(range(1, 13)), fault
        here.require_true(state, report)
        if not fault.was_met:
            assert nth > 8
            return


@pytest.mark.crash
def test_killed_again_and_again_with_other_bounds_each_time_every_record_is_in_one_object(
    world: S3SinkWorld, tmp_path: Path
) -> None:
    """`S3_KILLS`: how many, 6 by default."""
    numbers, kills, outbox = Random(25), int(os.environ.get("S3_KILLS", "6")), MemoryOutbox(records(400))
    done = 0
    for _ in range(kills):
        # The start takes the manifest with one write, and looks at the service with two.
        fault = Fault(3 + numbers.randint(1, 6), after=bool(numbers.getrandbits(1)), event=killed)
        with pytest.raises(KilledError):
            world.deliver(tmp_path, outbox, world.receiver_of(fault), request_events_max=numbers.randint(1, 9))
        assert world.numbers() == list(range(1, world.manifest()["through"] + 1))
        done += 1
    report = world.deliver(tmp_path, outbox, request_events_max=50)
    assert (done, world.numbers()) == (kills, list(range(1, 401)))
    world.require_true(tmp_path, report)


def test_an_object_of_an_earlier_try_that_arrives_late_is_taken_as_it_is(world: S3SinkWorld, tmp_path: Path) -> None:
    """The try of a process that was killed lands when the next one has already looked, and found nothing."""
    outbox, late = MemoryOutbox(records(12)), S3SinkWorld.of(world.server)
    with pytest.raises(KilledError):
        late.deliver(tmp_path / "late", outbox, late.receiver_of(Fault(5, event=killed)), request_events_max=4)
    key = next(each for each in late.all_keys() if each.endswith(f"{1:020d}.jsonl"))
    stored = obstore.get(late.server.store(late.bucket), key)
    metadata = {name: stored.attributes[name] for name in stored.attributes if name != "Content-Type"}
    content = bytes(stored.bytes())

    def lands() -> None:
        obstore.put(world.server.store(world.bucket), key, content, attributes=metadata, use_multipart=False)

    # The fourth write is the first object.
    report = world.deliver(tmp_path / "state", outbox, world.receiver_of(Fault(4, event=lands)), request_events_max=12)
    assert [len(each) for each in world.named().values()] == [4, 8]
    assert world.numbers() == list(range(1, 13))
    world.require_true(tmp_path / "state", report)


def test_what_an_enricher_refuses_is_kept_and_found_again_after_a_kill(world: S3SinkWorld, tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(9))

    def enricher() -> ScriptedEnricher:
        return ScriptedEnricher(
            "model", lambda request: BAD if any(each.sequence == 5 for each in request.records) else DELIVERED
        )

    def life(fault: Fault) -> LaneReport:
        return world.deliver(tmp_path, outbox, world.receiver_of(fault), request_events_max=9, enrichers={"model": enricher()})

    with pytest.raises(KilledError):
        # Failed records, the object; killed before the manifest.
        life(Fault(6, event=killed))
    report = life(Fault())
    assert world.numbers() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert (report.delivered, report.failed) == (8, 1)
    failed = [json.loads(line) for line in (tmp_path / "delivery" / "remote.failed.jsonl").read_text().splitlines()]
    assert [each["sequence"] for each in failed] == [5]
    world.require_true(tmp_path, report)


def test_failed_records_that_are_gone_stop_the_lane_with_words_and_foreign_names_beside_them_do_not(
    world: S3SinkWorld, tmp_path: Path
) -> None:
    def enricher() -> ScriptedEnricher:
        return ScriptedEnricher(
            "model", lambda request: BAD if any(each.sequence == 5 for each in request.records) else DELIVERED
        )

    def life(fault: Fault) -> LaneReport:
        enrichers = {"model": enricher()}
        return world.deliver(
            tmp_path, MemoryOutbox(records(9)), world.receiver_of(fault), request_events_max=3, enrichers=enrichers
        )

    with pytest.raises(KilledError):
        # Objects from 1 on; failed records, the object from 4 on; killed before the manifest.
        life(Fault(8, event=killed))
    (key,) = (each for each in world.all_keys() if "/failed-" in each)
    kept, store = world.content(key), world.server.store(world.bucket)
    obstore.delete(store, key)
    for name in ("failed-objects-0001/notes.txt", "objects-0001/notes.txt"):
        obstore.put(store, f"out/pipeline/remote/{name}", b"notes")
    report = life(Fault())
    assert (report.state, report.exit_code) == ("failed", 65)
    assert f"s3://{world.bucket}/{key} has failed records that this state does not have yet, but it is gone" in report.words
    assert "restore the object" in report.remedy
    obstore.put(store, key, kept)
    report = life(Fault())
    assert (report.delivered, report.failed, report.exit_code) == (8, 1, 0)
    failed = [json.loads(line) for line in (tmp_path / "delivery" / "remote.failed.jsonl").read_text().splitlines()]
    assert [each["sequence"] for each in failed] == [5]


def test_of_two_copies_of_a_state_the_later_one_writes(world: S3SinkWorld, tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(7))

    async def main() -> None:
        first = world.bench(tmp_path / "one", outbox)
        await first.idle()
        second = world.bench(tmp_path / "two", MemoryOutbox(records(14)))
        await second.idle()
        assert (await second.close()).delivered == 14
        first.append(records(7, 8, outbox.chain))
        report = await until_state(first, "stopped")
        assert "another process (host:" in report.words
        assert report.pending == 7
        await first.close()

    asyncio.run(main())
    assert world.numbers() == list(range(1, 15))


def test_a_lost_manifest_stops_the_lane_with_65_and_sending_again_finds_the_objects(world: S3SinkWorld, tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(10))
    world.deliver(tmp_path, outbox)
    world.server.delete(world.bucket, MANIFEST_KEY)
    report = world.deliver(tmp_path, outbox)
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "its manifest does not know this pipeline" in report.words
    assert "deliver --from 1 --sink remote" in report.remedy
    # As the command puts the lane's cursor to its beginning.
    report = world.deliver(tmp_path / "again", outbox, request_events_max=3)
    assert world.numbers() == list(range(1, 11))
    assert len(world.named()) == 2, "the objects that are there are those that were written before"
    world.require_true(tmp_path / "again", report)


def test_another_state_or_another_record_stops_the_lane_with_65(world: S3SinkWorld, tmp_path: Path) -> None:
    world.deliver(tmp_path / "one", MemoryOutbox(records(10)))
    report = world.deliver(tmp_path / "two", MemoryOutbox(records(10)), state_id="another")
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "manifest.json is of another state of the pipeline pipeline" in report.words
    report = world.deliver(tmp_path / "three", MemoryOutbox(records(12, mark="other")))
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "has another record at sequence 10" in report.words
    assert world.numbers() == list(range(1, 11))


def test_a_dropped_lane_that_begins_anew_writes_into_another_folder(world: S3SinkWorld, tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(10))
    world.deliver(tmp_path / "one", outbox)
    outbox.entries.extend(records(5, 11, outbox.chain))
    started = (10, outbox.entries[9].chain)
    report = world.deliver(tmp_path / "two", outbox, started=started)
    assert world.numbers() == [11, 12, 13, 14, 15]
    assert world.manifest()["folder"].endswith("/objects-0002/")
    world.require_true(tmp_path / "two", report)


def test_a_lost_manifest_of_a_lane_that_began_anew_is_made_again_for_its_own_folder(world: S3SinkWorld, tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(10))
    world.deliver(tmp_path / "one", outbox)
    outbox.entries.extend(records(5, 11, outbox.chain))
    started = (10, outbox.entries[9].chain)
    world.deliver(tmp_path / "two", outbox, started=started)
    before = world.named()
    world.server.delete(world.bucket, MANIFEST_KEY)
    # As `deliver --from` puts the lane's cursor to its beginning.
    report = world.deliver(tmp_path / "three", outbox, started=started)
    assert world.named() == before, "nothing of the earlier lane counts again, and no record is written again"
    world.require_true(tmp_path / "three", report)
    # Dropped once more, and lost before its first object.
    world.server.delete(world.bucket, MANIFEST_KEY)
    outbox.entries.extend(records(3, 16, outbox.chain))
    world.deliver(tmp_path / "four", outbox, started=(15, outbox.entries[14].chain))
    assert (world.numbers(), world.manifest()["folder"][-13:]) == ([16, 17, 18], "objects-0003/")


def test_a_renamed_sink_takes_its_manifest_along_and_goes_on_in_its_folder(world: S3SinkWorld, tmp_path: Path) -> None:
    entries = records(20)
    outbox = MemoryOutbox(entries[:10])

    async def main() -> LaneReport:
        earlier = world.bench(tmp_path / "earlier", MemoryOutbox(list(outbox.entries)))
        await earlier.idle()
        shutil.copytree(tmp_path / "earlier" / "delivery", tmp_path / "later" / "delivery")
        cursor = read_cursor(OperatingSystem(), str(tmp_path / "later"), "remote")
        assert cursor is not None
        renamed = msgspec.structs.replace(cursor, earlier_names=(("remote", 10),))
        write_cursor(OperatingSystem(), str(tmp_path / "later"), "other", renamed)
        later = world.bench(tmp_path / "later", MemoryOutbox(entries), name="other")
        await later.idle()
        # A process that still has the earlier name writes nothing any more.
        earlier.append(entries[10:])
        assert "another process" in (await until_state(earlier, "stopped")).words
        await earlier.close()
        return await later.close()

    report = asyncio.run(main())
    assert report.delivered == 20
    assert world.numbers("other") == list(range(1, 21))
    assert {key.rpartition("/")[0] for key in world.named("other")} == {"out/pipeline/remote/objects-0001"}
    assert world.manifest("remote")["moved_to"] == "other"
    world.require_true(tmp_path / "later", report, "other")


def test_a_bucket_that_is_missing_stops_the_lane_with_words(server: S3Server, tmp_path: Path) -> None:
    world = S3SinkWorld(server, "no-such-bucket")

    async def main() -> None:
        process = world.bench(tmp_path, MemoryOutbox(records(3)))
        report = await until_state(process, "stopped")
        assert "404: NoSuchBucket" in report.words
        assert report.remedy == "create the bucket, or correct sinks.remote.url"
        await process.close()

    asyncio.run(main())


def test_an_address_that_takes_no_objects_stops_the_lane_with_words(server: S3Server, tmp_path: Path) -> None:
    """A web server, or a proxy that knows no such path: 404 without a code."""
    with FaultyRoad(server, lambda method, *_: 404 if method == "PUT" else None) as road:
        world = S3SinkWorld(server, server.new_bucket(), road.address)

        async def main() -> None:
            process = world.bench(tmp_path, MemoryOutbox(records(3)))
            report = await until_state(process, "stopped")
            assert report.words == f"{road.address}: 404"
            assert report.remedy.endswith("or correct sinks.remote: its keys, region or url")
            await process.close()

        asyncio.run(main())


def test_a_manifest_that_is_deleted_while_the_lane_runs_is_65(server: S3Server, tmp_path: Path) -> None:
    """Some services answer 404 instead of 412."""
    deleted: list[str] = []

    def fault(method: str, path: str, headers: dict[str, str]) -> str | None:
        return (
            "404 NoSuchKey" if deleted and (method != "PUT" or "if-match" in headers) and path.endswith("manifest.json") else None
        )

    with FaultyRoad(server, fault) as road:
        world = S3SinkWorld(server, server.new_bucket(), road.address)

        async def main() -> None:
            process = world.bench(tmp_path, outbox := MemoryOutbox(records(3)))
            await process.idle()
            deleted.append("now")
            process.append(records(3, 4, outbox.chain))
            report = await until_state(process, "failed")
            assert "its manifest does not know this pipeline, but 3 records were answered" in report.words
            await process.close()

        asyncio.run(main())


@pytest.mark.parametrize("ignored", ["match", "refuse"])
def test_without_conditional_writes_every_record_is_there_at_least_once_whatever_write_fails(
    world: S3SinkWorld, tmp_path: Path, ignored: str
) -> None:
    """Each write of the lane once. Each life has another number of records in an object."""
    outbox = MemoryOutbox(records(12))
    for nth in count(1):
        for number, (after, kind) in enumerate([(False, killed), (True, killed), (True, lost)]):
            state, here = tmp_path / f"state-{nth}-{number}", S3SinkWorld.of(world.server)
            fault = Fault(nth, after=after, event=kind, ignored=ignored)
            try:
                here.deliver(state, outbox, here.receiver_of(fault), request_events_max=5)
            except KilledError:
                here.deliver(state, outbox, here.receiver_of(Fault(ignored=ignored)), request_events_max=(3, 5, 12)[nth % 3])
            assert set(here.numbers()) == set(range(1, 13)), fault
            manifest, mirror = here.manifest(), read_cursor(OperatingSystem(), str(state), "remote")
            assert mirror is not None
            assert (manifest["through"], manifest["is_conditional"]) == (12, False)
            assert mirror.weakness.startswith("the service has no conditional writes"), "status and validate read it there"
        if not fault.was_met:
            assert nth > 6
            return


@pytest.mark.parametrize(("ignored", "second_manifest"), [("create", 6), ("match", 7), ("refuse", 4)])
def test_without_conditional_writes_what_arrives_late_takes_no_record_away(
    world: S3SinkWorld, tmp_path: Path, ignored: str, second_manifest: int
) -> None:
    """An object and a manifest of a process that was killed arrive when the next one is done: the first ones would have replaced others."""
    outbox, store = MemoryOutbox(records(12)), world.server.store(world.bucket)
    with pytest.raises(KilledError):
        # Killed after its first object, with four records, which the manifest does not name yet.
        world.deliver(
            tmp_path, outbox, world.receiver_of(Fault(second_manifest, event=killed, ignored=ignored)), request_events_max=4
        )
    late = {key: world.content(key) for key in world.all_keys()}
    assert len(late) == 2
    for key in late:
        obstore.delete(store, key)
    obstore.put(store, MANIFEST_KEY, late[MANIFEST_KEY])
    report = world.deliver(tmp_path, outbox, world.receiver_of(Fault(ignored=ignored)), request_events_max=12)
    assert (world.numbers(), report.delivered) == (list(range(1, 13)), 12)
    for key, content in late.items():
        obstore.put(store, key, content)
    # The manifest is an earlier one again: what is after it is sent again.
    report = world.deliver(tmp_path, outbox, world.receiver_of(Fault(ignored=ignored)), request_events_max=5)
    assert (report.state, report.pending, report.exit_code) == ("idle", 0, 0)
    assert set(world.numbers()) == set(range(1, 13))


def refused_once() -> None:
    raise RequestError("501: NotImplemented", status="501")


@pytest.mark.parametrize("start", ["the first", "a later one"])
def test_one_answer_501_at_any_write_takes_no_guarantee_away(world: S3SinkWorld, tmp_path: Path, start: str) -> None:
    """A proxy that is not ready says the same as a service without conditional writes, but it does not repeat it."""
    before = 5 if start == "a later one" else 0
    for nth in count(1):
        state, here, outbox = tmp_path / f"state-{nth}", S3SinkWorld.of(world.server), MemoryOutbox(records(before))
        if before:
            here.deliver(state, outbox)
        outbox.entries.extend(records(7, before + 1, outbox.chain))
        fault = Fault(nth, event=refused_once)
        report = here.deliver(state, outbox, here.receiver_of(fault), request_events_max=4)
        assert here.numbers() == list(range(1, before + 8)), nth
        mirror = read_cursor(OperatingSystem(), str(state), "remote")
        assert mirror is not None
        assert (mirror.weakness, here.manifest()["is_conditional"]) == ("", True), nth
        assert not [key for key in here.all_keys() if "-t" in key], "an object has a token of its own"
        here.require_true(state, report)
        if not fault.was_met:
            assert nth > 6
            return


def test_a_service_that_refuses_conditions_while_the_lane_runs_is_noticed_and_named(world: S3SinkWorld, tmp_path: Path) -> None:
    outbox, fault = MemoryOutbox(records(5)), Fault()

    async def main() -> LaneReport:
        process = world.bench(tmp_path, outbox, world.receiver_of(fault))
        await process.idle()
        fault.ignored = "refuse"
        process.append(records(5, 6, outbox.chain))
        await process.idle()
        return await process.close()

    report = asyncio.run(main())
    mirror = read_cursor(OperatingSystem(), str(tmp_path), "remote")
    assert mirror is not None
    assert (report.delivered, world.manifest()["is_conditional"], bool(mirror.weakness)) == (10, False, True)
    assert [key for key in world.named() if "-t" in key], "what is written without conditions has a token of its own"
    assert world.numbers() == list(range(1, 11))


def test_a_process_that_found_no_conditional_writes_looks_before_each_write(world: S3SinkWorld, tmp_path: Path) -> None:
    """Also after a failed request: a manifest of another process must not be written over unseen."""
    outbox, fault = MemoryOutbox(records(5)), Fault(ignored="match")
    taken = world.receiver_of(Fault(ignored="match"))

    async def main() -> None:
        process = world.bench(tmp_path / "one", outbox, world.receiver_of(fault))
        await process.idle()
        before = fault.writes
        fault.nth, fault.after, fault.event = before + 2, True, lost
        process.append(records(5, 6, outbox.chain))
        await process.idle()
        # The object, and its manifest, whose answer is lost; then the manifest is taken with one write, and not with a look at the service.
        assert fault.writes == before + 3
        other = world.bench(tmp_path / "two", MemoryOutbox(records(12)), taken)
        await other.idle()
        await other.close()
        process.append(records(5, 11, outbox.chain))
        assert "another process (host:" in (await until_state(process, "stopped")).words
        await process.close()

    asyncio.run(main())
    assert world.manifest()["through"] == 12


def test_without_conditional_writes_the_very_first_manifest_may_arrive_last(world: S3SinkWorld, tmp_path: Path) -> None:
    """It was written before the service was known, so it does not say that it is without conditions; the lane's own cursor does."""
    outbox, first = MemoryOutbox(records(9)), S3SinkWorld.of(world.server)
    with pytest.raises(KilledError):
        first.deliver(tmp_path / "first", outbox, first.receiver_of(Fault(1, event=killed, after=True, ignored="refuse")))
    manifest = first.content(MANIFEST_KEY)
    assert json.loads(manifest)["is_conditional"] is True
    world.deliver(tmp_path / "state", outbox, world.receiver_of(Fault(ignored="refuse")))
    obstore.put(world.server.store(world.bucket), MANIFEST_KEY, manifest)
    report = world.deliver(tmp_path / "state", outbox, world.receiver_of(Fault(ignored="refuse")))
    assert (report.state, report.exit_code, report.words) == ("idle", 0, "")
    assert set(world.numbers()) == set(range(1, 10))


def test_a_service_that_gets_conditional_writes_is_exactly_once_from_then_on(world: S3SinkWorld, tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(5))
    world.deliver(tmp_path, outbox, world.receiver_of(Fault(ignored="refuse")))
    outbox.entries.extend(records(5, 6, outbox.chain))
    world.deliver(tmp_path, outbox)
    mirror = read_cursor(OperatingSystem(), str(tmp_path), "remote")
    assert mirror is not None
    assert (mirror.weakness, world.manifest()["is_conditional"]) == ("", True)
    assert world.numbers() == list(range(1, 11))


def test_a_wrong_clock_stops_the_lane_with_words(server: S3Server, tmp_path: Path) -> None:
    with FaultyRoad(server, lambda *_: "RequestTimeTooSkewed") as road:
        world = S3SinkWorld(server, server.new_bucket(), road.address)

        async def main() -> None:
            process = world.bench(tmp_path, MemoryOutbox(records(3)))
            report = await until_state(process, "stopped")
            assert "403: RequestTimeTooSkewed" in report.words
            assert report.remedy.startswith("set the clock of this machine")
            await process.close()

        asyncio.run(main())


def archiving(world: S3SinkWorld, folder: Path, *, events: int, sink: str = "", sections: str = "") -> Pipeline:
    """A pipeline over so many events, whose sink would wait an hour for a full object. `sink`, `sections`: more of its configuration."""
    (folder / "secret").write_text(SECRET)
    pipeline = Pipeline(folder, folder)
    pipeline.prepare(b"".join(event(number) + b"\n" for number in range(1, events + 1)))
    (folder / "pipeline.toml").write_text(
        f"""\
[sources.events]
type = "file"
path = "{pipeline.log}"
[order]
buffer_events = 0
[state]
dir = "state"
{sections}
[sinks.archive]
type = "s3"
url = "s3://{world.bucket}/out"
endpoint = "{world.address or world.server.address}"
access_key_id = "{ACCESS_KEY}"
secret_access_key_file = "secret"
object_age_s_max = 3600
start = "beginning"
{sink}
"""
    )
    return pipeline


def test_a_pipeline_says_what_it_guarantees_and_at_the_end_of_its_input_no_record_waits_for_a_full_object(
    world: S3SinkWorld, tmp_path: Path
) -> None:
    pipeline = archiving(world, tmp_path, events=25, sink='compression = "gzip"\nobject_events_max = 10')
    said = pipeline.command_of("validate", "--json")
    (sink,) = json.loads(said.stderr)["sinks"]
    assert sink["guarantee"] == "exactly once, for readers of the manifest, if the service has conditional writes"
    assert "sinks.archive" in succeeded(pipeline.command_of("doctor"))
    succeeded(pipeline.run("--once"))
    assert [[each["id"] for each in found] for found in world.named("archive").values()] == [
        list(range(1, 11)),
        list(range(11, 21)),
        list(range(21, 26)),
    ]
    status = json.loads(pipeline.command_of("status", "--json").stderr)
    (lane,) = status["lanes"]["sinks"] if "sinks" in status["lanes"] else status["lanes"]
    assert (lane["delivered"], lane["pending"]) == (25, 0)


def test_a_pipeline_whose_service_refuses_conditions_says_that_it_is_at_least_once(server: S3Server, tmp_path: Path) -> None:
    def refuses_conditions(method: str, _path: str, headers: dict[str, str]) -> int | None:
        return 501 if method == "PUT" and ("if-none-match" in headers or "if-match" in headers) else None

    with FaultyRoad(server, refuses_conditions) as road:
        world = S3SinkWorld(server, server.new_bucket(), road.address)
        pipeline = archiving(world, tmp_path, events=25)
        succeeded(pipeline.run("--once"))
    assert [each["id"] for found in world.named("archive").values() for each in found] == list(range(1, 26))
    (sink,) = json.loads(pipeline.command_of("validate", "--json").stderr)["sinks"]
    assert (sink["guarantee"], "a record may be in two objects" in sink["by"]) == ("at least once", True)
    status = json.loads(pipeline.command_of("status", "--json").stderr)
    (lane,) = status["lanes"]["sinks"] if "sinks" in status["lanes"] else status["lanes"]
    assert (lane["delivered"], lane["guarantee"]) == (25, "at least once")
    assert "sink archive: at least once: the service has no conditional writes" in pipeline.command_of("status").stderr


def test_an_outbox_below_the_size_of_an_object_makes_smaller_objects_and_does_not_pause_the_run(
    world: S3SinkWorld, tmp_path: Path
) -> None:
    limits = "[batch]\nbytes_max = 65_536\n[outbox]\nbytes_max = 1_048_576\nonce_wait_s = 20"
    pipeline = archiving(world, tmp_path, events=15_000, sections=limits)
    succeeded(pipeline.run("--once"))
    assert [each["id"] for found in world.named("archive").values() for each in found] == list(range(1, 15_001))
    assert len(world.named("archive")) > 1
