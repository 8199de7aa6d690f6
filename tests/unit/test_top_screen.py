"""The screen of `top`: what it shows fits, keys change what is shown, and nothing from a log controls the terminal."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from event_processor.aggregation.categories.totals import CategoryTotal
from event_processor.cli.top_screen import SORTS, View, pressed, screen
from event_processor.engine.delivery.reports import GroupReport, LaneReport
from event_processor.engine.state import Counts
from event_processor.model.connector import Guarantee
from event_processor.operations.bottleneck import Bottleneck
from event_processor.operations.conditions import Condition
from event_processor.operations.history import COLUMNS
from event_processor.operations.lanes import LanesStatus
from event_processor.operations.live import PAST_S, Live
from event_processor.operations.status import CommittedStatus, Status

SECOND = {"records": 120, "lag_s": 0.4}


def total(count: int, value: float | None) -> CategoryTotal:
    return CategoryTotal(
        count=count,
        sum=count * (value or 0.0),
        sum_parts=(),
        min=value,
        max=value,
        mean=value,
        first_id=1,
        last_id=2,
        last_timestamp=None,
        values=count if value is not None else 0,
    )


CATEGORIES = {"tea": total(5, 2.0), "cocoa": total(9, 0.5), "coffee": total(7, 3.0), "nothing": total(1, None)}


def live(**facts: Any) -> Live:
    committed = CommittedStatus(
        state_id="s",
        written_at=None,
        age_s=0.25,
        counts=Counts(22, 20, 1, 1, 0, 3),
        categories=4,
        lag_bytes=1234,
        held_events=7,
        lost=0,
        first_lost="",
        left_out=(),
        dead_letters=1,
    )
    status = Status(
        "/state",
        facts.pop("owner", "process 7 on here"),
        facts.pop("committed", committed),
        conditions=facts.pop("conditions", ()),
        lanes=facts.pop("lanes", LanesStatus()),
    )
    past: dict[str, Any] = {name: [SECOND.get(name, 0)] * PAST_S for name in COLUMNS}
    known: dict[str, Any] = {"past": past, "categories": CATEGORIES, "rates": {"tea": 2.5, "coffee": 0.5}}
    return Live(
        status, Bottleneck("Waiting for records: the input brings 120 a second.", ""), 1_700_000_000, **{**known, **facts}
    )


def shown(live: Live, view: View | None = None, *, width: int = 80, height: int = 24, is_unicode: bool = True) -> list[str]:
    lines, _ = screen(live, view or View(), width=width, height=height, is_unicode=is_unicode)
    return [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in lines]


def names(live: Live, view: View) -> list[str]:
    """The categories as they are sorted."""
    found = [line.split()[0] for line in shown(live, view) if line]
    return [each for each in found if each in live.categories]


def test_it_says_whether_all_is_well_what_limits_it_and_how_fast_it_is() -> None:
    lines = shown(live())
    assert lines[:3] == [
        "event-processor  /state  process 7 on here",
        "Keeping up.",
        "Waiting for records: the input brings 120 a second.",
    ]
    assert "22 records = 20 accepted + 1 duplicate + 1 rejected + 0 blank" in lines
    assert "120/s now, 120/s in the last minute; 1,234 bytes behind, 0.4 s; last commit 0.2…" in lines
    assert lines[-1].startswith("s sort   r reverse")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("height", [5, 12, 24, 50])
def test_it_fits_every_screen(width: int, height: int) -> None:
    condition = Condition("failed", "2026", "", "", "a long story " * 20, "do something about it")
    lanes = LanesStatus(
        tuple(LaneReport(f"s{number}", "events", "idle", "", "", 0, "", 0, 0, 0, 0, 0, 0, 0) for number in range(9))
    )
    full = live(conditions=(condition,) * 5, lanes=lanes, categories={f"c{n}" * 30: total(n, 1.0) for n in range(99)})
    for is_unicode in (True, False):
        lines, page = screen(full, View(), width=width, height=height, is_unicode=is_unicode)
        assert len(lines) == height
        assert page >= 0
        plain = [re.sub(r"\x1b\[\d*m", "", line) for line in lines]
        assert max(map(cell_len, plain)) <= width
        assert is_unicode or all(line.isascii() for line in plain)


def test_the_key_s_goes_through_the_columns_and_r_turns_the_order_round() -> None:
    view = View()
    found = {}
    for _ in SORTS:
        found[view.sort] = names(live(), view)
        view = pressed(view, "s", rows=4, page=10) or View()
    assert view.sort == "count"
    assert found == {
        "count": ["cocoa", "coffee", "tea", "nothing"],
        "rate": ["tea", "coffee", "cocoa", "nothing"],
        "sum": ["coffee", "tea", "cocoa", "nothing"],
        "mean": ["coffee", "tea", "cocoa", "nothing"],
        "min": ["coffee", "tea", "cocoa", "nothing"],
        "max": ["coffee", "tea", "cocoa", "nothing"],
        "category": ["cocoa", "coffee", "nothing", "tea"],
    }
    turned = pressed(View("mean"), "r", rows=4, page=10)
    assert turned is not None
    assert names(live(), turned) == ["cocoa", "tea", "coffee", "nothing"], "without a value last in both orders"
    assert names(live(), View("category", is_reversed=True)) == ["tea", "nothing", "coffee", "cocoa"]


def test_keys_scroll_within_the_rows_and_q_ends() -> None:
    view: View | None = View()
    places = []
    for key in ("down", "down", "up", "page down", "end", "down", "home", "up", "x"):
        view = pressed(view or View(), key, rows=50, page=10)
        places.append(view.first if view else None)
    assert places == [1, 2, 1, 11, 40, 40, 0, 0, 0]
    assert pressed(View(), "down", rows=3, page=10) == View(), "everything is on the screen"
    assert pressed(View(), "q", rows=3, page=10) is None
    many = live(categories={f"c{number:02}": total(1, 1.0) for number in range(50)})
    assert names(many, View(first=30))[0] == "c30"


def test_sinks_have_their_state_figures_and_promise_and_conditions_what_to_do() -> None:
    lane = LaneReport("api", "events", "waiting", "503", "2026", 0, "", 0, 0, 1500, 2, 0, 31, 5, rate_per_s=14.5)
    promise = {"api": Guarantee("at least once", "a stable key")}
    note = Condition("lane_paused", "2026", "", "", "a note", "nothing", fails=False)
    fault = Condition("failed", "2026", "", "", "a fault", "repair it")
    lines = shown(live(lanes=LanesStatus((lane,), guarantees=promise), conditions=(note, fault)), width=160)
    assert "sink api: waiting; 31 pending, 14.5/s, 1,500 delivered, 2 failed; at least once; 503" in lines
    begin = lines.index("! a fault (since 2026); repair it")
    assert lines[begin + 1] == "note: a note (since 2026); nothing"
    assert lines[1] == "Needs you: a fault (since 2026); repair it"


def test_the_key_d_shows_the_figures_of_sinks_by_source_and_field_too() -> None:
    group = {"log": GroupReport(processed=9, rate_per_s=1.5)}
    lane = LaneReport("api", "events", "sending", "", "2026", 0, "", 0, 0, 9, 0, 0, 0, 0, mean_request_ms=20.0, by_source=group)
    with_sink = live(lanes=LanesStatus((lane,)))
    assert not any("by source" in line for line in shown(with_sink))
    detailed = pressed(View(), "d", rows=4, page=10)
    assert detailed is not None
    lines = shown(with_sink, detailed)
    assert "  api by source: log 9, 1.5/s" in lines
    assert any(line.startswith("  api figures: mean 0.0 ms, request 20.0 ms; errors 0.0%") for line in lines)
    assert pressed(detailed, "d", rows=4, page=10) == View()


def test_the_last_minutes_are_a_line_of_bars_with_spaces_where_nothing_ran() -> None:
    records = [None] * 100 + [0] * 100 + [800] * 100
    past: dict[str, Any] = {name: records if name == "records" else [0] * PAST_S for name in COLUMNS}
    # 31 bars of ten seconds at most; 1,700,000,000 is a multiple of ten.
    (line,) = [each for each in shown(live(past=past), width=63) if each.startswith("last 5 min")]
    assert line == f"last 5 min  {' ' * 10}{'▁' * 10}{'█' * 10}  max 800/s"
    (line,) = [each for each in shown(live(past=past), width=63, is_unicode=False) if each.startswith("last 5 min")]
    assert line == f"last 5 min  {' ' * 10}{'_' * 10}{'#' * 10}  max 800/s"


def test_a_bar_stays_what_it_was_when_a_second_has_passed() -> None:
    records = [each % 7 * 100 for each in range(PAST_S + 1)]

    def bars(begin: int) -> str:
        past: dict[str, Any] = dict.fromkeys(COLUMNS, records[begin : begin + PAST_S])
        moment = replace(live(past=past), begin_s=1_700_000_000 + begin)
        (line,) = [each for each in shown(moment, width=63) if each.startswith("last 5 min")]
        return line.split("  ")[1]

    assert len(bars(1)) == 31
    assert bars(0)[1:] == bars(1)[1:30]


def test_a_category_cannot_control_the_terminal_and_one_without_a_name_is_shown() -> None:
    hostile = live(categories={"\x1b[2J\x07evil\nname": total(2, 1.0), "": total(1, 1.0), "日本語": total(1, 1.0)})
    lines, _ = screen(hostile, View(), width=80, height=24)
    assert "\\x1b[2J\\x07evil\\nname" in "".join(lines)
    assert not any("\x07" in line or "\n" in line for line in lines)
    assert any(line.startswith("(all events)") for line in lines)


def test_without_a_daemon_and_without_a_state_it_says_so() -> None:
    past: dict[str, Any] = {name: [None] * PAST_S for name in COLUMNS}
    lines = shown(live(owner=None, committed=None, past=past, categories={}, rates={}))
    assert lines[0] == "event-processor  /state  not running"
    assert lines[1].startswith("Needs you: no process owns /state: nothing is running")
    assert "Nothing is committed yet." in lines
    stopped = shown(live(owner=None, past=past, rates={}))
    assert any(line.startswith("- now, - in the last minute; 1,234 bytes behind; last commit") for line in stopped)
