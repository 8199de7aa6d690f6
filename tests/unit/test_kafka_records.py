"""Messages as records of a chunk: one each, whatever bytes they have, with their offsets and their own bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.connectors.kafka.records import Fetched, lines_of, text_of, with_metadata


@dataclass
class Sent:
    """A message of a test."""

    bytes_: bytes | None
    number: int = 0
    name: bytes | None = None
    more: list[tuple[str, bytes | None]] = field(default_factory=list)
    moment: tuple[int, int] = (1, 1_764_432_000_123)
    epoch: int | None = 4

    def value(self) -> bytes | None:
        return self.bytes_

    def key(self) -> bytes | None:
        return self.name

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.more or None

    def timestamp(self) -> tuple[int, int]:
        return self.moment

    def offset(self) -> int:
        return self.number

    def leader_epoch(self) -> int | None:
        return self.epoch


def fetched(*values: bytes | None, limit: int = 100, offsets: list[int] | None = None) -> Fetched:
    numbers = offsets or list(range(10, 10 + len(values)))
    return Fetched([Sent(value, number) for value, number in zip(values, numbers, strict=True)], frozenset(), limit)


def test_records_are_lines_with_their_offsets_and_an_absent_value_is_an_empty_line() -> None:
    taken = fetched(b"a", None, b"", b"bc", offsets=[3, 4, 8, 9]).take(100)
    assert (taken.content, taken.own, taken.places.tolist()) == (b"a\n\n\nbc\n", b"", [3, 4, 8, 9])
    assert (taken.size_bytes, taken.epoch, taken.oversized_bytes) == (7, 4, 0)


def test_the_epoch_is_of_the_last_record_that_was_taken() -> None:
    some = Fetched([Sent(b"a", 1, epoch=None), Sent(b"b", 2), Sent(b"c", 3, epoch=5), Sent(b"d", 4, epoch=5)], frozenset(), 100)
    assert [some.take(size).epoch for size in (2, 2, 4)] == [-1, 4, 5]


def test_a_chunk_holds_at_most_so_many_bytes_but_at_least_one_record_and_ends_before_an_offset() -> None:
    some = fetched(b"aaaa", b"bb", b"cc", b"d" * 50, b"e", offsets=[1, 2, 5, 6, 7])
    assert some.take(8).places.tolist() == [1, 2]
    assert some.take(2).places.tolist() == [5]
    assert some.take(2).places.tolist() == [6]
    assert some.is_empty is False
    assert some.take(100).places.tolist() == [7]
    assert some.is_empty is True
    assert fetched(b"a", b"b", b"c", offsets=[1, 5, 9]).take(100, end=9).places.tolist() == [1, 5]
    assert fetched(b"a", b"b", offsets=[5, 9]).take(100, end=3).places.tolist() == [5]


def test_a_record_that_is_too_long_comes_alone_and_without_its_bytes() -> None:
    some = fetched(b"a", b"b" * 11, b"c" * 10, limit=10)
    assert (some.take(100).content, some.next_offset) == (b"a\n", 11)
    long = some.take(100)
    assert (long.content, long.own, long.places.tolist(), long.oversized_bytes, long.size_bytes) == (b"", b"", [11], 12, 12)
    assert some.take(100).content == b"c" * 10 + b"\n"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (b'{\n "a": 1\r\n}\n', b'{  "a": 1  } '),
        (b'{"a": "x\ny"}', b'{"a": "x\ry"}'),
        (b'{"a": 1}\r', b'{"a": 1} '),
        (b'{"a":\r1}', b'{"a":\r1}'),
        (b"\n", b" "),
        (b"not json\n", b"not json "),
    ],
)
def test_line_ends_in_a_record_become_spaces_or_stay_faults_and_its_own_bytes_are_kept(value: bytes, line: bytes) -> None:
    content, own = lines_of([b"first", value])
    assert content == b"first\n" + line + b"\n"
    assert own in (b"", b"first\n" + value + b"\n")
    assert len(own) in (0, len(content))


def document(value: bytes) -> Any:
    """What JSON says of it; None if it is none, or no object."""
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@given(st.one_of(st.binary(max_size=30), st.text(alphabet='{}[]":,\\ \n\r\ta1', max_size=20).map(str.encode)))
def test_a_record_is_an_object_on_its_line_exactly_if_it_is_one_in_its_own_bytes(value: bytes) -> None:
    content, _ = lines_of([value])
    assert content.count(b"\n") == 1
    assert document(content) == document(value)


@given(st.text(alphabet='{}[]":,\\ \n\ta1@key', max_size=24).map(str.encode))
def test_metadata_never_make_an_object_of_a_record_that_is_none(value: bytes) -> None:
    found, before = document(with_metadata(value, Sent(value, name=b"k"), frozenset({"key"}))), document(value)
    assert found == (None if before is None else {**before, "@key": "k"})


def test_metadata_are_the_last_fields_and_win() -> None:
    sent = Sent(b"", name=b"k\xff", more=[("a", b"1"), ("b", None), ("a", b'"2"')])
    everything = with_metadata(b' {"@key": "forged", "x": {}} ', sent, frozenset({"key", "headers", "timestamp"}))
    assert json.loads(everything) == {
        "x": {},
        "@key": "base64:a/8=",
        "@headers": {"a": '"2"', "b": None},
        "@timestamp": "2025-11-29T16:00:00.123Z",
    }
    assert json.loads(with_metadata(b"{}", Sent(b"", moment=(0, -1)), frozenset({"key", "timestamp"}))) == {
        "@key": None,
        "@timestamp": None,
    }
    assert json.loads(with_metadata(b"{}", Sent(b"", moment=(1, 2**62)), frozenset({"timestamp"}))) == {"@timestamp": None}


def test_two_keys_never_become_one_text() -> None:
    keys = [b"a", b"\xff", b"base64:/w==", b"base64:", b""]
    assert len({text_of(key) for key in keys}) == len(keys)
    assert text_of(None) is None
