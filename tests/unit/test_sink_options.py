"""What a file sink may be told, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from event_processor.connectors.files.part_files import PartNames
from event_processor.connectors.files.sink_options import FileSinkOptions
from event_processor.storage.durable import OperatingSystem


def options(path: str = "/out/x.jsonl", **keys: Any) -> FileSinkOptions:
    as_loaded = {key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()}
    return FileSinkOptions.model_validate({"path": path, **as_loaded})


@pytest.mark.parametrize(
    ("path", "keys", "reason"),
    [
        ("/x.jsonl", {"part_events": 5}, 'path must contain "{n}"'),
        ("/x.json", {"format": "json"}, 'path must contain "{n}"'),
        ("/x-{n}-{n}.json", {"format": "json"}, 'path must contain "{n}"'),
        ("/x-{n}.jsonl", {}, "only if parts are written"),
        ("/{n}/x-{n}.json", {"format": "json"}, "only if parts are written"),
        ("/x.csv", {"format": "csv"}, "columns must name"),
        ("/{n}.parquet", {"format": "parquet"}, "columns must name"),
        ("/x.jsonl", {"columns": ["a", "b as a"]}, "each name only once"),
        ("/x.jsonl", {"columns": ["a", ""]}, "each name only once"),
        ("/x.jsonl", {"columns": [" as a"]}, "each name only once"),
        ("/x.jsonl", {"csv_delimiter": ";"}, 'csv_delimiter applies only to format = "csv"'),
        ("/x.csv", {"format": "csv", "columns": ["a"], "csv_delimiter": '"'}, "must differ"),
        ("/x.csv", {"format": "csv", "columns": ["a"], "csv_delimiter": "::"}, "one character"),
        ("/x.csv", {"format": "csv", "columns": ["a"], "csv_quote": ""}, "one character"),
        ("/x.csv", {"format": "csv", "columns": ["a"], "column_types": {"a": "integer"}}, 'applies only to format = "parquet"'),
        ("/{n}.pq", {"format": "parquet", "columns": ["a as b"], "column_types": {"a": "integer"}}, "which is not in columns"),
        ("/{n}.pq", {"format": "parquet", "columns": ["a"], "column_types": {"a": "decimal"}}, "Input should be"),
        ("/x.jsonl", {"timestamp_format": "iso"}, "or a pattern such as"),
        ("/x.jsonl", {"timestamp_columns": ["at"]}, "timestamp_columns has no effect"),
        ("/x.jsonl", {"format": "xml"}, "Input should be"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_is_wanted(path: str, keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as raised:
        options(path, **keys)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("format_", "part_events", "parts"),
    [("jsonl", 0, 0), ("jsonl", 9, 9), ("json", 0, 10_000), ("json", 987, 987), ("parquet", 0, 100_000), ("csv", 0, 0)],
)
def test_formats_that_know_no_growing_file_have_parts_where_nothing_is_said(format_: str, part_events: int, parts: int) -> None:
    path = "/out/{n}" if parts else "/out/x"
    columns = ["a"] if format_ in ("csv", "parquet") else []
    assert options(path, format=format_, part_events=part_events, columns=columns).parts == parts


def test_a_column_is_a_field_or_a_field_under_another_name() -> None:
    found = options(columns=["id", "payload.size as size", "as", "a as b as c"]).named_columns
    assert [(column.field, column.name) for column in found] == [
        ("id", "id"),
        ("payload.size", "size"),
        ("as", "as"),
        ("a as b", "c"),
    ]


def test_the_names_of_parts_are_told_from_all_others(tmp_path: Any) -> None:
    names = PartNames(f"{tmp_path}/a.b-{{n}}.json")
    for name in (
        "a.b-1.json",
        "a.b-12.json",
        "a.b-0.json",
        "a.b-01.json",
        "a.b-x.json",
        "axb-2.json",
        "a.b-3.json.aside-1",
        "a.b-.json",
    ):
        (tmp_path / name).touch()
    for name in (".a.b-2.json.pending", ".a.b-1.json.complete", ".a.b-2.json.pending.replay-1", "a.b-4.json.pending"):
        (tmp_path / name).touch()
    found = names.found(OperatingSystem())
    assert (list(found.published), list(found.pending), list(found.complete)) == ([1, 12], [2], [1])
    assert names.number_of_pending(names.pending(41)) == 41
    assert names.number_of_pending(names.published(41)) is None
    assert names.number_of_pending("/elsewhere/.a.b-41.json.pending") is None


def test_a_name_that_is_the_number_alone_is_one() -> None:
    names = PartNames("{n}")
    assert (names.folder, names.published(3), names.pending(3), names.complete(3)) == (".", "3", ".3.pending", ".3.complete")


@pytest.mark.parametrize(
    ("keys", "is_noted"),
    [
        ({}, False),
        ({"timestamp_format": "rfc3339"}, True),
        ({"timestamp_format": "rfc3339", "timestamp_digits": 0}, False),
        ({"timestamp_format": "epoch_ms"}, False),
    ],
)
def test_texts_that_do_not_sort_by_time_are_noted(keys: dict[str, Any], is_noted: bool) -> None:
    assert [key for key, _ in options(**keys).cautions()] == ["timestamp_digits"] * is_noted
