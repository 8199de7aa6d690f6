"""The compiled library: where it is, whether it may be used, and how columns reach it.

Owns: the only place that loads our machine code; the addresses and types of the arrays that kernels take.
Always: everything works without the library, only slower: if it is missing, does not fit these sources, or is switched off.
A call releases the interpreter lock, so that other threads run meanwhile. A kernel gets only contiguous arrays.
Never: imports more than this needs.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LIBRARY",
    "SWITCH",
    "BoolArray",
    "ByteArray",
    "FloatArray",
    "IntArray",
    "address",
    "content_address",
    "load_library",
    "on_cache_lines",
]

BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
ByteArray: TypeAlias = NDArray[np.uint8]

_LINE_BYTES: Final = 64


def address(column: NDArray[Any]) -> int:
    """The address of the column in memory. It must be contiguous, and be kept until the call returns."""
    flags = column.flags
    assert flags.c_contiguous, "a kernel reads a column from front to back"
    if flags.writeable and column.size:  # costs a third of describing the whole array
        return ctypes.addressof(ctypes.c_char.from_buffer(cast("Any", column)))
    place: int = column.__array_interface__["data"][0]
    return place


def content_address(content: bytes) -> int:
    """The address of the bytes in memory."""
    return address(np.frombuffer(content, np.uint8))


def on_cache_lines(size_bytes: int) -> NDArray[np.uint8]:
    """(size_bytes,) zeros that start on a cache line: an item whose size divides 64 bytes never spans two lines."""
    room = np.zeros(size_bytes + _LINE_BYTES, np.uint8)
    skipped = -address(room) % _LINE_BYTES
    return room[skipped : skipped + size_bytes]


SWITCH: Final = "EVENT_PROCESSOR_NATIVE"
"""The environment variable that switches the library `off`, to compare results or to find a fault; a path selects another one."""
_FORM: Final = 12
"""The result of `ep_form` in these sources. It changes whenever an argument of any kernel does."""


def load_library(switch: str = "") -> ctypes.CDLL | None:
    """The installed library, or the one at the path `switch`. None if none fits, or if `switch` is "off"."""
    path = switch or _installed_path()
    if path is None or switch == "off":
        return None
    try:
        library = ctypes.CDLL(path)
        form = library.ep_form
    except (OSError, AttributeError):  # built for another machine, or not our library
        return None
    form.restype = ctypes.c_int64
    return library if form() == _FORM else None


def _installed_path() -> str | None:
    specification = importlib.util.find_spec("event_processor.kernels._kernels")
    return None if specification is None else specification.origin


LIBRARY: Final = load_library(os.environ.get(SWITCH, ""))
"""The library, or None."""
