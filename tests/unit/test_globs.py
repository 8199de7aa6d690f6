"""Globs that are compared with each other, without files."""

import re
from itertools import product

import pytest

from event_processor.model.globs import is_matched, may_share_names

ALPHABET = "ab/"
NAMES = ["".join(letters) for length in range(1, 7) for letters in product(ALPHABET, repeat=length)]
GLOBS = ["a", "*", "?", "a*", "*b", "a?", "[!a]*", "[ab]b", "a/*", "*/b", "**/b", "a/**/b", "**/*", "a/**/?", "b*/a", "[^b]/?b"]


def expression(pattern: str) -> re.Pattern[str]:
    """The glob as a regular expression, written another way than the code does."""
    pattern = (
        pattern.replace("**/", "\1").replace("*", "[^/]*").replace("?", "[^/]").replace("[!", "[^").replace("\1", "(?:[^/]+/)*")
    )
    return re.compile(pattern.replace("[^a]", "[^/a]").replace("[^b]", "[^/b]"))


@pytest.mark.parametrize("one", GLOBS)
def test_two_globs_share_a_name_if_one_of_all_short_names_matches_both(one: str) -> None:
    for other in GLOBS:
        both = [name for name in NAMES if expression(one).fullmatch(name) and expression(other).fullmatch(name)]
        assert may_share_names(one, other) == may_share_names(other, one) == bool(both), (other, both[:3])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("logs/a*.jsonl", "logs/*b.jsonl", True),
        ("logs/*.jsonl", "logs/*.csv", False),
        ("logs/*.json*", "logs/2026-[01]?.jsonl", True),
        ("2026/**/*.gz", "**/11/*", True),
        ("2026/**/*.gz", "2027/**/*.gz", False),
        ("**/*.jsonl", "a.jsonl", True),
        ("a[*]", "a*", True),
        ("[a-m]*", "[n-z]*", False),
    ],
)
def test_globs_of_logs_and_keys(one: str, other: str, expected: bool) -> None:
    assert may_share_names(one, other) is expected


def test_a_star_does_not_match_a_folder() -> None:
    assert is_matched("logs/a.jsonl", "logs/*.jsonl")
    assert is_matched("logs/*.jsonl", "logs/*.jsonl")
    assert not is_matched("logs/a/b.jsonl", "logs/*.jsonl")
