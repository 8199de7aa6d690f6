"""The documentation as a test sees it: pages, fenced blocks, the commands in them, and sessions that can be played.

Owns: how a page is taken apart. A block of language `console` is a session: lines that begin with `$ ` are typed, the others are
what is said, standard output before standard error, without log lines. `…` stands for anything within a line, and alone for
any lines.
Never: what a page should say is not known here.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.processes import warm_commands

ROOT: Final = Path(__file__).resolve().parents[2]
ELLIPSIS: Final = "…"
LOG_LINE: Final = '{"time": '
SHELL_OPERATORS: Final = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "2>", "<", "2>&1", "#", "&>"})
COMMAND: Final = re.compile(r"(?:^|[|;&(]\s*|\buntil |\bwhile |\bsudo -u event-processor )event-processor\s+(?P<rest>.+)")
SESSION_S_MAX: Final = 300
"""Far above what a slow machine needs, so that only a session that hangs reaches it."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which its text begins."""

    page: Path
    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a session and what the page says that it says."""

    place: str
    command: str
    expected: tuple[str, ...]

    def is_answered_by(self, lines: Sequence[str]) -> bool:
        """Whether `lines` are what is expected."""
        pattern = ""
        for line in self.expected:
            if line == ELLIPSIS:
                pattern += r"(?:[^\n]*\n)*"
            else:
                pattern += ".*".join(map(re.escape, line.split(ELLIPSIS))) + r"\n"
        return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def pages() -> list[Path]:
    """Every page of the documentation."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/*.md")])


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    opened: tuple[str, int] | None = None
    gathered: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), start=1):
        if opened is None and line.startswith("```"):
            opened, gathered = (line.removeprefix("```").strip(), number + 1), []
        elif opened is not None and line == "```":
            yield Block(page, opened[0], "\n".join(gathered), opened[1])
            opened = None
        elif opened is not None:
            gathered.append(line)
    assert opened is None, f"{page}: a block is not closed"


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def program_calls(page: Path) -> Iterator[list[str]]:
    """The arguments of every call of the program on a page: in blocks for a shell, and in inline code."""
    lines = [line for block in blocks(page) if block.language == "sh" for line in block.text.split("\n")]
    shown = {block.language for block in blocks(page) if block.language.startswith("console")}
    lines += [line for each in shown for step in session(page, language=each) for line in step.command.split("\n")]
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]
    for line in lines:
        for match in COMMAND.finditer(line):
            arguments = []
            for word in shlex.split(match["rest"], comments=True):
                if word in SHELL_OPERATORS:
                    break
                arguments.append(word.rstrip(";)"))
            yield arguments


def session(page: Path, *, language: str = "console") -> list[Step]:
    """Every command of the page's sessions, in order. `language`: of the blocks; sessions that need a server have another one."""
    steps = []
    for block in blocks(page):
        if block.language != language:
            continue
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *said = part.rstrip("\n").split("\n")
            while said and said[0].startswith("> "):
                command += "\n" + said.pop(0).removeprefix("> ")
            steps.append(Step(f"{page.name}:{block.line}", command, tuple(line for line in said if line)))
    return steps


def play(steps: Sequence[Step], folder: Path) -> list[list[str]]:
    """What each command of a session says, typed one after the other into one shell in `folder`; blank lines are left out.

    The program is run by a warm Python: most of a session is its start again and again.
    """
    said = folder.parent / f"{folder.name}-said"
    said.mkdir()
    script = "".join(
        f"{{ {step.command}\n}} >{said}/{number}.out 2>{said}/{number}.err </dev/null\ncode=$?\n(exit $code)\n"
        for number, step in enumerate(steps)
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("EVENT_PROCESSOR_", "STATE_DIR"))}
    environment = {
        **inherited,
        "PATH": f"{warm_commands()}:{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "LC_ALL": "C.UTF-8",
        "TERM": "dumb",
        "COLUMNS": "80",
    }
    shell = subprocess.Popen(["bash", "-c", script], cwd=folder, env=environment, start_new_session=True)
    try:
        shell.wait(SESSION_S_MAX)
    finally:
        # A session that went wrong may have left a daemon behind.
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return [_lines(said / f"{number}.out") + _lines(said / f"{number}.err") for number in range(len(steps))]


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line for line in text.split("\n") if line.strip() and not line.startswith(LOG_LINE)]
