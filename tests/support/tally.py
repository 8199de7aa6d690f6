"""The account of what the crash tests try: how much of it, and what was done, for people to read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["SCALE", "Tally"]

SCALE: Final = int(os.environ.get("CRASH_SCALE", "1"))
"""How many times the ordinary amount is tried."""

Tally: TypeAlias = Callable[[str, str, int], None]
"""Notes that something was tried (what, where, how often); called once it went well."""
