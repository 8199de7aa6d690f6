"""Numbers of a column with a precision, against fractions: what fits is exact, and what does not is never changed in silence."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.connectors.sql.numeric import Precision, numeric_fit

DIGITS = st.text("0123456789", min_size=1, max_size=12)


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """The text of a number of JSON."""
    whole = draw(DIGITS).lstrip("0") or "0"
    fraction = draw(st.one_of(st.just(""), DIGITS.map(lambda digits: f".{digits}")))
    exponent = draw(st.one_of(st.just(""), st.integers(-12, 12).map(lambda number: f"e{number}")))
    return f"{draw(st.sampled_from(['', '-']))}{whole}{fraction}{exponent}"


@st.composite
def precisions(draw: st.DrawFn) -> Precision:
    digits = draw(st.integers(1, 14))
    return Precision(digits, draw(st.integers(0, digits)))


def written(precision: Precision, text: str, *, rounds: bool = False) -> str | None:
    try:
        return numeric_fit(precision, rounds=rounds)(text.encode())
    except ValueError:
        return None


@given(precisions(), numbers())
def test_a_number_is_written_whole_or_does_not_fit(precision: Precision, text: str) -> None:
    number = Fraction(text)
    units = number * 10**precision.scale
    fits = units.denominator == 1 and abs(units) < 10**precision.digits
    found = written(precision, text)
    assert (found is not None) == fits
    if found is not None:
        assert Fraction(found) == number
        assert len(found.partition(".")[2]) == precision.scale
        assert number or not found.startswith("-")


@given(precisions(), numbers())
def test_a_computed_number_is_rounded_once_half_to_even(precision: Precision, text: str) -> None:
    units = round(Fraction(text) * 10**precision.scale)  # Python rounds fractions half to even
    found = written(precision, text, rounds=True)
    if abs(units) >= 10**precision.digits or abs(Fraction(text)) >= 10 ** (precision.digits - precision.scale):
        assert found is None
    else:
        assert found is not None
        assert Fraction(found) * 10**precision.scale == units


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("123456789.5", "has more than 8 digits before the point"),
        ("0.125", "has more than 2 digits after the point"),
        ("1e999999999", "has more than 8 digits before the point"),
        ("1e-999999999", "has more than 2 digits after the point"),
        ("1e99999999999999999999", "does not fit numeric(10,2)"),
        ('"1"', "is not a number"),
        ("true", "is not a number"),
    ],
)
def test_the_words_say_why_a_number_does_not_fit(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="^" + words.replace("(", r"\(").replace(")", r"\)") + "$"):
        numeric_fit(Precision(10, 2), rounds=False)(text.encode())
