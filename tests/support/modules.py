"""Modules of an example's folder, loaded for a test without leaving their names behind.

Owns: `modules_of`.
Always: `models` of one example is not `models` of another: the names are free again afterwards.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["modules_of"]


def modules_of(folder: Path, *names: str) -> tuple[ModuleType, ...]:
    """These modules of a folder, which may import one another."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        return tuple(importlib.import_module(name) for name in names)
    finally:
        sys.path.remove(str(folder))
        own = {path.stem for path in folder.glob("*.py")}
        for name in set(sys.modules) - before:
            if name in own:
                del sys.modules[name]
