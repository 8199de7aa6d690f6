"""Decimal texts as numbers of JSON, against Python's decimals."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.columns.number_texts import WrittenNumber, json_number, whole_number, written_number

NUMBERS = st.from_regex(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(NUMBERS)
def test_a_number_of_json_is_equal_to_its_text(text: str) -> None:
    number = json_number(text.encode())
    if number is None:
        assert abs(Decimal(text)) > Decimal("1.7e308")
        return
    decoded = json.loads(number, parse_float=Decimal, parse_int=Decimal)
    assert decoded == Decimal(text)
    assert len(decoded.as_tuple().digits) == len(Decimal(text).as_tuple().digits), "no digit is added or dropped"


@given(NUMBERS)
def test_a_float_that_would_lose_digits_has_its_text(text: str) -> None:
    number = json_number(text.encode())
    if number is None:
        return
    found = written_number(number.decode())
    assert found == float(text)
    kept = Decimal(found.text) if isinstance(found, WrittenNumber) else Decimal(repr(found))
    assert kept == Decimal(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9223372036854775807.000", 2**63 - 1),
        ("-9.223372036854775808e18", -(2**63)),
        ("9223372036854775808", None),
        ("0.99999999999999999999", None),
        ("9007199254740993.0", 2**53 + 1),
        ("0e999999999999999999999", None),
        ("1e-999999999999999999999", None),
    ],
)
def test_the_digits_decide_whether_a_number_is_whole(text: str, number: int | None) -> None:
    assert whole_number(text) == number
