"""The benchmark of delivery: the peaks of a daemon, and its rows on the page."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.deliver import Peaks
from benchmarks.measure import Running
from benchmarks.report import table_of
from benchmarks.results import load_results, machine, save_results

MEBIBYTE = 1_048_576
SMALL = "import signal; print('ready', flush=True); signal.pause()"
BIG = f"held = b'x' * {100 * MEBIBYTE}; del held; {SMALL}"
FIGURES = {"share": 0.987, "worst_window": 15, "rtt_ms": 34.2, "requests": 823, "written": 1798, "repeats": 0, "failed": 0}
PEAKS = {"peak_bytes": 71_300_000, "outbox_bytes_max": 542_100, "backlog_max": 1_234}


def says(running: Running, word: str) -> None:
    while word not in running.said():
        assert running.alive


def test_the_peaks_of_a_daemon_stay_after_it_needs_less_and_after_it_was_killed(tmp_path: Path) -> None:
    outbox, figures = tmp_path / "state" / "outbox", tmp_path / "state" / "history" / "lanes.json"
    daemons: list[Running] = []
    peaks = Peaks(tmp_path, daemons)
    with Running([sys.executable, "-S", "-c", SMALL]) as small:
        says(small, "ready")
        daemons.append(small)
        peaks.look()
        assert 0 < peaks.to_json()["peak_bytes"] < 100 * MEBIBYTE
        with Running([sys.executable, "-S", "-c", BIG]) as big:
            says(big, "ready")
            daemons.append(big)
            for folder in (outbox, figures.parent):
                folder.mkdir(parents=True)
            (outbox / "a").write_bytes(bytes(300))
            (outbox / "b").write_bytes(bytes(50))
            figures.write_text(json.dumps({"lanes": [{"pending": 7}]}))
            peaks.look()
        assert peaks.to_json()["peak_bytes"] > 100 * MEBIBYTE
    (outbox / "a").unlink()
    figures.write_text(json.dumps({"lanes": [{"pending": 2}]}))
    before = peaks.to_json()
    peaks.look()
    assert peaks.to_json() == before
    assert (before["outbox_bytes_max"], before["backlog_max"]) == (350, 7)


def test_the_page_shows_the_peaks_and_a_dash_for_what_an_older_result_lacks(tmp_path: Path) -> None:
    limited = {"new": FIGURES | PEAKS, "old": FIGURES}
    save_results("deliver", {"limited": limited, "unlimited": {}, "commit": {}}, machine(tmp_path), tmp_path)
    rows = [line for line in table_of(load_results(tmp_path)["deliver"]).splitlines() if line.startswith(("| new", "| old"))]
    assert rows == [
        "| new | 0.987 | 15 | 34.2 | 823 | 1798 | 0 | 0 | 71 | 542 | 1,234 |",
        "| old | 0.987 | 15 | 34.2 | 823 | 1798 | 0 | 0 | – | – | – |",
    ]
