"""The figures of a lane: in all, by source, by the value of a field; and how fast the outbox grows."""

from __future__ import annotations

import msgspec
import pytest

from event_processor.engine.delivery.figures import LaneFigures
from event_processor.engine.delivery.groups import GROUPS_MAX, Grouping
from event_processor.engine.delivery.reports import Growth, LaneReport, OutboxReport
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.delivery import OutboxRecord

DELIVERED = Answer(Verdict.DELIVERED, status="200")
LIMITED = Answer(Verdict.WAIT, "too many", "429")
BAD = Answer(Verdict.BAD, "not so", "422")
WRITTEN_NS = 1_800_000_000_000_000_000


def record(body: object, source: str = "orders", elapsed_ms: float = 5.0) -> OutboxRecord:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return OutboxRecord(1, {"source": source}, utc_text(WRITTEN_NS), elapsed_ms, "", msgspec.Raw(content))


class Clocks:
    """Two clocks that a test sets, in seconds since the record was written."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def wall_ns(self) -> int:
        return WRITTEN_NS + round(self.now_s * 1e9)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def figures_of(clocks: Clocks, *fields: str) -> LaneFigures:
    return LaneFigures(fields, clocks.wall_ns, lambda: clocks.now_s)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"priority": 3, "a": {"b": "x"}}, ("orders", "3", "x")),
        ({"priority": "3", "a.b": 1.5, "a": {"b": "x"}}, ("orders", "3", "1.5")),
        ({"priority": None, "a": 7}, ("orders", "(none)", "(none)")),
        ({"priority": True, "a": {"b": [1]}}, ("orders", "true", "[1]")),
        ({"priority": "p" * 65}, ("orders", "p" * 63 + "…", "(none)")),
        (b"not JSON", ("orders", "(none)", "(none)")),
    ],
)
def test_a_record_has_a_group_by_its_source_and_one_by_each_field(body: object, names: tuple[str, ...]) -> None:
    assert Grouping(["priority", "a.b"]).names(record(body)) == names


def test_without_fields_nothing_is_decoded() -> None:
    assert Grouping([]).names(record(b"not JSON")) == ("orders",)


def test_a_row_is_grouped_by_its_aggregate() -> None:
    row = OutboxRecord(1, {"aggregate": "per_hour", "window": 3}, utc_text(0), 0.0, "", msgspec.Raw(b"{}"))
    assert Grouping([]).names(row) == ("per_hour",)


def test_values_beyond_the_first_hundred_share_a_group(clocks: Clocks) -> None:
    figures = figures_of(clocks, "n")
    for number in range(GROUPS_MAX + 7):
        figures.record(record({"n": number}), figures.taken(record({"n": number})), is_delivered=True)
    found = figures.by_field()["n"]
    assert len(found) == GROUPS_MAX + 1
    assert found["(other)"].processed == 7
    assert found["0"].processed == 1


def test_each_figure_is_counted_in_all_by_source_and_by_value(clocks: Clocks) -> None:
    figures = figures_of(clocks, "priority")
    first, second = record({"priority": 1}), record({"priority": 2}, "logs", elapsed_ms=7.0)
    groups = [figures.taken(first), figures.taken(second)]
    figures.answered(LIMITED, 0.010, [(groups[0], 1)])
    clocks.now_s = 1.0
    figures.answered(DELIVERED, 0.030, [(groups[0], 1)])
    figures.record(first, groups[0], is_delivered=True)
    clocks.now_s = 2.0
    figures.answered(BAD, 0.020, [(groups[1], 1)])
    assert figures.by_source()["logs"].pending == 1
    figures.record(second, groups[1], is_delivered=False)
    whole = figures.all.report()
    assert (whole.processed, whole.delivered, whole.failed, whole.pending, whole.limit_hits) == (2, 1, 1, 0, 1)
    assert whole.error_rate_before == pytest.approx(2 / 3)
    assert whole.error_rate == 0.5
    assert whole.mean_request_ms == pytest.approx(20)
    # Until written 5 and 7 ms, and then 1 and 2 s until the answer.
    assert whole.mean_elapsed_ms == pytest.approx((1005 + 2007) / 2)
    assert figures.run_rate_per_s == pytest.approx(2 / 2)
    by_source, by_priority = figures.by_source(), figures.by_field()["priority"]
    assert by_source == {"orders": by_priority["1"], "logs": by_priority["2"]}
    orders = by_source["orders"]
    assert (orders.delivered, orders.failed, orders.error_rate_before, orders.error_rate, orders.limit_hits) == (
        1,
        0,
        0.5,
        0.0,
        1,
    )
    assert orders.mean_request_ms == pytest.approx(20)
    assert orders.mean_elapsed_ms == pytest.approx(1005)


def test_a_clock_that_was_set_back_makes_no_time_negative(clocks: Clocks) -> None:
    figures = figures_of(clocks)
    clocks.now_s = -60.0
    figures.record(record({}), figures.taken(record({})), is_delivered=True)
    assert figures.all.mean_elapsed_ms == 5.0


def test_a_record_that_is_given_up_is_not_pending_and_not_processed(clocks: Clocks) -> None:
    figures = figures_of(clocks)
    figures.skipped(figures.taken(record({})))
    assert (figures.by_source()["orders"].pending, figures.all.pending, figures.all.processed) == (0, 0, 0)


def test_the_rate_is_that_of_the_last_ten_seconds(clocks: Clocks) -> None:
    figures = figures_of(clocks)
    for second in range(30):
        figures.tick(float(second))
        for _ in range(3 if second < 15 else 6):
            figures.record(record({}), figures.taken(record({})), is_delivered=True)
    assert figures.all.rate_per_s == 6.0
    assert figures.by_source()["orders"].rate_per_s == 6.0


def lane(pending_bytes: int, input_name: str = "events") -> LaneReport:
    return LaneReport("remote", input_name, "idle", "", "", 0, "", 0, 0, 0, 0, 0, 0, pending_bytes)


def test_the_outbox_grows_by_what_its_slowest_lane_has_not_got() -> None:
    growth = Growth()
    for second in range(11):
        found = growth.tick([lane(1000 + 30 * second), lane(7), lane(500, "dead_letters")], float(second))
        assert (found.growth_bytes_per_s is None) == (second < 10)
    assert found == OutboxReport(1800, 30)


def test_the_growth_is_that_of_the_last_five_minutes() -> None:
    growth = Growth()
    for second in range(1000):
        found = growth.tick([lane(max(0, 100_000 - 100 * second))], float(second))
    assert found == OutboxReport(100, -100)
    for second in range(1000, 1302):
        found = growth.tick([lane(0)], float(second))
    assert found == OutboxReport(0, 0)
