"""Globs of paths and keys, compared with each other without a look at any file.

Owns: `is_matched`, `may_share_names`, and `are_apart`, which is cheap: many sources are compared, each with each.
Always: `*`, `?` and `[…]` match within a name; `**/` matches any number of folders, also none.
Never: says that two globs share no name if one exists, as far as characters of ASCII go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

__all__ = ["are_apart", "is_matched", "may_share_names"]

_PARTS: Final = re.compile(r"\*\*/|\*|\?|\[[!^]?[^]]+]|.", re.DOTALL)
_MAGIC: Final = re.compile(r"[*?[]")
_ANY_NUMBER: Final = ("*", "**/")
_CHARACTERS: Final = "".join(chr(code) for code in range(32, 127))
"""What two sets of characters are tried with."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a name is in a glob: before the part `index`; `in_folder`: within a folder that the `**/` there matches."""

    index: int
    in_folder: bool = False


def is_matched(path: str, pattern: str) -> bool:
    """Whether `path` equals `pattern` or matches it as a glob without `**`. A `*` does not match a `/`."""
    names, patterns = path.split("/"), pattern.split("/")
    return path == pattern or (len(names) == len(patterns) and all(map(fnmatchcase, names, patterns)))


def are_apart(one: str, other: str) -> bool:
    """Whether it is plain that no name matches both globs: what is before or after all that may vary differs."""
    (begin, end), (other_begin, other_end) = _ends(one), _ends(other)
    shared, shared_end = min(len(begin), len(other_begin)), min(len(end), len(other_end))
    return begin[:shared] != other_begin[:shared] or end[len(end) - shared_end :] != other_end[len(other_end) - shared_end :]


@lru_cache(maxsize=4096)
def _ends(pattern: str) -> tuple[str, str]:
    """What every name that matches begins with, and what it ends with."""
    found = _MAGIC.search(pattern)
    if found is None:
        return pattern, pattern
    place = max(pattern.rfind(each) for each in "*?[]") + 1
    # `**/` may match nothing, and then there is no slash.
    return pattern[: found.start()], pattern[place:].removeprefix("/" if pattern[:place].endswith("**") else "")


def may_share_names(one: str, other: str) -> bool:
    """Whether some name matches both globs. Follows both, character by character, through every pair of places."""
    if are_apart(one, other):
        return False
    left, right = _PARTS.findall(one), _PARTS.findall(other)
    seen = {(_Place(0), _Place(0))}
    waiting = list(seen)
    while waiting:
        place, other_place = waiting.pop()
        if _may_end(left, place) and _may_end(right, other_place):
            return True
        for part, after in _steps(left, place):
            for other_part, other_after in _steps(right, other_place):
                pair = (after, other_after)
                if pair not in seen and _share_character(part, other_part):
                    seen.add(pair)
                    waiting.append(pair)
    return False


def _steps(parts: Sequence[str], place: _Place) -> list[tuple[str, _Place]]:
    """What the next character must match, and the place after it."""
    index = place.index
    if place.in_folder:
        return [("?", place), ("/", _Place(index))]
    if index == len(parts):
        return []
    part = parts[index]
    if part not in _ANY_NUMBER:
        return [(part, _Place(index + 1))]
    return [("?", _Place(index, in_folder=part == "**/")), *_steps(parts, _Place(index + 1))]


def _may_end(parts: Sequence[str], place: _Place) -> bool:
    return not place.in_folder and all(part in _ANY_NUMBER for part in parts[place.index :])


def _share_character(one: str, other: str) -> bool:
    candidates = next((part for part in (one, other) if len(part) == 1 and part != "?"), _CHARACTERS)
    return any(_is_in(character, one) and _is_in(character, other) for character in candidates)


def _is_in(character: str, part: str) -> bool:
    """Whether one part matches the character."""
    if part == "?":
        return character != "/"
    if len(part) == 1:
        return character == part
    return character != "/" and fnmatchcase(character, part.replace("[^", "[!", 1))
