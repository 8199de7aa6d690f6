"""The five scenarios of the system's document, by name, through the real program, and what else it must survive."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from event_processor.model.errors import ExitCode
from support.processes import wait_until

PROGRAM: Final = (sys.executable, "-m", "event_processor")
CONFIGURATION: Final = """\
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 100
[sinks.ordered]
path = "out/ordered.jsonl"
"""


@dataclass(frozen=True)
class System:
    """A folder with a log, a configuration and, once it ran, a state."""

    folder: Path

    def append(self, *records: object) -> None:
        with (self.folder / "events.jsonl").open("a") as log:
            log.writelines((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVENT_PROCESSOR_", "STATE_DIR"))}
        command = [*PROGRAM, "--log-format", "text", *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def call(self, *arguments: str) -> tuple[int, str]:
        """The exit code and what was said on stderr."""
        process = self.start(*arguments)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        return process.returncode, said

    def process(self, *arguments: str) -> str:
        """Runs to the end of the log and lets everything go; what was said."""
        code, said = self.call("run", "--once", "--drain", *arguments)
        assert code == ExitCode.OK, said
        return said

    @property
    def state(self) -> dict[str, Any]:
        """What the checkpoint says."""
        return dict(json.loads(self.checkpoint.read_bytes())["state"])

    @property
    def checkpoint(self) -> Path:
        return self.folder / "state" / "checkpoint.json"

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.state["counts"])

    @property
    def processed(self) -> list[Any]:
        """The ids in the order in which the sink got their events."""
        return [json.loads(line)["id"] for line in (self.folder / "out" / "ordered.jsonl").read_bytes().splitlines()]


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION)
    (tmp_path / "events.jsonl").touch()
    return System(tmp_path)


def event(event_id: object, *, category: str = "order", value: float = 1.0) -> dict[str, object]:
    return {"id": event_id, "category": category, "value": value, "timestamp": "2026-01-01T00:00:00Z"}


def events(ids: Sequence[object]) -> list[dict[str, object]]:
    return [event(each) for each in ids]


def test_scenario_1_initial_processing(system: System) -> None:
    system.append(event(1, value=10.5), event(2, category="refund", value=-2.0), event(3, value=4.5))
    system.process()
    assert system.counts == {"records": 3, "accepted": 3, "duplicate": 0, "rejected": 0, "blank": 0, "late": 0}
    order = system.state["categories"]["order"]
    assert {key: order[key] for key in ("count", "sum", "min", "max", "mean", "first_id", "last_id")} == {
        "count": 2,
        "sum": 15.0,
        "min": 4.5,
        "max": 10.5,
        "mean": 7.5,
        "first_id": 1,
        "last_id": 3,
    }
    assert system.state["categories"]["refund"]["sum"] == -2.0
    assert system.processed == [1, 2, 3]


def test_scenario_2_simulated_crash_and_recovery(system: System) -> None:
    system.append(*events(range(500)))
    daemon = system.start("run")
    wait_until(lambda: system.checkpoint.exists() and system.counts["records"] == 500, "the first half is committed")
    daemon.kill()
    daemon.communicate(timeout=60)
    system.append(*events(range(500, 1000)))
    system.process()
    assert system.counts["accepted"] == 1000
    assert system.counts["duplicate"] == 0
    assert system.state["categories"]["order"]["sum"] == 1000.0
    assert system.processed == list(range(1000))


def test_scenario_3_duplicate_event_handling(system: System) -> None:
    system.append(*events([1, 2, 1, 2, 2]), event("1"))
    system.process()
    assert system.counts == {"records": 6, "accepted": 3, "duplicate": 3, "rejected": 0, "blank": 0, "late": 0}
    system.append(event(1, category="refund", value=1000.0), event(3))
    system.process()
    assert (system.counts["accepted"], system.counts["duplicate"]) == (4, 4)
    assert system.state["categories"].keys() == {"order"}
    assert system.state["categories"]["order"]["sum"] == 4.0


def test_scenario_4_out_of_order_events(system: System) -> None:
    ids = list(range(400))
    random.Random(4).shuffle(ids)
    near = sorted(ids, key=lambda number: number + ids.index(number) % 60)
    assert near != sorted(near)
    system.append(*events(near))
    system.process()
    assert system.processed == list(range(400))
    assert system.counts["late"] == 0
    assert system.state["categories"]["order"]["first_id"] == 0
    assert system.state["categories"]["order"]["last_id"] == 399


def test_scenario_5_large_volume(system: System) -> None:
    chance = random.Random(5)
    count = 50_000
    cents = [chance.randrange(10_000) for _ in range(count)]
    lines = [f'{{"id": "evt-{n:06}", "category": "c{n % 5}", "value": {amount / 100}}}' for n, amount in enumerate(cents)]
    lines += chance.sample(lines, 500)
    system.append(*lines)
    system.process()
    assert system.counts == {"records": 50_500, "accepted": 50_000, "duplicate": 500, "rejected": 0, "blank": 0, "late": 0}
    for number in range(5):
        total = system.state["categories"][f"c{number}"]
        assert total["count"] == 10_000
        assert round(total["sum"], 2) == sum(cents[number::5]) / 100
    assert len(system.processed) == 50_000
    assert system.checkpoint.stat().st_size < 16_384


def test_a_malformed_line_stops_nothing_and_can_be_mended(system: System) -> None:
    system.append(
        event(1), '{"id": 2, "category": "order",', event(3), '{"id": 4, "category": "order", "value": "5"}', "", event(5)
    )
    system.process()
    assert system.counts == {"records": 6, "accepted": 3, "duplicate": 0, "rejected": 2, "blank": 1, "late": 0}
    letters = [json.loads(line) for line in (system.folder / "state" / "dead_letters.jsonl").read_bytes().splitlines()]
    assert [(letter["line"], letter["field"]) for letter in letters] == [(2, ""), (4, "value")]
    assert system.processed == [1, 3, 5]


def test_a_truncated_checkpoint_does_not_stop_the_start(system: System) -> None:
    system.append(*events(range(10)))
    system.process()
    system.append(*events(range(10, 20)))
    system.process()
    content = system.checkpoint.read_bytes()
    system.checkpoint.write_bytes(content[: len(content) // 2])
    system.append(*events(range(15, 25)))
    said = system.process()
    assert "resumed from its predecessor" in said
    assert "checkpoint.corrupt-1.json" in said
    assert (system.counts["accepted"], system.counts["duplicate"]) == (25, 5)
    assert system.processed == list(range(25))


def test_string_ids_come_out_in_order(system: System) -> None:
    system.append(*events(["A3", "A1", "A2"]))
    system.process()
    assert system.processed == ["A1", "A2", "A3"]


def test_a_second_process_is_75_and_is_told_who_holds_the_state(system: System) -> None:
    daemon = system.start("run")
    wait_until(system.checkpoint.exists, "the first process has the state")
    code, said = system.call("run", "--once")
    assert code == ExitCode.LOCKED
    assert f"held by process {daemon.pid}" in said
    assert "--state" in said
    daemon.terminate()
    daemon.communicate(timeout=60)
    assert daemon.returncode == ExitCode.OK


def test_a_folder_in_the_place_of_the_log_is_waited_out_and_said(system: System) -> None:
    log = system.folder / "events.jsonl"
    log.unlink()
    log.mkdir()
    daemon = system.start("run")
    assert daemon.stderr is not None
    said = ""
    while "cannot be read; trying again" not in said:
        said += (line := daemon.stderr.readline())
        assert line, f"it ended: {said}"
    assert "events.jsonl" in said
    log.rmdir()
    system.append(event(1))
    wait_until(lambda: system.counts["accepted"] == 1, "the file that took its place is read")
    daemon.terminate()
    daemon.communicate(timeout=60)
    assert daemon.returncode == ExitCode.OK


def test_a_state_that_is_a_file_is_78(system: System) -> None:
    (system.folder / "state").write_text("not a folder")
    code, said = system.call("run", "--once")
    assert code == ExitCode.CONFIGURATION
    assert "state: is a file, but a folder is needed here" in said
