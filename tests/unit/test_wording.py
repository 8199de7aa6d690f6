"""Values in messages: JSON as its own encoder writes it, cut, and safe on a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.model.messages import SHOWN_CHARACTERS_MAX, shown


def expected(text: str) -> str:
    encoded = json.dumps(text[: SHOWN_CHARACTERS_MAX + 1], ensure_ascii=False)
    cut = encoded if len(encoded) <= SHOWN_CHARACTERS_MAX else encoded[: SHOWN_CHARACTERS_MAX - 1] + "…"
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in cut)


@given(st.text(max_size=12) | st.text(alphabet='ab"\\\n\x1b\x7fé😀\u2028', max_size=90))
def test_a_text_is_shown_as_json_cut_and_printable(text: str) -> None:
    assert shown(text) == expected(text)


@pytest.mark.parametrize("length", range(SHOWN_CHARACTERS_MAX - 4, SHOWN_CHARACTERS_MAX + 4))
def test_a_text_of_about_the_length_of_the_cut_is_cut_at_its_place(length: int) -> None:
    assert shown("x" * length) == expected("x" * length)
    assert len(shown("x" * length)) <= SHOWN_CHARACTERS_MAX
