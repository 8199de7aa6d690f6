"""Bad days of a topic: deaths of the process and of the broker, a network that is cut, offsets that are gone, a topic that was made again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from support.http_daemon import served
from support.kafka_broker import KafkaBroker, broker_of_tests
from support.kafka_pipeline import TopicPipeline, events, succeeded
from support.processes import Daemon, Pipeline, wait_until
from support.tcp_proxy import TcpProxy

KILLS = 8


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


@contextmanager
def running(pipeline: Pipeline) -> Iterator[Daemon]:
    """A daemon, killed at the end."""
    daemon = pipeline.start()
    try:
        yield daemon
    finally:
        daemon.kill()


def said(pipeline: Pipeline, *arguments: str, code: int = 0) -> str:
    finished = pipeline.command_of(*arguments)
    assert finished.exit_code == code, finished.stderr
    return finished.stderr


def test_a_process_that_is_killed_again_and_again_counts_every_record_once(broker: KafkaBroker, tmp_path: Path) -> None:
    topic, random = broker.new_topic(partitions=3), Random(7)
    for part in range(3):
        broker.produce(topic, events(part * 1000, part * 1000 + 600), partition=part)
        broker.transaction(topic, events(9000 + part * 10, 9005 + part * 10), part, is_aborted=True)
        broker.transaction(topic, events(part * 1000 + 600, part * 1000 + 700), part)
    world = TopicPipeline(tmp_path, broker.address, topic)
    pipeline = world.prepare()
    for place in sorted(random.sample(range(2100), KILLS)):
        daemon = pipeline.start("--once")
        wait_until(lambda daemon=daemon, place=place: world.records >= place or not daemon.alive, "a part is committed")  # type: ignore[misc]
        daemon.kill()
    succeeded(pipeline.run("--once"))
    world.holds([part * 1000 + number for part in range(3) for number in range(700)])
    assert world.records == 2100
    assert "ok: 2,100 records" in succeeded(pipeline.verify())


def test_a_broker_that_is_killed_during_the_load_is_waited_for(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(partitions=2)
    world = TopicPipeline(tmp_path, broker.address, topic)
    with running(world.prepare()) as daemon:
        for part in range(2):
            broker.produce(topic, events(part * 5000, part * 5000 + 3000), partition=part)
        wait_until(lambda: world.records > 0, "it reads")
        broker.kill()
        wait_until(lambda: "cannot be reached" in daemon.said(), "it is reported")
        broker.start()
        for part in range(2):
            broker.produce(topic, events(part * 5000 + 3000, part * 5000 + 3500), partition=part)
        wait_until(lambda: world.records == 7000, "it goes on")
        assert "no longer missing or unreadable" in daemon.said()
    world.holds([*range(3500), *range(5000, 8500)])


def test_over_http_a_broker_that_is_frozen_is_not_waited_for(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic()
    broker.produce(topic, events(0, 10))
    world = TopicPipeline(tmp_path, broker.address, topic)
    with served(world.prepare()) as daemon:
        wait_until(lambda: world.records == 10, "it reads")
        broker.pause()
        try:
            # A question may take ten seconds. Without an answer there is nothing to know yet.
            assert daemon.ask("/v1/state").json["committed"]["lag_unknown"] == ["sources.events: no answer yet"]
            assert "the lag is unknown: sources.events: no answer yet" in daemon.ask("/readyz").json["shortfalls"]
        finally:
            broker.resume()

        def lag() -> tuple[int, list[str]]:
            committed = daemon.ask("/v1/state").json["committed"]
            return committed["lag_records"], committed["lag_unknown"]

        wait_until(lambda: lag() == (0, []), "the lag is known")


def test_a_network_that_freezes_and_is_cut_loses_and_repeats_nothing(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(partitions=2)
    with TcpProxy(broker.behind_port, broker.proxy_port) as proxy:
        world = TopicPipeline(tmp_path, broker.proxied_address, topic)
        with running(world.prepare()):
            for part in range(6):
                broker.produce(topic, events(part * 200, part * 200 + 200), partition=part % 2)
                if part % 3 == 1:
                    proxy.freeze()
                if part % 3 == 2:
                    proxy.thaw()
                    proxy.reset()
            wait_until(lambda: world.records == 1200, "everything is read")
    world.holds(range(1200))


def test_offsets_that_expired_stop_the_process_and_the_way_out_counts_what_it_skips(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(partitions=3)
    world = TopicPipeline(tmp_path, broker.address, topic)
    pipeline = world.prepare()
    for part in range(3):
        broker.produce(topic, events(part * 100, part * 100 + 20), partition=part)
    succeeded(pipeline.run("--once"))
    for part in range(2):
        broker.produce(topic, events(part * 100 + 20, part * 100 + 60), partition=part)
        broker.delete_records(topic, part, 30 + part * 10)
    stopped = pipeline.start().wait()
    assert stopped.exit_code == 65
    assert "up to 30 records of 2 partitions" in stopped.stderr
    assert "partition 1 was read up to offset 20, and its log begins at 40" in stopped.stderr
    assert "'event-processor kafka seek --source events --to available' skips 30 records of 2 partitions" in stopped.stderr
    seek = ("kafka", "seek", "--source", "events", "--to", "available")
    before = world.state
    preview = said(pipeline, *seek, "--dry-run")
    assert "skips up to 30 records of 2 partitions; they count as lost" in preview
    assert "--yes" in said(pipeline, *seek, code=64)
    assert world.state == before
    said(pipeline, *seek, "--yes")
    succeeded(pipeline.run("--once"))
    world.holds([*range(20), *range(30, 60), *range(100, 120), *range(140, 160), *range(200, 220)])
    lost = json.loads(said(pipeline, "lost", "--json"))
    assert [(each["path"], each["offset"], each["records"]) for each in lost["losses"]] == [
        (f"{topic}/0", 20, 10),
        (f"{topic}/1", 20, 20),
    ]
    assert "lost: source events" in said(pipeline, "status", code=69)
    said(pipeline, "lost", "--acknowledge")
    assert "were deleted" in said(pipeline, "verify", code=66)


def test_a_topic_made_again_is_never_read_under_the_old_positions(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(partitions=2)
    world = TopicPipeline(tmp_path, broker.address, topic)
    pipeline = world.prepare()
    broker.produce(topic, events(0, 30))
    broker.produce(topic, events(100, 110), partition=1)
    daemon = pipeline.start()
    try:
        wait_until(lambda: world.records == 40, "it reads")
        broker.delete_topic(topic)
        broker.make_topic(topic, 3)
        # More than were read of the old one: by their offsets alone, nothing is wrong.
        for part in range(3):
            broker.produce(topic, events(1000 * part + 1000, 1000 * part + 1050), partition=part)
        stopped = daemon.wait()
    finally:
        daemon.kill()
    assert stopped.exit_code == 65
    assert f"topic {topic} was deleted and made again" in stopped.stderr
    world.holds([*range(30), *range(100, 110)])
    assert pipeline.run("--once").exit_code == 65
    assert "must move" in said(pipeline, "kafka", "seek", "--to", "beginning", "--partition", "0", "--yes", code=64)
    said(pipeline, "kafka", "seek", "--to", "beginning", "--yes")
    succeeded(pipeline.run("--once"))
    new = [1000 * part + number for part in range(1, 4) for number in range(50)]
    world.holds([*range(30), *range(100, 110), *new])
    lost = json.loads(said(pipeline, "lost", "--json"))
    assert [(each["path"], each["offset"]) for each in lost["losses"]] == [(f"{topic}/0", 30), (f"{topic}/1", 10)]
    assert "made again" in said(pipeline, "verify", code=66)


def test_a_seek_back_reads_again_and_known_ids_are_duplicates(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(partitions=2)
    world = TopicPipeline(tmp_path, broker.address, topic)
    pipeline = world.prepare()
    broker.produce(topic, events(0, 10))
    broker.produce(topic, events(10, 20), partition=1)
    succeeded(pipeline.run("--once"))
    assert "is not read" in said(pipeline, "kafka", "seek", "--to", "7=1", "--dry-run", code=64)
    assert "no offset 11" in said(pipeline, "kafka", "seek", "--to", "0=11", "--dry-run", code=64)
    assert "is no place" in said(pipeline, "kafka", "seek", "--to", "yesterday", "--dry-run", code=64)
    with running(pipeline) as daemon:
        wait_until(lambda: "ready" in daemon.said(), "it runs")
        assert "process" in said(pipeline, "kafka", "seek", "--to", "0=4", "--yes", code=75)
    assert "reads up to 6 records again" in said(pipeline, "kafka", "seek", "--to", "4", "--partition", "0", "--yes")
    succeeded(pipeline.run("--once"))
    world.holds(range(20))
    assert world.state["counts"]["duplicate"] == 6
    assert "ok: 26 records" in succeeded(pipeline.verify())


def test_a_checkpoint_that_is_lost_is_read_again_in_the_order_of_the_journal(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(partitions=2)
    sink = '[services.api]\nbase_url = "http://127.0.0.1:1"\n[sinks.remote]\ntype = "http"\nservice = "api"\n'
    world = TopicPipeline(tmp_path, broker.address, topic, sections=sink)
    pipeline = world.prepare()
    with running(pipeline):
        for part in range(40):
            broker.produce(topic, events(part * 100, part * 100 + 100), partition=part % 2)
        wait_until(lambda: world.records == 4000, "everything is read")
    chain = json.loads((tmp_path / "state" / "checkpoint.json").read_bytes())["state"]["outbox"]
    (tmp_path / "state" / "checkpoint.json").write_bytes(b"torn")
    with running(pipeline) as daemon:
        wait_until(lambda: "journal" in daemon.said() and world_is_whole(world), "it has followed the journal")
    world.holds(range(4000))
    again = json.loads((tmp_path / "state" / "checkpoint.json").read_bytes())["state"]["outbox"]
    assert [each["chain"] for each in again.values()] == [each["chain"] for each in chain.values()]


def test_a_source_that_began_at_the_end_begins_there_also_if_its_first_checkpoint_is_lost(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = broker.new_topic(partitions=2)
    broker.produce(topic, events(0, 10))
    world = TopicPipeline(tmp_path, broker.address, topic, keys='start = "end"')
    pipeline = world.prepare()
    succeeded(pipeline.run("--once"))
    for part in range(2):
        broker.produce(topic, events(100 * part + 100, 100 * part + 120), partition=part)
    (tmp_path / "state" / "checkpoint.json").unlink()
    succeeded(pipeline.run("--once"))
    world.holds([*range(100, 120), *range(200, 220)])


def world_is_whole(world: TopicPipeline) -> bool:
    try:
        return world.records == 4000
    except ValueError:
        return False
