"""The compiled library: where it is, whether it may be used, and how columns reach it.

Owns: the one place that loads machine code of ours; the addresses and types of the arrays that kernels take.
Always: where the library is missing, of another form than these sources, or switched off, everything works as it does with it, and only
slower. A call lets go of the interpreter, so that other threads run meanwhile.
Never: more is imported here than that takes.
"""

from __future__ import annotations

import ctypes
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
    """Where the column stands in memory. It has to be contiguous, and to be kept until the call returns."""
    flags = column.flags
    assert flags.c_contiguous, "a kernel reads a column from front to back"
    if flags.writeable and column.size:  # a third of what the description of the whole array costs
        return ctypes.addressof(ctypes.c_char.from_buffer(cast("Any", column)))
    place: int = column.__array_interface__["data"][0]
    return place


def content_address(content: bytes) -> int:
    """Where the bytes stand in memory."""
    return address(np.frombuffer(content, np.uint8))


def on_cache_lines(size_bytes: int) -> NDArray[np.uint8]:
    """So many bytes, zeros, that begin with a line of the processor's cache: what divides its 64 bytes lies on one line."""
    room = np.zeros(size_bytes + _LINE_BYTES, np.uint8)
    skipped = -address(room) % _LINE_BYTES
    return room[skipped : skipped + size_bytes]


SWITCH: Final = "EVENT_PROCESSOR_NATIVE"
"""The environment variable that rules the library out where it is `off`, to compare or to exclude a suspect; a path names another one."""
_INSTALLED: Final = os.path.join(os.path.dirname(__file__), "_kernels.so")
"""It is no extension module: its name carries no ABI of Python's, since `ctypes` needs none."""
_FORM: Final = 12
"""What `ep_form` of these sources gives; it changes whenever an argument of any kernel does."""


def load_library(switch: str = "") -> ctypes.CDLL | None:
    """The library that was installed, or that at the path `switch`; None where there is none that fits, or where `switch` is "off"."""
    if switch == "off":
        return None
    try:
        library = ctypes.CDLL(switch or _INSTALLED)
        form = library.ep_form
    except (OSError, AttributeError):  # it is not there, of another machine, or no library of ours
        return None
    form.restype = ctypes.c_int64
    return library if form() == _FORM else None


LIBRARY: Final = load_library(os.environ.get(SWITCH, ""))
"""The library, or None."""
