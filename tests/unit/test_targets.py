"""Whether a run reached its targets: each remote sink, or what was committed."""

from __future__ import annotations

from typing import Any

import pytest

from event_processor.configuration.targets import TargetsOptions
from event_processor.engine.delivery.reports import LaneReport
from event_processor.operations.targets import CommittedFigures, RunFigures, figures_of_lanes, missed_targets
from support.engine import FakeClock

THREE = TargetsOptions(rate_min=5, error_rate_max=0.3, backlog_max=100)


def figures(**facts: Any) -> RunFigures:
    return RunFigures(**{"sink": "down", "processed": 10, "rate_per_s": 5.0, "error_rate": 0.3, "backlog": 100, **facts})


def test_a_figure_at_its_limit_is_no_miss() -> None:
    assert missed_targets(THREE, [figures()]) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"rate_per_s": 3.2}, "rate 3.2/s, at least 5/s"),
        ({"rate_per_s": 0.031}, "rate 0.031/s, at least 5/s"),
        ({"error_rate": 0.315}, "error rate 31.5 %, at most 30 %"),
        ({"backlog": 1101}, "backlog 1,101, at most 100"),
    ],
)
def test_a_miss_has_its_figure_and_its_limit(facts: dict[str, Any], words: str) -> None:
    assert missed_targets(THREE, [figures(**facts)]) == [words]


def test_a_target_that_is_not_set_cannot_be_missed() -> None:
    assert missed_targets(TargetsOptions(backlog_max=0), [figures(rate_per_s=0.0, error_rate=1.0, backlog=0)]) == []
    assert not TargetsOptions().is_set
    assert TargetsOptions(backlog_max=0).is_set


def test_each_of_several_sinks_must_reach_the_targets_and_is_named() -> None:
    found = missed_targets(THREE, [figures(), figures(sink="slow", rate_per_s=1.0, backlog=200)])
    assert found == ["slow: rate 1.0/s, at least 5/s", "slow: backlog 200, at most 100"]


def test_a_run_with_nothing_to_do_has_no_rate_to_miss() -> None:
    assert missed_targets(THREE, [figures(processed=0, rate_per_s=0.0, error_rate=0.0, backlog=0)]) == []
    assert missed_targets(THREE, [figures(processed=0, rate_per_s=0.0, error_rate=0.0, backlog=1)]) == [
        "rate 0.0/s, at least 5/s"
    ]


def test_the_figures_of_a_lane_are_those_of_its_run() -> None:
    lane = LaneReport("down", "events", "idle", "", "", 0, "", 50, 0, 40, 2, 1, 7, 700, processed=12, run_rate_per_s=4.0)
    assert figures_of_lanes([lane]) == [RunFigures("down", 12, 4.0, 0.0, 7)]


def test_without_remote_sinks_the_figures_are_those_of_the_commits() -> None:
    clock = FakeClock()
    counted = CommittedFigures()
    counted.begin(clock)
    for seconds, records in ((2.0, 30), (3.0, 10), (5.0, 0)):
        clock.now_s += seconds
        counted.batch_committed(
            records=records, accepted=0, duplicate=0, rejected=records // 10, released=0, content_bytes=50 * records
        )
    # 40 records in the 5 s until the last of them; 101 bytes hold about three records of 50 bytes.
    assert counted.figures(101) == RunFigures("", 40, 8.0, 0.1, 3)
    assert counted.figures(0).backlog == 0


def test_without_a_record_any_unread_byte_is_a_backlog_of_one() -> None:
    counted = CommittedFigures()
    counted.begin(FakeClock())
    assert (counted.figures(0).backlog, counted.figures(7).backlog) == (0, 1)
