"""python -m unittest test_event_processor.py: the five scenarios. Each has a folder of its own, and prints the state."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import unittest
from collections.abc import Iterable
from pathlib import Path

# This is the script beside this file, not the package of the same name.
from event_processor import FOLDER, PROGRAM, committed, process, show

Event = tuple[str | int, str, float]
"""Id, category and value."""


class Scenarios(unittest.TestCase):
    """The scenarios of the document."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copy(FOLDER / "event-processor.toml", self.folder)
        print(f"\n{self.id().rpartition('.')[2]}")

    def append(self, events: Iterable[Event]) -> None:
        lines = [json.dumps({"id": id_, "category": category, "value": value}) for id_, category, value in events]
        with (self.folder / "events.jsonl").open("a") as log:
            log.writelines(f"{line}\n" for line in lines)

    def ordered(self) -> list[str | int]:
        """The ids in the order in which they were processed."""
        return [json.loads(line)["id"] for line in (self.folder / "out" / "ordered.jsonl").read_text().splitlines()]

    def test_1_initial_processing(self) -> None:
        self.append([(1, "books", 12.5), (2, "music", 9.5), (3, "books", 7.25)])
        process(self.folder)
        show(self.folder)
        state = committed(self.folder)
        self.assertEqual(state["counts"]["accepted"], 3)
        self.assertEqual(state["categories"]["books"]["sum"], 19.75)

    def test_2_simulated_crash_and_recovery(self) -> None:
        """The process is killed while it works, at whatever point. The next one continues, and nothing is counted twice."""
        self.append((number, "bulk", 0.25) for number in range(20_000))
        daemon = subprocess.Popen([*PROGRAM, "run"], cwd=self.folder)
        try:
            daemon.wait(timeout=1)
        except subprocess.TimeoutExpired:
            print("still running after a second: killed")
        daemon.kill()
        daemon.wait()
        self.append([(20_000, "bulk", 0.25)])
        process(self.folder)
        show(self.folder)
        state = committed(self.folder)
        self.assertEqual((state["counts"]["accepted"], state["counts"]["duplicate"]), (20_001, 0))
        self.assertEqual(state["categories"]["bulk"]["sum"], 5000.25)

    def test_3_duplicate_events(self) -> None:
        """A duplicate is one a moment later, and one after the next start."""
        self.append([("A1", "books", 5), ("A1", "books", 5)])
        process(self.folder)
        show(self.folder)
        self.append([("A1", "books", 5), ("A2", "books", 1)])
        process(self.folder)
        show(self.folder)
        state = committed(self.folder)
        self.assertEqual((state["counts"]["accepted"], state["counts"]["duplicate"]), (2, 2))
        self.assertEqual(state["categories"]["books"]["sum"], 6)

    def test_4_out_of_order_events(self) -> None:
        self.append([("A3", "books", 1), ("A1", "books", 1), ("A2", "books", 1), (2, "books", 1), (10, "books", 1)])
        process(self.folder)
        show(self.folder)
        print("order:", *self.ordered())
        self.assertEqual(self.ordered(), [2, 10, "A1", "A2", "A3"])

    def test_5_large_volume(self) -> None:
        self.append((number, f"c{number % 7}", number / 4) for number in range(50_000))
        process(self.folder)
        show(self.folder)
        state = committed(self.folder)
        self.assertEqual(state["counts"]["accepted"], 50_000)
        self.assertEqual(sum(total["count"] for total in state["categories"].values()), 50_000)
        self.assertEqual(sum(total["sum"] for total in state["categories"].values()), 49_999 * 50_000 / 2 / 4)


if __name__ == "__main__":
    unittest.main()
