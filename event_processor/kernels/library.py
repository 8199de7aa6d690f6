"""The compiled library: where it is, and whether it may be used.

Owns: the one place that loads machine code of ours.
Always: where the library is missing, of another form than these sources, or switched off, everything works as it does with it, and only
slower. A call lets go of the interpreter, so that other threads run meanwhile.
Never: more is imported here than that takes.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from typing import Final

__all__ = ["LIBRARY", "SWITCH", "load_library"]

SWITCH: Final = "EVENT_PROCESSOR_NATIVE"
"""The environment variable that rules the library out where it is `off`, to compare or to exclude a suspect; a path names another one."""
_FORM: Final = 13
"""What `ep_form` of these sources gives; it changes whenever an argument of any kernel does."""


def load_library(switch: str = "") -> ctypes.CDLL | None:
    """The library that was installed, or that at the path `switch`; None where there is none that fits, or where `switch` is "off"."""
    path = switch or _installed_path()
    if path is None or switch == "off":
        return None
    try:
        library = ctypes.CDLL(path)
        form = library.ep_form
    except (OSError, AttributeError):  # of another machine, or no library of ours
        return None
    form.restype = ctypes.c_int64
    return library if form() == _FORM else None


def _installed_path() -> str | None:
    specification = importlib.util.find_spec("event_processor.kernels._kernels")
    return None if specification is None else specification.origin


LIBRARY: Final = load_library(os.environ.get(SWITCH, ""))
"""The library, or None."""
