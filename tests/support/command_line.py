"""Commands called in this process, over a small folder that is the working directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from event_processor.assembly import Environment
from event_processor.cli import COMMANDS
from event_processor.cli.boundary import run
from event_processor.cli.context import Invocation, load
from event_processor.operations.state_access import owned_state

__all__ = ["LOG", "Shell", "shell_in"]

CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[order]
buffer_events = 2
[sinks.ordered]
path = "out/ordered.jsonl"
"""
LOG = b"".join(
    b'{"id": %s, "category": "%s", "value": %s}\n' % record
    for record in [(b"1", b"a", b"0.5"), (b'"1"', b"b", b"2"), (b"1", b"a", b"9"), (b"3", b"a", b'"x"'), (b"2", b"a", b"1")]
)
"""Five records: three accepted, the third a duplicate, the fourth rejected."""


class Shell:
    """Calls commands, and keeps what they wrote."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.out = ""
        self.err = ""
        self._capsys = capsys

    def call(self, *arguments: str) -> int:
        """The exit code; `out` and `err` are what this call wrote."""
        self._capsys.readouterr()
        code = run(arguments, COMMANDS)
        self.out, self.err = self._capsys.readouterr()
        return code

    def json(self, *arguments: str) -> Any:
        """The document of a call with `--json` that ends well."""
        assert self.call(*arguments, "--json") == 0, self.err
        return json.loads(self.out)

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Inside, somebody else owns the state."""
        with owned_state(load(Invocation()).configuration, Environment()):
            yield

    def path(self, *names: str) -> Path:
        return self.folder.joinpath(*names)


def shell_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A folder with a configuration and a log of which nothing was read yet."""
    monkeypatch.chdir(folder)
    for variable in ("EVENT_PROCESSOR_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    folder.joinpath("event-processor.toml").write_text(CONFIGURATION, encoding="utf-8")
    folder.joinpath("log.jsonl").write_bytes(LOG)
    return Shell(folder, capsys)
