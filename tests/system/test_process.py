"""`process` as people call it: finished inputs in, one result out, whatever is killed meanwhile."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.processes import DEADLINE_S, MAIN_JOB, wait_until, warm_job
from support.reference import Options, Piece, Reference, evaluate_pieces
from support.workload import workload_log

LOG = workload_log(3_000, seed=11)
OTHER = workload_log(800, seed=12)


class Folder:
    """A working directory, with a folder for temporary files of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.temporary.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("EVENT_PROCESSOR_", "COVERAGE_"))},
            "TMPDIR": str(self.temporary),
            "OPENBLAS_NUM_THREADS": "1",
        }

    def write(self, name: str, content: bytes) -> Path:
        path = self.root / name
        path.write_bytes(content)
        return path

    def process(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*warm_job(), "process", *arguments],
            cwd=self.root,
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Not waited for; its standard input stays open."""
        return subprocess.Popen(
            [*MAIN_JOB, "process", *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_for(self, running: subprocess.Popen[bytes], size_bytes: int) -> None:
        """Until more than so many bytes are committed, or the run is over."""
        wait_until(lambda: self.committed_bytes() > size_bytes or running.poll() is not None, "a part is committed")

    def committed_bytes(self, state: str = "st") -> int:
        """How much of the inputs the state covers."""
        try:
            document: Any = json.loads((self.root / state / "checkpoint.json").read_bytes())
        except FileNotFoundError:
            return 0
        source = document["state"]["sources"].get("input", {"generations": [], "retired": {"size_bytes": 0}})
        sizes: list[int] = [source["retired"]["size_bytes"], *(each["position"]["offset"] for each in source["generations"])]
        return sum(sizes)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path)
    yield made
    assert list(made.temporary.iterdir()) == [], "temporary folders are removed"


def rows_of(result: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.splitlines()]


def expected(*contents: bytes) -> Reference:
    """What the independent model makes of these files, read one after the other."""
    pieces = [Piece("input", content, part) for part, content in enumerate(contents, start=1)]
    return evaluate_pieces(pieces, Options(finished=True))


def expected_rows(model: Reference) -> list[dict[str, object]]:
    names = ("count", "sum", "min", "max", "mean", "first_id", "last_id", "last_timestamp", "values")
    return [
        {"category": category, **{name: getattr(total, name) for name in names}}
        for category, total in sorted(model.categories.items())
    ]


def finish(process: subprocess.Popen[bytes], signal_number: signal.Signals) -> tuple[int, bytes, str]:
    """Sends the signal, and gives the exit code and what was said."""
    process.send_signal(signal_number)
    stdout, stderr = process.communicate(timeout=DEADLINE_S)
    return process.returncode, stdout, stderr.decode()


def test_the_result_is_that_of_the_independent_model(folder: Folder) -> None:
    folder.write("log.jsonl", LOG)
    finished = folder.process("log.jsonl")
    assert finished.returncode == 0, finished.stderr
    model = expected(LOG)
    assert rows_of(finished.stdout) == expected_rows(model)
    counts = model.counts
    assert finished.stderr.decode().splitlines()[0] == (
        f"{counts['records']} records: {counts['accepted']} accepted, {counts['duplicate']} duplicate, "
        f"{counts['rejected']} rejected, {counts['blank']} blank"
    )
    assert not (folder.root / "state").exists()


def test_several_files_are_read_in_the_order_in_which_they_are_named_and_no_rotated_ones(folder: Folder) -> None:
    folder.write("b.jsonl", LOG)
    folder.write("b.jsonl.1", b'{"id": "no", "category": "no", "value": 1}\n')
    folder.write("a[1].jsonl", OTHER)
    folder.write("empty.jsonl", b"")
    finished = folder.process("b.jsonl", "empty.jsonl", "a[1].jsonl")
    assert finished.returncode == 0, finished.stderr
    assert rows_of(finished.stdout) == expected_rows(expected(LOG, b"", OTHER))


@pytest.mark.parametrize("options", [(), ("--chunk-size", "1024"), ("--workers", "2", "--chunk-size", "20kB")])
def test_standard_input_a_compressed_file_and_any_chunk_size_give_the_same_bytes(folder: Folder, options: Sequence[str]) -> None:
    folder.write("log.jsonl", LOG)
    folder.write("log.gz", gzip.compress(LOG))
    results = [
        folder.process("log.jsonl"),
        folder.process("-", *options, stdin=LOG),
        folder.process("log.gz", *options),
        folder.process("log.jsonl", *options),
    ]
    assert [(result.returncode, result.stdout) for result in results] == [(0, results[0].stdout)] * 4


def test_a_file_whose_name_is_not_utf_8_is_read(folder: Folder) -> None:
    name = os.fsdecode(b"log-\xff.jsonl")
    folder.write(name, OTHER)
    finished = folder.process(name, "--state", "st")
    assert finished.returncode == 0, finished.stderr
    assert rows_of(finished.stdout) == expected_rows(expected(OTHER))
    assert folder.process(name, "--state", "st").stdout == finished.stdout


def test_an_empty_file_gives_an_empty_result(folder: Folder) -> None:
    folder.write("log.jsonl", b"")
    for finished in (folder.process("log.jsonl"), folder.process("-"), folder.process("log.jsonl", "--output", "result")):
        assert (finished.returncode, finished.stdout) == (0, b"")
        assert finished.stderr == b"0 records: 0 accepted, 0 duplicate, 0 rejected, 0 blank\n"
    assert (folder.root / "result").read_bytes() == b""


def test_a_last_line_without_its_end_counts(folder: Folder) -> None:
    folder.write("log.jsonl", b'{"id": 1, "category": "a", "value": 2}\n{"id": 2, "category": "a", "value": 3}')
    (row,) = rows_of(folder.process("log.jsonl").stdout)
    assert (row["count"], row["sum"]) == (2, 5.0)


def test_what_cannot_be_read_is_named_before_anything_is_read(folder: Folder) -> None:
    folder.write("log.jsonl", LOG)
    os.mkfifo(folder.root / "pipe")
    finished = folder.process("log.jsonl", "none.jsonl", "tmp", "pipe", "--output", "result")
    assert (finished.returncode, finished.stdout) == (66, b"")
    words = finished.stderr.decode()
    assert words.startswith("event-processor: none.jsonl: no such file; tmp: is a folder, not a file; pipe: not a regular file\n")
    assert not (folder.root / "result").exists()


def test_compressed_standard_input_is_refused_in_clear_words(folder: Folder) -> None:
    finished = folder.process("-", stdin=gzip.compress(LOG))
    assert finished.returncode == 64
    assert b"send it through zcat" in finished.stderr


def test_rejected_records_are_told_and_kept_where_it_is_asked_for(folder: Folder) -> None:
    folder.write("log.jsonl", LOG)
    first = expected(LOG).rejected[0]
    told = folder.process("log.jsonl").stderr.decode().splitlines()[1]
    assert told.startswith(
        f"rejected records are not kept (--dead-letters FILE keeps them); the first: log.jsonl:{first.line} (byte {first.offset}): "
    )
    finished = folder.process("log.jsonl", "--dead-letters", "letters.jsonl")
    assert finished.returncode == 0
    assert b"rejected records are kept in letters.jsonl" in finished.stderr
    letters = rows_of((folder.root / "letters.jsonl").read_bytes())
    assert [(letter["line"], letter["offset"]) for letter in letters] == [
        (each.line, each.offset) for each in expected(LOG).rejected
    ]


AGGREGATES = """
[event]
timestamp = "value"
[order]
buffer_events = 4
[aggregates.by_category]
group_by = ["category"]
measures = { total = "sum(value)", events = "count" }
[aggregates.windows]
measures = { events = "count", greatest = "max(value)" }
window = { size_s = 10, every_s = 2, empty = 0, timestamp_format = "epoch_s" }
"""


def test_rows_of_aggregates_take_the_place_of_the_totals_also_when_killed_on_the_way(folder: Folder) -> None:
    folder.write("event-processor.toml", AGGREGATES.encode())
    folder.write("a.jsonl", LOG + OTHER)
    whole = folder.process("a.jsonl", "--output", "whole")
    assert whole.returncode == 0, whole.stderr
    arguments = ("a.jsonl", "--state", "st", "--chunk-size", "1024", "--output", "result")
    for part in (1, 4, 7):
        running = folder.start(*arguments)
        folder.wait_for(running, part * len(LOG + OTHER) // 9)
        finish(running, signal.SIGKILL)
    assert folder.process(*arguments).returncode == 0
    result = (folder.root / "result").read_bytes()
    assert result == (folder.root / "whole").read_bytes() == folder.process(*arguments[:3]).stdout
    rows = rows_of(result)
    totals = {row["category"]: (row["total"], row["events"]) for row in rows if row["aggregate"] == "by_category"}
    categories = json.loads((folder.root / "st" / "checkpoint.json").read_bytes())["state"]["categories"]
    assert totals == {name: (total["sum"], total["count"]) for name, total in categories.items()}
    windows = [row for row in rows if row["aggregate"] == "windows"]
    assert rows == [*rows[: len(totals)], *windows]
    assert [row["window_end"] for row in windows] == [
        windows[0]["window_end"] + 2 * number  # type: ignore[operator]  # a number
        for number in range(len(windows))
    ]


def test_killed_again_and_again_it_goes_on_and_gives_the_same_bytes(folder: Folder) -> None:
    folder.write("a.jsonl", LOG)
    folder.write("b.gz", gzip.compress(OTHER))
    whole = folder.process("a.jsonl", "b.gz", "--output", "whole", "--dead-letters", "whole.letters")
    assert whole.returncode == 0, whole.stderr
    arguments = ("a.jsonl", "b.gz", "--state", "st", "--chunk-size", "1024", "--output", "result", "--dead-letters", "letters")
    size_bytes = len(LOG) + len(OTHER)
    for part in (1, 3, 5, 7):
        running = folder.start(*arguments)
        folder.wait_for(running, part * size_bytes // 9)
        code, stdout, _ = finish(running, signal.SIGKILL)
        assert (code, stdout) == (-signal.SIGKILL, b"")
        assert not (folder.root / "result").exists()
    finished = folder.process(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert (folder.root / "result").read_bytes() == (folder.root / "whole").read_bytes()
    assert (folder.root / "letters").read_bytes() == (folder.root / "whole.letters").read_bytes()

    checkpoint = (folder.root / "st" / "checkpoint.json").read_bytes()
    again = folder.process("a.jsonl", "b.gz", "--state", "st")
    assert (again.returncode, again.stdout) == (0, (folder.root / "whole").read_bytes())
    assert (folder.root / "st" / "checkpoint.json").read_bytes() == checkpoint, "nothing is read twice, so nothing is committed"


def test_other_inputs_for_the_same_state_are_refused_by_name(folder: Folder) -> None:
    folder.write("a.jsonl", OTHER)
    folder.write("b.jsonl", OTHER)
    assert folder.process("a.jsonl", "--state", "st").returncode == 0
    finished = folder.process("b.jsonl", "--state", "st")
    assert (finished.returncode, finished.stdout) == (78, b"")
    words = finished.stderr.decode()
    assert f'sources.input.file_1: "a.jsonl ({len(OTHER)} bytes)" -> "b.jsonl ({len(OTHER)} bytes)"' in words
    assert "name the same files in the same order" in words
    folder.write("a.jsonl", OTHER + b"\n")
    assert folder.process("a.jsonl", "--state", "st").returncode == 78


def test_a_file_that_was_rewritten_under_a_stopped_run_is_not_read_on(folder: Folder) -> None:
    folder.write("a.jsonl", LOG)
    arguments = ("a.jsonl", "--state", "st", "--chunk-size", "1024")
    running = folder.start(*arguments)
    folder.wait_for(running, 0)
    finish(running, signal.SIGKILL)
    folder.write("a.jsonl", LOG[1:] + b"\n")
    finished = folder.process(*arguments)
    assert (finished.returncode, finished.stdout) == (66, b"")
    assert b"a.jsonl: no longer holds the bytes that were read from it" in finished.stderr


def test_a_signal_stops_it_without_a_result_and_leaves_nothing(folder: Folder) -> None:
    folder.write("result", b"before\n")
    running = folder.start("-", "--output", "result")
    wait_until(lambda: any(folder.temporary.rglob("checkpoint.json")), "it reads")
    code, stdout, stderr = finish(running, signal.SIGTERM)
    assert (code, stdout) == (128 + signal.SIGTERM, b"")
    assert "nothing was kept, and there is no result" in stderr
    assert (folder.root / "result").read_bytes() == b"before\n"
    assert sorted(path.name for path in folder.root.iterdir()) == ["result", "tmp"]


def test_a_signal_stops_a_run_that_keeps_its_state_and_says_how_to_go_on(folder: Folder) -> None:
    folder.write("a.jsonl", LOG)
    arguments = ("a.jsonl", "--state", "st", "--chunk-size", "1024")
    running = folder.start(*arguments)
    folder.wait_for(running, 0)
    code, stdout, stderr = finish(running, signal.SIGINT)
    assert (code, stdout) == (128 + signal.SIGINT, b"")
    assert "run the same command to resume" in stderr
    assert 0 < folder.committed_bytes() < len(LOG)
    assert rows_of(folder.process(*arguments).stdout) == expected_rows(expected(LOG))


def test_killed_without_a_state_it_leaves_nothing_at_the_name_of_the_output(folder: Folder) -> None:
    running = folder.start("-", "--output", "result")
    wait_until(lambda: any(folder.temporary.rglob("checkpoint.json")), "it reads")
    finish(running, signal.SIGKILL)
    assert not (folder.root / "result").exists()
    for left in folder.temporary.iterdir():  # what a kill leaves, nobody could remove
        subprocess.run(["rm", "-r", str(left)], check=True)


def test_a_file_cut_short_counts_up_to_there_and_says_so_each_time(folder: Folder) -> None:
    packed = gzip.compress(LOG)
    folder.write("cut.gz", packed[: len(packed) // 2])
    folder.write("b.jsonl", OTHER)
    first = folder.process("cut.gz", "b.jsonl", "--state", "st")
    assert first.returncode == 66
    assert b"cut.gz: is damaged at byte " in first.stderr
    assert b"the gzip stream is cut short; what came before counts" in first.stderr
    whole_lines = LOG[
        : json.loads((folder.root / "st/checkpoint.json").read_bytes())["state"]["sources"]["input"]["generations"][0][
            "position"
        ]["offset"]
    ]
    assert 0 < len(whole_lines) < len(LOG)
    assert rows_of(first.stdout) == expected_rows(expected(whole_lines, OTHER))
    second = folder.process("cut.gz", "b.jsonl", "--state", "st")
    assert (second.returncode, second.stdout) == (66, first.stdout)
    assert b"cut.gz: is damaged" in second.stderr


def test_records_are_read_as_the_one_configured_source_reads_them(folder: Folder) -> None:
    folder.write("event-processor.toml", b'[sources.bank]\npath = "live.csv"\nformat = "csv"\ncsv_delimiter = ";"\n')
    folder.write("a.csv", b"id;category;value\n1;a;2.5\n2;a;1\n")
    (row,) = rows_of(folder.process("a.csv").stdout)
    assert (row["count"], row["sum"]) == (2, 3.5)
    folder.write("a.jsonl", b'{"id": 1, "category": "a", "value": 4}\n')
    (row,) = rows_of(folder.process("a.jsonl", "--format", "jsonl").stdout)
    assert row["sum"] == 4.0


def test_among_sources_that_are_written_differently_one_has_to_be_named(folder: Folder) -> None:
    folder.write("event-processor.toml", b'[sources.a]\npath = "a"\n[sources.b]\npath = "b"\nformat = "csv"\n')
    folder.write("x", b"id,category,value\n1,a,2.5\n")
    refused = folder.process("x")
    assert refused.returncode == 64
    assert b"the configured sources (a, b) have different formats" in refused.stderr
    (row,) = rows_of(folder.process("x", "--source", "b").stdout)
    assert row["sum"] == 2.5


def test_the_items_of_a_document_are_records(folder: Folder) -> None:
    document = b'{"more": 1, "value": [{"id": 1, "category": "a", "value": 2}, {"id": 2, "category": "a", "value": 3}]}'
    folder.write("a.json", document)
    options = ("--format", "json", "--item-path", "value.item")
    results = [folder.process("a.json", *options), folder.process("-", *options, stdin=document)]
    for finished in results:
        assert finished.returncode == 0, finished.stderr
        assert rows_of(finished.stdout)[0]["sum"] == 5.0


def test_configured_sinks_are_written_as_by_a_run(folder: Folder) -> None:
    folder.write("event-processor.toml", b'[order]\nbuffer_events = 8\n[sinks.ordered]\npath = "ordered.jsonl"\n')
    folder.write("log.jsonl", LOG)
    assert folder.process("log.jsonl", "--state", "st").returncode == 0
    model = evaluate_pieces([Piece("input", LOG, 1)], Options(finished=True, buffer_events=10**9))
    assert (folder.root / "ordered.jsonl").read_bytes() == b"".join(record + b"\n" for record in model.released)


def test_a_sink_that_would_write_into_an_input_is_refused(folder: Folder) -> None:
    folder.write("event-processor.toml", b'[sinks.ordered]\npath = "log.jsonl"\n')
    folder.write("log.jsonl", LOG)
    finished = folder.process("log.jsonl")
    assert finished.returncode == 78
    assert (folder.root / "log.jsonl").read_bytes() == LOG


def test_the_summary_is_one_json_line_where_logs_are(folder: Folder) -> None:
    folder.write("log.jsonl", b'{"id": 1, "category": "a", "value": 2}\nx\n')
    (said,) = rows_of(folder.process("log.jsonl", "--log-format", "json").stderr)
    assert (said["event"], said["records"], said["accepted"], said["rejected"], said["damaged"]) == ("processed", 2, 1, 1, [])
    first = {"path": "log.jsonl", "line": 2, "offset": 39, "reason": "not JSON: expecting value (character 1)"}
    assert said["first_rejected"] == first


def test_a_reader_that_leaves_is_no_failure(folder: Folder) -> None:
    folder.write("log.jsonl", LOG)
    command = f"{' '.join(MAIN_JOB)} process log.jsonl 2>/dev/null | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    said = subprocess.run(["bash", "-c", command], cwd=folder.root, env=folder.environment, capture_output=True, check=True)
    assert said.stdout == b"0\n"
