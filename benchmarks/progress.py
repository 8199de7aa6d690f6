"""What is being measured, on a terminal.

Owns: one line that is overwritten, and lines that stay. Without a terminal only the latter, and one for each step.
"""

from __future__ import annotations

import sys
import time
from typing import Final

__all__ = ["Progress"]

STEP_S: Final = 10.0
"""Without a terminal a step is told no more often."""


class Progress:
    """Says where a long measurement is, to standard error."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet: Final = quiet
        self._start_s: Final = time.monotonic()
        self._on_terminal: Final = sys.stderr.isatty()
        self._last_s = 0.0

    def say(self, step: str) -> None:
        """The step that begins now."""
        elapsed_s = time.monotonic() - self._start_s
        if self._quiet:
            return
        if self._on_terminal:
            sys.stderr.write(f"\r\x1b[K{elapsed_s:6.0f} s  {step}")
            sys.stderr.flush()
        elif time.monotonic() - self._last_s >= STEP_S:
            self._last_s = time.monotonic()
            sys.stderr.write(f"{elapsed_s:6.0f} s  {step}\n")

    def keep(self, line: str) -> None:
        """A line that stays."""
        if not self._quiet:
            sys.stderr.write(f"\r\x1b[K{line}\n" if self._on_terminal else f"{line}\n")
