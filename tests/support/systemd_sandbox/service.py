"""An instance of the shipped template inside a sandbox, as an operator sees it.

Owns: `Service`, one instance with a log and a state of its own, and `installed_sandbox`, where the install guide was followed.
Always: an assertion that fails shows the journal of the instance.
Never: a wait without a bound.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import event_processor
from support.systemd_sandbox.sandbox import Answer, SandboxUnavailableError, SystemdSandbox, why_unavailable

__all__ = [
    "SHORT_WATCHDOG",
    "WATCHDOG_PERIOD_US",
    "Service",
    "blocks_of_the_guide",
    "installed_sandbox",
    "running",
    "script_of_the_guide",
]

CONFIGURATION = """
[sources.events]
type = "file"
path = "/srv/{name}/events.jsonl"
[order]
idle_release_ms = 100
[state]
dir = "/var/lib/event-processor/{name}"
"""
INSTALL_GUIDE = Path(__file__).parents[3] / "docs" / "install.md"
SHORT_PERIODS = "[Service]\nRestartSec=300ms\n"
SHORT_WATCHDOG = "WatchdogSec=3"
"""For tests of the watchdog alone: on a machine with much other work, a sound loop may stand still for as long."""
WATCHDOG_PERIOD_US = 3_000_000


@contextmanager
def installed_sandbox() -> Iterator[SystemdSandbox]:
    """A sandbox with the units, and short periods for the template. Skips the test if this machine cannot boot one."""
    reason = why_unavailable()
    must_run = os.environ.get("CI") == "true"
    if reason and not must_run:
        pytest.skip(reason)
    try:
        booted = SystemdSandbox(
            source=Path(event_processor.__file__).parents[1],
            packages=Path(np.__file__).parents[1],
            install_script=script_of_the_guide("2. The user and the units"),
        )
    except SandboxUnavailableError as error:
        if must_run:
            raise
        pytest.skip(str(error))
    with booted:
        booted.write("/etc/systemd/system/event-processor@.service.d/short-periods.conf", SHORT_PERIODS)
        booted.run("systemctl daemon-reload")
        yield booted


def script_of_the_guide(heading: str) -> str:
    """The first commands below a heading of the install guide: what the guide says is what is tested."""
    return blocks_of_the_guide(heading)[0][1]


def blocks_of_the_guide(heading: str) -> list[tuple[str, str]]:
    """The language and the text of each block below a heading of the install guide, in order."""
    _, step = INSTALL_GUIDE.read_text(encoding="utf-8").split(f"## {heading}\n")
    return re.findall(r"^```(\w+)\n(.*?)^```", step.partition("\n## ")[0], flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Service:
    """An instance of the template, with a log of its own."""

    sandbox: SystemdSandbox
    name: str

    @property
    def unit(self) -> str:
        return f"event-processor@{self.name}.service"

    @property
    def state(self) -> str:
        return f"/var/lib/event-processor/{self.name}"

    @property
    def log(self) -> str:
        return f"/srv/{self.name}/events.jsonl"

    def configure(self, more: str = "") -> None:
        self.sandbox.write(f"/etc/event-processor/{self.name}.toml", CONFIGURATION.format(name=self.name) + more)

    def drop_in(self, content: str) -> None:
        self.sandbox.write(f"/etc/systemd/system/{self.unit}.d/test.conf", f"[Service]\n{content}\n")
        self.sandbox.run("systemctl daemon-reload")

    def append(self, first: int, last: int) -> None:
        """Adds the events with the ids from `first` to `last`, each of the value 1."""
        lines = "".join(f'{{"id": {number}, "category": "a", "value": 1}}\n' for number in range(first, last + 1))
        self.sandbox.run(f"mkdir -p $(dirname {self.log}) && cat >>{self.log}", content=lines)

    def start(self) -> None:
        self.sandbox.run(f"systemctl start {self.unit} || {{ journalctl -u {self.unit}; exit 1; }}")

    def property(self, name: str) -> str:
        return self.sandbox.run(f"systemctl show -P {name} {self.unit}")

    def journal(self) -> str:
        return self.sandbox.run(f"journalctl --no-pager -o cat -u {self.unit}")

    def wait_until(self, condition: str, *, within_s: int = 45) -> None:
        self.sandbox.wait_until(condition, within_s=within_s, explain=f"journalctl --no-pager -n 60 -u {self.unit}")

    def wait_for_property(self, name: str, test: str) -> None:
        """Until bash's `[[ VALUE test ]]` holds of the property."""
        self.wait_until(f"[[ $(systemctl show -P {name} {self.unit}) {test} ]]")

    def wait_for_records(self, count: int) -> None:
        self.wait_until(f"grep -qE '\"records\":{count}\\b' {self.state}/checkpoint.json")

    def command(self, arguments: str) -> Answer:
        """Runs a command of the program on the instance, as the user of the service."""
        program = f"/opt/event-processor/bin/event-processor --config /etc/event-processor/{self.name}.toml"
        return self.sandbox.attempt(
            f"setpriv --reuid event-processor --regid event-processor --clear-groups {program} {arguments}"
        )

    def wait_for_status(self, exit_code: int, words: str = "") -> None:
        """Until `status` ends with this code and says these words."""
        program = f"/opt/event-processor/bin/event-processor --config /etc/event-processor/{self.name}.toml status"
        user = "setpriv --reuid event-processor --regid event-processor --clear-groups"
        self.wait_until(f'said=$({user} {program}); [[ $? == {exit_code} && "$said" == *"{words}"* ]]')

    def counts(self) -> dict[str, int]:
        state = json.loads(self.sandbox.run(f"cat {self.state}/checkpoint.json"))["state"]
        counts: dict[str, int] = state["counts"]
        return counts

    def assert_counted_once(self, records: int) -> None:
        """The checkpoint counts each of the `records` distinct events once, and the log bears it out."""
        assert self.counts() == {
            "records": records, "accepted": records, "duplicate": 0, "rejected": 0, "blank": 0, "late": 0,
        }  # fmt: skip
        self.sandbox.run(f"systemctl stop {self.unit}")
        self.sandbox.run(f"/opt/event-processor/bin/event-processor --config /etc/event-processor/{self.name}.toml verify")


def running(sandbox: SystemdSandbox, name: str, *, records: int = 10, drop_in: str = "") -> Service:
    """A service that was started on a log of `records` events and has counted them."""
    service = Service(sandbox, name)
    if drop_in:
        service.drop_in(drop_in)
    service.configure()
    service.append(1, records)
    service.start()
    service.wait_for_records(records)
    return service
