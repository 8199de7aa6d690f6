"""Logs to measure with: any part of any of them, by its seed.

Owns: `LogShape`, what a log is made of; `blocks`, its bytes; `outcomes`, what must become of its records.
Always: a record is a function of shape and number alone, so that a log may be made in parts and appended to; the same seed gives the
same bytes. An id is that of its record's number, so the accepted ids of the kinds `integer` and `string` rise; a
duplicate bears the id of an earlier record that is accepted, from anywhere in the log before it.
Never: nothing is kept in memory but one block.

A block is a matrix of characters, a row a record, with 0 where a shorter value leaves room; the zeros are taken out at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["IdKind", "LogShape", "Outcomes", "RecordSize", "blocks", "category_totals", "id_texts", "outcomes", "write_log"]

Characters: TypeAlias = NDArray[np.uint8]
Numbers: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]
Flags: TypeAlias = NDArray[np.bool_]
IdKind: TypeAlias = Literal["integer", "string", "uuid4"]
RecordSize: TypeAlias = Literal["short", "long"]

BLOCK_RECORDS: Final = 16_384
EVENTS_PER_S: Final = 1_000
"""The pace of the timestamps."""
VALUES: Final = 100_000
"""So many different ones: 0.00 to 999.99."""
ODDS: Final = 1_000_000
"""Shares are whole millionths."""
SALTS: Final = {
    name: salt for salt, name in enumerate(("bad", "duplicate", "of", "category", "value", "id_high", "id_low", "trace"), 1)
}

# What stands in a record, in its order: text as it is, and the fields by name in braces. `long` has fields on both sides of the needed ones.
SHORT: Final = '\\{"id":{id},"category":"{category}","{key}":{value},"timestamp":"{timestamp}Z"\\}\n'
LONG: Final = (
    '\\{"version":3,"source":\\{"service":"checkout","host":"web-17.example.org","region":"eu-central","zone":2\\},'
    '"trace":"{trace}","id":{id},"category":"{category}","{key}":{value},"timestamp":"{timestamp}Z",'
    '"customer":\\{"segment":"returning","country":"DE","locale":"de-DE","consents":["terms","newsletter"]\\},'
    '"request":\\{"method":"POST","path":"/v2/orders","status":201,"duration_ms":38.25,"retried":false,"cache":null\\},'
    '"note":"paid in full, delivered to the neighbours"\\}\n'
)
TORN: Final = 0
TEXT_FOR_NUMBER: Final = 1
KEY_MISSING: Final = 2
NOT_A_NUMBER: Final = 3
BAD_KINDS: Final = 4


@dataclass(frozen=True, slots=True)
class LogShape:
    """What a log is made of. Shares are of all records, from 0 to 1; `short` records have about 100 bytes, `long` ones about 500.

    A bad record is torn, has a text or NaN for its value, or none, a quarter each.
    """

    ids: IdKind = "string"
    size: RecordSize = "short"
    categories: int = 8
    bad_share: float = 0.0
    duplicate_share: float = 0.02
    seed: int = 7

    @property
    def name(self) -> str:
        """Names the log among others: equal shapes, equal names."""
        return f"{self.ids}-{self.size}-{self.categories}-{self.bad_share:g}-{self.duplicate_share:g}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How many records there are, and what becomes of them."""

    records: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0

    def __add__(self, other: Outcomes) -> Outcomes:
        return Outcomes(
            self.records + other.records,
            self.accepted + other.accepted,
            self.duplicate + other.duplicate,
            self.rejected + other.rejected,
        )


def blocks(shape: LogShape, start: int, stop: int) -> Iterator[bytes]:
    """The bytes of the records with the numbers `start` to `stop` - 1, whole lines a block."""
    for begin in range(start, stop, BLOCK_RECORDS):
        yield _rendered(shape, np.arange(begin, min(begin + BLOCK_RECORDS, stop), dtype=np.int64))


def outcomes(shape: LogShape, start: int, stop: int) -> Outcomes:
    """What becomes of those records where all before `start` were read."""
    total = Outcomes()
    for begin in range(start, stop, BLOCK_RECORDS):
        numbers = np.arange(begin, min(begin + BLOCK_RECORDS, stop), dtype=np.int64)
        bad, duplicate = _fates(shape, numbers)
        rejected, repeated = int(bad.sum()), int(duplicate.sum())
        total += Outcomes(len(numbers), len(numbers) - rejected - repeated, repeated, rejected)
    return total


def category_totals(shape: LogShape, records: int) -> dict[str, tuple[int, float]]:
    """Count and sum of the accepted events of each category, among the first `records`; the sum is of hundredths, so it is exact."""
    counts = np.zeros(shape.categories, np.int64)
    hundredths = np.zeros(shape.categories, np.int64)
    for begin in range(0, records, BLOCK_RECORDS):
        numbers = np.arange(begin, min(begin + BLOCK_RECORDS, records), dtype=np.int64)
        bad, duplicate = _fates(shape, numbers)
        kept = numbers[~(bad | duplicate)]
        categories = _below(_chance(shape, "category", kept), shape.categories)
        counts += np.bincount(categories, minlength=shape.categories)
        np.add.at(hundredths, categories, _below(_chance(shape, "value", kept), VALUES))
    return {
        f"category-{category}": (int(counts[category]), int(hundredths[category]) / 100)
        for category in np.flatnonzero(counts).tolist()
    }


def write_log(path: Path, shape: LogShape, start: int, stop: int) -> int:
    """Appends those records to the file, made where it is missing; returns how many bytes. Raises `OSError`."""
    with path.open("ab", buffering=0) as log:
        return sum(log.write(block) for block in blocks(shape, start, stop))


def _chance(shape: LogShape, salt: str, numbers: Numbers) -> Words:
    """64 random bits for each record number, the same whenever they are asked for: splitmix64 (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        words = numbers.astype(np.uint64) + np.uint64(((shape.seed << 8) + SALTS[salt]) * 0xD1B54A32D192ED03 % 2**64)
        words *= np.uint64(0x9E3779B97F4A7C15)
        words ^= words >> np.uint64(30)
        words *= np.uint64(0xBF58476D1CE4E5B9)
        words ^= words >> np.uint64(27)
        words *= np.uint64(0x94D049BB133111EB)
        words ^= words >> np.uint64(31)
    return words


def _below(words: Words, bound: int) -> Numbers:
    return (words % np.uint64(bound)).astype(np.int64)


def _fates(shape: LogShape, numbers: Numbers) -> tuple[Flags, Flags]:
    """Which are bad, and which duplicates. Record 0 is neither."""
    bad = _below(_chance(shape, "bad", numbers), ODDS) < round(shape.bad_share * ODDS)
    duplicate = _below(_chance(shape, "duplicate", numbers), ODDS) < round(shape.duplicate_share * ODDS)
    return bad & (numbers > 0), duplicate & ~bad & (numbers > 0)


def _id_numbers(shape: LogShape, numbers: Numbers, duplicate: Flags) -> Numbers:
    """The number that each record's id is made of: its own, or that of an earlier accepted record."""
    sought = np.flatnonzero(duplicate)
    if not len(sought):
        return numbers
    repeated = numbers[sought]
    found = (_chance(shape, "of", repeated) % repeated.astype(np.uint64)).astype(np.int64)
    while True:
        bad, again = _fates(shape, found)
        unfit = bad | again
        if not unfit.any():
            break
        found[unfit] -= 1
    result = numbers.copy()
    result[sought] = found
    return result


def _rendered(shape: LogShape, numbers: Numbers) -> bytes:
    """The records as text."""
    bad, duplicate = _fates(shape, numbers)
    fields = {
        "id": id_texts(shape, _id_numbers(shape, numbers, duplicate)),
        "category": _category_names(shape.categories)[_below(_chance(shape, "category", numbers), shape.categories)],
        "key": np.frombuffer(b"value", np.uint8)[None, :],
        "value": _values()[_below(_chance(shape, "value", numbers), VALUES)],
        "timestamp": _timestamps(numbers),
    }
    if shape.size == "long":
        fields["trace"] = _hex(_chance(shape, "trace", numbers))
    parts = _template(LONG if shape.size == "long" else SHORT)
    widths = [fields[part].shape[1] if isinstance(part, str) else len(part) for part in parts]
    places = np.cumsum([0, *widths]).tolist()
    matrix = np.empty((len(numbers), places[-1]), np.uint8)
    begins = {}
    for part, begin, end in zip(parts, places[:-1], places[1:], strict=True):
        if isinstance(part, str):
            matrix[:, begin:end], begins[part] = fields[part], begin
        else:
            matrix[:, begin:end] = np.frombuffer(part, np.uint8)
    if bad.any():
        _spoil(matrix, begins, np.flatnonzero(bad), _below(_chance(shape, "bad", numbers[bad]) >> np.uint64(32), BAD_KINDS))
    flat = matrix.reshape(-1)
    return bytes(flat[flat != 0].data)


def _spoil(matrix: Characters, begins: dict[str, int], rows: Numbers, kinds: Numbers) -> None:
    """Makes each of the rows bad, in its way."""
    value, value_end = begins["value"], begins["value"] + 6
    matrix[rows[kinds == TORN], begins["timestamp"] : -1] = 0
    matrix[rows[kinds == KEY_MISSING], begins["key"] : begins["key"] + 5] = np.frombuffer(b"valve", np.uint8)
    matrix[rows[kinds == TEXT_FOR_NUMBER], value:value_end] = np.frombuffer(b'"n/a"\0', np.uint8)
    matrix[rows[kinds == NOT_A_NUMBER], value:value_end] = np.frombuffer(b"NaN\0\0\0", np.uint8)


def id_texts(shape: LogShape, numbers: Numbers) -> Characters:
    """The ids as JSON, quotes included where they are strings."""
    if shape.ids == "uuid4":
        return _uuids(_chance(shape, "id_high", numbers), _chance(shape, "id_low", numbers))
    digits = _digits(numbers)
    if shape.ids == "integer":
        for place in range(digits.shape[1] - 1):
            least = 10 ** (digits.shape[1] - 1 - place)
            if int(numbers.min()) >= least:
                break
            digits[numbers < least, place] = 0
        return digits
    result = np.empty((len(numbers), 6 + digits.shape[1]), np.uint8)
    result[:, :5], result[:, -1] = np.frombuffer(b'"evt-', np.uint8), ord('"')
    result[:, 5:-1] = digits
    return result


def _digits(numbers: Numbers) -> Characters:
    """Ten digits each, with leading zeros."""
    table = _four_digits()
    parts = [numbers // 100_000_000, numbers // 10_000 % 10_000, numbers % 10_000]
    return np.concatenate([table[part] for part in parts], axis=1)[:, 2:]


def _uuids(high: Words, low: Words) -> Characters:
    """Random UUIDs (RFC 9562, version 4) in quotes."""
    high = (high & ~np.uint64(0xF000)) | np.uint64(0x4000)
    low = (low & ~np.uint64(0xC000000000000000)) | np.uint64(0x8000000000000000)
    digits = np.concatenate([_hex(high), _hex(low)], axis=1)
    result = np.full((len(high), 38), ord('"'), np.uint8)
    begin, place = 0, 1
    for width in (8, 4, 4, 4, 12):
        result[:, place : place + width] = digits[:, begin : begin + width]
        begin, place = begin + width, place + width + 1
    result[:, [9, 14, 19, 24]] = ord("-")
    return result


def _hex(words: Words) -> Characters:
    """Sixteen hexadecimal digits each."""
    return _byte_digits()[words.astype(">u8").view(np.uint8).reshape(-1, 8)].reshape(-1, 16)


def _timestamps(numbers: Numbers) -> Characters:
    """`2026-01-01T00:00:00` and later, to the second."""
    seconds = numbers // EVENTS_PER_S
    days, times = _days(), _times_of_day()
    return np.concatenate([days[seconds // 86_400 % len(days)], times[seconds % 86_400]], axis=1)


def _table(texts: list[bytes]) -> Characters:
    """A row a text, filled up with zeros."""
    width = max(map(len, texts))
    return np.frombuffer(b"".join(text.ljust(width, b"\0") for text in texts), np.uint8).reshape(len(texts), width)


@cache
def _template(text: str) -> tuple[bytes | str, ...]:
    """Its parts: bytes stand for themselves, a string for the field of that name."""
    parts: list[bytes | str] = []
    for piece in text.replace("\\{", "\1").replace("\\}", "\2").replace("{", "\0{").replace("}", "\0").split("\0"):
        if piece.startswith("{"):
            parts.append(piece[1:])
        elif piece:
            parts.append(piece.replace("\1", "{").replace("\2", "}").encode())
    return tuple(parts)


@cache
def _four_digits() -> Characters:
    return _table([b"%04d" % number for number in range(10_000)])


@cache
def _byte_digits() -> Characters:
    return _table([b"%02x" % number for number in range(256)])


@cache
def _category_names(categories: int) -> Characters:
    return _table([b"category-%d" % number for number in range(categories)])


@cache
def _values() -> Characters:
    return _table([b"%d.%02d" % divmod(number, 100) for number in range(VALUES)])


@cache
def _days() -> Characters:
    days = np.datetime64("2026-01-01") + np.arange(10_000)
    return _table([f"{day}T".encode() for day in days])


@cache
def _times_of_day() -> Characters:
    return _table([b"%02d:%02d:%02d" % (second // 3600, second // 60 % 60, second % 60) for second in range(86_400)])
