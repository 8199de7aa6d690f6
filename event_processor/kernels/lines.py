"""The kernels that read lines of JSON: the cut into lines, and the fields of events by column.

Owns: the layout of the arguments of `lines.c`. That file says what it reads, and what it leaves to the other decoders.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from event_processor.kernels.arrays import BoolArray, FloatArray, IntArray, address, content_address, on_cache_lines
from event_processor.kernels.library import LIBRARY

__all__ = ["KERNELS", "NODES_MAX", "Field", "LineFault", "LineKernels", "ReadEvents", "Role", "Wanted"]

NODES_MAX: Final = 32
"""The maximum number of keys on the way to the fields."""
_POWER_MIN, _POWER_MAX = -60, 60
_HALF_BITS: Final = 64
_ROUNDED_UP_MIN: Final = -27
_LINE_BYTES_GUESSED: Final = 64
_SLOTS_FEW: Final = 1 << 16
_SLOTS_GROWN: Final = 8
_SLOTS_MAX: Final = 1 << 19
_TEXT_BYTES_MAX: Final = 24 << 20
_ENTRY: Final = np.dtype([("head", "<u8"), ("tail", "<u8"), ("begin", "<i8"), ("length", "<i4"), ("code", "<i4")])
_NODE: Final = np.dtype(
    {
        "names": ["head", "mask", "name", "length", "parent", "roles"],
        "formats": ["<u8", "<u8", "<u8", "<i8", "<i4", "<i4"],
    }
)


class Role:
    """What a field is to an event, as bits. A field may have several roles. A line with a field `NOT_HERE` is not read."""

    ID, CATEGORY, VALUE, TIMESTAMP, NOT_HERE = 1, 2, 4, 8, 16


TEXT, NUMBER = 1, 2
"""The kinds of ids and of timestamps."""


class LineFault:
    """The first fault of a line that is no event: a missing field (by `Role`), a text or NaN as value, a text without an end."""

    MISSING = Role.ID | Role.CATEGORY | Role.VALUE
    TEXT_VALUE, NAN, OPEN_TEXT = 16, 32, 64


@dataclass(frozen=True, slots=True)
class Field:
    """A key on the way to a field: its name, the index of the key around it (-1: none), and the roles read there (0: object)."""

    name: bytes
    parent: int
    roles: int


class Wanted:
    """The fields of an event, in the kernel's form. `required`: the roles without which a line is no event."""

    def __init__(self, fields: Sequence[Field], required: int) -> None:
        """At most `NODES_MAX` fields."""
        assert len(fields) <= NODES_MAX, "the kernel has one bit for each"
        self.required: Final = required
        self.roles: Final = sum({role for field in fields for role in (1, 2, 4, 8) if field.roles & role})
        names = [field.name + b'"' for field in fields]
        self._names: Final = np.frombuffer(b"".join(names) or b"\0", np.uint8)
        self.nodes: Final = np.zeros(max(len(fields), 1), _NODE)
        self.count: Final = len(fields)
        place = address(self._names)
        for node, field, name in zip(self.nodes, fields, names, strict=False):
            node["head"] = int.from_bytes(name[:8], "little")
            node["mask"] = (1 << 8 * min(len(name), 8)) - 1
            node["name"], node["length"] = place, len(name)
            node["parent"], node["roles"] = field.parent, field.roles
            place += len(name)


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """m events, by column. `rows` are their lines, ascending. A column that was not asked for is None.

    Ids come in one of two forms. Texts reach from begins[i] to ends[i] in the content. `names` are the table of categories and,
    for each code, its index in that table. `timestamp_kind` is TEXT, NUMBER or 0 for none.
    """

    rows: IntArray
    id_spans: tuple[IntArray, IntArray] | None
    id_numbers: IntArray | None
    codes: IntArray | None
    names: tuple[NDArray[Any], IntArray] | None
    values: FloatArray | None
    timestamp_kind: int
    timestamp_spans: tuple[IntArray, IntArray]
    faults: IntArray
    """The certain faults of k of the other lines (4, k): the line, a `LineFault`, and its begin and end. For an open text, the
    last is the number of characters before it."""


class _Columns(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("rows", "id_begins", "id_ends", "id_numbers", "codes", "values")),
        *((name, ctypes.c_void_p) for name in ("timestamp_begins", "timestamp_ends")),
        *((name, ctypes.c_void_p) for name in ("fault_rows", "faults", "fault_begins", "fault_ends")),
        *((name, ctypes.c_int64) for name in ("id_kind", "timestamp_kind", "count", "fault_count")),
    )


class _Categories(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("bytes", "entries", "slots")),
        ("slot_mask", ctypes.c_int64),
        ("used", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("known", "known_max", "used_count")),
    )


class KnownCategories:
    """The categories seen so far, so that the next chunk does not search them again. They affect only speed, never results.

    The table is small while there are few: each event looks into it, so it should stay in the processor's cache.
    """

    def __init__(self) -> None:
        # Not zeroed: only what was written is read, and to zero 24 MB at every start takes milliseconds.
        self._bytes: Final = np.empty(_TEXT_BYTES_MAX, np.uint8)
        self._forget(_SLOTS_FEW)

    def _forget(self, slots: int) -> None:
        known_max = slots // 2
        self._entries = on_cache_lines((known_max + 1) * _ENTRY.itemsize).view(_ENTRY)
        self._slots, self._used = np.zeros(slots, np.int32), np.zeros(known_max, np.int32)
        self._names = np.zeros(known_max, object)
        self._named = 0
        places = map(address, (self._bytes, self._entries, self._slots))
        self.table = _Categories(*places, slots - 1, address(self._used), 0, known_max, 0)

    def make_room(self, content_bytes: int) -> bool:
        """Prepares for a chunk of `content_bytes`. Forgets the known categories if the chunk's might not fit beside them.

        Returns whether the chunk fits at all.
        """
        known, slots = self.table.known, len(self._slots)
        if known == self.table.known_max or int(self._entries["begin"][known]) + content_bytes > _TEXT_BYTES_MAX:
            self._forget(min(_SLOTS_GROWN * slots, _SLOTS_MAX) if known == self.table.known_max else slots)
            known = 0
        self._entries["code"][:known] = -1
        self.table.used_count = 0
        return content_bytes <= _TEXT_BYTES_MAX

    def names(self) -> tuple[NDArray[Any], IntArray]:
        """The table of all known categories, and for each code of the last chunk the index in that table."""
        known = self.table.known
        fresh = slice(self._named, known)
        spans = zip(self._entries["begin"][fresh].tolist(), self._entries["length"][fresh].tolist(), strict=True)
        for number, (begin, length) in enumerate(spans, start=self._named):
            self._names[number] = self._bytes[begin : begin + length].tobytes().decode()
        self._named = known
        return self._names, self._used[: self.table.used_count].astype(np.int64)


class LineKernels:
    """The functions of `lines.c`. Any thread may use them, but one `KnownCategories` only one at a time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._cut_lines: Final = library.ep_cut_lines
        self._cut_lines.argtypes = [pointer, number, number, pointer, pointer, number]
        self._cut_lines.restype = number
        self._read_events: Final = library.ep_read_events
        self._read_events.argtypes = [
            *(pointer, number, pointer, pointer, pointer, number),
            *(pointer, number, number, pointer, ctypes.POINTER(_Categories), ctypes.POINTER(_Columns)),
        ]
        self._read_events.restype = number
        self._powers: Final = _powers_of_five()

    def cut_lines(self, content: bytes, begin: int) -> tuple[IntArray, IntArray]:
        """The starts and ends of the records from `begin` on, without their line feeds and a return before these."""
        room = len(content) // _LINE_BYTES_GUESSED + 16
        while True:
            starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
            count = self._cut_lines(content_address(content), len(content), begin, address(starts), address(ends), room)
            if count >= 0:
                return starts[:count], ends[:count]
            room *= 8

    def read_events(
        self,
        content: bytes,
        starts: IntArray,
        ends: IntArray,
        readable: BoolArray,
        *,
        wanted: Wanted,
        categories: KnownCategories,
    ) -> ReadEvents:
        """Reads the events of ordinary form among the lines. `categories` has room for them."""
        count = len(starts)
        rows, id_begins, id_ends, id_numbers, codes, timestamp_begins, timestamp_ends = np.empty((7, count), np.int64)
        values, faults = np.empty(count), np.empty((4, count), np.int64)
        columns = _Columns(
            *map(address, (rows, id_begins, id_ends, id_numbers, codes, values, timestamp_begins, timestamp_ends, *faults)),
            -1,
            -1,
            0,
            0,
        )
        self._read_events(
            content_address(content),
            len(content),
            *map(address, (starts, ends, readable)),
            count,
            address(wanted.nodes),
            wanted.count,
            wanted.required,
            address(self._powers),
            ctypes.byref(categories.table),
            ctypes.byref(columns),
        )
        read = columns.count
        has_category = bool(wanted.roles & Role.CATEGORY)
        return ReadEvents(
            rows=rows[:read],
            id_spans=(id_begins[:read], id_ends[:read]) if columns.id_kind == TEXT else None,
            id_numbers=id_numbers[:read] if columns.id_kind == NUMBER else None,
            codes=codes[:read] if has_category else None,
            names=categories.names() if has_category else None,
            values=values[:read] if wanted.roles & Role.VALUE else None,
            timestamp_kind=max(columns.timestamp_kind, 0),
            timestamp_spans=(timestamp_begins[:read], timestamp_ends[:read]),
            faults=faults[:, : columns.fault_count],
        )


def _powers_of_five() -> NDArray[np.uint64]:
    """5^q to 128 bits, the highest bit set: rounded up for negative q, else cut off. (n, 2), the high half first."""
    rows = []
    for power in range(_POWER_MIN, _POWER_MAX + 1):
        five = 5 ** abs(power)
        number = five << (2 * _HALF_BITS)
        if power < 0:
            # Down to 5^-27 the quotient is rounded up in its last bit. Below, a longer quotient is rounded up, then cut off.
            bits = 2 * _HALF_BITS - 1 if power >= _ROUNDED_UP_MIN else five.bit_length() + 2 * _HALF_BITS
            number = (1 << (five.bit_length() + bits)) // five + 1
        number >>= number.bit_length() - 2 * _HALF_BITS
        rows.append((number >> _HALF_BITS, number & ((1 << _HALF_BITS) - 1)))
    return np.array(rows, np.uint64)


KERNELS: Final = None if LIBRARY is None else LineKernels(LIBRARY)
"""None if there is no library."""
