"""Windows of a minute, a month and ten years over a small log of odd events; gaps that are longer than the window; an empty log."""

from __future__ import annotations

import json
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from event_processor.aggregation.windows.rows import RowForm, RowPieces, WindowRun
from event_processor.configuration.aggregates import AggregateOptions
from support.command_line import Shell, shell_in
from support.window_model import NS, Occurrence, WindowModel

MINUTE, MONTH, TEN_YEARS = 60, 30 * 86_400, 315_532_800
MILLION = 1_000_000
CONFIGURATION = """
[sources.log]
path = "log.jsonl"
[event]
category = "client"
value = "duration"
[order]
by = "timestamp"
buffer_events = {buffer_events}
[aggregates.delivery]
measures = {{ n = "count", values = "count(duration)", sum = "sum(duration)", least = "min(duration)", greatest = "max(duration)" }}
window = {{ size_s = {size_s}, every_s = 60, closed = "{closed}", empty = 0, timestamp_format = "epoch_s" }}
[sinks.delivery]
input = "aggregates.delivery"
path = "out/rows.jsonl"
[sinks.events]
path = "out/events.jsonl"
"""
ODD: list[tuple[object, int, float]] = [
    # The timestamp as it is written, the same in nanoseconds behind 2018-12-26T18:00:00Z, and the duration.
    ("2018-12-26 18:11:08.509654", 668_509_654_000, 0.0),
    ("2018-12-26T19:12:00+01:00", 720 * NS, -7.25),
    ("2018-12-26T18:12:00Z", 720 * NS, 1e250),
    (1545847940, 740 * NS, -1e250),
    (1545847941.5, 741_500_000_000, 0.1),
    ("2018-12-26T18:12:59.999999999Z", 779_999_999_999, 1e-300),
    ("2018-12-26T18:13:00", 780 * NS, -0.0),
    # Longer than a minute, and then longer than ten of them, nothing comes.
    ("2018-12-26t13:17:30.5-05:00", 1_050_500_000_000, 1e250),
    ("2018-12-26 18:40:00.000001", 2_400_000_001_000, 1e250),
    # Behind the order stage, or in a window that is closed.
    ("2018-12-26T18:39:59Z", 2_399 * NS, 3.0),
    ("2018-12-26T18:12:30Z", 750 * NS, 4.0),
    ("2018-12-26 18:40:00.5Z", 2_400_500_000_000, 0.3),
]
START_S = 1545847200


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def prepare(shell: Shell, *, size_s: int, closed: str = "right", buffer_events: int = 0) -> None:
    text = CONFIGURATION.format(size_s=size_s, closed=closed, buffer_events=buffer_events)
    shell.path("event-processor.toml").write_text(text, encoding="utf-8")
    shell.path("log.jsonl").write_bytes(b"")


def append(shell: Shell, first_id: int, events: list[tuple[object, float]]) -> None:
    with shell.path("log.jsonl").open("ab") as log:
        for number, (timestamp, duration) in enumerate(events, start=first_id):
            record = {"id": number, "client": "c", "duration": duration, "timestamp": timestamp}
            log.write(json.dumps(record).encode() + b"\n")


def rows(shell: Shell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shell.path("out", "rows.jsonl").read_bytes().splitlines()]


def state(shell: Shell) -> Any:
    return json.loads(shell.path("state", "checkpoint.json").read_bytes())["state"]["aggregates"]["delivery"]


def state_bytes(shell: Shell) -> int:
    return sum(path.stat().st_size for path in shell.path("state").rglob("*") if path.is_file())


@pytest.mark.parametrize("closed", ["left", "right", "both", "none"])
@pytest.mark.parametrize("size_s", [MINUTE, MONTH, TEN_YEARS])
def test_rows_are_those_of_the_definition_whatever_the_size(shell: Shell, size_s: int, closed: str) -> None:
    prepare(shell, size_s=size_s, closed=closed)
    model = WindowModel(size_s, 60, closed, shows_empty=True)
    for _, ns, duration in ODD:
        model.add(Occurrence(START_S * NS + ns, "", duration + 0.0))
    model.finish()
    for begin in range(0, len(ODD), 5):
        append(shell, begin, [(timestamp, duration) for timestamp, _, duration in ODD[begin : begin + 5]])
        assert shell.call("run", "--once") == 0, shell.err
    assert shell.call("run", "--once", "--drain") == 0, shell.err
    expected = [(row[0] * 60, *((0, 0, 0, 0, 0) if row[1] is None else row[2:7])) for row in model.rows]
    names = ("window_end", "n", "values", "sum", "least", "greatest")
    assert [tuple(row[name] for name in names) for row in rows(shell)] == expected
    assert [row["window_end"] - row["window_start"] for row in rows(shell)] == [size_s] * len(expected)
    assert state(shell)["counts"]["late_window"] == model.late_window > 0
    assert shell.call("verify") == 0, shell.out


def test_sums_that_cancel_leave_what_is_left_exactly(shell: Shell) -> None:
    """1e250 hides 0.1 from ordinary addition; what left the window must not."""
    prepare(shell, size_s=120)
    append(shell, 0, [(6_010, 1e250), (6_011, 0.1), (6_012, -1e250), (6_070, 1e250), (6_130, 0.2), (6_190, -0.2)])
    assert shell.call("run", "--once", "--drain") == 0, shell.err
    assert [(row["window_end"], row["sum"]) for row in rows(shell)] == [
        (6_000, 0),
        (6_060, 0.1),
        (6_120, 1e250),
        (6_180, 1e250),
        (6_240, 0),
    ]


@pytest.mark.parametrize("arguments", [("run", "--once"), ("run", "--once", "--drain")])
def test_an_empty_log_has_no_rows(shell: Shell, arguments: tuple[str, ...]) -> None:
    prepare(shell, size_s=MINUTE)
    assert shell.call(*arguments) == 0, shell.err
    assert shell.path("out", "rows.jsonl").read_bytes() == b""
    assert (state(shell)["next_row"], state(shell)["held"]) == (None, 0)


@pytest.mark.parametrize("size_s", [MINUTE, MONTH, TEN_YEARS])
def test_a_gap_of_a_million_minutes_holds_nothing_and_leaves_every_row(shell: Shell, size_s: int) -> None:
    prepare(shell, size_s=size_s)
    append(shell, 0, [(30, 2.0), (60 * MILLION + 30, 4.0)])
    assert shell.call("run", "--once") == 0, shell.err
    found = shell.path("out", "rows.jsonl").read_bytes().splitlines()
    assert len(found) == MILLION + 1
    held_minutes = min(MILLION, size_s // 60)
    assert sum(line.endswith(b'"sum": 2, "least": 2, "greatest": 2}') for line in found) == held_minutes
    assert sum(line.endswith(b'"n": 0, "values": 0, "sum": 0, "least": 0, "greatest": 0}') for line in found) == (
        MILLION + 1 - held_minutes
    )
    assert json.loads(found[-1])["window_end"] == 60 * MILLION
    assert state(shell)["held"] == 1 + (size_s == TEN_YEARS)
    assert state_bytes(shell) < 16_384


def test_the_rows_of_a_gap_are_never_in_memory_at_once(shell: Shell) -> None:
    prepare(shell, size_s=600)
    peaks: list[int] = []
    for number, minute in enumerate([0, 10, 60_000]):
        append(shell, number, [(60 * minute + 30, 2.0)])
        tracemalloc.start()
        try:
            assert shell.call("run", "--once") == 0, shell.err
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    text_bytes = shell.path("out", "rows.jsonl").stat().st_size
    assert text_bytes > 6_000_000
    assert peaks[2] - peaks[1] < text_bytes / 4


def test_a_run_is_written_out_only_as_far_as_it_is_read() -> None:
    options = AggregateOptions.model_validate(
        {"measures": {"n": "count"}, "window": {"size_s": 1, "timestamp_format": "epoch_s"}}
    )
    pieces = RowPieces(RowForm(options, "UTC"), [WindowRun(5, 10**15, (b'"n": 0}\n',))])
    first = next(islice(iter(pieces), 1))
    assert first.startswith(b'{"window_start": 4, "window_end": 5, "n": 0}\n{"window_start": 5, "window_end": 6, ')
    assert len(first) < 100_000
