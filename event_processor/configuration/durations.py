"""Durations as people write them: "15m", "1h30m", or whole seconds.

Owns: the units, and the reading of a duration.
Always: a duration is a whole number of seconds.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["DURATION_WANTED", "duration_s"]

_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART: Final = re.compile(r"(\d{1,18})\s*([wdhms])\s*")
DURATION_WANTED: Final = 'a time such as "90s", "15m", "1h30m", "1d" or "1w", or whole seconds'


def duration_s(written: object) -> int | None:
    """The seconds of a duration; None if it is neither a text of this form nor a whole number."""
    if isinstance(written, int) and not isinstance(written, bool):
        return written
    if not isinstance(written, str) or not written or _PART.sub("", written):
        return None
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(written))
