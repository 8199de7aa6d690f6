"""A format of the user's own, held to its contract: each record has one outcome, whatever the class does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pytest

from event_processor.configuration.configuration import ConfiguredPath, EventOptions
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.columns import Columns
from event_processor.model.errors import ConfigurationError
from event_processor.model.event import Chunk
from event_processor.records.objects import ObjectFormat
from event_processor.records.user_format import OwnReader
from support.columns import ids_of

HERE = __name__


class Numbers:
    """`7`: an event of that id; what is no number raises, `-` is blank, and other marks give what they should not."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.step = options.get("step", 0)

    def read(self, records: Sequence[bytes]) -> Sequence[Any]:
        if b"short" in records:
            return []
        return [self.object_of(record.decode()) for record in records]

    def object_of(self, line: str) -> Any:
        strange = {"-": None, "said": "is said to be nothing", "list": [1], "set": {"id": object()}, "long": "x" * 1000}
        return strange[line] if line in strange else {"id": int(line) + self.step, "category": "c", "value": 1.0}


class Unwilling:
    def __init__(self, _options: Mapping[str, Any]) -> None:
        raise RuntimeError("no")


class Empty:
    def __init__(self, _options: Mapping[str, Any]) -> None: ...


def decode(lines: str, options: Mapping[str, Any] | None = None) -> Columns:
    make = partial(OwnReader, f"{HERE}:Numbers", options or {}, record_bytes_max=10)
    made = ObjectFormat(make, EventOptions(timestamp=""), record_bytes_max=10, timestamps_used=False)
    return made.decode(Chunk("events", 1, 0, lines.encode(), {}))


def test_objects_are_events_none_is_blank_and_a_text_is_the_reason() -> None:
    columns = decode("1\n-\nsaid\n2\n")
    assert (columns.record_count, columns.blank_count, ids_of(columns)) == (4, 1, [1, 2])
    assert [(each.row, each.stage, each.reason) for each in columns.rejections] == [(2, "decode", "is said to be nothing")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x", "ValueError: invalid literal for int() with base 10: 'x'"),
        ("short", "the format returned 0 answers for 1 records"),
        ("list", "the format returned list, not an object"),
        ("set", "TypeError: Encoding objects of type object is unsupported"),
        ("long", "x" * 200),
    ],
)
def test_what_the_class_does_wrong_with_one_record_spoils_no_other(line: str, reason: str) -> None:
    columns = decode(f"1\n{line}\n2\n")
    assert ids_of(columns) == [1, 2]
    assert [(each.row, each.reason) for each in columns.rejections] == [(1, reason)]


def test_a_record_over_the_limit_is_not_shown_to_it() -> None:
    columns = decode("1\n12345678901\n")
    assert ids_of(columns) == [1]
    assert [each.stage for each in columns.rejections] == ["read"]


def test_a_chunk_without_records_asks_nothing() -> None:
    assert decode("").record_count == 0


def test_it_is_made_with_its_options() -> None:
    assert ids_of(decode("1\n", {"step": 10})) == [11]


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        (f"{HERE}:Unwilling", "cannot be created: RuntimeError: no"),
        (f"{HERE}:Missing", "cannot be created: TypeError"),
        (f"{HERE}:Empty", "has no method read"),
        ("no_such_module_here:Class", 'cannot import "no_such_module_here"'),
    ],
)
def test_a_class_that_cannot_be_used_is_a_fault_of_the_configuration(reference: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault) as caught:
        OwnReader(reference, {}, record_bytes_max=10)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"format": "cvs"}, '"jsonl", "csv", "json", .*, or "package.module:Class"'),
        ({"format": "jsonl", "format_options": {"a": 1}}, "applies only to your own reader"),
        ({"format": "a.b:C", "csv_decimal": ","}, 'applies only to format = "csv"'),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(said: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        FileSourceOptions(**{"path": ConfiguredPath("events.log"), **said})


def test_its_name_and_its_options_are_part_of_the_state() -> None:
    options = FileSourceOptions(path=ConfiguredPath("events.log"), format="a.b:C", format_options={"x": 1})
    assert options.identity()["format"] == "a.b:C"
    assert options.identity()["format_options"] == {"x": 1}
    assert "format_options" not in FileSourceOptions(path=ConfiguredPath("events.log")).identity()
