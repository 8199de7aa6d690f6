"""The benchmark of the intake: both contestants take every event, and the page shows their rates."""

from __future__ import annotations

from pathlib import Path

from benchmarks.intake import BARE, DAEMON, measure_intake
from benchmarks.progress import Progress
from benchmarks.report import table_of
from benchmarks.results import load_results, machine, save_results


def test_both_make_every_event_durable_and_the_page_has_a_row_for_each_shape(tmp_path: Path) -> None:
    results = measure_intake(tmp_path, 40, 1, Progress(quiet=True))
    for each in results.values():
        assert set(each["events_per_s"]) == {DAEMON, BARE}
        assert min(each["events_per_s"].values()) > 0
        assert len(each["shares_of_bare"]) == 1
    save_results("intake", results, machine(tmp_path), tmp_path)
    rows = table_of(load_results(tmp_path)["intake"]).splitlines()[2:4]
    assert [row.split("|")[1].strip() for row in rows] == ["batches of 100", "one by one"]
