"""Commands called in this process over a pipeline with a remote sink: a class of the user's that writes to a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.command_line import Shell, shell_in
from support.documents import ROOT
from support.processes import DEADLINE_S, wait_until

__all__ = ["LOG", "RemoteShell", "remote_shell_in"]

CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[order]
buffer_events = 0
idle_release_ms = 0
[outbox]
once_wait_s = 0
[sinks.{name}]
type = "python"
class = "receiver_of_a_test:Receiver"
options = {{ folder = "." }}
"""
RECEIVER = '''
import json, os, pathlib
from event_processor import Bad, Wait

class Receiver:
    """Writes a line for each record that it takes. Refuses records whose value is negative; takes nothing if `down` is there."""

    def __init__(self, options):
        self.folder = pathlib.Path(options["folder"])

    async def deliver(self, records, *, keys):
        if (self.folder / "down").exists():
            raise Wait("closed")
        if any(record["value"] < 0 for record in records):
            raise Bad("negative")
        with open(self.folder / "taken.jsonl", "a") as taken:
            for record, key in zip(records, keys):
                taken.write(json.dumps([key, record["id"], record["value"]]) + "\\n")
'''
LOG = "".join(f'{{"id": {each}, "category": "a", "value": {-1 if each == 3 else each}}}\n' for each in range(1, 7))
"""Six records; the third is refused."""


class RemoteShell(Shell):
    """A shell with what the receiver took."""

    def configure(self, name: str = "remote", more: str = "") -> None:
        """Writes the configuration with one remote sink."""
        self.path("event-processor.toml").write_text(CONFIGURATION.format(name=name) + more, encoding="utf-8")

    def append(self, first: int, count: int) -> None:
        """Adds good records to the log."""
        with self.path("log.jsonl").open("a", encoding="utf-8") as log:
            log.writelines(f'{{"id": {each}, "category": "a", "value": {each}}}\n' for each in range(first, first + count))

    def taken(self) -> list[tuple[str, int, float]]:
        """Key, id and value of what the receiver took, in the order of ids."""
        path = self.path("taken.jsonl")
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return sorted((tuple(json.loads(line)) for line in lines), key=lambda each: each[1])

    def run_once(self) -> int:
        """Reads the log to its end, and does not wait for the sink."""
        return self.call("run", "--once", "--drain")

    def deliver_all(self) -> None:
        """Reads the log to its end, and waits until the sink has answered everything. No longer than `DEADLINE_S`."""
        self.path("patient.toml").write_text(f"[outbox]\nonce_wait_s = {DEADLINE_S:.0f}\n", encoding="utf-8")
        assert self.call("--config", "event-processor.toml", "--config", "patient.toml", "run", "--once", "--drain") == 0, (
            self.err
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside, a daemon runs and reports its lane."""
        environment = {**os.environ, "PYTHONPATH": f"{self.folder}:{ROOT}"}
        command = [sys.executable, "-m", "event_processor", "run"]
        process = subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.DEVNULL)
        try:
            reported = self.path("state", "history", "lanes.json")
            wait_until(
                lambda: reported.exists() and f"process {process.pid} " in reported.read_text(), "the daemon reports its lane"
            )
            yield
        finally:
            process.terminate()
            assert process.wait(60) == 0

    def state(self) -> str:
        """What `sinks list` says of the first sink."""
        (first, *_) = self.json("sinks", "list")["sinks"]
        return str(first["state"])

    def waits_for(self, **figures: object) -> None:
        """Waits until the first sink has these figures."""

        def has_them() -> bool:
            (first, *_) = self.json("sinks", "list")["sinks"]
            return all(first[name] == value for name, value in figures.items())

        wait_until(has_them, str(figures))


def remote_shell_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RemoteShell:
    """A folder with a log of which nothing was read yet."""
    shell_in(folder, monkeypatch, capsys)
    shell = RemoteShell(folder, capsys)
    monkeypatch.syspath_prepend(str(folder))
    # Another test may have loaded another class of this name.
    monkeypatch.delitem(sys.modules, "receiver_of_a_test", raising=False)
    shell.path("receiver_of_a_test.py").write_text(RECEIVER, encoding="utf-8")
    shell.path("log.jsonl").write_text(LOG, encoding="utf-8")
    shell.configure()
    return shell
