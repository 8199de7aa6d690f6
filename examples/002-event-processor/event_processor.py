"""python event_processor.py: reads events.jsonl to its end, and prints the state.

It does what `event-processor run --once --drain` does, so a second run continues where the first one ended.

This file has the name of the package: in this folder, `import event_processor` finds this file and not the package. So nothing is
imported from the package here. Its program is called instead, and Python's option -P keeps this folder off the program's path.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "PROGRAM", "committed", "process", "show"]

FOLDER = Path(__file__).resolve().parent
PROGRAM = [sys.executable, "-P", "-m", "event_processor", "--log-level", "error"]


def process(folder: Path) -> None:
    """Reads the log of a folder to its end. No event waits for earlier ones after that."""
    subprocess.run([*PROGRAM, "run", "--once", "--drain"], cwd=folder, check=True)


def committed(folder: Path) -> dict[str, Any]:
    """The state of the last checkpoint."""
    checkpoint = json.loads((folder / "state" / "checkpoint.json").read_text())
    return dict(checkpoint["state"])


def show(folder: Path) -> None:
    """Prints what was counted, and the total of each category."""
    state = committed(folder)
    counts = state["counts"]
    print(", ".join(f"{counts[name]} {name}" for name in ("records", "accepted", "duplicate", "rejected")))
    for name, total in state["categories"].items():
        print(f"{name}: {total['count']} events, sum {total['sum']}")


if __name__ == "__main__":
    process(FOLDER)
    show(FOLDER)
