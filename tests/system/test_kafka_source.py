"""A topic as a source, with a real broker: each record is counted once, at its offset, and everything can be read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kafka_broker import KafkaBroker, broker_of_tests
from support.kafka_pipeline import TopicPipeline, event, events, succeeded
from support.processes import Pipeline, wait_until


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


def positions(world: TopicPipeline) -> list[tuple[str, int, int]]:
    found = [each["position"] for each in world.state["sources"]["events"]["generations"]]
    return [(each["path"].rpartition("/")[2], each["start"], each["offset"]) for each in found]


def test_a_topic_with_transactions_and_line_ends_in_records_is_counted_once_and_can_be_verified(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = broker.new_topic(partitions=2)
    broker.produce(topic, events(0, 100))
    broker.transaction(topic, events(100, 110))
    broker.transaction(topic, events(900, 910), is_aborted=True)
    pretty = json.dumps(json.loads(event(200)), indent=2).encode() + b"\n"
    broker.produce(topic, [pretty, b"", None, b'{"id":\n1,"c\nd":'], partition=1)
    world = TopicPipeline(tmp_path, broker.address, topic)
    pipeline = world.prepare()
    succeeded(pipeline.run("--once"))
    world.holds([*range(110), 200])
    assert world.state["counts"] == {"records": 114, "accepted": 111, "duplicate": 0, "rejected": 1, "blank": 2, "late": 0}
    (letter,) = world.letters
    assert (letter["generation"], letter["line"], letter["offset"], letter["record"]) == (2, 4, 3, '{"id":\n1,"c\nd":')
    assert positions(world) == [("0", 0, 110), ("1", 0, 4)]
    size = sum(len(each) + 1 for each in [*events(0, 110), pretty, b"", b"", b'{"id":\n1,"c\nd":'])
    assert f"ok: 114 records, {size:,} bytes, 1 dead letter" in succeeded(pipeline.verify())
    assert f"{topic}/1:1 (offset 0)" in succeeded(pipeline.command_of("explain", "200"))
    # The markers of two transactions, and what was aborted, are not unread records.
    committed = json.loads(pipeline.command_of("status", "--json").stderr)["committed"]
    assert (committed["lag_bytes"], committed["lag_records"], committed["lag_unknown"]) == (0, 0, [])
    broker.produce(topic, events(300, 305))
    assert json.loads(pipeline.command_of("status", "--json").stderr)["committed"]["lag_records"] == 5
    succeeded(pipeline.command_of("replay", "--yes"))
    succeeded(pipeline.run("--once"))
    world.holds([*range(110), 200, *range(300, 305)])
    assert "ok: 119 records" in succeeded(pipeline.verify())


def test_a_start_at_the_end_is_a_place_in_the_first_checkpoint_and_a_new_partition_is_read_whole(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = broker.new_topic(partitions=2)
    broker.produce(topic, events(0, 5), partition=1)
    world = TopicPipeline(tmp_path, broker.address, topic, keys='start = "end"')
    pipeline = world.prepare()
    succeeded(pipeline.run("--once"))
    assert positions(world) == [("0", 0, 0), ("1", 5, 5)]
    broker.produce(topic, events(5, 9), partition=1)
    broker.add_partitions(topic, 3)
    broker.produce(topic, events(9, 12), partition=2)
    assert f"{topic}/2" in succeeded(pipeline.run("--once"))
    world.holds(range(5, 12))
    assert positions(world) == [("0", 0, 0), ("1", 5, 9), ("2", 0, 3)]
    assert "ok: 7 records" in succeeded(pipeline.verify())


def test_metadata_are_fields_that_anything_may_name(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic()
    broker.produce(topic, [b'{"value": 1}', b'{"value": 2, "@key": "mine"}', b"{}", b"[]"], key=lambda index: b"k%d" % index)
    broker.produce(topic, [b'{"value": 4}'], key=lambda _: b"k0", headers=[("kind", b"a")])
    world = TopicPipeline(
        tmp_path,
        broker.address,
        topic,
        keys='metadata = ["key", "headers", "timestamp"]',
        sections='[event]\nid = "@key"\ncategory = "@headers.kind"\ntimestamp = "@timestamp"\nvalue_missing = "count_only"\n',
    )
    pipeline = world.prepare()
    succeeded(pipeline.run("--once"))
    counts = world.state["counts"]
    assert (counts["records"], counts["accepted"], counts["rejected"]) == (5, 1, 4)
    (tmp_path / "again").mkdir()
    again = TopicPipeline(
        tmp_path / "again",
        broker.address,
        topic,
        keys='metadata = ["key", "timestamp"]',
        sections='[event]\nid = "@key"\ncategory = ""\ntimestamp = "@timestamp"\nvalue_missing = "count_only"\n',
    )
    succeeded(again.prepare().run("--once"))
    counts = again.state["counts"]
    assert (counts["records"], counts["accepted"], counts["duplicate"], counts["rejected"]) == (5, 3, 1, 1)
    lines = (again.folder / "out" / "ordered.jsonl").read_text().splitlines()
    assert [(each.get("value"), each["@key"]) for each in map(json.loads, lines)] == [(1, "k0"), (2, "k1"), (None, "k2")]
    assert again.letters[0]["record"] == "[]"


def test_a_missing_topic_and_a_broker_that_is_away_are_waited_for_while_other_sources_go_on(
    broker: KafkaBroker, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(events(500, 503)) + b"\n")
    others = '[sources.log]\npath = "log.jsonl"\n[sources.away]\ntype = "kafka"\nbrokers = "127.0.0.1:1"\ntopic = "none"\n'
    topic = f"{broker.new_topic()}-later"
    world = TopicPipeline(tmp_path, broker.address, topic, sections=others)
    pipeline = world.prepare()
    daemon = pipeline.start()
    try:
        wait_until(lambda: world.records == 3, "the log is read")
        wait_until(lambda: len(shortfalls(pipeline)) == 2, "both are reported")
        missing, away = sorted(shortfalls(pipeline), key=lambda words: "127.0.0.1:1" in words)
        assert topic in missing
        assert "create the topic, or correct sources.events.topic" in missing
        assert "no broker of 127.0.0.1:1 answers" in away
        assert "refused" in away
        broker.make_topic(topic)
        broker.produce(topic, events(0, 3))
        wait_until(lambda: world.records == 6, "the topic is read")
        wait_until(lambda: len(shortfalls(pipeline)) == 1, "its condition ends")
    finally:
        daemon.kill()
    world.holds([0, 1, 2, 500, 501, 502])


def shortfalls(pipeline: Pipeline) -> list[str]:
    conditions = pipeline.folder / "state" / "conditions.json"
    found = json.loads(conditions.read_bytes())["conditions"] if conditions.exists() else []
    return [f"{each['problem']}; {each['path']}; {each['remedy']}" for each in found if each["kind"] == "source_unreachable"]


USER = 'user = "{user}"\npassword_env = "KAFKA_PASSWORD"\n'


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [("app", "wrong", "authentication"), ("guest", "guest-secret", "authorization"), ("app", "app-secret", "")],
)
def test_a_user_who_is_refused_is_named_and_a_password_is_shown_nowhere(
    broker: KafkaBroker, tmp_path: Path, user: str, password: str, words: str
) -> None:
    topic = broker.new_topic()
    broker.produce(topic, events(0, 3))
    world = TopicPipeline(tmp_path, broker.sasl_address, topic, keys=USER.format(user=user))
    pipeline = world.prepare()
    daemon = pipeline.start(environment={"KAFKA_PASSWORD": password})
    try:
        if not words:
            wait_until(lambda: world.records == 3, "it is read")
            return
        wait_until(lambda: any(words in each.lower() for each in shortfalls(pipeline)), "it is refused")
        assert all("this user" in each for each in shortfalls(pipeline))
    finally:
        said = daemon.kill().stderr
    assert password not in said


def test_a_certificate_is_checked(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic()
    broker.produce(topic, events(0, 3))
    world = TopicPipeline(tmp_path, broker.tls_address, topic, keys=f'tls.ca_file = "{broker.certificate_file}"')
    succeeded(world.prepare().run("--once"))
    world.holds(range(3))


def test_two_members_of_a_group_share_a_topic_and_each_goes_on_where_the_group_is(broker: KafkaBroker, tmp_path: Path) -> None:
    topic = broker.new_topic(partitions=2)
    keys = f'mode = "group"\ngroup = "{topic}"'
    worlds = [TopicPipeline(tmp_path / name, broker.address, topic, keys=keys) for name in "ab"]
    pipelines = [world.prepare() for world in worlds]
    broker.produce(topic, events(0, 10))
    broker.produce(topic, events(10, 20), partition=1)
    assert "at least once" in succeeded(pipelines[0].command_of("validate"))
    succeeded(pipelines[0].run("--once"))
    worlds[0].holds(range(20))
    assert "note: source events: its records are counted at least once" in pipelines[0].command_of("status").stderr
    broker.produce(topic, events(20, 30))
    succeeded(pipelines[1].run("--once"))
    worlds[1].holds(range(20, 30))
    broker.produce(topic, events(30, 40))
    # What the other member read is in no generation of this one.
    succeeded(pipelines[0].run("--once"))
    worlds[0].holds([*range(20), *range(30, 40)])
    for pipeline in pipelines:
        assert "ok: " in succeeded(pipeline.verify())
    daemons = [pipeline.start() for pipeline in pipelines]
    try:
        for part in range(10):
            broker.produce(topic, events(100 + part * 10, 110 + part * 10), partition=part % 2)
        wait_until(lambda: {*worlds[0].written, *worlds[1].written} >= set(range(100, 200)), "the two have read everything")
    finally:
        for daemon in daemons:
            daemon.kill()
