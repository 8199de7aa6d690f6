"""The contract of a source, held by a topic: each record once, in order, at its offset, however it is cut and wherever it is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_processor.assembly import Environment
from event_processor.connectors.kafka.connector import KafkaConnector
from event_processor.connectors.kafka.past_generation import KafkaGeneration
from event_processor.connectors.kafka.positions import read_position
from event_processor.connectors.kafka.source import KafkaSource
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.model.connector import SourceContext
from event_processor.model.errors import InputGoneError
from event_processor.model.event import Chunk, Json
from event_processor.storage.durable import OperatingSystem
from support.kafka_broker import KafkaBroker, broker_of_tests
from support.processes import wait_until

LIMIT = 40
WORLD = Environment(fs=OperatingSystem())
EXAMPLES = 8


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with broker_of_tests() as broker:
        yield broker


def options_of(broker: KafkaBroker, topic: str) -> KafkaSourceOptions:
    return KafkaSourceOptions(type="kafka", brokers=broker.address, topic=topic, record_bytes_max=LIMIT)


class Reading:
    """What was committed of a topic: by generation, its position, and its records by offset."""

    def __init__(self, options: KafkaSourceOptions) -> None:
        self.options = options
        self.positions: dict[int, dict[str, Json]] = {}
        self.records: dict[tuple[int, int], bytes | int] = {}
        self.runs: list[tuple[int, int, int]] = []

    def opened(self) -> KafkaSource:
        source = KafkaSource(self.options, SourceContext("live", WORLD))
        source.open(self.positions, len(self.positions) + 1)
        return source

    def take(self, chunk: Chunk) -> None:
        """Commits a chunk, and holds it to the contract."""
        known = self.positions.get(chunk.generation)
        if known is None:
            assert chunk.generation == len(self.positions) + 1, "generations are numbered one after the other"
            assert not chunk.content, "the first chunk of a generation says where it begins"
        else:
            assert chunk.offset == known["offset"], "chunks follow each other"
        self.positions[chunk.generation] = json.loads(json.dumps(dict(chunk.position)))
        assert chunk.position["offset"] == chunk.end_offset
        if chunk.places is None:
            return
        partition = read_position(chunk.position).partition
        self.runs.append((chunk.generation, chunk.offset, chunk.end_offset))
        for place, record in zip(chunk.places.tolist(), _records(chunk), strict=True):
            assert (partition, place) not in self.records, "no record comes twice"
            self.records[partition, place] = record


def _records(chunk: Chunk) -> list[bytes | int]:
    """The own bytes of each record; its size if it is too long."""
    if chunk.oversized_bytes:
        return [chunk.oversized_bytes - 1]
    own, found, begin = chunk.own or chunk.content, list[bytes | int](), 0
    for line in chunk.content.split(b"\n")[:-1]:
        found.append(own[begin : begin + len(line)])
        begin += len(line) + 1
    return found


def next_chunk(source: KafkaSource, bytes_max: int) -> Chunk | None:
    """The next chunk; None at the end."""
    found: list[Chunk] = []

    def looked() -> bool:
        chunk = source.read(bytes_max)
        found.extend([chunk] if chunk is not None else [])
        return chunk is not None or source.wait_s() is None

    wait_until(looked, "a chunk, or the end")
    return found[0] if found else None


VALUES = st.one_of(st.none(), st.binary(max_size=60), st.text(alphabet='{}":, \n\r1a', max_size=20).map(str.encode))
WRITES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["plain", "committed", "aborted"]), st.lists(VALUES, min_size=1, max_size=6)),
    max_size=6,
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(writes=WRITES, bytes_max=st.lists(st.integers(1, 200), min_size=1, max_size=3), lives=st.integers(1, 3))
def test_every_record_comes_once_at_its_offset_with_its_own_bytes_and_can_be_read_again(
    broker: KafkaBroker, writes: list[tuple[int, str, list[bytes | None]]], bytes_max: list[int], lives: int
) -> None:
    topic = broker.new_topic(partitions=2)
    for partition, how, values in writes:
        if how == "plain":
            broker.produce(topic, values, partition)
        else:
            broker.transaction(topic, [value or b"" for value in values], partition, is_aborted=how == "aborted")
    # The model: what the client library itself shows to a reader of committed records.
    model: dict[tuple[int, int], bytes | int] = {}
    for message in broker.read_committed(topic):
        value = message.value() or b""
        assert isinstance(value, bytes)
        model[message.partition() or 0, message.offset() or 0] = value if len(value) <= LIMIT else len(value)
    reading = Reading(options_of(broker, topic))
    is_over = False
    while not is_over:
        source = reading.opened()
        for turn in range(lives * 2 + 2):
            chunk = next_chunk(source, bytes_max[turn % len(bytes_max)])
            if chunk is None:
                is_over = True
                break
            reading.take(chunk)
        source.read(50)  # what is read and not committed comes again
        source.close()
    assert reading.records == model
    again: dict[int, KafkaGeneration] = {}
    for generation, start, end in reading.runs:
        past = again.setdefault(generation, KafkaGeneration(reading.options, read_position(reading.positions[generation]), WORLD))
        found = [piece.places for piece in past.pieces(start, end, bytes_max[0])]
        offsets = [place for places in found if places is not None for place in places.tolist()]
        partition = read_position(reading.positions[generation]).partition
        assert offsets == sorted(place for number, place in model if number == partition and start <= place < end)
    for past in again.values():
        past.close()


def test_one_generation_can_be_read_alone_up_to_the_end_of_a_run(broker: KafkaBroker) -> None:
    topic = broker.new_topic(partitions=2)
    broker.produce(topic, [b"%d" % number for number in range(20)])
    broker.produce(topic, [b"%d" % number for number in range(20)], partition=1)
    reading = Reading(options_of(broker, topic))
    source = reading.opened()
    try:
        for generation, missing in [(2, 3), (1, 20), (2, 17)]:
            end = missing + int(str(reading.positions.get(generation, {}).get("offset", 0)))
            while int(str(reading.positions.get(generation, {}).get("offset", 0))) < end:
                found: list[Chunk] = []

                def looked(generation: int = generation, end: int = end, found: list[Chunk] = found) -> bool:
                    at = int(str(reading.positions.get(generation, {}).get("offset", 0)))
                    chunk = source.read_from(generation, 0, end - at)
                    found.extend([chunk] if chunk is not None else [])
                    return bool(found)

                wait_until(looked, "a chunk of the generation")
                reading.take(found[0])
                assert found[0].places is None or found[0].generation == generation
    finally:
        source.close()
    assert len(reading.records) == 40
    assert [(generation, end) for generation, _, end in reading.runs if end in (3, 20)] == [(2, 3), (1, 20), (2, 20)]


def test_records_that_compaction_removed_are_missed(broker: KafkaBroker) -> None:
    topic = broker.new_topic()
    broker.produce(topic, [b"0", b"1", b"2"])
    position: dict[str, Json] = {"path": f"{topic}/0", "partition": 0, "start": 0, "offset": 3, "records": 4, "bytes": 8}
    past = KafkaGeneration(options_of(broker, topic), read_position(position), WORLD)
    with pytest.raises(InputGoneError, match="4 records were counted, 3 are there now"):
        list(past.pieces(0, 3, 100))
    past.close()
    other: dict[str, Json] = {**position, "topic_id": "another"}
    with pytest.raises(InputGoneError, match="made again"):
        KafkaConnector().reopen(options_of(broker, topic), other, WORLD)
