"""`process` over input in any order: no event is late, and the rows are those of an independent script."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import pytest

from support.processes import DEADLINE_S, MAIN_JOB, wait_until, warm_job

Event: TypeAlias = tuple[int, int, str, str]
"""(id, second, category, value as written)."""
FIRST_S = 1_767_225_600
WINDOW_S = 60
CONFIGURATION = f"""
[aggregates.minutes]
group_by = ["category"]
measures = {{ events = "count", total = "sum(value)" }}
window = {{ size_s = {WINDOW_S}, start_as = "", end_as = "end", timestamp_format = "epoch_s" }}
"""


def events(count: int, seed: int = 1) -> list[Event]:
    """Events of some hours, in time order, some at the same second."""
    random = Random(seed)
    return [
        (number, FIRST_S + number * 5 // 2, random.choice("abc"), f"{random.randrange(1000)}.{random.randrange(100):02}")
        for number in range(count)
    ]


def content(of: list[Event]) -> bytes:
    return b"".join(
        f'{{"id": {number}, "timestamp": {second}, "category": "{category}", "value": {value}}}\n'.encode()
        for number, second, category, value in of
    )


def rows_of_a_script(of: list[Event]) -> list[dict[str, Any]]:
    """The rows, computed without windows, order or floats: each event is added to its minute."""
    totals: defaultdict[tuple[int, str], list[Fraction]] = defaultdict(list)
    for _, second, category, value in of:
        totals[second // WINDOW_S * WINDOW_S + WINDOW_S, category].append(Fraction(float(value)))
    return [
        {"end": end, "category": category, "events": len(values), "total": float(sum(values))}
        for (end, category), values in sorted(totals.items())
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION)
    (tmp_path / "tmp").mkdir()
    return tmp_path


def process(folder: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*warm_job(), "process", *arguments],
        cwd=folder,
        env=environment,
        input=stdin,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert list((folder / "tmp").iterdir()) == [], "temporary folders are removed"
    return done


def rows(result: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.splitlines()]


def in_one_go(folder: Path, given: list[Event], *options: str) -> list[dict[str, Any]]:
    (folder / "log.jsonl").write_bytes(content(given))
    done = process(folder, "log.jsonl", *options)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        0,
        f"{len(given)} records: {len(given)} accepted, 0 duplicate, 0 rejected, 0 blank".encode(),
    )
    return rows(done.stdout)


def test_the_earliest_event_may_come_behind_more_later_ones_than_the_buffer_holds(folder: Path) -> None:
    _, *later = events(1_026)
    first = (0, FIRST_S - 3_600, "a", "1.00")
    assert in_one_go(folder, [*later, first]) == rows_of_a_script([first, *later])


def test_a_reversed_file_gives_every_row(folder: Path) -> None:
    given = events(8_999)[::-1]
    assert in_one_go(folder, given) == rows_of_a_script(given)


def test_one_event_of_a_far_future_costs_no_row(folder: Path) -> None:
    given = events(5_000)
    given[11] = (11, 7_258_118_400, "a", "1.00")
    assert in_one_go(folder, given) == rows_of_a_script(given)


@pytest.mark.parametrize("buffer_events", [0, 1, 1024])
def test_input_in_random_order_gives_the_rows_of_the_script_from_a_file_and_from_a_pipe(folder: Path, buffer_events: int) -> None:
    with (folder / "event-processor.toml").open("a") as file:
        file.write(f"\n[order]\nbuffer_events = {buffer_events}\n")
    given = events(20_000)
    Random(2).shuffle(given)
    expected = rows_of_a_script(given)
    assert in_one_go(folder, given, "--chunk-size", "64KiB") == expected
    assert rows(process(folder, "-", stdin=content(given)).stdout) == expected


def test_several_files_that_are_sorted_by_themselves_are_sorted_together(folder: Path) -> None:
    given = events(6_000)
    for name, part in (("late", given[1::2]), ("early", given[::2])):
        (folder / name).write_bytes(content(part))
    assert rows(process(folder, "late", "early").stdout) == rows_of_a_script(given)


def test_sinks_of_events_get_them_in_order_and_the_others_at_once(folder: Path) -> None:
    with (folder / "event-processor.toml").open("a") as file:
        file.write('\n[sinks.ordered]\npath = "ordered"\n[sinks.letters]\ninput = "dead_letters"\npath = "letters"\n')
    given = events(3_000)
    shuffled = given[:]
    Random(3).shuffle(shuffled)
    (folder / "log.jsonl").write_bytes(b"bad\n" + content(shuffled))
    done = process(folder, "log.jsonl", "--chunk-size", "16KiB")
    assert rows(done.stdout) == rows_of_a_script(given)
    # Equal timestamps: in the order of the log.
    assert (folder / "ordered").read_bytes() == content(sorted(shuffled, key=lambda event: event[1]))
    assert len((folder / "letters").read_bytes().splitlines()) == 1


def test_text_ids_are_sorted_by_workers_in_processes_too(folder: Path) -> None:
    (folder / "event-processor.toml").write_text(
        '[[transforms]]\nconvert = { id = "string" }\n[sinks.ordered]\npath = "ordered"\n[dedup]\nenabled = false\n'
    )
    given = [event for event in events(6_000) for _ in range(1 + (event[0] % 50 == 0))]
    Random(5).shuffle(given)
    (folder / "log.jsonl").write_bytes(content(given))
    assert process(folder, "log.jsonl", "--workers", "2", "--chunk-size", "16KiB").returncode == 0
    found = [(row["id"], row["value"]) for row in rows((folder / "ordered").read_bytes())]
    assert found == sorted(((str(number), float(value)) for number, _, _, value in given), key=lambda pair: pair[0])


def test_killed_while_it_reads_and_while_it_merges_it_gives_the_same_bytes(folder: Path) -> None:
    given = events(30_000)
    Random(4).shuffle(given)
    (folder / "log.jsonl").write_bytes(content(given))
    arguments = [*MAIN_JOB, "process", "log.jsonl", "--state", "st", "--chunk-size", "4096", "--output", "result"]

    def order() -> dict[str, Any]:
        try:
            return dict(json.loads((folder / "st" / "checkpoint.json").read_bytes())["state"]["order"])
        except FileNotFoundError:
            return {"held": 0, "released": 0, "sorting": ""}

    def is_merging(released: int) -> bool:
        return bool(order()["sorting"]) and order()["released"] > released

    for condition in (
        lambda: order()["sorting"] and order()["held"] > 3_000,
        lambda: order()["held"] > 12_000,
        lambda: is_merging(0),
        lambda: is_merging(9_000),
    ):
        running = subprocess.Popen(arguments, cwd=folder, stderr=subprocess.DEVNULL, start_new_session=True)
        wait_until(lambda running=running, condition=condition: bool(condition()) or running.poll() is not None, "it is so far")  # type: ignore[misc]
        running.send_signal(signal.SIGKILL)
        running.wait(DEADLINE_S)
    assert subprocess.run(arguments, cwd=folder, capture_output=True, timeout=DEADLINE_S, check=False).returncode == 0
    assert rows((folder / "result").read_bytes()) == rows_of_a_script(given)
