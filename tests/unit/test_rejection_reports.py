"""Rejected records in the log, and the limit on them, by a clock that the test sets."""

from __future__ import annotations

import pytest

from event_processor.configuration.configuration import DeadLettersOptions
from event_processor.service.rejections import RejectionReports
from support.engine import FakeClock
from support.file_source import Recorder


class Reports:
    """Rejection reports with a limit, what they said, and how often they stopped the loop."""

    def __init__(self, limit: int | str = "") -> None:
        self.clock = FakeClock()
        self.said = Recorder()
        self.stops = 0
        self.reports = RejectionReports(self.said, self.clock, DeadLettersOptions(stop_above=limit), self.stop)

    def stop(self) -> None:
        self.stops += 1

    def commit(self, records: int, rejected: int, line: int = 1) -> None:
        if rejected:
            self.reports.records_rejected(count=rejected, source="s", path="p", line=line, offset=0, reason="r")
        self.reports.batch_committed(
            records=records, accepted=records - rejected, duplicate=0, rejected=rejected, released=0, content_bytes=0
        )

    def lines(self) -> list[tuple[object, object]]:
        """The count and the line number of each report."""
        return [(facts["count"], facts["line"]) for facts in self.said.facts("rejections_counted")]


def test_the_first_is_said_at_once_the_next_after_a_minute_with_the_first_place_and_the_last_at_the_end() -> None:
    reports = Reports()
    reports.commit(10, 1, line=7)
    assert reports.lines() == [(1, 7)]
    for line in (20, 30):
        reports.clock.now_s += 29
        reports.commit(10, 2, line=line)
    assert reports.lines() == [(1, 7)]
    reports.clock.now_s += 2
    reports.reports.progressed()
    assert reports.lines() == [(1, 7), (4, 20)]
    reports.commit(10, 3, line=40)
    reports.reports.flush()
    reports.reports.flush()
    assert reports.lines() == [(1, 7), (4, 20), (3, 40)]


def test_a_number_is_exceeded_by_one_more_since_the_start() -> None:
    reports = Reports(3)
    reports.commit(100_000, 3)
    assert reports.stops == 0
    reports.commit(1, 1)
    reports.commit(1, 1)
    assert reports.stops == 1
    assert "4 records" in reports.reports.excess


def test_a_share_is_of_the_last_ten_thousand_records_and_a_few_are_no_share() -> None:
    reports = Reports("5 %")
    reports.commit(600, 500)
    assert reports.stops == 0, "500 are 5 % of 10,000"
    reports.commit(9_400, 0)
    reports.commit(600, 500)
    assert reports.stops == 0, "the first commit is not among the last 10,000"
    reports.commit(10, 10)
    assert reports.stops == 1


@pytest.mark.parametrize("limit", [0, -1, True, "5", "0 %", "101 %", "five %", "5 % of all"])
def test_a_limit_that_is_no_number_and_no_share_is_a_fault(limit: object) -> None:
    with pytest.raises(ValueError, match="a whole number above 0"):
        DeadLettersOptions.model_validate({"stop_above": limit})


@pytest.mark.parametrize(("limit", "share"), [("5 %", 0.05), ("0.5%", 0.005), ("100 %", 1.0)])
def test_a_share_is_written_with_or_without_a_space(limit: str, share: float) -> None:
    assert DeadLettersOptions(stop_above=limit).share_max == pytest.approx(share)
