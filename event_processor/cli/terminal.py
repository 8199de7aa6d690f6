"""A terminal as a screen of its own, with keys.

Owns: what is changed at the terminal, and its way back.
Always: at the end the terminal is as before: after an error, Ctrl-C, a TERM or HUP signal, and while the process is suspended (Ctrl-Z).
Never: decides what a key does. It does not suspend inside a write: a stream refuses a second write inside the first.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["Terminal"]

_BEGIN: Final = "\x1b[?1049h\x1b[?25l"
"""The other screen, without a cursor."""
_END: Final = "\x1b[?25h\x1b[?1049l"
_KEYS: Final = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b[5~": "page up", "\x1b[6~": "page down",
    "\x1b[H": "home", "\x1b[F": "end", "\x1b[1~": "home", "\x1b[4~": "end", "\x1bOH": "home", "\x1bOF": "end",
}  # fmt: skip
"""What keys send that are no characters."""
_READ_BYTES: Final = 256
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class Terminal:
    """A context manager for the main thread. Standard output is a terminal; without one at standard input there are no keys."""

    def __init__(self) -> None:
        self._keys: Final[deque[str]] = deque()
        self._input: int | None = None
        self._saved: list[Any] | None = None
        self._is_busy = False
        self._must_suspend = False
        self._cleanup: Final = ExitStack()

    def __enter__(self) -> Self:
        if sys.stdin is not None and sys.stdin.isatty():
            self._input = sys.stdin.fileno()
        for number in _ENDING:
            self._cleanup.callback(signal.signal, number, signal.signal(number, _end))
        self._cleanup.callback(signal.signal, signal.SIGTSTP, signal.signal(signal.SIGTSTP, self._suspend))
        self._cleanup.callback(self._leave)
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._cleanup.close()

    def show(self, lines: Sequence[str]) -> None:
        """Draws these lines over the ones before. They fit the screen."""
        self._is_busy = True
        try:
            self._write("\x1b[H" + "\r\n".join(f"{line}\x1b[0m\x1b[K" for line in lines) + "\x1b[J")
            self._suspend_if_asked()
        finally:
            self._is_busy = False

    def size(self) -> tuple[int, int]:
        """Columns and rows now."""
        try:
            found = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24
        return found.columns or 80, found.lines or 24

    @property
    def is_unicode(self) -> bool:
        """Whether it takes more than ASCII."""
        return (sys.stdout.encoding or "").lower().startswith("utf")

    def key(self, timeout_s: float) -> str | None:
        """The next key: a character, or "up", "down", "page up", "page down", "home", "end". None if there is none in time."""
        if not self._keys:
            ready, _, _ = select.select([] if self._input is None else [self._input], [], [], max(0.0, timeout_s))
            if ready and self._input is not None:
                content = os.read(self._input, _READ_BYTES)
                if not content:
                    # The terminal is gone. Without this, it would be asked again and again.
                    self._input = None
                self._keys.extend(_keys_of(content.decode("utf-8", "replace")))
        return self._keys.popleft() if self._keys else None

    def _begin(self) -> None:
        if self._input is not None:
            self._saved = termios.tcgetattr(self._input)
            # Keys come at once and are not shown. Ctrl-C and Ctrl-Z stay signals.
            tty.setcbreak(self._input)
        self._write(_BEGIN)

    def _leave(self) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            self._write(_END)
        if self._input is not None and self._saved is not None:
            with suppress(termios.error):
                termios.tcsetattr(self._input, termios.TCSADRAIN, self._saved)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        self._must_suspend = True
        # The signal can come inside a write, or while it is already suspending. That ends first.
        if not self._is_busy:
            self._is_busy = True
            try:
                self._suspend_if_asked()
            finally:
                self._is_busy = False

    def _suspend_if_asked(self) -> None:
        while self._must_suspend:
            self._leave()
            self._must_suspend = False
            # Returns when the shell lets the process go on.
            os.kill(os.getpid(), signal.SIGSTOP)
            self._begin()

    def _write(self, text: str) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()


def _end(_number: int, _frame: FrameType | None) -> None:
    """Ends as Ctrl-C does."""
    raise KeyboardInterrupt


def _keys_of(text: str) -> list[str]:
    keys = []
    while text:
        known = next((each for each in _KEYS if text.startswith(each)), text[:1])
        keys.append(_KEYS.get(known, known))
        text = text[len(known) :]
    return keys
