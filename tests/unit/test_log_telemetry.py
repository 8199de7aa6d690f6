import inspect
import io
import json
import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.model.contracts import Wakeup
from event_processor.model.telemetry import Telemetry
from event_processor.service.log import Level, LineFormat, LogTelemetry, chosen_format

NOT_LOGGED: Final = {"progressed", "reading", "lanes_opened", "lane_checked", "commit_timed", "jobs_checked"}
"""What happens at every turn of the loop, what only ends conditions of an earlier process, and what sums up what was said already."""


class StoppedClock:
    """2026-01-02 03:04:05.006 and some."""

    def wall_ns(self) -> int:
        return 1_767_323_045_006_999_999

    def monotonic_s(self) -> float:
        return 0.0

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        raise AssertionError("a log does not wait")


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def telemetry(stream: io.StringIO, *, level: Level = "debug", line_format: LineFormat = "text") -> LogTelemetry:
    return LogTelemetry(stream, clock=StoppedClock(), level=level, line_format=line_format)


def logged(line_format: LineFormat, **facts: object) -> str:
    stream = io.StringIO()
    telemetry(stream, line_format=line_format).file_truncated(**facts)
    return stream.getvalue()


def test_a_line_of_text_has_time_level_words_and_facts() -> None:
    line = logged("text", source="events", path="a b.jsonl", size_bytes=12, torn=True)
    words = "shorter than the part already read; a new generation begins"
    assert line == f'2026-01-02T03:04:05.006Z warning {words} source=events path="a b.jsonl" size_bytes=12 torn=true\n'


def test_a_line_of_json_has_the_facts_beside_what_every_line_has() -> None:
    assert json.loads(logged("json", source="events", offset=7)) == {
        "time": "2026-01-02T03:04:05.006Z",
        "level": "warning",
        "event": "file_truncated",
        "message": "shorter than the part already read; a new generation begins",
        "source": "events",
        "offset": 7,
    }


def test_a_line_for_the_journal_has_a_priority_and_no_time() -> None:
    assert logged("journal", source="events") == "<4>shorter than the part already read; a new generation begins source=events\n"


@pytest.mark.parametrize("line_format", ["text", "json", "journal"])
@given(path=st.text(st.characters(), max_size=20) | st.just("a\nb\udc80\u2028"))
def test_whatever_a_path_holds_it_stays_one_line_of_characters(line_format: LineFormat, path: str) -> None:
    line = logged(line_format, path=path)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    line.encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_path_comes_back_out_of_a_line_of_text(path: str) -> None:
    shown = logged("text", path=path).rstrip("\n").partition("path=")[2]
    assert (json.loads(shown) if shown.startswith('"') else shown) == path


@pytest.mark.parametrize(("level", "shown"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0)])
def test_what_is_below_the_level_is_not_said(level: Level, shown: int) -> None:
    stream = io.StringIO()
    log = telemetry(stream, level=level)
    log.batch_committed(records=1)
    log.started(version="1")
    log.file_missing(path="x")
    assert stream.getvalue().count("\n") == shown


@pytest.mark.parametrize("stream", [FullDisk(), io.StringIO()])
def test_a_stream_that_takes_nothing_stops_nobody(stream: io.StringIO) -> None:
    if not isinstance(stream, FullDisk):
        stream.close()
    log = telemetry(stream)
    log.started(version="1")
    log.stopped(reason="signal")


def reported() -> list[str]:
    return [name for name, _ in inspect.getmembers(Telemetry, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("name", reported())
def test_everything_that_can_be_seen_is_a_line_with_its_facts(name: str) -> None:
    parameters = list(inspect.signature(getattr(Telemetry, name)).parameters)[1:]
    stream = io.StringIO()
    getattr(telemetry(stream, line_format="json"), name)(**{parameter: f"<{parameter}>" for parameter in parameters})
    if name in NOT_LOGGED:
        assert not stream.getvalue()
        return
    line = json.loads(stream.getvalue())
    assert line["event"] == name
    assert {parameter: line[parameter] for parameter in parameters} == {parameter: f"<{parameter}>" for parameter in parameters}


def test_no_fact_has_the_name_of_what_every_line_has() -> None:
    facts = {parameter for name in reported() for parameter in inspect.signature(getattr(Telemetry, name)).parameters}
    assert facts.isdisjoint({"time", "level", "event", "message"})


def test_the_form_is_text_on_a_terminal_and_json_elsewhere() -> None:
    assert chosen_format("auto", Terminal(), {}) == "text"
    assert chosen_format("auto", io.StringIO(), {}) == "json"
    assert chosen_format("text", io.StringIO(), {}) == "text"
    assert chosen_format("json", Terminal(), {}) == "json"


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert chosen_format("auto", stream, {"JOURNAL_STREAM": "1:2"}) == "json"


def test_text_in_the_journal_has_priorities_and_a_stream_that_only_inherited_the_variable_is_no_journal(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "other").open("w") as other:
        status = os.fstat(journal.fileno())
        environment = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert chosen_format("auto", journal, environment) == "journal"
        assert chosen_format("text", journal, environment) == "journal"
        assert chosen_format("json", journal, environment) == "json"
        assert chosen_format("auto", other, environment) == "json"


def test_without_a_watcher_no_folder_is_watched_and_the_line_says_so() -> None:
    for path, folder in (("", "any folder"), ("/logs", "this folder")):
        stream = io.StringIO()
        telemetry = LogTelemetry(stream, clock=StoppedClock(), level="info", line_format="json")
        telemetry.watcher_unavailable(path=path, reason="no")
        assert json.loads(stream.getvalue())["message"] == f"cannot watch {folder}; only polling finds changes"
