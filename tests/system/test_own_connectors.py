"""The connectors of the page "Write a connector", offered by another package: one file each, and nothing of ours changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "connectors"
ENTRY_POINTS = """[event_processor.connectors]
stdout = stdout_sink:StdoutConnector
one_event_files = one_event_files:OneEventFilesConnector
broken = stdout_sink:Missing
wrong = stdout_sink:StdoutOptions
"""
CONFIGURATION = """[sources.inbox]
type = "one_event_files"
folder = "inbox"
record_bytes_max = 60
[order]
buffer_events = 2
[batch]
bytes_max = 1024
[sinks.shown]
type = "stdout"
prefix = "event: "
"""
EVENTS = 60
TOO_LONG, BAD, TWICE = 7, 20, 33
"""Files with a record over the limit, with no event, and with the id of the file before."""


@dataclass(frozen=True)
class Place:
    """A folder with a configuration, an inbox, and a package that offers connectors."""

    folder: Path

    def call(self, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "site")}
        command = [*prefix, sys.executable, "-m", "event_processor", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def state(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "state" / "checkpoint.json").read_bytes())["state"])

    def put(self, first: int, last: int) -> None:
        for number in range(first, last):
            event: Mapping[str, object] = {"id": number - (number == TWICE), "category": "c", "value": 0.1}
            text = json.dumps(event, indent=1)
            if number == TOO_LONG:
                text += " " * 60 + "\n"
            if number == BAD:
                text = "no event"
            (self.folder / "inbox" / f"{number:04}.json").write_text(text, encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "inbox").mkdir()
    site = tmp_path / "site"
    described = site / "connectors_of_ours-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: connectors-of-ours\nVersion: 1.0\n", encoding="utf-8")
    (described / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, site)
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION, encoding="utf-8")
    made = Place(tmp_path)
    made.put(1, EVENTS + 1)
    return made


def printed(output: str) -> list[int]:
    return [json.loads(line.removeprefix("event: "))["id"] for line in output.splitlines() if line.startswith("event: ")]


ACCEPTED = [number for number in range(1, EVENTS + 1) if number not in (TOO_LONG, BAD, TWICE)]


def test_the_two_connectors_count_print_and_can_be_asked(place: Place) -> None:
    ran = place.call("run", "--once")
    assert (ran.returncode, printed(ran.stdout)) == (0, ACCEPTED[:-2]), ran.stderr
    counts = place.state()["counts"]
    assert {name: counts[name] for name in ("records", "accepted", "duplicate", "rejected")} == {
        "records": EVENTS,
        "accepted": len(ACCEPTED),
        "duplicate": 1,
        "rejected": 2,
    }
    assert place.state()["categories"]["c"]["sum"] == 5.7
    (generation,) = place.state()["sources"]["inbox"]["generations"]
    assert generation["position"]["last"] == "0060.json"
    verified = place.call("verify")
    assert (verified.returncode, printed(verified.stdout)) == (0, []), verified.stdout + verified.stderr
    assert "sink shown: not compared: it keeps no file to compare" in verified.stdout
    place.put(EVENTS + 1, EVENTS + 3)
    status = place.call("status", "--json")
    assert (status.returncode, json.loads(status.stdout)["committed"]["lag_bytes"] > 0) == (69, True), status.stderr
    explained = json.loads(place.call("explain", "32", "--json").stdout)
    assert [len(history["duplicates"]) for history in explained["ids"]] == [0, 1]
    assert place.call("inspect").returncode == 0
    again = place.call("run", "--once", "--drain")
    assert (again.returncode, printed(again.stdout)) == (0, [*ACCEPTED[-2:], EVENTS + 1, EVENTS + 2]), again.stderr


def test_a_replay_gives_the_same_state_and_prints_nothing(place: Place) -> None:
    assert place.call("run", "--once").returncode == 0
    before = place.state()
    replayed = place.call("replay", "--yes")
    assert (replayed.returncode, printed(replayed.stdout)) == (0, []), replayed.stderr
    after = place.state()
    assert {key: after[key] for key in ("sources", "counts", "categories", "order")} == {
        key: before[key] for key in ("sources", "counts", "categories", "order")
    }
    assert place.call("verify").returncode == 0


@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_a_run_that_is_killed_goes_on_and_counts_each_file_once(place: Place, when: int) -> None:
    injection = ("-e", "trace=rename", "-e", f"inject=rename:signal=KILL:when={when}")
    strace = ("strace", "-f", "-qq", "-o", str(place.folder / "trace"), *injection)
    killed = place.call("run", "--once", prefix=strace)
    assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), killed.stderr
    resumed = place.call("run", "--once")
    assert resumed.returncode == 0, resumed.stderr
    assert place.state()["counts"]["records"] == EVENTS
    assert place.state()["categories"]["c"]["count"] == len(ACCEPTED)
    # What was printed after the last checkpoint is printed again; nothing is missing.
    assert sorted({*printed(killed.stdout), *printed(resumed.stdout)}) == ACCEPTED[:-2]
    assert place.call("verify").returncode == 0


def test_a_file_that_is_gone_is_said_and_nothing_is_guessed(place: Place) -> None:
    assert place.call("run", "--once").returncode == 0
    (place.folder / "inbox" / "0042.json").unlink()
    verified = place.call("verify")
    assert verified.returncode == 66
    assert "inbox" in verified.stderr


@pytest.mark.parametrize(
    ("type_name", "said"),
    [
        ("carrier pigeon", '"broken" or "file" or "kafka" or "one_event_files" or "s3" or "wrong"'),
        ("broken", "stdout_sink:Missing cannot be loaded"),
        ("wrong", "stdout_sink:StdoutOptions is not a connector"),
    ],
)
def test_a_type_that_cannot_be_used_is_a_fault_and_never_skipped(place: Place, type_name: str, said: str) -> None:
    text = CONFIGURATION.replace('type = "one_event_files"', f'type = "{type_name}"')
    (place.folder / "event-processor.toml").write_text(text, encoding="utf-8")
    for command in ("validate", "run", "verify"):
        refused = place.call(command)
        assert (refused.returncode, said in refused.stderr) == (78, True), refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (place.folder / "state" / "checkpoint.json").exists()
