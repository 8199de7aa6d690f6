"""Rows of databases by column against one by one: the same values or a closer look, and the same text of a COPY as the driver's."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_processor.columns.timestamps import TimestampReader, canonical, canonical_all
from event_processor.connectors.sql.columns import RowReader, UnfitError
from event_processor.connectors.sql.copy_text import copy_text
from event_processor.connectors.sql.dialect import Row, Rows
from event_processor.connectors.sql.options import SqlSinkOptions
from event_processor.connectors.sql.sqlite import SqliteDialect

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS,
    "integer": st.integers(-(2**63), 2**63 - 1),
    "double": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70)),
    "boolean": st.booleans(),
    "timestamp": st.one_of(
        st.datetimes().filter(lambda moment: 1700 < moment.year < 2200).map(lambda moment: f"{moment.isoformat()}Z"),
        st.sampled_from(
            ["2026-01-31T23:59:60Z", "2026-12-31T23:59:60Z", "2026-01-01 00:00:00.1200+01:00", "2026-01-01T00:00:00"]
        ),
        st.integers(0, 10**9),
        st.floats(0, 1e9),
    ),
    "json": st.one_of(TEXTS, st.lists(st.integers(), max_size=2), st.just({"a": None})),
    "numeric": st.integers(),
    "numeric(9,2)": st.one_of(st.integers(-999, 999), st.sampled_from([0.5, -1.25])),
    "uuid": st.uuids().map(str),
}
TYPES = tuple(FITTING)
ANY = st.one_of(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_nan=False, allow_infinity=False), TEXTS)


def reader(*types: str, upsert: tuple[str, ...] = ()) -> RowReader:
    columns = {f"c{place}": type_ for place, type_ in enumerate(types)}
    options = SqlSinkOptions.model_validate(
        {"type": "sql", "url": "sqlite:////x.db", "table": "t", "columns": columns, "upsert": upsert}
    )
    return RowReader(options, SqliteDialect.writers, TimestampReader("UTC"))


def one_by_one(found: RowReader, records: list[dict[str, Any]]) -> list[Row] | None:
    try:
        return [found.row(msgspec.json.encode(record)) for record in records]
    except UnfitError:
        return None


def by_column(found: RowReader, records: list[dict[str, Any]]) -> list[Row] | None:
    columns = found.columns(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    return None if columns is None else list(Rows(columns))


@settings(deadline=None)
@given(data=st.data(), types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
def test_values_that_fit_are_the_same_by_column(data: st.DataObject, types: list[str]) -> None:
    fields = {f"c{place}": st.one_of(st.none(), FITTING[type_]) for place, type_ in enumerate(types)}
    records = data.draw(st.lists(st.fixed_dictionaries({}, optional=fields), min_size=1, max_size=5))
    rows = one_by_one(reader(*types), records)
    assert rows is not None
    assert by_column(reader(*types), records) == rows
    assert list(map(repr, by_column(reader(*types), records) or [])) == list(map(repr, rows))


@settings(deadline=None)
@given(type_=st.sampled_from(TYPES), values=st.lists(ANY, min_size=1, max_size=4), is_key=st.booleans())
def test_by_column_nothing_is_taken_that_does_not_fit_alone(type_: str, values: list[Any], is_key: bool) -> None:
    found = reader(type_, upsert=("c0",) if is_key else ())
    records = [{"c0": value} for value in values]
    together = by_column(found, records)
    if together is not None:
        assert list(map(repr, together)) == list(map(repr, one_by_one(found, records) or []))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, True, 1.0, "1"])
def test_what_is_no_integer_of_64_bits_is_left_to_a_closer_look(value: Any) -> None:
    assert by_column(reader("integer"), [{"c0": 2**63 - 1}, {"c0": None}, {"c0": -(2**63)}]) == [
        (2**63 - 1,),
        (None,),
        (-(2**63),),
    ]
    assert by_column(reader("integer"), [{"c0": 1}, {"c0": value}]) is None


@pytest.mark.parametrize("objects", [b"[]\n", b"{\n", b'{"c0":"\xff"}\n'])
def test_what_is_no_object_is_left_to_a_closer_look(objects: bytes) -> None:
    assert reader("text").columns(b'{"c0":"a"}\n' + objects) is None


@given(ns=st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=5))
def test_moments_are_written_alike(ns: list[int]) -> None:
    assert canonical_all(np.array(ns, np.int64)) == [canonical(each) for each in ns]


CELLS = st.one_of(st.none(), TEXTS, st.text("ab\b\t\n\v\f\r\\", max_size=5), st.integers(), st.booleans(), st.floats())


@settings(deadline=None)
@given(data=st.data(), width=st.integers(1, 4), shared=st.lists(st.one_of(TEXTS, st.integers()), max_size=2))
def test_the_text_of_a_copy_is_the_drivers(data: st.DataObject, width: int, shared: list[Any]) -> None:
    psycopg = pytest.importorskip("psycopg")
    copying = pytest.importorskip("psycopg._copy_base")
    columns = [data.draw(st.sampled_from([st.one_of(st.none(), TEXTS), st.integers(), CELLS])) for _ in range(width)]
    rows: list[Row] = data.draw(st.lists(st.tuples(*columns), min_size=1, max_size=4))
    text = copy_text(Rows.of(rows), tuple(shared))
    if text is None:
        return
    written = bytearray()
    for row in rows:
        copying.format_row_text((*row, *shared), psycopg.adapt.Transformer(), written)
    assert text.encode() == bytes(written)


@pytest.mark.parametrize("value", ["a\0b", float("inf"), float("nan"), b"bytes"])
def test_a_value_that_the_driver_writes_otherwise_is_left_to_it(value: Any) -> None:
    pytest.importorskip("psycopg")
    assert copy_text(Rows.of([("good", value)]), ()) is None
    assert copy_text(Rows.of([("good",)]), (value,)) is None


def test_integers_a_boolean_among_them_is_left_to_the_driver() -> None:
    pytest.importorskip("psycopg")
    assert copy_text(Rows.of([(1,), (True,)]), ()) is None
    assert copy_text(Rows.of([(1, "a"), (None, None)]), ("x",)) == "1\ta\tx\n\\N\t\\N\tx\n"
