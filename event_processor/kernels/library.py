"""The compiled library: where it is, and whether it may be used.

Owns: the only place that loads our machine code.
Always: everything works without the library, only slower: if it is missing, does not fit these sources, or is switched off.
A call releases the interpreter lock, so that other threads run meanwhile.
Never: imports more than this needs.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ["LIBRARY", "SWITCH", "absence", "load_library"]

SWITCH: Final = "EVENT_PROCESSOR_NATIVE"
"""The environment variable that switches the library `off`, to compare results or to find a fault; a path selects another one."""
_INSTALLED: Final = os.path.join(os.path.dirname(__file__), "_kernels.so")
"""No extension module: its name carries no Python ABI, since `ctypes` needs none."""
_FORM: Final = 15
"""The result of `ep_form` in these sources. It changes whenever an argument of any kernel does."""


def load_library(switch: str = "") -> ctypes.CDLL | None:
    """The installed library, or the one at the path `switch`. None if none fits, or if `switch` is "off"."""
    if switch == "off":
        return None
    try:
        library = ctypes.CDLL(switch or _INSTALLED)
        form = library.ep_form
    except (OSError, AttributeError):  # missing, built for another machine, or not our library
        return None
    form.restype = ctypes.c_int64
    return library if form() == _FORM else None


def absence(switch: str = "") -> str:
    """Why `load_library` gives none, in words; empty if it gives one. A library that was left from other sources would seem to be used."""
    if load_library(switch) is not None:
        return ""
    if switch == "off":
        return f"switched off by {SWITCH}"
    if os.path.exists(switch or _INSTALLED):
        return "compiled from other sources or for another machine (install the program again)"
    return "not compiled"


LIBRARY: Final = load_library(os.environ.get(SWITCH, ""))
"""The library, or None."""
