"""The metrics: what each is made of, that their labels are bounded, and the two ways to get them."""

from __future__ import annotations

from pathlib import Path

import pytest

from event_processor.engine.state import Counts, Retired, SourceState
from event_processor.model.connector import Lag
from event_processor.model.telemetry import Telemetry
from event_processor.operations.conditions import CONDITION_KINDS
from event_processor.service.conditions import Conditions
from event_processor.service.lag_clock import LagClock
from event_processor.service.web.durations import Durations
from event_processor.service.web.source_lags import SourceLags
from support.command_line import Shell, shell_in
from support.engine import FakeClock
from support.metrics import samples
from support.simulated_fs import SimulatedFileSystem


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return shell_in(tmp_path, monkeypatch, capsys)


def test_the_metrics_of_a_state_are_its_counts(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    assert shell.call("metrics") == 0
    found = samples(shell.out)
    of_the_log = {key[1]: value for key, value in found.items() if key[0] == "event_processor_records_total" and key[2] == "log"}
    assert of_the_log == {"accepted": 3, "duplicate": 1, "rejected": 1, "blank": 0}
    assert found["event_processor_categories",] == 2
    assert found["event_processor_dead_letters",] == 1
    assert found["event_processor_held_events",] == 2
    assert found["event_processor_lag_bytes",] == 0
    assert found["event_processor_running",] == 0
    assert found["event_processor_checkpoint_age_seconds",] >= 0
    assert ("event_processor_lag_seconds",) not in found, "only a daemon sees when bytes come"


def test_without_a_state_there_is_nothing_to_count_but_the_program_is_known(shell: Shell) -> None:
    assert shell.call("metrics") == 0
    names = {key[0] for key in samples(shell.out)}
    assert {"event_processor_build_info", "event_processor_running", "event_processor_condition"} <= names
    assert "event_processor_records_total" not in names


def test_unread_bytes_are_lag(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    with shell.path("log.jsonl").open("ab") as log:
        log.write(b"x" * 10)
    assert shell.call("metrics") == 0
    found = samples(shell.out)
    assert found["event_processor_lag_bytes",] == 10
    assert found["event_processor_source_lag_bytes", "log"] == 10
    assert found["event_processor_source_lag_bytes", "intake"] == 0


def test_a_textfile_is_replaced_as_a_whole_and_nothing_is_left_beside_it(shell: Shell) -> None:
    assert shell.call("run", "--once") == 0
    folder = shell.path("textfiles")
    folder.mkdir()
    target = folder / "events.prom"
    target.write_text("old")
    assert shell.call("metrics", "--textfile", str(target)) == 0
    assert shell.out == ""
    assert samples(target.read_text())["event_processor_categories",] == 2
    assert [path.name for path in folder.iterdir()] == ["events.prom"]


def test_a_textfile_that_cannot_be_written_is_an_error_with_its_path(shell: Shell) -> None:
    assert shell.call("metrics", "--textfile", str(shell.path("none", "events.prom"))) == 74
    assert "none/" in shell.err
    assert shell.call("metrics", "--textfile", "") == 64


def test_every_kind_of_condition_has_its_sample() -> None:
    """Each report of a fresh set of conditions adds a kind; no kind is missing in the list of all."""
    fs = SimulatedFileSystem(1)
    fs.make_directory("/state")
    conditions = Conditions(fs, "/state", "process 7 on here", FakeClock())
    conditions.failed(ValueError("x"))
    where = {"source": "events", "path": "/log"}
    conditions.file_missing(**where)
    conditions.file_unreadable(source="other", path="/other", reason="")
    conditions.file_damaged(source="third", path="/third", generation=1, offset=0, reason="")
    conditions.losses_committed(count=1)
    conditions.source_unreachable(source="topic", path="", reason="", remedy="")
    conditions.watcher_unavailable(path="/", reason="")
    conditions.http_unavailable(address="", reason="", remedy="")
    conditions.jobs_checked(path="/state/jobs", problem="1 job cannot be read")
    sink = {"sink": "a", "reason": "", "remedy": ""}
    conditions.lane_waiting(sink="b", reason="")
    conditions.lane_stopped(**sink)
    conditions.lane_paused(sink="a", remedy="")
    conditions.lane_detached(sink="a", sequence=1, remedy="")
    conditions.lane_failed(sink="d", reason="", remedy="", exit_code=65)
    conditions.lane_stopped(**sink)
    kinds = {each.kind for each in (*conditions.failures, *conditions._present.values())}
    assert kinds | {"reload_refused"} == CONDITION_KINDS
    reported = [name for name in vars(Telemetry) if not name.startswith("_") and name in vars(Conditions)]
    assert len(reported) == 22, "a new report may be a new kind: add it above, and to CONDITION_KINDS"


def test_durations_are_counted_up_to_each_limit() -> None:
    durations = Durations()
    for seconds in (0.0005, 0.001, 0.0011, 7.0, 11.0):
        durations.add(seconds)
    counts = dict(durations.counts().cumulative())
    assert (counts[0.001], counts[0.0025], counts[5.0], counts[10.0], counts[None]) == (2, 3, 3, 4, 5)
    assert durations.counts().sum_s == pytest.approx(18.0026)


def test_the_lag_is_the_time_for_which_the_oldest_byte_was_seen() -> None:
    clock = LagClock()
    assert clock.look(0.0, 0, 0) == 0
    assert clock.look(10.0, 0, 100) == 0, "first seen now"
    assert clock.look(15.0, 50, 100) == 5, "50 of those bytes are committed, and 50 came"
    assert clock.look(20.0, 100, 80) == 5, "the first look's bytes are committed; the second look's, to 150, are not"
    assert clock.look(25.0, 149, 80) == 10
    assert clock.look(30.0, 150, 80) == 10, "what was seen at 20, to 180"
    assert clock.look(31.0, 1000, 5) == 0
    assert clock.look(40.0, 1005, 0) == 0


def test_the_lag_of_each_source_is_measured_in_what_it_counts() -> None:
    lags, files, topic = (
        SourceLags(),
        SourceState(retired=Retired(1, 1000, 10)),
        SourceState(counts=Counts(records=7, accepted=7)),
    )

    def look(now_s: float, file: Lag, unread: Lag) -> tuple[float | None, float | None]:
        found = lags.look(now_s, {"file": file, "topic": unread}, {"file": files, "topic": topic})
        return found["file"], found["topic"]

    assert look(0, Lag(100, read_bytes=50), Lag(900, records=3)) == (0, 0)
    assert look(10, Lag(20, read_bytes=149), Lag(900, records=3)) == (10, 10), "one byte of the first look is still unread"
    assert look(20, Lag(19, read_bytes=150), Lag(unknown="no answer")) == (10, None), "now what the second look saw"
    topic = SourceState(counts=Counts(records=10, accepted=10))
    assert look(30, Lag(0, read_bytes=200), Lag(0, records=0)) == (0, 0)
    assert look(40, Lag(5, read_bytes=200), Lag(5)) == (0, None), "bytes of what is not measured in bytes"
    files = SourceState()
    assert look(50, Lag(5, read_bytes=0), Lag()) == (0, 0), "another state begins anew"
    assert lags.look(60, {}, {}) == {}


def test_the_lag_of_a_stuck_pipeline_grows_and_costs_no_more_memory() -> None:
    clock = LagClock()
    for second in range(10_000):
        assert clock.look(float(second), 0, 100 + second) == second
    assert len(clock._places) == 3600
