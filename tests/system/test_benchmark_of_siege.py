"""The benchmark of the siege: the log grows evenly, every kind of client comes, and the page shows the ratio."""

from __future__ import annotations

from pathlib import Path

from benchmarks.progress import Progress
from benchmarks.report import table_of
from benchmarks.results import load_results, machine, save_results
from benchmarks.siege import BESIEGED, QUIET, measure_siege


def test_every_event_is_counted_under_a_siege_and_the_page_shows_the_ratio_of_each_turn(tmp_path: Path) -> None:
    results = measure_siege(tmp_path, 0.5, 1, Progress(quiet=True))
    assert list(results["commits_per_s"]) == [QUIET, BESIEGED]
    assert min(results["commits_per_s"].values()) > 0
    assert results["events"] >= 1_000
    assert len(results["came"]) == 6
    assert min(results["came"].values()) >= 1
    save_results("siege", results, machine(tmp_path), tmp_path)
    table = table_of(load_results(tmp_path)["siege"])
    assert f"| {results['ratio']:.2f} | {results['ratios'][0]:.2f} |" in table
    assert "a body of 100 MB " in table
