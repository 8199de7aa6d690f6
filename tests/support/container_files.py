"""Compose files and Dockerfiles as a test sees them, without Docker.

Owns: `compose_file` (the part of YAML that our compose files use) and `dockerfile` (its stages and their instructions).
Always: what is not understood raises, and is never skipped.
Never: follows an anchor, a tag or a document mark of YAML. A file that needs them is not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

__all__ = ["Instruction", "Stage", "compose_file", "dockerfile"]

_PLAIN: Final = re.compile(r"[\w./][^#\[\]{}\"'&*!|>%`]*")
_KEY: Final = re.compile(r"([\w.-]+):(?: (.*))?")


def compose_file(path: Path) -> dict[str, Any]:
    """The file as objects, lists, texts and whole numbers. Other numbers and booleans must be in quotes."""
    lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    found = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    document, end = _node(found, 0, 0)
    assert end == len(found), found[end]
    assert isinstance(document, dict)
    return document


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _node(lines: Sequence[str], at: int, indent: int) -> tuple[Any, int]:
    """The object or the list that begins at this line, and the line after it."""
    if lines[at].lstrip().startswith("- "):
        items = []
        while at < len(lines) and _indent(lines[at]) == indent and lines[at].lstrip().startswith("- "):
            items.append(_scalar(lines[at].strip().removeprefix("- ")))
            at += 1
        return items, at
    found: dict[str, Any] = {}
    while at < len(lines) and _indent(lines[at]) == indent:
        match = _KEY.fullmatch(lines[at].strip())
        assert match is not None, lines[at]
        key, value = match.groups()
        assert key not in found, f"{key} is given twice"
        at += 1
        if value:
            found[key] = _scalar(value)
        else:
            assert at < len(lines), key
            assert _indent(lines[at]) == indent + 2, lines[at]
            found[key], at = _node(lines, at, indent + 2)
    return found, at


def _scalar(text: str) -> Any:
    """A text, or a list or an object in one line, which must be JSON."""
    if text[0] in '"[{':
        return json.loads(text)
    if re.fullmatch(r"[1-9]\d*", text):
        return int(text)
    assert _PLAIN.fullmatch(text), text
    # YAML would read these as numbers, booleans or null.
    assert not re.fullmatch(r"[-+._]*\d[-+.\d_]*|true|false|yes|no|on|off|null|~", text, re.IGNORECASE), text
    assert ": " not in text, text
    return text


@dataclass(frozen=True)
class Instruction:
    """One instruction: `COPY`, its flags without `--`, and the rest."""

    word: str
    flags: dict[str, str]
    rest: str

    def words(self) -> list[str]:
        """The rest as words; a JSON list is one, too."""
        if self.rest.startswith("["):
            said: list[str] = json.loads(self.rest)
            return said
        return [word.strip("'") for word in re.findall(r"'[^']*'|\S+", self.rest)]


@dataclass(frozen=True)
class Stage:
    """What is between two FROM."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        """The instructions of this word."""
        return [each for each in self.instructions if each.word == word]

    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        return dict(pair.split("=", 1) for each in self.all("ENV") for pair in each.words())


def dockerfile(path: Path) -> list[Stage]:
    """Its stages, in order."""
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    stages: list[Stage] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        assert word in {"FROM", "RUN", "COPY", "WORKDIR", "ENV", "USER", "EXPOSE", "CMD"}, line
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(name, base))
            continue
        flags = dict(re.findall(r"--(\w+)=(\S+)", rest)) if word == "COPY" else {}
        plain = re.sub(r"--\w+=\S+\s*", "", rest) if word == "COPY" else rest
        stages[-1].instructions.append(Instruction(word, flags, plain))
    return stages
