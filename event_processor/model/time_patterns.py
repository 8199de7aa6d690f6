"""Patterns of strptime: which of them name a date, and the expression that reads each.

Owns: the directives. Names of months and days are English, in any case, whatever the locale is.
Always: a named group of an expression is a directive. One space of a pattern reads one or more.
Never: reads a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["DAYS", "MONTHS", "NUMBERS", "compiled_pattern", "pattern_fault"]

MONTHS: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WHOLES: Final = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M", "%D": "%m/%d/%y"}
NUMBERS: Final = {"Y": 4, "y": 2, "m": 2, "d": 2, "j": 3, "H": 2, "I": 2, "M": 2, "S": 2}
"""The directives that read a number, and the most digits that each reads."""
_WORDS: Final = {
    "b": "|".join(name[:3] for name in MONTHS),
    "B": "|".join(MONTHS),
    "a": "|".join(name[:3] for name in DAYS),
    "A": "|".join(DAYS),
    "p": "am|pm",
    "Z": "utc|gmt|z",
}
_RIVALS: Final = ("Yy", "HI", "bB", "mb", "mB", "zZ", "jd", "jm", "jb", "jB")
"""Pairs of directives that could contradict each other."""
_OFFSET: Final = r"[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?"
_DIRECTIVE: Final = re.compile(r"%(.)|( +)|([^% ]+|%)", re.DOTALL)


def pattern_fault(pattern: str) -> str:
    """Why `pattern` is no pattern of a date, in words that follow it; empty if it is one."""
    try:
        compiled_pattern(pattern)
    except ValueError as error:
        return str(error)
    return ""


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """The expression of a pattern. A named group is a directive. Raises `ValueError` with words that follow the pattern."""
    for whole, parts in _WHOLES.items():
        pattern = pattern.replace(whole, parts)
    pieces = _DIRECTIVE.findall(pattern)
    seen: list[str] = []
    text = "".join(_expressions(pieces, seen))
    twice = next((name for name in seen if seen.count(name) > 1), "")
    if twice:
        raise ValueError(f"has %{twice} twice")
    names = set(seen)
    if not names & {"Y", "y"} or not ("j" in names or ("d" in names and names & {"m", "b", "B"})):
        raise ValueError("names no whole date: it needs %Y or %y, and %m, %b or %B with %d, or %j")
    if ("I" in names) != ("p" in names):
        raise ValueError("needs %I and %p together")
    for one, other in _RIVALS:
        if {one, other} <= names:
            raise ValueError(f"has both %{one} and %{other}")
    return re.compile(text, re.IGNORECASE | re.ASCII)


def _expressions(pieces: Sequence[tuple[str, str, str]], seen: list[str]) -> Iterator[str]:
    """Yields the expression of each piece. Adds the directives to `seen`."""
    for place, (directive, space, literal) in enumerate(pieces):
        if space:
            yield " +"
        elif directive == "%":
            yield "%"
        elif not directive:
            if literal == "%":
                raise ValueError("ends with %")
            yield re.escape(literal)
        else:
            seen.append(directive)
            follows = place + 1 < len(pieces) and pieces[place + 1][0] in {*NUMBERS, "f"}
            yield f"(?P<{directive}>{_expression(directive, is_fixed=follows)})"


def _expression(directive: str, *, is_fixed: bool) -> str:
    """What a directive reads. `is_fixed`: digits follow it, so it has all its digits."""
    if directive in NUMBERS:
        most = NUMBERS[directive]
        return f"[0-9]{{{most}}}" if is_fixed or directive in "Yy" else f"[0-9]{{1,{most}}}"
    if directive in _WORDS:
        return _WORDS[directive]
    if directive == "f":
        return "[0-9]+"
    if directive == "z":
        return _OFFSET
    known = " ".join(f"%{name}" for name in [*NUMBERS, *_WORDS, "f", "z"])
    raise ValueError(f"has %{directive}, which is not read here; these are: {known} %F %T %R %D %%")
