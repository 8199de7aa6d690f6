"""Lines of logs as lines of JSON: calls `log_lines.c`.

Owns: how the kernel is called. Always: writes the same bytes as `records/log_lines.py` does line by line, and leaves the other lines to it.
"""

from __future__ import annotations

from ctypes import c_int64, c_void_p
from typing import Final

import numpy as np

from event_processor.kernels.arrays import IntArray, address, content_address
from event_processor.kernels.library import LIBRARY

__all__ = ["write_log_objects"]

_FORMS: Final = {"combined": 0, "logfmt": 1, "ltsv": 2}
_TIMES: Final = {"combined": 1, "logfmt": 5, "ltsv": 5}
"""How many bytes of an object a byte of a line may become."""
_AROUND_BYTES: Final = 256

if LIBRARY is not None:
    LIBRARY.ep_write_log_objects.argtypes = [*(c_void_p,) * 3, *(c_int64,) * 2, *(c_void_p,) * 2, c_int64, *(c_void_p,) * 2]
    LIBRARY.ep_write_log_objects.restype = c_int64


def write_log_objects(
    form: str, content: bytes, spans: tuple[IntArray, IntArray], *, value_names: tuple[bytes, bytes], line_bytes_max: int
) -> tuple[bytes, IntArray] | None:
    """The objects of k lines, each with a line feed, and where each ends (k,): a line that is left has none. None if there is no library.

    `form`: "combined", "logfmt" or "ltsv". `spans`: begin and end of each line, without its line end. `value_names`: the names of the field
    whose texts become numbers, of which either may be empty. A line over `line_bytes_max` is left.
    """
    if LIBRARY is None:
        return None
    begins, ends = (np.ascontiguousarray(column, np.int64) for column in spans)
    count = len(begins)
    room = np.empty(_TIMES[form] * int((ends - begins).sum()) + _AROUND_BYTES * count, np.uint8)
    object_ends = np.empty(count, np.int64)
    first, second = value_names
    name_ends = np.array([len(first), len(first) + len(second)], np.int64)
    names = first + second or b"\0"
    LIBRARY.ep_write_log_objects(
        *(content_address(content), address(begins), address(ends), count, _FORMS[form]),
        *(content_address(names), address(name_ends), line_bytes_max, address(room), address(object_ends)),
    )
    return room[: int(object_ends[-1]) if count else 0].tobytes(), object_ends
