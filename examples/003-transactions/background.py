"""A program that keeps running after the command that started it.

Owns: its number (work/NAME.pid) and its log (work/NAME.log).
Always: a program that was started here and still runs is found again. Only a process that is ours is stopped.
Never: waits without a bound.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
WORK: Final = HERE / "work"
STOP_S: Final = 60.0
LOG_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Background:
    """One program. `name`: of its files. `word`: a word of its command, by which it is recognised."""

    name: str
    word: str

    @property
    def pid_file(self) -> Path:
        """Holds the number of the process."""
        return WORK / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        """Holds what the process said on stderr, of all runs."""
        return WORK / f"{self.name}.log"

    def number(self) -> int | None:
        """The number of the process, if it still runs."""
        try:
            number = int(self.pid_file.read_text())
            command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return number if self.word.encode() in command else None  # another process may have the number by now

    def start(
        self, command: Sequence[str], *, stdout: int = subprocess.DEVNULL, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts it in the example's folder. `keep` lets it outlive this process."""
        WORK.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log, start_new_session=True
            )

    def keep(self, process: subprocess.Popen[bytes]) -> None:
        """Notes the number of a process that was started. This process does not wait for it."""
        self.pid_file.write_text(f"{process.pid}\n")
        process.returncode = 0

    def stop(self) -> str:
        """Ends it in order. What became of it, in words."""
        number = self.number()
        words = "none that was started here"
        if number is not None:
            os.kill(number, signal.SIGTERM)
            deadline = time.monotonic() + STOP_S
            while self.number() is not None and time.monotonic() < deadline:
                time.sleep(0.05)
            if self.number() is not None:
                return f"process {number} does not stop"
            words = "stopped"
        self.pid_file.unlink(missing_ok=True)
        return words

    def log_end(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_LINES:]) or f"{self.log}: empty"
