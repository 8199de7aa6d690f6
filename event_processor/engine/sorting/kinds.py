"""Whether finished input is sorted, as the checkpoint says it.

Owns: `Sorting`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Sorting"]

Sorting: TypeAlias = Literal["", "columns", "lines"]
"""Whether all events are sorted on disk (not if empty), and whether the runs hold their lines too."""
