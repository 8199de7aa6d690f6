"""The benchmarks: that they measure what they say, and the costs that can be counted instead of timed."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import __main__ as command_line
from benchmarks import order, whole
from benchmarks.decode import KINDS, measure_decode
from benchmarks.generate import LogShape, Outcomes, blocks, category_totals, outcomes, write_log
from benchmarks.live import LivePlan, measure_live
from benchmarks.measure import Contestant, MeasurementError, Running, Usage, run, slopes
from benchmarks.order import SORTED, measure_order
from benchmarks.plot import Bar, plot
from benchmarks.progress import Progress
from benchmarks.quiet import QuietPlan, measure_quiet
from benchmarks.quiet_peers import Copied, Shipper
from benchmarks.report import PAGE, TABLES, between_markers, table_of
from benchmarks.results import load_results, machine, save_results
from benchmarks.scale import ScalePlan, Trace, measure_scale
from benchmarks.side_by_side import check_answer
from benchmarks.stages import measure_stages
from benchmarks.subjects import Pipeline
from benchmarks.watch import Stolen
from benchmarks.whole import SHARES, measure_shares, measure_whole
from event_processor import build, load
from event_processor.assembly import Environment
from event_processor.deduplication.index import IndexLimits
from event_processor.deduplication.merge import Inline
from event_processor.deduplication.segment_format import Geometry
from event_processor.engine.commit import InlineCommits
from event_processor.storage.durable import FILE_MODE, OperatingSystem

QUIET = Progress(quiet=True)
COPIES = 'tail -s 0.01 -n +1 -F "$0/log.jsonl" > "$0/output" & trap "kill $!; exit 0" TERM; wait'
ENDS = "echo stopped early >&2; exit 1"
RECORDS = 20_000
SHAPES = [
    LogShape(),
    LogShape(ids="integer", bad_share=0.01),
    LogShape(ids="uuid4", categories=500),
    LogShape(size="long", bad_share=0.05, duplicate_share=0.1),
]


def content(shape: LogShape, start: int = 0, stop: int = RECORDS) -> bytes:
    return b"".join(blocks(shape, start, stop))


# The generator, against a reader that knows nothing of it.


def judged(lines: list[bytes]) -> tuple[Outcomes, list[object], dict[str, list[float]]]:
    """What becomes of the lines by the definition; the accepted ids in their order, the accepted values by category."""
    accepted: dict[object, None] = {}
    values: dict[str, list[float]] = {}
    duplicate = rejected = 0
    for line in lines:
        try:
            event = json.loads(line)
            fit = isinstance(event["value"], int | float) and event["value"] == event["value"]
        except (ValueError, KeyError):
            fit = False
        if not fit:
            rejected += 1
        elif event["id"] in accepted:
            duplicate += 1
        else:
            accepted[event["id"]] = None
            values.setdefault(event["category"], []).append(event["value"])
    return Outcomes(len(lines), len(accepted), duplicate, rejected), list(accepted), values


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_generated_log_is_what_its_shape_says(shape: LogShape) -> None:
    lines = content(shape).removesuffix(b"\n").split(b"\n")
    found, ids, values = judged(lines)
    assert found == outcomes(shape, 0, RECORDS)
    assert found.duplicate / RECORDS == pytest.approx(shape.duplicate_share, rel=0.15)
    assert found.rejected / RECORDS == pytest.approx(shape.bad_share, rel=0.15)
    totals = category_totals(shape, RECORDS)
    assert {name: len(each) for name, each in values.items()} == {name: count for name, (count, _) in totals.items()}
    assert all(math.fsum(values[name]) == pytest.approx(total) for name, (_, total) in totals.items())
    assert len(values) == shape.categories
    wanted = 500 if shape.size == "long" else 100
    assert sum(map(len, lines)) / RECORDS == pytest.approx(wanted, rel=0.25)
    if shape.ids == "uuid4":
        assert all(
            re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", str(each)) for each in ids
        )
    else:
        assert all(before < after for before, after in pairwise(ids)), "accepted ids rise"  # type: ignore[operator]


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others() -> None:
    assert content(LogShape()) == content(LogShape())
    assert content(LogShape(seed=8)) != content(LogShape())


def test_a_log_made_in_parts_is_the_log_made_at_once(tmp_path: Path) -> None:
    for start, stop in [(0, 1), (1, 17_000), (17_000, RECORDS)]:
        write_log(tmp_path / "log", SHAPES[3], start, stop)
    assert (tmp_path / "log").read_bytes() == content(SHAPES[3])


# How a process is measured.

WRITER = "import subprocess, sys; sys.stdout.buffer.write(bytes(5000)); subprocess.run([sys.executable, '-c', 'open(\"{}\", \"wb\").write(bytes(300000))'])"


def test_the_bytes_of_a_process_are_those_of_its_children_too(tmp_path: Path) -> None:
    usage, _ = run((sys.executable, "-c", WRITER.format(tmp_path / "file")))
    assert usage.written_bytes == 305_000
    assert usage.cpu_s > 0


def test_a_command_that_fails_or_is_not_there_is_no_measurement() -> None:
    with pytest.raises(MeasurementError, match="ended with 3"):
        run(("sh", "-c", "exit 3"))
    with pytest.raises(MeasurementError, match="could not be started"):
        Running(("/no/such/program",))
    with pytest.raises(MeasurementError, match="took more than"):
        run(("sleep", "60"), limit_s=0.05)


def usage(wall_s: float) -> Usage:
    return Usage(0, wall_s, wall_s * 2, 10, 1_000, 1, 4_096)


def test_a_slope_leaves_start_up_out_and_a_ratio_is_taken_within_a_turn() -> None:
    turns: list[tuple[str, int]] = []

    def contestant(name: str, ns: list[float]) -> Contestant:
        def run_once(records: int) -> Usage:
            turns.append((name, records))
            return usage(5.0 + records * ns[(len(turns) - 1) // 4] / 1e9)

        return Contestant(name, (1_000_000, 3_000_000), run_once)

    found, failures = slopes([contestant("slow", [300.0, 900.0]), contestant("fast", [100.0, 300.0])], 2, QUIET)
    assert failures == {}
    assert [name for name, _ in turns] == ["slow", "slow", "fast", "fast"] * 2, "in turns"
    assert found["slow"].wall_ns == pytest.approx((300.0, 900.0))
    assert found["slow"].cpu_ns == pytest.approx((600.0, 1800.0))
    assert found["slow"].ratio(found["fast"]) == pytest.approx(3.0)
    assert found["fast"].startup_s == pytest.approx(5.0, abs=0.2)


def test_a_contestant_that_fails_is_left_out_with_its_reason() -> None:
    def run_once(records: int) -> Usage:
        if records > 10:
            raise MeasurementError("wrong answer")
        return usage(1.0)

    found, failures = slopes([Contestant("broken", (10, 20), run_once)], 3, QUIET)
    assert (found, failures) == ({}, {"broken": "wrong answer"})


def test_a_peers_answer_counts_only_if_it_is_right() -> None:
    totals = {"a": (2, 0.3), "b": (1, 1.0)}
    right = {"records": 4, "accepted": 3, "categories": {"a": {"count": 2, "sum": 0.1 + 0.2}, "b": {"count": 1, "sum": 1.0}}}
    check_answer(right, 4, totals, "first")
    for wrong in ({"records": 3}, {"accepted": 4}, {"categories": {"a": {"count": 2, "sum": 0.3}}}):
        with pytest.raises(MeasurementError, match="expected"):
            check_answer({**right, **wrong}, 4, totals, "first")
    check_answer({**right, "categories": {}}, 4, totals, "any")
    check_answer({"records": 4, "accepted": 4, "categories": {}}, 4, totals, "all")


def test_a_trace_gives_the_cost_between_two_counts() -> None:
    trace = Trace()
    for records, wall_s in [(0, 1.0), (100, 2.0), (200, 5.0)]:
        trace.add(records, wall_s, wall_s / 2)
    assert trace.cost_ns(0, 100) == pytest.approx((1e7, 5e6))
    assert trace.cost_ns(50, 150) == pytest.approx((2e7, 1e7))


# Costs that can be counted: they must not grow with the log.


class CountingFileSystem(OperatingSystem):
    """The real one, with writes and syncs counted: of segments, which come of sealing and merging, and of everything else.

    A sync is counted only: what it makes durable is gone with the test.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._segments: set[int] = set()

    def _kind(self, descriptor: int) -> str:
        return "segment" if descriptor in self._segments else "commit"

    def open(self, path: str, flags: int, mode: int = FILE_MODE) -> int:
        descriptor = super().open(path, flags, mode)
        self._segments.discard(descriptor)
        if "/ids/" in path and "active" not in path:
            self._segments.add(descriptor)
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        taken = super().write(descriptor, content)
        self.counts[f"{self._kind(descriptor)} bytes"] += taken
        self.counts[f"{self._kind(descriptor)} writes"] += 1
        return taken

    def sync(self, descriptor: int) -> None:
        self.counts[f"{self._kind(descriptor)} syncs"] += 1

    def sync_directory(self, path: str) -> None:
        self.counts["segment syncs" if path.endswith("/ids") else "commit syncs"] += 1


BATCH_BYTES = 32_768
PART_RECORDS = 4_096
PARTS = 9
SEAL_IDS = 256
MERGE_SEGMENTS = 4
LIMITS = IndexLimits(
    seal_ids=SEAL_IDS,
    merge_segments=MERGE_SEGMENTS,
    merge_segments_above=MERGE_SEGMENTS,
    merge_segments_max=8,
    geometry=Geometry(block_rows=64, section_blocks=16),
)
ROW_BYTES = 16
SEGMENT_ROW_BYTES = 24
"""A row in a segment with its share of filter, checksums and headers, which in tiny segments is larger than in real ones."""


@dataclass(frozen=True)
class Part:
    """What it took to commit one part of the log."""

    log_bytes: int
    counts: Counter[str]
    checkpoint_bytes: int


@lru_cache
def parts(shape: LogShape, limits: IndexLimits) -> list[Part]:
    """A log that grows part by part; each is a backlog for one life of the process."""
    found = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        pipeline = Pipeline(folder, folder / "log.jsonl", f"[batch]\nbytes_max = {BATCH_BYTES}\n")
        pipeline.log.touch()
        configuration = load(str(pipeline.configuration))
        fs = CountingFileSystem()
        for number in range(PARTS):
            log_bytes = write_log(pipeline.log, shape, number * PART_RECORDS, (number + 1) * PART_RECORDS)
            with build(
                configuration, environment=Environment(fs=fs, background=Inline, committing=InlineCommits, index_limits=limits)
            ) as processor:
                fs.counts.clear()
                processor.run()
                assert processor.state.counts.records == (number + 1) * PART_RECORDS
            found.append(Part(log_bytes, Counter(fs.counts), pipeline.checkpoint.stat().st_size))
    return found


DEEP = [LogShape(), LogShape(ids="uuid4")]


@pytest.mark.parametrize("shape", DEEP, ids=lambda shape: shape.ids)
def test_what_a_commit_writes_and_syncs_does_not_grow_with_the_log(shape: LogShape) -> None:
    """The index has here the depth that five hundred times as many ids give it with its own limits."""
    every = parts(shape, LIMITS)
    for count in ("commit bytes", "commit writes", "commit syncs"):
        early, late = (
            sum(part.counts[count] for part in some) / sum(part.log_bytes for part in some) for some in (every[1:4], every[-3:])
        )
        assert late <= early * 1.2, f"{count}: {[part.counts[count] for part in every]}"
    assert max(part.checkpoint_bytes for part in every) <= 16_000


@pytest.mark.parametrize("shape", DEEP, ids=lambda shape: shape.ids)
def test_an_id_is_written_once_into_a_segment_of_each_level(shape: LogShape) -> None:
    every = parts(shape, LIMITS)
    ids = PART_RECORDS * PARTS
    levels = 1 + math.floor(math.log(ids / SEAL_IDS, MERGE_SEGMENTS))
    assert sum(part.counts["segment bytes"] for part in every) <= ids * SEGMENT_ROW_BYTES * levels
    # A segment is one file: its own sync and that of its folder. So many are sealed, and a quarter as many merged on each level above.
    segments = ids / SEAL_IDS * 2 * MERGE_SEGMENTS / (MERGE_SEGMENTS - 1)
    assert sum(part.counts["segment syncs"] for part in every) <= 3 * segments


def test_a_backlog_with_the_usual_limits_writes_little_for_an_event() -> None:
    every = parts(LogShape(), IndexLimits())[1:]
    records, log_bytes = PART_RECORDS * len(every), sum(part.log_bytes for part in every)
    counts = sum((part.counts for part in every), Counter())
    commits = log_bytes / BATCH_BYTES + len(every)
    # An id as it comes, framed; and for every commit, here of small batches, a checkpoint.
    assert counts["commit bytes"] <= records * ROW_BYTES * 1.2 + commits * (every[-1].checkpoint_bytes + 1_000)
    assert counts["commit syncs"] <= commits * 5, "ids, journal, the checkpoint and its folder, and a new file now and then"
    assert counts["commit writes"] <= commits * 5
    assert every[-1].checkpoint_bytes <= 8_000


# The whole suite, as small as it can be.


def test_the_stages_find_every_seam(tmp_path: Path) -> None:
    found = measure_stages(tmp_path, 3_000, QUIET)
    assert found["missing"] == []
    assert all(
        each["main_ns"] > 0 for each in found["stages"] if each["stage"] in {"decode and judge", "totals", "append ids", "write"}
    )
    assert tabled("stages", found, tmp_path)


def test_the_decoder_is_measured_with_lines_of_every_kind(tmp_path: Path) -> None:
    found = measure_decode(200, 1, QUIET)
    rejected = {name: each["rejected"] for name, each in found["kinds"].items()}
    expected = {"1": 2, "a": 200}
    assert rejected == {name: 0 if name in FIT else expected[name[0]] for name in rejected}
    assert tabled("decode", found, tmp_path)


FIT = {name for name in KINDS if not name.startswith(("1 %", "all "))}


def test_the_backlog_is_measured_beside_its_yardstick(tmp_path: Path) -> None:
    found = measure_whole(tmp_path, (500, 2_000), 1, QUIET, only=("rising strings", "1 % bad lines", "a transform"))
    assert list(found) == ["rising strings", "1 % bad lines", "a transform", "decode only: string, short"]
    assert {"times_decode_only", "cpu_ns"} < found["rising strings"].keys()
    assert found["1 % bad lines"]["plain"] == "rising strings"
    assert tabled("whole", found, tmp_path)


def test_what_takes_a_share_is_measured_in_more_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "SHARE_TURNS", 2)
    monkeypatch.setattr(whole, "SHARES", SHARES[:1])
    found = measure_shares(tmp_path, (500, 2_000), 1, QUIET)
    assert {each["turns"] for each in found.values()} == {2}
    low, high = found[SHARES[0]]["times_plain_middle"]
    assert low <= found[SHARES[0]]["times_plain"] <= high
    assert tabled("shares", found, tmp_path)


def test_input_in_order_and_in_random_order_are_measured_and_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each row is four starts of the program; the first kind of row comes from a file, the other from a pipe.
    shuffled = "random, through a pipe"
    monkeypatch.setattr(order, "ROWS", tuple(row for row in order.ROWS if row.name in {SORTED, shuffled}))
    found = measure_order(tmp_path, (4_000, 12_000), 1, QUIET)
    assert found[shuffled]["plain"] == SORTED
    assert found[shuffled]["times_plain_cpu"]
    assert tabled("order", found, tmp_path)


def test_the_live_side_is_measured(tmp_path: Path) -> None:
    plan = LivePlan(rates=((200, 0.1),), settle_s=0.0, idle_s=0.05, files=(3,), fsyncs=5, restart_records=10, restarts=1)
    found = measure_live(tmp_path, plan, QUIET)
    assert found["rates"]["200"]["events"] == 20
    assert 0 < found["rates"]["200"]["median_ms"] <= found["rates"]["200"]["p99_ms"]
    assert tabled("live", found, tmp_path)


def test_a_quiet_log_is_measured_at_each_pace(tmp_path: Path) -> None:
    copies = Shipper("a copy", "sh", ("-c", COPIES, "{folder}"), "", b"\n")
    none = Shipper("none", "no-such-program", (), "", b"\n")
    shippers = (copies, replace(copies, name="part", options=("-c", ENDS)), none)
    staged = ((100, "each event"),)
    paces = ("auto", "each event")
    plan = QuietPlan(((100, 0.3),), paces, shippers, staged=staged, staged_s=0.2, singles=1, starts=1, settle_s=0.0)
    found = measure_quiet(tmp_path, plan, 1, QUIET)
    held, each_event = found["rates"]["100"]["auto"], found["rates"]["100"]["each event"]
    assert held["bytes_per_event"] < each_event["bytes_per_event"]
    assert 0 < held["median_ms"] <= held["p99_ms"]
    assert list(found["rates"]["100"]) == ["auto", "each event", "a copy"]
    assert found["rates"]["100"]["a copy"]["times"] == {"a copy": 1.0}
    assert held["times"] == {
        "a copy": pytest.approx(held["cpu_percent"] / found["rates"]["100"]["a copy"]["cpu_percent"], abs=0.5)
    }
    assert found["shippers"]["a copy"] == ""
    assert found["shippers"]["part"].endswith("stopped early\n")
    assert found["shippers"]["none"] == "no-such-program is not on PATH: install it"
    (run,) = found["stages"]
    assert run["missing"] == []
    assert run["commits"] > 1
    # Its two files and the folder are synced, whatever else is looked at.
    assert run["stages"]["write it, fsync"]["calls"] == 4
    assert found["rest"]["single_ratio"] > 0
    assert tabled("quiet", found, tmp_path)


def test_events_are_counted_as_a_program_writes_them(tmp_path: Path) -> None:
    copied = Copied(tmp_path / "output", b"mark")
    assert (copied.look(), copied.records) == (False, -1)
    seen = []
    for written in (b"a mark, a ma", b"r", b"k", b" and a mark", b"mark"):
        with open(tmp_path / "output", "ab") as output:
            output.write(written)
        seen.append((copied.look(), copied.records))
    assert seen == [(True, 1), (True, 1), (True, 2), (True, 3), (True, 4)]
    assert not copied.look()


def test_a_small_form_of_the_hundred_million_is_measured(tmp_path: Path) -> None:
    found = measure_scale(tmp_path, ScalePlan(5_000, ("uuid4",), 0, restarts=1, runs=2), QUIET)
    assert found["uuid4"]["checkpoint_bytes"] <= 8_000
    assert len(found["uuid4"]["late_times_early_all"]) == 2
    assert found["uuid4"]["written_bytes_per_event"] <= 120
    assert found["index_only"]["uuid4"]["ids"] == 5_000
    assert tabled("scale", found, tmp_path)


def tabled(part: str, results: dict[str, Any], folder: Path) -> bool:
    """Whether the results, saved and loaded, are a table on the page, without a failure."""
    save_results(part, results, machine(folder), folder / "results")
    table = table_of(load_results(folder / "results")[part])
    page = between_markers(PAGE.read_text(encoding="utf-8"), part, table)
    return table in page and table.startswith("| ") and '"failed"' not in json.dumps(results)


def test_the_page_says_what_others_took_of_a_virtual_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(100, 1_000), (112, 1_050)])
    monkeypatch.setattr("benchmarks.watch._processor_times", lambda: next(ticks))
    made_on = machine(tmp_path) | {"stolen_share": Stolen().share()}
    save_results("live", {"rates": {}, "idle": {}, "restart": {"records": 0, "warm_s": 0.0, "cold_s": 0.0}}, made_on, tmp_path)
    assert "Others on its host took 24 % of its processors meanwhile." in table_of(load_results(tmp_path)["live"])


def test_the_page_has_a_place_for_every_part() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- begin: (\w+) -->", page)) == set(re.findall(r"<!-- end: (\w+) -->", page)) == set(TABLES)
    with pytest.raises(ValueError, match="no markers"):
        between_markers(page, "nothing", "")


def test_the_plot_is_sound_xml_and_cuts_what_is_far_too_long() -> None:
    bars = [
        Bar("ours", 500.0, durable=True, promises="durable", ours=True),
        Bar("a <slow> one", 90_000.0, durable=False, promises="none"),
    ]
    text = plot(bars, "title", "subtitle")
    root = ET.fromstring(text)
    widths = [
        float(each.attrib["width"]) for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.attrib.get("height") == "18"
    ]
    assert widths[1] == pytest.approx(widths[0] * 12, rel=0.01), "the long one is cut at twelve times ours"
    assert "90,000 ns" in text
    assert 'class="gap"' in text


def test_the_command_line_makes_a_log(tmp_path: Path) -> None:
    arguments = ["generate", str(tmp_path / "log"), "--records", "50", "--start", "10", "--ids", "integer", "--categories", "3"]
    assert command_line.main(arguments) == 0
    assert (tmp_path / "log").read_bytes() == content(LogShape(ids="integer", categories=3), 10, 60)
