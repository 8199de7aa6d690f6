"""Ways in which the same rows may be written, and sources that read them: what the contract of all sources and formats is run on.

Owns: how each kind writes a row, a record at fault and a blank one, and what the configuration says of it.
Never: no expected value comes from the code under test: what a file holds is known from the rows that were written.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import zstandard

__all__ = ["KINDS", "Bad", "Blank", "Kind", "PipeSeparated", "Row", "Written"]


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that is no event: whoever reads it refuses it, or, where `is_read`, whoever judges what was read: its category is empty."""

    is_read: bool = False


@dataclass(frozen=True, slots=True)
class Blank:
    """A record of spaces."""


@dataclass(frozen=True, slots=True)
class Row:
    """An event."""

    id: int
    category: str
    value: float

    def as_object(self) -> dict[str, Any]:
        return {"id": self.id, "category": self.category, "value": self.value}


Record: TypeAlias = Row | Bad | Blank


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and what stands in it: its records in their own bytes, the place of each, and what each is."""

    file: bytes
    records: list[bytes]
    said: list[Record]

    def place(self, number: int) -> tuple[int, int]:
        """The line (from 1) and the offset of a record: each stands on a line of its own."""
        return number + 1, sum(len(record) + 1 for record in self.records[:number])

    @property
    def events(self) -> list[tuple[int, str, float]]:
        return [(row.id, row.category, row.value) for row in self.said if isinstance(row, Row)]

    @property
    def blank_count(self) -> int:
        return sum(isinstance(record, Blank) for record in self.said)

    @property
    def letters(self) -> list[tuple[int, int, bytes]]:
        """Line, offset and bytes of each record at fault."""
        return [(*self.place(number), self.records[number]) for number, record in enumerate(self.said) if isinstance(record, Bad)]


def plain(content: bytes) -> bytes:
    return content


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to write rows."""

    row: Callable[[Row], bytes]
    bad: bytes
    """A record at fault."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """What the configuration says of it."""
    sections: Mapping[str, Any] = field(default_factory=dict)
    header: bytes = b""
    """A first line that names columns; it counts as blank."""
    pack: Callable[[bytes], bytes] = plain
    is_document: bool = False

    def write(self, rows: Sequence[Record], *, ended: bool = True) -> Written:
        """`ended`: whether something stands behind the last record."""
        records = [self._record(row) for row in rows]
        if self.is_document:
            tail = b'\n], "more": [1, {"value": []}]}\n' if ended else b"]}"
            body = b",\n  ".join(records)
            lines = [record.replace(b"\n", b" ") for record in records]
            return Written(self.pack(b'{"about": ["[{", {}],\n "value": [' + body + tail), lines, list(rows))
        said: list[Record] = list(rows)
        if self.header and records:
            records, said = [self.header, *records], [Blank(), *said]
        content = b"\n".join(records) + (b"\n" if ended and records else b"")
        return Written(self.pack(content), records, said)

    def _record(self, row: Record) -> bytes:
        if isinstance(row, Row):
            return self.row(row)
        if isinstance(row, Blank):
            return b"  "
        return self.row(Row(7, "", 1.0)) if row.is_read else self.bad


class PipeSeparated:
    """A format of one's own: `id|category|value`."""

    def __init__(self, _options: Mapping[str, Any]) -> None: ...

    def read(self, records: Sequence[bytes]) -> list[dict[str, object] | str | None]:
        return [self._object(record.decode()) for record in records]

    def _object(self, line: str) -> dict[str, object] | str | None:
        if not line.strip():
            return None
        name, category, value = line.split("|")
        return {"id": int(name), "category": category, "value": float(value)}


def json_line(row: Row) -> bytes:
    return json.dumps(row.as_object(), ensure_ascii=False).encode()


def json_item(row: Row) -> bytes:
    """Over several lines."""
    return json.dumps(row.as_object(), ensure_ascii=False, indent=1).encode()


def to_be_transformed(row: Row) -> bytes:
    said = {"id": row.id, "kind": row.category, "payload": {"amount": str(row.value), "currency": "EUR"}}
    return json.dumps(said, ensure_ascii=False).encode()


def cells(row: Row) -> bytes:
    return f'{row.id},"{doubled(row.category)}",{row.value}'.encode()


def cells_in_latin_1(row: Row) -> bytes:
    return f'{row.id};"{doubled(row.category)}";{str(row.value).replace(".", ",")}'.encode("latin-1")


def doubled(text: str) -> str:
    return text.replace('"', '""')


def piped(row: Row) -> bytes:
    return f"{row.id}|{row.category}|{row.value}".encode()


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def packed_by_zstandard(content: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(content)


JSON_LINES: Final = {"row": json_line, "bad": '{"id": 7, "category": "é", "value": "1"}'.encode()}
CSV: Final = {
    "row": cells,
    "bad": b"7,c",
    "header": b"id,category,value",
    "source": {"format": "csv", "csv_types": {"id": "integer"}},
}
DOCUMENT: Final = {
    "row": json_item,
    "bad": b'{"id": 7,\n "category": [], "value": }',
    "source": {"format": "json", "json_item_path": "value.item"},
    "is_document": True,
}
TRANSFORMS: Final = {"rename": {"category": "kind", "value": "payload.amount"}, "convert": {"value": "number"}}

KindName = Literal[
    "jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "csv in latin-1", "json", "json.gz", "own format", "transformed jsonl"
]
KINDS: Final[Mapping[KindName, Kind]] = {
    "jsonl": Kind(**JSON_LINES),  # type: ignore[arg-type]
    "jsonl.gz": Kind(**JSON_LINES, pack=zipped),  # type: ignore[arg-type]
    "jsonl.zst": Kind(**JSON_LINES, pack=packed_by_zstandard),  # type: ignore[arg-type]
    "csv": Kind(**CSV),  # type: ignore[arg-type]
    "csv.gz": Kind(**CSV, pack=zipped),  # type: ignore[arg-type]
    "csv in latin-1": Kind(
        row=cells_in_latin_1,
        bad="7;é;1.5".encode("latin-1"),
        header=b"id;category;value",
        source={
            "format": "csv",
            "csv_delimiter": ";",
            "csv_decimal": ",",
            "csv_encoding": "latin-1",
            "csv_types": {"id": "integer"},
        },
    ),
    "json": Kind(**DOCUMENT),  # type: ignore[arg-type]
    "json.gz": Kind(**DOCUMENT, pack=zipped),  # type: ignore[arg-type]
    "own format": Kind(row=piped, bad=b"7|c|much", source={"format": f"{__name__}:PipeSeparated"}),
    "transformed jsonl": Kind(
        row=to_be_transformed,
        bad='{"id": 7, "kind": "é", "payload": {"amount": "a lot"}}'.encode(),
        sections={"transforms": (TRANSFORMS,)},
    ),
}
