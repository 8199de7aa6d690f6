"""The terminal as a screen: what a signal may interrupt."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from event_processor.cli.terminal import Terminal

if TYPE_CHECKING:
    from typing_extensions import Buffer

BEGIN, END = b"\x1b[?1049h", b"\x1b[?1049l"


class _Interrupted(io.RawIOBase):
    """What a terminal gets. The next `remaining` writes are interrupted by Ctrl-Z."""

    def __init__(self) -> None:
        super().__init__()
        self.content = b""
        self.remaining = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Buffer, /) -> int:
        if self.remaining:
            self.remaining -= 1
            signal.raise_signal(signal.SIGTSTP)
        written = bytes(content)
        self.content += written
        return len(written)


def interrupted(monkeypatch: pytest.MonkeyPatch) -> _Interrupted:
    made = _Interrupted()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(made), encoding="utf-8"))
    monkeypatch.setattr(sys, "stdin", None)
    return made


def test_a_suspension_inside_a_write_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = interrupted(monkeypatch)
    stopped: list[tuple[int, bytes]] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: stopped.append((number, raw.content)))
    with Terminal() as terminal:
        before = len(raw.content)
        raw.remaining = 1
        terminal.show(["one line"])
        ((number, written),) = stopped
        assert number == signal.SIGSTOP
        assert b"one line" in written[before:]
        assert written.endswith(END)
        assert raw.content.endswith(BEGIN + b"\x1b[?25l")


def test_a_suspension_while_it_begins_or_ends_one_leaves_the_screen_too(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = interrupted(monkeypatch)
    stopped: list[bytes] = []
    monkeypatch.setattr(os, "kill", lambda _pid, _number: stopped.append(raw.content))
    with Terminal() as terminal:
        raw.remaining = 3
        terminal.show(["one line"])
    assert len(stopped) == 2, "one that comes while it leaves the screen is answered by the same stop"
    assert all(each.endswith(END) for each in stopped)
    assert raw.content.endswith(END)
