"""The parts of a Kafka sink that need no broker: its options, its messages, and the entries of the cursor topic."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest
from pydantic import ValidationError

from event_processor.connectors.kafka.cursor_entries import (
    FAILED_MAX,
    FAILED_PART_BYTES,
    CursorEntry,
    FailedParts,
    LaneEntries,
    cursor_key,
    failed_entries,
)
from event_processor.connectors.kafka.sink_messages import UnfitError, key_reader
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.model.errors import StateError
from event_processor.model.transactions import CursorOwner, FailedRecord

OWNER = CursorOwner("shop", "results", "results", "s1", "events", earlier_lanes=("old",))


def options(**keys: object) -> KafkaSinkOptions:
    return KafkaSinkOptions.model_validate({"type": "kafka", "brokers": "127.0.0.1:9092", "topic": "t", **keys})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"topic": "a b"}, "a name of letters, digits, dots"),
        ({"topic": ""}, "a topic, and a cursor_topic"),
        ({"cursor_topic": "t"}, "another cursor_topic"),
        ({"dead_letter_topic": "t"}, "another dead_letter_topic"),
        ({"dead_letter_topic": "d", "input": "dead_letters"}, "no dead_letter_topic if input is dead_letters"),
        ({"client": {"acks": 1}}, "acks"),
        ({"client": {"transactional.id": "x"}}, "transactional.id"),
        ({"order": "none"}, "strict"),
    ],
)
def test_a_fault_of_the_options_is_told(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        options(**keys)
    assert words in str(raised.value)


def test_the_target_is_the_topics_and_not_the_brokers() -> None:
    assert options(brokers="a:1").target() == options(brokers="b:1").target()
    assert options(topic="u").target() != options().target()
    assert options(cursor_topic="u").target() != options().target()


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ('{"a":{"b":"x"}}', b"x"),
        ('{"a.b":"y","a":{"b":"x"}}', b"y"),
        ('{"a":{"b":""}}', b""),
        ('{"a":{"b":9223372036854775808}}', b"9223372036854775808"),
        ('{"a":{"b":true}}', b"true"),
        ('{"a":{"b":"\\u00e9"}}', "é".encode()),
        ('{"a":{"b":null}}', None),
        ('{"a":1}', None),
        ("{}", None),
    ],
)
def test_a_key_is_the_text_of_its_field(record: str, key: bytes | None) -> None:
    assert key_reader("a.b")(record.encode()) == key


@pytest.mark.parametrize("record", [b"[1]", b"{", b'{"a":"\xff"}', b"1"])
def test_a_record_without_fields_has_no_key_and_is_bad(record: bytes) -> None:
    with pytest.raises(UnfitError):
        key_reader("a")(record)
    assert key_reader("")(record) is None


def cursor(sequence: int) -> bytes:
    return CursorEntry(
        state_id="s1", input="events", started_after=0, sequence=sequence, chain="c", delivered=sequence, failed=0, skipped=0,
        writer="w", at="", software="",
    ).encoded  # fmt: skip


def failed(sequence: int, size_bytes: int = 1) -> FailedRecord:
    content = msgspec.Raw(b'"' + b"x" * size_bytes + b'"')
    return FailedRecord("results", sequence, f"s1:{sequence}", {}, "deliver", "X", "words", 1, "", content)


def test_the_last_entry_of_a_lane_is_its_cursor() -> None:
    entries = LaneEntries(OWNER)
    assert cursor_key(OWNER, "results") == b'{"pipeline":"shop","shard":"","lane":"results"}'
    for key, value in [
        (cursor_key(OWNER, "results"), cursor(1)),
        (cursor_key(OWNER, "other"), b"not ours"),
        (cursor_key(replace(OWNER, shard="2/8"), "results"), b"not ours"),
        (None, b"not ours"),
        (b"\xff", b"not ours"),
        (cursor_key(OWNER, "results"), cursor(2)),
        (cursor_key(OWNER, "old"), cursor(7)),
    ]:
        entries.take(key, value)
    assert entries.cursor is not None
    assert entries.cursor.sequence == 2
    assert [(name, entry.sequence) for name, entry in entries.earlier()] == [("old", 7)]
    entries.take(cursor_key(OWNER, "old"), None)
    assert not list(entries.earlier())


@pytest.mark.parametrize("value", [b"{}", b"\xff", cursor(1).replace(b'"version":1', b'"version":2')])
def test_a_cursor_that_cannot_be_read_is_never_taken_for_none(value: bytes) -> None:
    with pytest.raises(StateError):
        LaneEntries(OWNER).take(cursor_key(OWNER, "results"), value)


def test_a_failed_record_comes_back_from_its_parts() -> None:
    large = failed(5, 2 * FAILED_PART_BYTES)
    written = [pair for record in (failed(4), large, failed(6)) for pair in failed_entries(OWNER, record)]
    assert len(written) == 5
    assert json.loads(written[1][0].encoded) == {
        "pipeline": "shop", "shard": "", "lane": "results", "input": "events", "failed": 5, "part": 0, "parts": 3,
    }  # fmt: skip
    parts = FailedParts(LaneEntries(OWNER), 4)
    for key, value in written:
        parts.take(key.encoded, value)
    assert parts.records() == [large, failed(6)]
    # Without one of its parts it is not whole, and deleted it is gone.
    parts = FailedParts(LaneEntries(OWNER), 0)
    for key, value in [*written[:3], written[4]]:
        parts.take(key.encoded, value)
    parts.take(written[0][0].encoded, None)
    assert parts.records() == [failed(6)]


def test_the_oldest_failed_records_are_deleted_if_there_are_too_many() -> None:
    entries = LaneEntries(OWNER)
    keys = [key for n in range(1, FAILED_MAX + 4) for key, _ in failed_entries(OWNER, failed(n))]
    for key in keys:
        entries.note_failed(key, 100)
    assert entries.excess() == keys[:3]
    for key in keys[:3]:
        entries.note_failed(key, None)
    assert entries.excess() == []
    entries.note_failed(keys[-1], 70_000_000)
    assert len(entries.excess()) == FAILED_MAX, "one alone is more than is kept"
