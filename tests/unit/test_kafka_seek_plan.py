"""What a seek does, by hand: which generations end and begin, what is lost, and what is said."""

from __future__ import annotations

from typing import Any

import pytest

from event_processor.connectors.kafka.positions import PartitionPosition, read_position
from event_processor.connectors.kafka.seek import plan_of_seek
from event_processor.connectors.kafka.source_options import KafkaSourceOptions
from event_processor.connectors.kafka.survey import Bounds, Topic
from event_processor.model.connector import SeekPlan, SeekRequest
from event_processor.model.errors import NotAnsweredError, StateError, UsageError
from event_processor.model.event import Chunk
from event_processor.model.losses import Loss

OPTIONS = KafkaSourceOptions(type="kafka", brokers="b:1", topic="t")


def position(partition: int, offset: int, start: int = 0) -> dict[str, Any]:
    return PartitionPosition(f"t/{partition}", partition, start, offset, "one").to_json()


def planned(to: str, partition: int | None = None, *, topic_id: str = "one", **bounds: tuple[int, int]) -> SeekPlan:
    """The plan for a state that has read partition 0 up to 50 (generation 3) and 1 up to 20 (generation 4). Default bounds: 0 to 100."""
    known = {0: Bounds(0, 100), 1: Bounds(0, 100), **{int(name[1:]): Bounds(*each) for name, each in bounds.items()}}
    request = SeekRequest({3: position(0, 50), 4: position(1, 20, 10)}, 5, to, partition)
    return plan_of_seek("live", OPTIONS, Topic(topic_id, tuple(known), known, 0.0), request)


def shown(plan: SeekPlan) -> list[tuple[Any, ...]]:
    """The script: losses as (generation, offset, records), chunks as (generation, offset, whether retired)."""
    return [
        (each.generation, each.offset, each.records) if isinstance(each, Loss) else (each.generation, each.offset, each.retired)
        for each in plan.script
    ]


def test_to_available_moves_only_partitions_whose_offset_is_gone() -> None:
    plan = planned("available", p0=(60, 100))
    assert shown(plan) == [(3, 50, 10), (3, 50, True), (5, 60, False)]
    assert (plan.skipped, plan.repeated) == (10, 0)
    assert plan.words == ("partition 0: offset 50 -> 60: skips up to 10 records, of which up to 10 were deleted",)
    opened = plan.script[-1]
    assert isinstance(opened, Chunk)
    found = read_position(opened.position)
    assert (found.partition, found.start, found.offset, found.records, found.topic_id) == (0, 60, 60, 0, "one")
    assert shown(planned("available", p1=(0, 15))) == [(4, 20, True), (5, 15, False)]
    assert planned("available").script == ()


def test_to_the_end_skips_and_to_the_beginning_repeats_what_was_read() -> None:
    plan = planned("end")
    assert shown(plan) == [(3, 50, 50), (3, 50, True), (4, 20, 80), (4, 20, True), (5, 100, False), (6, 100, False)]
    assert (plan.skipped, plan.repeated) == (130, 0)
    back = planned("beginning")
    assert shown(back) == [(3, 50, True), (4, 20, True), (5, 0, False), (6, 0, False)]
    assert (back.skipped, back.repeated) == (0, 60)


def test_offsets_move_the_named_partitions() -> None:
    assert shown(planned("1=30,0=50")) == [(4, 20, 10), (4, 20, True), (5, 30, False)]
    assert shown(planned("30", 1)) == [(4, 20, 10), (4, 20, True), (5, 30, False)]
    assert shown(planned("end", 0)) == [(3, 50, 50), (3, 50, True), (5, 100, False)]


def test_another_topic_of_the_name_ends_everything_and_begins_what_it_has() -> None:
    plan = planned("beginning", topic_id="two", p2=(0, 5))
    assert shown(plan) == [
        (3, 50, None),
        (3, 50, True),
        (4, 20, None),
        (4, 20, True),
        (5, 0, False),
        (6, 0, False),
        (7, 0, False),
    ]
    assert planned("end", topic_id="two", p2=(0, 5)).skipped == 205
    request = SeekRequest({1: position(0, 50), 2: position(1, 20)}, 3, "available")
    smaller = plan_of_seek("live", OPTIONS, Topic("two", (0,), {0: Bounds(0, 9)}, 0.0), request)
    assert shown(smaller) == [(1, 50, None), (1, 50, True), (2, 20, None), (2, 20, True), (3, 0, False)]


@pytest.mark.parametrize(
    ("to", "partition", "words"),
    [
        ("yesterday", None, "is no place"),
        ("12", None, "is no place"),
        ("0=101", None, "has no offset 101: its log goes from 0 to 100"),
        ("5=1", None, "partition 5 is not read by this source"),
    ],
)
def test_a_place_that_is_not_there_is_named(to: str, partition: int | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        planned(to, partition)


def test_one_partition_of_another_topic_cannot_move_alone() -> None:
    with pytest.raises(UsageError, match="all partitions must move"):
        planned("beginning", 0, topic_id="two")


def test_a_partition_without_a_leader_is_waited_for_and_an_unread_source_has_no_place() -> None:
    request = SeekRequest({1: position(0, 50)}, 2, "end")
    with pytest.raises(NotAnsweredError, match="no leader"):
        plan_of_seek("live", OPTIONS, Topic("one", (0, 1), {1: Bounds(0, 9)}, 0.0), request)
    with pytest.raises(UsageError, match="was not read yet"):
        plan_of_seek("live", OPTIONS, Topic("one", (0,), {0: Bounds(0, 9)}, 0.0), SeekRequest({}, 1, "end"))


def test_a_position_of_another_connector_is_refused() -> None:
    with pytest.raises(StateError, match="none of Kafka"):
        read_position({"path": "log.jsonl", "offset": 3})
