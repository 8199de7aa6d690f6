"""The moving average of examples/000-moving-average, to the digit: every way to it, any window, any durations, any order within the buffer."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.documents import ROOT
from support.processes import DEADLINE_S, MAIN_JOB, Daemon, Pipeline, wait_until, warm_commands
from support.window_model import Occurrence, WindowModel

EXAMPLE = ROOT / "examples" / "000-moving-average"
EXPECTED = (EXAMPLE / "expected" / "averages.jsonl").read_bytes()
EVENTS = (EXAMPLE / "events.json").read_bytes()
PROGRAM = str(Path(sys.executable).parent / "unbabel_cli")
START = datetime(2018, 12, 26, 18, 11, 8, tzinfo=UTC)


def warm_program() -> str:
    """The same, run by the warm Python."""
    return str(warm_commands() / "unbabel_cli")


def averages(log: bytes, minutes: int, folder: Path) -> bytes:
    """What `unbabel_cli` says of a log."""
    path = folder / "log.json"
    path.write_bytes(log)
    called = [warm_program(), "--input_file", str(path), "--window_size", str(minutes)]
    return subprocess.run(called, check=True, capture_output=True, timeout=DEADLINE_S).stdout


def spelt(moment: datetime, form: int) -> str:
    """One instant in one of four spellings."""
    if form == 1 and not moment.microsecond:
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    if form == 2:
        return moment.isoformat()
    if form == 3:
        return (moment + timedelta(hours=5, minutes=30)).replace(tzinfo=None).isoformat(" ") + "+05:30"
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"


def line(number: int, moment: datetime, duration: float, form: int = 0) -> bytes:
    record = {
        "timestamp": spelt(moment, form),
        "translation_id": f"{number * 7919 % 100_003:020x}",
        "event_name": "translation_delivered",
        "nr_words": number,
        "duration": duration,
    }
    return json.dumps(record).encode() + b"\n"


def by_definition(moments: list[tuple[datetime, float]], minutes: int) -> list[dict[str, object]]:
    """The rows by the definition, each from all events."""
    model = WindowModel(minutes * 60, 60, "right", shows_empty=True)
    for moment, duration in sorted(moments):
        model.add(Occurrence((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000, "", duration))
    model.finish()
    rows: list[dict[str, object]] = []
    for row in model.rows:
        date = f"{datetime.fromtimestamp(row[0] * 60, UTC):%Y-%m-%d %H:%M:%S}"
        rows.append({"date": date, "average_delivery_time": 0 if row[1] is None else row[9]})
    return rows


def read(rows: bytes) -> list[dict[str, object]]:
    return [json.loads(row) for row in rows.splitlines()]


def test_the_document_s_answer_is_given_by_every_command(tmp_path: Path) -> None:
    options = ["--input_file", str(EXAMPLE / "events.json"), "--window_size", "10"]
    process = [
        *MAIN_JOB,
        "--config",
        str(EXAMPLE / "event-processor.toml"),
        "process",
        str(EXAMPLE / "events.json"),
        "--no-sinks",
    ]
    for called in ([PROGRAM, *options], [sys.executable, str(EXAMPLE / "unbabel_cli.py"), *options], process):
        finished = subprocess.run(called, cwd=tmp_path, check=True, capture_output=True, timeout=DEADLINE_S)
        assert finished.stdout == EXPECTED
    assert [row["average_delivery_time"] for row in read(EXPECTED)] == [0, *[20] * 4, *[25.5] * 6, *[31] * 2, 42.5]
    assert b".0}" not in EXPECTED


def test_the_example_is_what_the_command_runs() -> None:
    packaged = ROOT / "event_processor" / "cli" / "moving_average.toml"
    assert packaged.read_text() == (EXAMPLE / "event-processor.toml").read_text()


def test_a_live_daemon_fed_line_by_line_and_killed_between_them_gives_the_same_rows(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, tmp_path)
    made.prepare(b"")
    text = (EXAMPLE / "event-processor.toml").read_text().replace("[order]\n", "[order]\nidle_release_ms = 50\n")
    (tmp_path / "pipeline.toml").write_text(text.replace("[sources.deliveries]", "[sources.events]"))
    log = tmp_path / "events.json"
    log.write_bytes(b"")
    daemon: Daemon = made.start()
    for number, record in enumerate(EVENTS.splitlines(keepends=True), start=1):
        half = len(record) // 2
        with log.open("ab") as appended:
            appended.write(record[:half])
        daemon.kill()
        daemon = made.start()
        with log.open("ab") as appended:
            appended.write(record[half:])
        size_bytes = log.stat().st_size
        wait_until(lambda size_bytes=size_bytes: made.progress() == size_bytes, f"line {number} is committed")  # type: ignore[misc]
        daemon.kill()
        daemon = made.start()
    daemon.kill()
    assert made.run("--once", "--drain").exit_code == 0
    assert (tmp_path / "out" / "averages.jsonl").read_bytes() == EXPECTED
    assert made.verify().exit_code == 0


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    assert averages(EVENTS.rstrip(b"\n"), 10, tmp_path) == EXPECTED


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert averages(b"", 10, tmp_path) == b""


def test_input_shuffled_within_the_buffer_gives_the_rows_of_sorted_input(tmp_path: Path) -> None:
    chance = random.Random(3)
    moments = [(START + timedelta(seconds=number * 2.5), float(number % 71)) for number in range(1000)]
    sorted_lines = [line(number, *each) for number, each in enumerate(moments)]
    shuffled = list(sorted_lines)
    for begin in range(0, len(shuffled), 500):
        block = shuffled[begin : begin + 500]
        chance.shuffle(block)
        shuffled[begin : begin + 500] = block
    assert shuffled != sorted_lines
    rows = averages(b"".join(sorted_lines), 10, tmp_path)
    assert averages(b"".join(shuffled), 10, tmp_path) == rows
    assert read(rows) == by_definition(moments, 10)


@pytest.mark.parametrize("minutes", [1, 30 * 1440, 10 * 366 * 1440, 10**30])
def test_a_window_of_any_size_holds_what_it_should(minutes: int, tmp_path: Path) -> None:
    """Gaps longer than the window, and none; durations 0, negative and huge; times spelt in four ways."""
    chance = random.Random(minutes % 1000)
    durations = [0, -3, 1e250, -1e250, 0.1, 7, -0.0, 12.5]
    seconds = sorted(
        chance.choice([chance.uniform(0, 300), chance.uniform(0, 3000), 60.0 * chance.randrange(60)]) for _ in range(60)
    )
    moments = [(START + timedelta(seconds=round(each, 6)), durations[number % 8]) for number, each in enumerate(seconds)]
    log = b"".join(line(number, *each, form=number % 4) for number, each in enumerate(moments))
    # The log is shorter than an hour: what is longer holds all of it.
    assert read(averages(log, minutes, tmp_path)) == by_definition(moments, min(minutes, 100))


def test_a_gap_of_days_has_a_row_for_every_minute_of_it(tmp_path: Path) -> None:
    moments = [(START, 20.0), (START + timedelta(days=3), 30.0)]
    rows = read(averages(b"".join(line(number, *each) for number, each in enumerate(moments)), 10, tmp_path))
    assert len(rows) == 3 * 1440 + 2
    assert {row["average_delivery_time"] for row in rows[11:-1]} == {0}
    assert rows[-1] == {"date": "2018-12-29 18:12:00", "average_delivery_time": 30}


def test_what_is_no_delivery_is_told_and_the_rest_counts(tmp_path: Path) -> None:
    garbage = (
        b'{"timestamp": "yesterday", "translation_id": "x", "event_name": "translation_delivered", "duration": 1}\nrubbish\n'
    )
    path = tmp_path / "log.json"
    path.write_bytes(garbage + EVENTS)
    called = [warm_program(), "--input_file", str(path), "--window_size", "10"]
    finished = subprocess.run(called, check=True, capture_output=True, timeout=DEADLINE_S)
    assert finished.stdout == EXPECTED
    assert b"5 records: 3 accepted, 0 duplicate, 2 rejected, 0 blank" in finished.stderr


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "ten"])
def test_a_window_that_is_no_number_of_minutes_is_refused(wrong: str, tmp_path: Path) -> None:
    called = [warm_program(), "--input_file", str(EXAMPLE / "events.json"), "--window_size", wrong]
    finished = subprocess.run(called, cwd=tmp_path, check=False, capture_output=True, timeout=DEADLINE_S)
    assert (finished.returncode, finished.stdout) == (64, b"")
    assert finished.stderr.startswith(b"unbabel_cli: ")


@pytest.mark.parametrize("seed", [None, 5])
def test_deliveries_in_reverse_or_random_order_give_the_averages_of_the_sorted_log(tmp_path: Path, seed: int | None) -> None:
    moments = [(START + timedelta(seconds=number * 7), float(number % 90)) for number in range(3_000)]
    logged = [line(number, moment, duration) for number, (moment, duration) in enumerate(moments)]
    if seed is None:
        logged.reverse()
    else:
        random.Random(seed).shuffle(logged)
    result = averages(b"".join(logged), 10, tmp_path)
    assert [json.loads(each) for each in result.splitlines()] == by_definition(moments, 10)


def called(
    log: bytes, folder: Path, *options: str, from_stdin: bool = False, minutes: int = 10
) -> subprocess.CompletedProcess[bytes]:
    """One call of `unbabel_cli` on a log, whatever comes of it."""
    path = folder / "log.json"
    path.write_bytes(log)
    command = [warm_program(), "--input_file", "-" if from_stdin else "log.json", "--window_size", str(minutes), *options]
    return subprocess.run(
        command, cwd=folder, input=log if from_stdin else b"", check=False, capture_output=True, timeout=DEADLINE_S
    )


def short(second: str, duration: object, **more: object) -> bytes:
    """A record with nothing but what is needed, and `more`."""
    return json.dumps({"timestamp": f"2018-12-26 18:{second}", "duration": duration, **more}).encode() + b"\n"


def test_two_deliveries_of_one_translation_both_count(tmp_path: Path) -> None:
    log = short("11:08", 20, translation_id="a", event_name="translation_delivered")
    log += short("11:09.5", 40, translation_id="a", event_name="translation_delivered")
    finished = called(log, tmp_path)
    assert read(finished.stdout) == [
        {"date": "2018-12-26 18:11:00", "average_delivery_time": 0},
        {"date": "2018-12-26 18:12:00", "average_delivery_time": 30},
    ]
    assert finished.stderr == b"2 records: 2 accepted, 0 duplicate, 0 rejected, 0 blank\n"


@pytest.mark.parametrize("name", [{}, {"event_name": None}, {"event_name": "translation_delivered"}])
def test_only_the_time_and_the_duration_are_needed(tmp_path: Path, name: dict[str, object]) -> None:
    finished = called(short("11:08", 20, **name) + short("12:10", 30) + b'{"duration": 1}\n{"timestamp": 5}\n', tmp_path)
    assert [row["average_delivery_time"] for row in read(finished.stdout)] == [0, 20, 25]
    assert b"4 records: 2 accepted, 0 duplicate, 2 rejected, 0 blank" in finished.stderr


def test_events_of_another_name_are_counted_and_neither_open_nor_extend_the_rows(tmp_path: Path) -> None:
    other = [short(second, 1000, event_name="translation_requested") for second in ("01:00", "12:30", "59:59")]
    lines = [other[0], *EVENTS.splitlines(keepends=True), other[1], other[2]]
    finished = called(b"".join(sorted(lines, key=lambda each: str(json.loads(bytes(each))["timestamp"]))), tmp_path)
    assert finished.stdout == EXPECTED
    assert b"6 records: 6 accepted, 0 duplicate, 0 rejected, 0 blank\n" in finished.stderr
    assert b"3 events left out: event_name is not translation_delivered\n" in finished.stderr
    alone = called(other[0], tmp_path)
    assert (alone.returncode, alone.stdout) == (0, b"")
    assert b"1 event left out" in alone.stderr


RECORDS = [json.loads(each) for each in EVENTS.splitlines()]
FORMS = {
    "an array": json.dumps(RECORDS),
    "an array over lines": json.dumps(RECORDS, indent=2),
    "a line for each item": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
    "an object around an array": json.dumps({"count": 3, "events": RECORDS}),
    "an object around an array, over lines": json.dumps({"meta": {"page": [1, 2]}, "data": {"events": RECORDS}}, indent=4),
    "objects over lines": "\n".join(json.dumps(each, indent=2) for each in RECORDS) + "\n",
    "objects on one line": "".join(map(json.dumps, RECORDS)),
    "with a byte order mark": "\ufeff" + json.dumps(RECORDS),
    "lines": EVENTS.decode(),
    "lines with carriage returns": EVENTS.decode().replace("\n", "\r\n"),
}


@pytest.mark.parametrize(
    ("form", "way"),
    [*((form, "file") for form in FORMS), ("an array", "gzip"), ("objects over lines", "stdin"), ("lines", "stdin")],
)
def test_the_form_of_the_file_is_found_out(tmp_path: Path, form: str, way: str) -> None:
    content = FORMS[form].encode()
    finished = called(gzip.compress(content) if way == "gzip" else content, tmp_path, from_stdin=way == "stdin")
    assert finished.stdout == EXPECTED, finished.stderr
    assert b"3 records: 3 accepted" in finished.stderr


def test_one_object_over_lines_is_one_delivery(tmp_path: Path) -> None:
    finished = called(json.dumps(RECORDS[0], indent=2).encode(), tmp_path)
    assert len(read(finished.stdout)) == 2


@pytest.mark.parametrize(
    "log", [b"rubbish\n", b"{}", b'[{"duration": "5"}, 7]', b"rubbish\n\n\xff\n", b'{\n  "timestamp": "x",\n  "duration": 1\n}\n']
)
def test_if_every_record_is_rejected_the_exit_code_is_65(tmp_path: Path, log: bytes) -> None:
    finished = called(log, tmp_path)
    assert (finished.returncode, finished.stdout) == (65, b"")
    assert b"0 accepted, 0 duplicate, " in finished.stderr


@pytest.mark.parametrize("log", [b"", b"\n \n", b"[]", b'{"events": []}'])
def test_without_records_there_are_no_rows_and_no_fault(tmp_path: Path, log: bytes) -> None:
    finished = called(log, tmp_path)
    assert (finished.returncode, finished.stdout) == (0, b"")


def test_every_option_that_a_message_names_is_there(tmp_path: Path) -> None:
    shown = called(b"rubbish\n" + EVENTS, tmp_path).stderr.decode()
    assert "--dead-letters" in shown
    help_text = called(b"", tmp_path, "--help").stdout.decode()
    for option in ("--dead-letters", "--state", "--output", "--format", "--item-path", "--chunk-size", "--workers"):
        assert option in help_text
    options = [
        "--dead-letters",
        "dl.jsonl",
        "--state",
        "kept",
        "--output",
        "rows.jsonl",
        "--chunk-size",
        "4MiB",
        "--workers",
        "1",
    ]
    for _ in range(2):  # the second call finds the state
        finished = called(b"rubbish\n" + EVENTS, tmp_path, *options)
        assert (finished.returncode, finished.stdout) == (0, b"")
        assert (tmp_path / "rows.jsonl").read_bytes() == EXPECTED
        assert json.loads((tmp_path / "dl.jsonl").read_bytes())["record"] == "rubbish"
    wrapped = json.dumps({"a": {"b": RECORDS}}).encode()
    assert called(wrapped, tmp_path, "--format", "json", "--item-path", "a.b.item").stdout == EXPECTED
    assert called(wrapped, tmp_path, "--format", "jsonl").returncode == 65
    assert called(EVENTS, tmp_path, "--output", "").returncode == 64
