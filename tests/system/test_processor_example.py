"""The two commands of examples/002-event-processor, as they are typed in its folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.documents import ROOT

EXAMPLE = ROOT / "examples" / "002-event-processor"
DEADLINE_S = 300
SCENARIOS = ("initial_processing", "simulated_crash_and_recovery", "duplicate_events", "out_of_order_events", "large_volume")


def typed(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in a copy of the example's folder, with this interpreter as `python`."""
    names = {
        name: value for name, value in os.environ.items() if not name.startswith(("EVENT_PROCESSOR_", "COVERAGE_", "PYTHONPATH"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{names.get('PATH', '')}"
    if not (folder / "events.jsonl").exists():
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("state", "out", "__pycache__"))
    return subprocess.run(
        command,
        cwd=folder,
        shell=True,
        env={**names, "PATH": path},
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def test_the_script_prints_the_state_and_a_second_run_finds_nothing_new(tmp_path: Path) -> None:
    for _ in range(2):
        finished = typed("python event_processor.py", tmp_path)
        assert (finished.returncode, finished.stderr) == (0, "")
        assert finished.stdout.splitlines()[2:] == [
            "12 records, 8 accepted, 2 duplicate, 2 rejected",
            "books: 4 events, sum 26.75",
            "games: 2 events, sum 0.0",
            "music: 2 events, sum 29.75",
        ]


def test_the_five_scenarios_pass_and_print_the_state(tmp_path: Path) -> None:
    finished = typed("python -m unittest test_event_processor.py", tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "Ran 5 tests" in finished.stderr
    for scenario in SCENARIOS:
        assert scenario in finished.stdout
    assert "books: 2 events, sum 19.75" in finished.stdout
    assert "bulk: 20001 events, sum 5000.25" in finished.stdout
    assert "4 records, 2 accepted, 2 duplicate, 0 rejected" in finished.stdout
    assert "order: 2 10 A1 A2 A3" in finished.stdout
    assert "50000 records, 50000 accepted, 0 duplicate, 0 rejected" in finished.stdout
