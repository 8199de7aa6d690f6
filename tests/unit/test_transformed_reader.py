"""Transforms within a format: places, dead letters and blank lines are those of the records as they came."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from event_processor.assembly.connectors import all_sources
from event_processor.assembly.formats import format_factory
from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.configuration.transforms import TransformOptions
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.model.columns import Columns
from event_processor.model.event import Chunk
from support.columns import ids_of


class Halves:
    """Gives half of `n`."""

    def __init__(self, _options: dict[str, Any]) -> None: ...

    def transform(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event | {"n": event["n"] / 2} for event in events]


def configured(*tables: dict[str, Any], source: dict[str, Any] | None = None) -> Configuration:
    options = FileSourceOptions(path=ConfiguredPath("/logs/events.log"), **(source or {}))
    transforms = tuple(TransformOptions.model_validate(table) for table in tables)
    return Configuration(sources={"events": options}, transforms=transforms)


def decoded(content: bytes, *tables: dict[str, Any], source: dict[str, Any] | None = None, name: str = "events") -> Columns:
    configuration = configured(*tables, source=source)
    options = all_sources(configuration, "/state")[name]
    factory = pickle.loads(pickle.dumps(format_factory(configuration, options)))
    columns = factory().decode(Chunk(name, 1, 0, content, {}, final=True))
    assert isinstance(columns, Columns)
    return columns


def events_of(columns: Columns) -> list[bytes]:
    lines = columns.events
    assert lines is not None
    return [lines.content[start:end] for start, end in zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)]


RENAME = {"rename": {"id": "n", "category": "kind", "value": "amount"}}


@pytest.mark.parametrize("name", ["events", "intake"])
def test_records_of_every_source_are_transformed_the_intake_too(name: str) -> None:
    columns = decoded(b'{"n":1,"kind":"a","amount":2.50}\r\n\n{"n":2,"kind":"b","amount":3}', RENAME, name=name)
    assert (columns.record_count, columns.blank_count, ids_of(columns)) == (3, 1, [1, 2])
    assert events_of(columns) == [b'{"id":1,"category":"a","value":2.50}', b'{"id":2,"category":"b","value":3}']
    assert columns.record(0) == b'{"n":1,"kind":"a","amount":2.50}'


def test_what_is_refused_keeps_its_place_beside_blank_and_bad_lines() -> None:
    content = (
        b'\n{"n":1,"kind":"a","amount":"x"}\nno\n \t\n{"n":2,"kind":"b"}\n{"n":3,"kind":"c","amount":"1.0"}\n\xff\n' + b" " * 40
    )
    columns = decoded(content, RENAME, {"convert": {"value": "number"}}, source={"record_bytes_max": 32})
    assert [(each.row, each.stage, each.field, each.reason) for each in columns.rejections] == [
        (1, "transform", "value", '"value" is not a number: "x"'),
        (2, "decode", "", "not JSON: expecting value (character 1)"),
        (4, "validate", "value", '"value" is missing; the record has "id", "category"'),
        (5, "decode", "", "longer than 32 bytes"),
        (6, "decode", "", "not UTF-8: byte 0xff at offset 0 of the record"),
    ]
    assert columns.blank_count == 3
    assert columns.record(1) == b'{"n":1,"kind":"a","amount":"x"}'


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"[" * 2000, "nested deeper than 100"),
        (b'{"n":1,"x":' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 100"),
        (b'{"n":1,"x":"\xff"}', "not UTF-8: byte 0xff at offset 12 of the record"),
        (b'{"n":1,"x":"\\ud800"}', "contains half a surrogate pair, which is not a character"),
        (b'{"n":1,"x":NaN}', "not JSON: NaN is not a number"),
        (b'{"n":1,"x":"\0"}', "contains a NUL byte"),
        (b'[{"n":1}]', "not a JSON object: an array"),
        (b'\xef\xbb\xbf{"n":1}', "begins with a byte order mark; only a file may begin with one"),
    ],
)
def test_what_is_no_sound_object_is_rejected_as_ever_also_where_the_fault_would_be_dropped(record: bytes, reason: str) -> None:
    columns = decoded(b"\n" + record + b'\n{"n":5,"category":"c","value":1}\n', {"rename": {"id": "n"}, "drop": ("x",)})
    assert [(each.row, each.reason) for each in columns.rejections] == [(1, reason)]
    assert ids_of(columns) == [5]


def test_a_table_behind_a_class_works_on_what_the_class_gave() -> None:
    tables = ({"rename": {"n": "m"}}, {"class": f"{__name__}:Halves"}, {"rename": {"value": "n"}})
    columns = decoded(b'{"id":1,"category":"c","m":5}\n{"id":2,"category":"c","m":"x"}\n{"id":3,"category":"c","m":7}\n', *tables)
    assert events_of(columns) == [b'{"id":1,"category":"c","value":2.5}', b'{"id":3,"category":"c","value":3.5}']
    assert [(each.row, each.stage, each.reason[:9]) for each in columns.rejections] == [(1, "transform", "TypeError")]


def test_rows_of_a_csv_are_transformed_by_the_names_of_their_columns() -> None:
    source = {"format": "csv", "csv_delimiter": ";", "csv_types": {"nr": "integer"}}
    tables = {"rename": {"id": "nr", "category": "kind"}, "convert": {"id": "uuid"}, "set": {"value": 1}}
    columns = decoded(b"nr;kind\n7;a\nx;b\n9\n", tables, source=source)
    assert ids_of(columns) == ["00000000-0000-0000-0000-000000000007"]
    assert [(each.row, each.stage) for each in columns.rejections] == [(2, "decode"), (3, "decode")]


def test_the_position_as_id_is_that_of_the_record() -> None:
    configuration = Configuration.model_validate(
        {
            "sources": {"events": FileSourceOptions(path=ConfiguredPath("/logs/events.log"))},
            "transforms": (TransformOptions.model_validate(RENAME),),
            "event": {"id": "@position", "timestamp": ""},
        }
    )
    made = format_factory(configuration, all_sources(configuration, "/state")["events"])()
    columns = made.decode(Chunk("events", 1, 100, b'{"kind":"a","amount":1}\n{"kind":"a","amount":1}\n', {}))
    assert ids_of(columns) == [("events", 1, 100), ("events", 1, 124)]


def test_a_chunk_without_records_is_nothing() -> None:
    assert decoded(b"", RENAME).record_count == 0
