"""`top` on a terminal, as people use it: keys, the way back of the terminal, and how it looks in tmux."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.processes import DEADLINE_S, MAIN_JOB, Pipeline, wait_until

EVENTS = b"".join(
    b'{"id": %d, "category": "%s", "value": %d, "timestamp": 1700000000}\n' % (number, name, value)
    for number, (name, value) in enumerate(
        [(b"tea", 9), (b"cocoa", 1), (b"cocoa", 1), (b"coffee", 2), (b"coffee", 2), (b"cocoa", 1)]
    )
)
BEGIN, END = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    made = Pipeline(tmp_path, tmp_path)
    made.prepare(EVENTS)
    assert made.run().exit_code == 0
    return made


@dataclass
class Screen:
    """A `top` on a terminal of its own, and what it wrote."""

    process: subprocess.Popen[bytes]
    controller: int
    terminal: int
    content: bytes = b""

    def wait_for(self, pattern: bytes) -> re.Match[bytes]:
        """What it wrote since the last match, as soon as it matches."""
        deadline_s = time.monotonic() + DEADLINE_S
        while (found := re.search(pattern, self.content, re.DOTALL)) is None:
            assert time.monotonic() < deadline_s, f"{pattern!r} did not come: {self.content[-2000:]!r}"
            ready, _, _ = select.select([self.controller], [], [], 0.1)
            if ready:
                self.content += os.read(self.controller, 65536)
        self.content = self.content[found.end() :]
        return found

    def press(self, keys: bytes) -> None:
        os.write(self.controller, keys)

    def ended(self) -> int:
        """Its exit code."""
        deadline_s = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline_s, "it does not end"
            ready, _, _ = select.select([self.controller], [], [], 0.1)
            if ready:
                self.content += os.read(self.controller, 65536)
        return self.process.returncode

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.terminal)


@contextmanager
def top(pipeline: Pipeline, *options: str) -> Iterator[Screen]:
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    command = [*MAIN_JOB, "--config", str(pipeline.folder / "pipeline.toml"), "top", *options]
    process = subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=pipeline.folder, env=environment, start_new_session=True
    )
    try:
        yield Screen(process, controller, terminal)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE_S)
        os.close(controller)
        os.close(terminal)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "T"


ROWS = rb"> count.*?(cocoa|coffee|tea) .*?(cocoa|coffee|tea) .*?(cocoa|coffee|tea) "


def test_keys_sort_and_turn_the_rows_and_q_gives_the_terminal_back(pipeline: Pipeline) -> None:
    with top(pipeline, "--interval-s", "600") as screen:
        before = screen.modes()
        assert screen.wait_for(ROWS).groups() == (b"cocoa", b"coffee", b"tea")
        screen.press(b"ss")
        found = screen.wait_for(ROWS.replace(b"> count", b"> sum"))
        assert found.groups() == (b"tea", b"coffee", b"cocoa")
        screen.press(b"r")
        found = screen.wait_for(ROWS.replace(b"> count", b"< sum"))
        assert found.groups() == (b"cocoa", b"coffee", b"tea")
        assert screen.modes() != before, "keys come at once"
        screen.press(b"\x1b[Bq")
        assert screen.ended() == 0
        assert screen.content.endswith(END)
        assert screen.modes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back_too(pipeline: Pipeline, number: signal.Signals) -> None:
    with top(pipeline, "--interval-s", "600") as screen:
        before = screen.modes()
        screen.wait_for(ROWS)
        screen.process.send_signal(number)
        assert screen.ended() == 0
        assert screen.content.endswith(END)
        assert b"Traceback" not in screen.content
        assert screen.modes() == before


def test_while_it_is_suspended_the_terminal_is_as_before(pipeline: Pipeline) -> None:
    with top(pipeline, "--interval-s", "600") as screen:
        before = screen.modes()
        screen.wait_for(ROWS)
        screen.process.send_signal(signal.SIGTSTP)
        screen.wait_for(re.escape(END))
        wait_until(lambda: screen.modes() == before, "the terminal is as before")
        wait_until(lambda: is_stopped(screen.process.pid), "the process is stopped")
        screen.process.send_signal(signal.SIGCONT)
        screen.wait_for(re.escape(BEGIN))
        screen.press(b"q")
        assert screen.ended() == 0


def test_an_error_is_said_on_the_terminal_as_it_was(pipeline: Pipeline) -> None:
    with top(pipeline, "--interval-s", "0.1") as screen:
        before = screen.modes()
        screen.wait_for(ROWS)
        for name in ("checkpoint.json", "checkpoint.previous.json"):
            (pipeline.folder / "state" / name).write_bytes(b"{}")
        assert screen.ended() == 65
        assert b"checkpoint" in screen.content.partition(END)[2]
        assert b"Traceback" not in screen.content
        assert screen.modes() == before


@pytest.mark.skipif(not shutil.which("tmux") and os.environ.get("CI") != "true", reason="needs tmux (apt install tmux)")
def test_it_looks_right_in_tmux_at_eighty_columns(pipeline: Pipeline, tmp_path: Path) -> None:
    tmux = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    command = " ".join([*MAIN_JOB, "--config", str(pipeline.folder / "pipeline.toml"), "top", "--interval-s", "600"])
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run([*tmux, "-u", "new-session", "-d", "-x", "80", "-y", "24", command], check=True, env=environment)

    def captured() -> list[str]:
        found = subprocess.run([*tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True)
        return [line.rstrip() for line in found.stdout.splitlines()]

    try:
        wait_until(lambda: any(line.startswith("s sort") for line in captured()), "the last line is there")
        lines = captured()
        assert len(lines) == 24
        assert lines[-1] == "s sort   r reverse   d figures of sinks   up, down, PgUp, PgDn scroll   q quit"
        assert "6 records = 6 accepted + 0 duplicate + 0 rejected + 0 blank" in lines
        first = next(number for number, line in enumerate(lines) if line.startswith("category"))
        assert lines[first].split() == ["category", ">", "count", "rate", "sum", "mean"]
        assert [line.split() for line in lines[first + 1 : first + 4]] == [
            ["cocoa", "3", "-", "3", "1"],
            ["coffee", "2", "-", "4", "2"],
            ["tea", "1", "-", "9", "9"],
        ]
        subprocess.run([*tmux, "send-keys", "s", "s"], check=True)
        wait_until(lambda: captured()[first].split() == ["category", "count", "rate", ">", "sum", "mean"], "it is sorted by sum")
        assert captured()[first + 1].split()[0] == "tea"
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
