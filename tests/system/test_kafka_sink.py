"""A sink in a real Kafka broker whose network, broker or process fails: a reader of committed records finds each record once."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import KafkaException, Producer

from event_processor.engine.delivery.cursor_file import read_cursor, write_cursor
from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.delivery.retries import Retry, append_retries
from event_processor.model.delivery import OutboxRecord
from event_processor.storage.durable import OperatingSystem
from support.kafka_broker import KafkaBroker, broker_of_tests
from support.kafka_sink_world import Fault, FaultyClients, KafkaSinkWorld, KilledError, killed, lost
from support.lanes import STATE_ID, Bench, MemoryOutbox, chain_after, records
from support.processes import DEADLINE_S, until
from support.tcp_proxy import TcpProxy

RECORDS = 30
END_TXN = b"\x00\x1a\x00"
"""How the request begins that commits a transaction."""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


@pytest.fixture
def world(broker: KafkaBroker) -> KafkaSinkWorld:
    return KafkaSinkWorld.of(broker)


def made(objects: list[str]) -> list[OutboxRecord]:
    """Records with these objects."""
    found: list[OutboxRecord] = []
    for record, content in zip(records(len(objects)), objects, strict=True):
        before = found[-1].chain if found else ""
        changed = msgspec.structs.replace(record, object=msgspec.Raw(content.encode()), chain="")
        found.append(msgspec.structs.replace(changed, chain=chain_after(before, changed)))
    return found


def require_all(world: KafkaSinkWorld, state: Path, report: LaneReport) -> None:
    assert (report.state, report.delivered, report.failed) == ("idle", RECORDS, 0)
    assert world.numbers() == list(range(1, RECORDS + 1))
    world.require_true(state, report)


def test_records_have_their_bytes_their_key_and_their_place(world: KafkaSinkWorld, tmp_path: Path) -> None:
    objects = [
        '{"n":1, "id": "a b"}',
        '{"n":2,"id":17}',
        '{"n":3,"id":null}',
        '{"n":4,"id":[1, 2]}',
        '{"n":5}',
        '{"n":6,"id":1.5}',
    ]
    report = world.deliver(tmp_path, MemoryOutbox(made(objects)), world.receiver_of(options=world.options(record_key="id")))
    assert (report.state, report.delivered) == ("idle", 6)
    found = {json.loads(each.value() or b"")["n"]: each for each in world.messages()}
    assert [(found[n].value() or b"").decode() for n in range(1, 7)] == objects
    assert [found[n].key() for n in range(1, 7)] == [b"a b", b"17", None, b"[1,2]", None, b"1.5"]
    assert found[2].headers() == [
        ("event_processor.key", f"{STATE_ID}:remote:events:1:20".encode()),
        ("event_processor.sequence", b"2"),
        ("event_processor.line", b"2"),
    ]
    cursor = world.cursors()["remote"]
    assert (cursor["version"], cursor["state_id"], cursor["input"], cursor["sequence"]) == (1, STATE_ID, "events", 6)
    world.require_true(tmp_path, report)


def test_without_headers_a_record_has_none(world: KafkaSinkWorld, tmp_path: Path) -> None:
    world.deliver(tmp_path, MemoryOutbox(records(3)), world.receiver_of(options=world.options(headers=False)))
    assert [each.headers() for each in world.messages()] == [None, None, None]


def test_records_with_one_key_are_in_one_partition_in_order(world: KafkaSinkWorld, tmp_path: Path) -> None:
    objects = [f'{{"n":{n},"id":{n % 5}}}' for n in range(1, 61)]
    world.deliver(tmp_path, MemoryOutbox(made(objects)), world.receiver_of(options=world.options(record_key="id")))
    for key in range(5):
        of_key = [each for each in world.messages() if each.key() == str(key).encode()]
        assert [json.loads(each.value() or b"")["n"] for each in of_key] == [n for n in range(1, 61) if n % 5 == key]
        assert len({each.partition() for each in of_key}) == 1


def test_the_cursor_topic_is_made_compacted_and_nothing_is_open_when_the_lane_is_idle(
    world: KafkaSinkWorld, tmp_path: Path
) -> None:
    async def main() -> None:
        process = world.bench(tmp_path, MemoryOutbox(records(RECORDS)))
        await until(lambda: process.lane.report().delivered == RECORDS)
        # What a reader may see ends where the log ends, for both topics.
        for topic, partitions in ((world.topic, 2), (world.cursor_topic, 1)):
            for partition in range(partitions):
                await until(lambda topic=topic, partition=partition: world.is_closed(topic, partition))  # type: ignore[misc]
        report = await process.close()
        require_all(world, tmp_path, report)

    asyncio.run(main())
    assert world.setting(world.cursor_topic, "cleanup.policy") == "compact"


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", [killed, lost])
def test_a_fault_at_any_call_neither_loses_nor_repeats_a_record(
    world: KafkaSinkWorld, tmp_path: Path, kind: object, *, after: bool
) -> None:
    """Every fifth call of the producer; `KAFKA_FAULTS=every`: every one."""
    assert callable(kind)
    step = 1 if os.environ.get("KAFKA_FAULTS") == "every" else 5
    for nth in count(2 + after, step):
        state, here = tmp_path / f"state-{nth}", KafkaSinkWorld.of(world.broker, 1)
        fault = Fault(nth, after=after, event=kind)
        try:
            report = here.deliver(state, MemoryOutbox(records(5)), here.receiver_of(fault), request_events_max=3)
        except KilledError:
            report = here.deliver(state, MemoryOutbox(records(5)), request_events_max=3)
        assert here.numbers() == [1, 2, 3, 4, 5], fault
        here.require_true(state, report)
        if not fault.was_met:
            assert nth > 15
            return


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("skipped", [0, 1, 3])
def test_a_connection_that_is_cut_in_a_commit_is_settled_first(
    world: KafkaSinkWorld, tmp_path: Path, when: str, skipped: int
) -> None:
    """Before or after the broker took it: of the first commit, which makes the cursor, of the next, and of a later one."""
    with TcpProxy(world.broker.behind_port, world.broker.proxy_port) as proxy:
        proxy.cut_at(END_TXN, when, skipped)  # type: ignore[arg-type]  # one of the two
        options = world.options(brokers=world.broker.proxied_address)
        report = world.deliver(tmp_path, MemoryOutbox(records(RECORDS)), world.receiver_of(options=options))
        assert proxy.cuts == 1
    require_all(world, tmp_path, report)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_without_an_answer_in_time_is_settled_by_the_next_producer(
    world: KafkaSinkWorld, tmp_path: Path, when: str
) -> None:
    with TcpProxy(world.broker.behind_port, world.broker.proxy_port) as proxy:
        options = world.options(brokers=world.broker.proxied_address)

        async def main() -> LaneReport:
            outbox = MemoryOutbox(records(RECORDS))
            process = world.bench(tmp_path, outbox, world.receiver_of(options=options, timeout_s=2.0))
            await until(lambda: process.lane.report().delivered >= 7)
            proxy.cut_at(END_TXN, when)  # type: ignore[arg-type]  # one of the two
            await until(lambda: proxy.cuts == 1 or process.lane.report().pending == 0)
            proxy.freeze()
            await until(lambda: "no answer within 2 s" in process.lane.health.last_words or process.lane.report().pending == 0)
            proxy.thaw()
            await until(lambda: process.lane.report().pending == 0)
            return await process.close()

        report = asyncio.run(main())
    require_all(world, tmp_path, report)


@pytest.mark.parametrize(
    ("name", "nth", "after"), [("init_transactions", 1, False), ("commit_transaction", 2, False), ("flush", 2, True)]
)
def test_a_broker_that_is_killed_and_comes_back_has_each_record_once(
    world: KafkaSinkWorld, tmp_path: Path, name: str, nth: int, *, after: bool
) -> None:
    fault = Fault(nth, (name,), after=after, event=world.broker.kill)

    async def main() -> LaneReport:
        process = world.bench(tmp_path, MemoryOutbox(records(RECORDS)), world.receiver_of(fault))
        await until(lambda: fault.was_met and world.broker.process is None)
        # Not in the receiver's thread: the broker dies with the thread that started it.
        world.broker.start()
        # A client may wait a whole minute for an answer that died with the broker, before it asks again.
        await until(lambda: process.lane.report().pending == 0, 3 * DEADLINE_S)
        return await process.close()

    require_all(world, tmp_path, asyncio.run(main()))


def test_of_two_copies_of_a_state_the_later_one_writes(world: KafkaSinkWorld, tmp_path: Path) -> None:
    entries = records(60)
    world.deliver(tmp_path / "a", MemoryOutbox(entries[:10]))
    shutil.copytree(tmp_path / "a", tmp_path / "b")

    async def main() -> LaneReport:
        first = world.bench(tmp_path / "a", MemoryOutbox(entries[:10]))
        await until(lambda: first.lane.outstanding == 0)
        second = world.bench(tmp_path / "b", MemoryOutbox(entries[:10]))
        await until(lambda: second.lane.outstanding == 0)
        (writer,) = {cursor["writer"] for cursor in world.cursors().values()}
        first.append(entries[10:40])
        await until(lambda: first.lane.report().state == "stopped")
        process = writer.rpartition(":")[0]
        assert f"another process ({process}) has taken the place of remote in this cluster" in first.lane.report().words
        second.append(entries[10:60])
        await until(lambda: second.lane.report().pending == 0)
        assert second.told.said == [], "it was not disturbed"
        report = await second.close()
        await first.close()
        return report

    report = asyncio.run(main())
    assert world.numbers() == list(range(1, 61))
    world.require_true(tmp_path / "b", report)


def test_a_transaction_that_took_too_long_is_no_other_process(world: KafkaSinkWorld, tmp_path: Path) -> None:
    """The broker ends it and fences its producer, for example if this process was frozen. A producer of the same name does the same."""
    world.deliver(tmp_path, MemoryOutbox(records(10)))

    def fenced() -> None:
        producer = Producer({"bootstrap.servers": world.broker.address, "transactional.id": f"event-processor.{STATE_ID}.remote"})
        producer.init_transactions(60)

    fault = Fault(2, ("commit_transaction",), event=fenced)

    async def main() -> LaneReport:
        process = world.bench(tmp_path, MemoryOutbox(records(RECORDS)), world.receiver_of(fault))
        await until(lambda: process.lane.report().pending == 0)
        assert process.told.said == [], "it was not stopped"
        return await process.close()

    require_all(world, tmp_path, asyncio.run(main()))
    assert fault.was_met


def test_a_commit_of_an_earlier_process_that_arrives_late_counts_or_never_will(world: KafkaSinkWorld, tmp_path: Path) -> None:
    """The earlier process has written everything, and asks for the commit at the moment at which the next one begins."""
    held: list[Producer] = []
    clients = FaultyClients.producer

    def kept(self: FaultyClients, own: Mapping[str, object]) -> object:
        made_one = clients(self, own)
        held.append(made_one.producer)
        return made_one

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FaultyClients, "producer", kept)
        with pytest.raises(KilledError):
            # The first commit moves the cursor.
            world.deliver(tmp_path, MemoryOutbox(records(7)), world.receiver_of(Fault(2, ("commit_transaction",), event=killed)))
    late = Fault(1, ("init_transactions",), event=lambda: held[-1].commit_transaction(60))
    report = world.deliver(tmp_path, MemoryOutbox(records(RECORDS)), world.receiver_of(late))
    assert late.was_met
    require_all(world, tmp_path, report)
    # After it, the earlier process can write nothing more.
    held[-1].begin_transaction()
    held[-1].produce(world.topic, b"{}")
    with pytest.raises(KafkaException):
        held[-1].commit_transaction(60)


def test_the_open_transaction_of_another_pipeline_delays_and_hides_nothing(world: KafkaSinkWorld, tmp_path: Path) -> None:
    world.deliver(tmp_path, MemoryOutbox(records(10)))
    foreign = Producer({"bootstrap.servers": world.broker.address, "transactional.id": f"{world.topic}-foreign"})
    foreign.init_transactions(60)
    foreign.begin_transaction()
    foreign.produce(world.cursor_topic, b"{}", b"foreign", partition=0)
    assert foreign.flush(60) == 0
    # A lane that runs is not delayed: it knows its cursor.
    shutil.copytree(tmp_path, tmp_path / "copy")

    async def main() -> LaneReport:
        process = world.bench(tmp_path / "copy", MemoryOutbox(records(RECORDS)))
        await until(lambda: "an open transaction hides" in process.lane.health.last_words)
        assert process.lane.report().delivered == 10
        foreign.abort_transaction(60)
        await until(lambda: process.lane.report().pending == 0)
        return await process.close()

    report = asyncio.run(main())
    require_all(world, tmp_path / "copy", report)


def with_large(total: int, *large: int, size_bytes: int = 3000) -> list[OutboxRecord]:
    """Records of which these are too large for their topic."""
    return made([f'{{"n":{n},"mark":"{"x" * size_bytes if n in large else ""}"}}' for n in range(1, total + 1)])


def failed_lines(state: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (state / "delivery" / "remote.failed.jsonl").read_text().splitlines()]


def test_a_record_that_is_too_large_fails_alone_and_is_a_dead_letter(broker: KafkaBroker, tmp_path: Path) -> None:
    world = KafkaSinkWorld.of(broker, 1, max_message_bytes="2000")
    letters = broker.new_topic()
    entries = with_large(300, 5, 100, 101, 299)
    options = world.options(dead_letter_topic=letters)
    report = world.deliver(tmp_path, MemoryOutbox(entries), world.receiver_of(options=options), request_events_max=150)
    assert (report.state, report.delivered, report.failed) == ("idle", 296, 4)
    assert world.numbers() == [n for n in range(1, 301) if n not in (5, 100, 101, 299)]
    world.require_true(tmp_path, report)
    assert [each["sequence"] for each in failed_lines(tmp_path)] == [5, 100, 101, 299]
    found = world.messages(letters)
    assert [each.value() for each in found] == [bytes(entries[n - 1].object) for n in (5, 100, 101, 299)]
    headers = dict(found[1].headers() or ())
    assert headers.pop("event_processor.failed_at")
    assert headers == {
        f"event_processor.{name}": value
        for name, value in {
            "pipeline": b"pipeline",
            "sink": b"remote",
            "key": f"{STATE_ID}:remote:events:1:1000".encode(),
            "sequence": b"100",
            "source": b"events",
            "generation": b"1",
            "offset": b"1000",
            "line": b"100",
            "stage": b"deliver",
            "status": b"MSG_SIZE_TOO_LARGE",
            "reason": b"MSG_SIZE_TOO_LARGE: Broker: Message size too large",
            "tries": b"1",
        }.items()
    }


def test_records_that_are_too_large_together_only_all_arrive(broker: KafkaBroker, tmp_path: Path) -> None:
    world = KafkaSinkWorld.of(broker, 1, max_message_bytes="2000")
    report = world.deliver(tmp_path, MemoryOutbox(records(RECORDS)), request_events_max=RECORDS)
    require_all(world, tmp_path, report)


def test_a_dead_letter_that_is_too_large_for_its_topic_has_no_value(broker: KafkaBroker, tmp_path: Path) -> None:
    world = KafkaSinkWorld.of(broker, 1, max_message_bytes="2000")
    letters = broker.new_topic(1, max_message_bytes="2000")
    options = world.options(dead_letter_topic=letters)
    report = world.deliver(tmp_path, MemoryOutbox(with_large(9, 4)), world.receiver_of(options=options), request_events_max=9)
    assert (report.delivered, report.failed) == (8, 1)
    world.require_true(tmp_path, report)
    (letter,) = world.messages(letters)
    assert (letter.value(), dict(letter.headers() or ())["event_processor.length"]) == (None, b"3017")
    (line,) = failed_lines(tmp_path)
    assert len(json.dumps(line["object"], separators=(",", ":"))) == 3017, "here it is whole"


@pytest.mark.parametrize("after", [False, True])
def test_failed_records_of_a_commit_whose_answer_is_lost_are_read_from_the_topic(
    broker: KafkaBroker, tmp_path: Path, *, after: bool
) -> None:
    """One is so large that it is kept in several parts."""
    world = KafkaSinkWorld.of(broker, 1, max_message_bytes="2000")
    entries = with_large(9, 4, 7, size_bytes=1_200_000)
    # Commits of cursors, then the one with the failed records.
    fault = Fault(2, ("commit_transaction",), after=after, event=killed)
    made_by = world.receiver_of(fault)
    with pytest.raises(KilledError):
        world.deliver(tmp_path, MemoryOutbox(entries), made_by, request_events_max=9)
    report = world.deliver(tmp_path, MemoryOutbox(entries), request_events_max=9)
    assert (report.state, report.delivered, report.failed) == ("idle", 7, 2)
    assert world.numbers() == [1, 2, 3, 5, 6, 8, 9]
    world.require_true(tmp_path, report)
    found = [(each["sequence"], len(json.dumps(each["object"], separators=(",", ":")))) for each in failed_lines(tmp_path)]
    assert found == [(4, 1_200_017), (7, 1_200_017)]


def test_nearly_every_record_refused_stops_the_lane_and_keeps_them(broker: KafkaBroker, tmp_path: Path) -> None:
    world = KafkaSinkWorld.of(broker, 1, max_message_bytes="2000")
    entries = with_large(120, *range(1, 121))

    async def main() -> None:
        process = world.bench(tmp_path, MemoryOutbox(entries), request_events_max=10)
        await until(lambda: process.lane.report().state == "stopped")
        assert "refuses nearly every record" in process.lane.report().words
        await process.close()

    asyncio.run(main())
    assert world.messages() == []


# When something was lost.


def test_a_lost_cursor_topic_stops_the_lane_with_65_and_the_way_out(world: KafkaSinkWorld, tmp_path: Path) -> None:
    outbox = MemoryOutbox(records(10))
    world.deliver(tmp_path, outbox)
    world.broker.delete_topic(world.cursor_topic)
    report = world.deliver(tmp_path, outbox)
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "its cursor topic does not know this pipeline, but 10 records were answered" in report.words
    assert "sinks drop remote" in report.remedy
    # The way out: the lane is dropped, and begins anew after what was released.
    (tmp_path / "delivery" / "remote.json").unlink()
    outbox.entries += records(5, 11, outbox.chain)
    report = world.deliver(tmp_path, outbox, started=(10, records(10)[-1].chain))
    assert world.numbers() == list(range(1, 16))
    world.require_true(tmp_path, report)


def test_a_cursor_behind_its_mirror_stops_the_lane_with_65(world: KafkaSinkWorld, tmp_path: Path) -> None:
    """As after an election of a leader that lacked the last records."""
    outbox = MemoryOutbox(records(10))
    world.deliver(tmp_path, outbox)
    (before,) = [each for each in world.messages(world.cursor_topic) if b'"sequence":10' in (each.value() or b"")][-1:]
    outbox.entries += records(10, 11, outbox.chain)
    world.deliver(tmp_path, outbox)
    world.broker.produce(world.cursor_topic, [before.value()], key=lambda _: before.key())
    report = world.deliver(tmp_path, outbox)
    assert (report.state, report.exit_code) == ("failed", 65)
    assert "its cursor topic is at record 10, but 20 were answered" in report.words
    assert "deliver --from 11 --sink remote" in report.remedy
    assert world.numbers() == list(range(1, 21))


def test_the_cursor_of_another_state_stops_the_lane_with_65_and_is_left_alone(world: KafkaSinkWorld, tmp_path: Path) -> None:
    world.deliver(tmp_path / "a", MemoryOutbox(records(10)))
    report = world.deliver(tmp_path / "b", MemoryOutbox(records(10)), state_id="another")
    assert (report.state, report.exit_code) == ("failed", 65)
    assert f"has the cursor of another state of the pipeline pipeline: {STATE_ID}, not another" in report.words
    assert "another state.name" in report.remedy
    assert world.cursors()["remote"]["state_id"] == STATE_ID
    assert world.numbers() == list(range(1, 11))


def test_a_state_from_an_older_backup_passes_over_what_the_topic_has(world: KafkaSinkWorld, tmp_path: Path) -> None:
    entries = records(RECORDS)
    world.deliver(tmp_path / "a", MemoryOutbox(entries[:10]))
    shutil.copytree(tmp_path / "a", tmp_path / "backup")
    world.deliver(tmp_path / "a", MemoryOutbox(entries[:20]))
    report = world.deliver(tmp_path / "backup", MemoryOutbox(entries))
    require_all(world, tmp_path / "backup", report)


def test_a_cursor_topic_that_forgets_stops_the_lane(world: KafkaSinkWorld, tmp_path: Path) -> None:
    world.broker.make_topic(world.cursor_topic, cleanup_policy="delete")
    report = stopped(world, tmp_path, world.bench)
    assert 'has cleanup.policy "delete", so it forgets cursors' in report.words
    assert f"--entity-name {world.cursor_topic} --add-config cleanup.policy=compact" in report.remedy


def test_a_topic_that_is_missing_stops_the_lane_and_is_not_made(world: KafkaSinkWorld, tmp_path: Path) -> None:
    options = world.options(topic="nowhere")
    report = stopped(world, tmp_path, lambda state, outbox: world.bench(state, outbox, world.receiver_of(options=options)))
    assert report.words.startswith("topic nowhere: UNKNOWN_TOPIC_OR_PART")
    assert "make the topic, or correct its name" in report.remedy


@pytest.mark.parametrize(
    ("user", "password", "words", "remedy"),
    [
        ("guest", "guest-secret", "TOPIC_AUTHORIZATION_FAILED", "give the sink's user the rights"),
        ("app", "hunter2", "AUTHENTICATION", "correct user, password_file or password_env"),
    ],
)
def test_a_user_without_rights_or_with_a_wrong_password_stops_the_lane(
    world: KafkaSinkWorld, tmp_path: Path, user: str, password: str, words: str, remedy: str
) -> None:
    (tmp_path / "password").write_text(password)
    options = world.options(brokers=world.broker.sasl_address, user=user, password_file=str(tmp_path / "password"))
    report = stopped(world, tmp_path, lambda state, outbox: world.bench(state, outbox, world.receiver_of(options=options)))
    assert words in report.words
    assert remedy in report.remedy
    assert "hunter2" not in report.words + report.remedy


def stopped(world: KafkaSinkWorld, state: Path, bench: Callable[[Path, MemoryOutbox], Bench]) -> LaneReport:
    """What a lane says that stops before it has sent anything."""

    async def main() -> LaneReport:
        process = bench(state, MemoryOutbox(records(3)))
        await until(lambda: process.lane.report().state == "stopped")
        report = process.lane.report()
        await process.close()
        return report

    report = asyncio.run(main())
    assert world.messages() == []
    return report


def test_a_renamed_sink_takes_its_cursor_along(world: KafkaSinkWorld, tmp_path: Path) -> None:
    entries = records(RECORDS)
    world.deliver(tmp_path, MemoryOutbox(entries[:10]))
    renamed = read_cursor(OperatingSystem(), str(tmp_path), "remote")
    assert renamed is not None
    write_cursor(OperatingSystem(), str(tmp_path), "other", msgspec.structs.replace(renamed, earlier_names=(("remote", 10),)))
    report = world.deliver(tmp_path, MemoryOutbox(entries), name="other")
    require_all_as(world, tmp_path, report, "other")
    assert set(world.cursors()) == {"other"}


def require_all_as(world: KafkaSinkWorld, state: Path, report: LaneReport, lane: str) -> None:
    assert (report.state, report.delivered) == ("idle", RECORDS)
    assert world.numbers() == list(range(1, RECORDS + 1))
    world.require_true(state, report, lane)


def test_retried_records_have_a_cursor_of_their_own(broker: KafkaBroker, tmp_path: Path) -> None:
    world = KafkaSinkWorld.of(broker, 1, max_message_bytes="2000")
    outbox = MemoryOutbox(with_large(10, 4))
    world.deliver(tmp_path, outbox)
    (failed,) = failed_lines(tmp_path)
    retry = Retry(str(failed["key"]), 1, failed["place"], msgspec.Raw(b'{"n":4,"repaired":true}'))  # type: ignore[arg-type]
    append_retries(OperatingSystem(), str(tmp_path), "remote", lambda last: [] if last else [retry], "2026-01-01T00:00:00Z")
    world.deliver(tmp_path, outbox)
    assert world.numbers() == list(range(1, 11))
    assert world.cursors()["remote.retry"]["delivered"] == 1
    # Once more: nothing is sent again.
    world.deliver(tmp_path, outbox)
    assert world.numbers() == list(range(1, 11))


def test_rejected_records_are_messages_with_their_own_bytes_and_the_reason(world: KafkaSinkWorld, tmp_path: Path) -> None:
    letters = [
        {"source": "events", "generation": 1, "line": 3, "offset": 40, "stage": "parse", "reason": "not JSON", "field": "", "record": "{"},
        {"source": "events", "generation": 1, "line": 4, "offset": 42, "stage": "parse", "reason": "not UTF-8", "field": "",
         "record_base64": "/w=="},
        {"source": "events", "generation": 1, "line": 5, "offset": 44, "stage": "read", "reason": "too long", "field": "",
         "length": 2000000},
    ]  # fmt: skip
    options = world.options(input="dead_letters")
    outbox = MemoryOutbox(made([json.dumps(each) for each in letters]))
    report = world.deliver(tmp_path, outbox, world.receiver_of(options=options))
    assert (report.state, report.delivered) == ("idle", 3)
    found = {dict(each.headers() or ())["event_processor.sequence"]: each for each in world.messages()}
    assert [found[n].value() for n in (b"1", b"2", b"3")] == [b"{", b"\xff", None]
    headers = dict(found[b"3"].headers() or ())
    assert (headers["event_processor.reason"], headers["event_processor.length"]) == (b"too long", b"2000000")
    assert headers["event_processor.source"] == b"events"
