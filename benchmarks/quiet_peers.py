"""What a quiet log costs other programs: log shippers that follow the same log, keep their place in it and write its lines to a file.

Owns: `SHIPPERS`, which programs, how each is configured and whether it is there; `Copied`, how many events one has written.
Always: each has its own defaults, a folder of its own, and opens no socket. Its output has every event once at the end, or there is no figure.
Never: a program that is not there makes the measurement fail.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.measure import MeasurementError
from benchmarks.peers import INSTALLED_WITH, find_program

__all__ = ["SHIPPERS", "Copied", "Followed", "Shipper", "Visible"]

LOOK_S: Final = 0.001
OTEL: Final = """
receivers:
  file_log: {{ include: [ {log} ], start_at: beginning, storage: file_storage }}
extensions:
  file_storage: {{ directory: {folder} }}
exporters:
  file: {{ path: {output}, append: true }}
service:
  extensions: [ file_storage ]
  telemetry: {{ metrics: {{ level: none }}, logs: {{ level: warn }} }}
  pipelines:
    logs: {{ receivers: [ file_log ], exporters: [ file ] }}
"""
RSYSLOG: Final = """
global(workDirectory={folder})
module(load="imfile")
template(name="line" type="string" string="%msg%\\n")
input(type="imfile" file={log} tag="events" ruleset="copy")
ruleset(name="copy") {{
  action(type="omfile" file={output} template="line")
}}
"""


class Visible(Protocol):
    """What one that looks from outside can see of a program's progress. `records` is how many events it has finished; -1 at first."""

    records: int

    def look(self) -> bool:
        """Whether there are more since the last look. Microseconds if there are none."""

    def wait_for(self, records: int, limit_s: float) -> None:
        """Until it has finished so many. Raises `MeasurementError` after `limit_s`."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A program that follows a log: how it is started, and where its progress is seen. It ends with 0 after SIGTERM."""

    command: Sequence[str]
    visible: Visible


class Copied:
    """The events in a file that a program appends to: `mark` comes once in each."""

    def __init__(self, output: Path, mark: bytes) -> None:
        self._output: Final = output
        self._mark: Final = mark
        self._size_bytes = 0
        self._rest = b""
        self.records = -1

    def look(self) -> bool:
        """Whether there are more since the last look. One stat if there are none."""
        try:
            if os.stat(self._output).st_size == self._size_bytes:
                return False
            with open(self._output, "rb", buffering=0) as file:
                file.seek(self._size_bytes)
                content = file.read()
        except FileNotFoundError:
            return False
        self._size_bytes += len(content)
        # A mark may be cut by the end of what was written so far: one byte less of it stays for the next look.
        content = self._rest + content
        self._rest = content[len(content) - len(self._mark) + 1 :]
        self.records = max(self.records, 0) + content.count(self._mark)
        return True

    def wait_for(self, records: int, limit_s: float) -> None:
        """Until so many are there. Raises `MeasurementError` after `limit_s`."""
        deadline_s = time.monotonic() + limit_s
        while self.records < records:
            if not self.look():
                if time.monotonic() > deadline_s:
                    raise MeasurementError(f"{records} events were not written within {limit_s:.0f} s, but {self.records}")
                time.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class Shipper:
    """A program to compare with. `configuration` has places for the log, the output and the folder, each quoted as in JSON."""

    name: str
    program: str
    options: Sequence[str]
    configuration: str
    mark: bytes

    def missing(self) -> str:
        """Why it cannot run here, and what to do; empty if it can."""
        if find_program(self.program):
            return ""
        return f"{self.program} is not on PATH: {INSTALLED_WITH.get(self.program, 'install it')}"

    def follow(self, folder: Path, log: Path) -> Followed:
        """Configures it in a folder of its own. It starts at the beginning of the log."""
        folder.mkdir(parents=True, exist_ok=True)
        output, configuration = folder / "output", folder / "configuration"
        places = {"log": log.resolve(), "output": output.resolve(), "folder": folder.resolve()}
        configuration.write_text(self.configuration.format(**{name: json.dumps(str(path)) for name, path in places.items()}))
        options = (each.format(configuration=configuration, folder=folder) for each in self.options)
        return Followed((find_program(self.program), *options), Copied(output, self.mark))


SHIPPERS: Final = (
    Shipper("OTel filelog", "otelcol", ("--config", "{configuration}"), OTEL, b'"body":{'),
    Shipper("rsyslog imfile", "rsyslogd", ("-n", "-f", "{configuration}", "-i", "{folder}/pid"), RSYSLOG, b"\n"),
)
