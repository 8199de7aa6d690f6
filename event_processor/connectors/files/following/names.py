"""The names of rotated files: which ones mean an order, and which order.

Owns: the parts of a name that rotation adds (a number, a date, a timestamp), and how two such names compare.
Always: without a key of the configuration, only a name that adds such a part to the log's own name is a rotated file. Any other file
beside the log (`app.jsonl.bak`, `app-errors.jsonl`) may be another log.
Never: looks at a file.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["COMPRESSED_SUFFIXES", "NameOrder", "NameShape", "order_in", "order_within", "without_compression"]

COMPRESSED_SUFFIXES: Final = (".gz", ".zst", ".xz", ".bz2", ".zip", ".7z", ".lz4", ".lzma", ".Z", ".rar", ".lz", ".lzo", ".sz")
"""The suffixes of compressed files, also of those that are not read: such a rotated file is refused, not overlooked."""

NUMBER_MAX: Final = 999

Kind: TypeAlias = Literal["number", "date", "epoch"]

_NUMBER: Final = r"\d{1,9}"
_TIME: Final = r"\d{2}(?:[-:._]?\d{2}(?:[-:._]?\d{2}(?:[.,_-]\d{3,9})?)?)?"
_ZONE: Final = r"(?:Z|[+-]\d{2}:?\d{2})"
_DAY: Final = r"(?:(?:19|20)\d{2}[-._]?(?:0[1-9]|1[0-2])(?:[-._]?(?:0[1-9]|[12]\d|3[01]))?|(?:19|20)\d{2}-W\d{2})"
_DAY_LAST_YEAR: Final = r"(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])-(?:19|20)\d{2}"
_PART: Final = re.compile(
    rf"(?:(?P<old>old|prev|previous)|(?P<epoch>1\d{{9}}(?:\d{{3}}|\d{{6}}|\d{{9}})?)"
    rf"|(?P<day>{_DAY})(?:[T_.\-]?(?P<time>{_TIME})(?P<zone>{_ZONE})?)?(?:[._-](?P<count>{_NUMBER}))?"
    rf"|(?P<us>{_DAY_LAST_YEAR})(?:[._-](?P<us_count>{_NUMBER}))?"
    rf"|(?P<number>{_NUMBER}))"
)
"""The part that rotation adds, whole: `1`, `20261129`, `2026-11-29T12-00-00`, `1764432000`, `11-29-2026-1`, `old`."""
_SEPARATOR: Final = re.compile(r"[._-]{1,2}")
_PARTS_IN: Final = re.compile(r"(?<![A-Za-z0-9])(?=(\d[\d.:T_WZ+-]*\d|\d)(?![A-Za-z0-9]))")
_YEAR_DIGITS: Final = 4
_SUBHOUR_DIGITS: Final = 13
_EPOCH_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class NameOrder:
    """The place of a rotated file by its name. `key` compares only with keys of the same `kind`.

    `is_infix`: the part is before the log's extension (`app.1.jsonl`). Dates and timestamps ascend. Whether numbers ascend or
    descend, the names do not say.
    """

    kind: Kind
    key: tuple[int, ...]
    is_infix: bool = False

    @property
    def number(self) -> int | None:
        """The number of a numbered file."""
        return self.key[0] if self.kind == "number" else None


def without_compression(path: str) -> str:
    """`path` without the suffix of a compression."""
    return next((path.removesuffix(suffix) for suffix in COMPRESSED_SUFFIXES if path.endswith(suffix)), path)


def order_in(part: str, *, is_infix: bool = False) -> NameOrder | None:
    """The order that `part`, what rotation added to a name, means; None if it means none."""
    found = _PART.fullmatch(part)
    if found is None:
        return None
    if found["old"]:
        return NameOrder("number", (1,), is_infix)
    if found["epoch"]:
        return NameOrder("epoch", (int(found["epoch"].ljust(_EPOCH_DIGITS, "0")),), is_infix)
    if found["number"]:
        return NameOrder("number", (int(found["number"]),), is_infix)
    if found["us"]:
        month, day, year = found["us"].split("-")
        return NameOrder("date", (int(year), int(month), int(day), int(found["us_count"] or 0), 0, 0), is_infix)
    return NameOrder("date", _date_key(found["day"], found["time"] or "", found["count"] or "0"), is_infix)


def _date_key(day: str, time: str, count: str) -> tuple[int, ...]:
    """Year, month, day, hour, rest of the time, count. A lone number after the day is an hour or a count: both ascend."""
    digits = "".join(filter(str.isdigit, day))
    month, month_day = (digits[4:6] or "0"), (digits[6:8] or "0")
    if "W" in day:
        month, month_day = "0", digits[_YEAR_DIGITS:]
    time_digits = "".join(filter(str.isdigit, time))
    hour, rest = time_digits[:2] or count, time_digits[2:].ljust(_SUBHOUR_DIGITS, "0")
    return int(digits[:_YEAR_DIGITS]), int(month), int(month_day), int(hour), int(rest), int(count) if time else 0


def order_within(name: str) -> NameOrder | None:
    """The order that some part of `name` means, for names of a configured glob; a date comes before a number."""
    bare = without_compression(name)
    parts = [order for found in _PARTS_IN.finditer(bare) if (order := order_in(found.group(1).rstrip("._-:"))) is not None]
    dated = [order for order in parts if order.kind != "number"]
    if dated:
        return dated[0]
    last = _PARTS_IN.search(bare, max(0, len(bare) - _last_word(bare)))
    return order_in(last.group(1)) if last else None


def _last_word(name: str) -> int:
    """The length of the last part of a name between separators, before an extension."""
    stem = re.sub(r"\.[A-Za-z]+$", "", name)
    return len(name) - max(stem.rfind("."), stem.rfind("-"), stem.rfind("_")) - 1


class NameShape:
    """The names that rotation gives to the file `name`, if no glob is configured."""

    def __init__(self, name: str, *, numbers_infix: bool) -> None:
        """`numbers_infix`: whether `app.1.jsonl` is a rotated file of `app.jsonl`. In a glob it is a log of its own."""
        self._name: Final = name
        self.stem, self._extension = os.path.splitext(name)
        self._numbers_infix: Final = numbers_infix

    def order_of(self, name: str) -> NameOrder | None:
        """The order of a rotated file of this log; None if `name` is another file."""
        order = self._order_of(without_compression(name))
        # A longer number is rather a process, a port or a year.
        return None if order and order.number is not None and order.number > NUMBER_MAX else order

    def _order_of(self, bare: str) -> NameOrder | None:
        if bare.startswith(self._name):
            return _after_separator(bare[len(self._name) :], is_infix=False)
        inner = self._inner(bare)
        if inner is None:
            return None
        order = _after_separator(inner, is_infix=True)
        if order and order.kind == "number" and (not self._numbers_infix or not inner.startswith(".")):
            # `app-1.jsonl` beside `app.jsonl` is often another process's log.
            return None
        return order

    def is_beside(self, name: str) -> bool:
        """Whether a name begins like the log's own, so that a person may take it for a rotated file."""
        return name != self._name and name.startswith(self.stem)

    def is_derived(self, name: str) -> bool:
        """Whether `name` is the log's own name and more: such a file may be the log under another name."""
        return name != self._name and name.startswith(self._name)

    def _inner(self, bare: str) -> str | None:
        """The part between the stem and the extension."""
        if not self._extension or not bare.startswith(self.stem) or not bare.endswith(self._extension):
            return None
        return bare[len(self.stem) : len(bare) - len(self._extension)]


def _after_separator(rest: str, *, is_infix: bool) -> NameOrder | None:
    separator = _SEPARATOR.match(rest)
    return order_in(rest[separator.end() :], is_infix=is_infix) if separator else None
