"""The daemon on a CSV file: what the same events as JSON Lines give, killed in the middle or not, and every bad row a dead letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.processes import Pipeline, kill_on_the_way

HEADER = b"id;category;value;note\n"
ROWS = 24_000
BATCH_BYTES = 131_072
"""Chunks large enough to be handed to a further process, and enough of them."""


def is_bad(number: int) -> bool:
    return number % 500 == 3


def row(number: int) -> bytes:
    """Every fiftieth comes twice, every five hundredth is cut short, some are quoted, and values have a decimal comma."""
    name = number - 40 if number % 50 == 7 and number > 500 else number
    if is_bad(number):
        return b"%d;c\n" % name
    note = b'"a; ""b"""' if number % 11 == 0 else b"plain"
    return b"%d;c%d;%d,%d;%s\n" % (name, number % 9, number % 997, number % 10, note)


def line(number: int) -> bytes:
    """The same event as a JSON line; what is no event there is none here either."""
    name = number - 40 if number % 50 == 7 and number > 500 else number
    if is_bad(number):
        return b'{"id":%d,"category":"c"}\n' % name
    note = b'a; \\"b\\"' if number % 11 == 0 else b"plain"
    return b'{"id":%d,"category":"c%d","value":%d.%d,"note":"%s"}\n' % (name, number % 9, number % 997, number % 10, note)


def pipeline(folder: Path, *, as_csv: bool, workers: int = 1) -> Pipeline:
    made = Pipeline(folder, folder, batch_bytes_max=BATCH_BYTES)
    made.prepare(HEADER + b"".join(map(row, range(ROWS))) if as_csv else b"".join(map(line, range(ROWS))))
    path = folder / "pipeline.toml"
    csv = (
        'format = "csv"\ncsv_delimiter = ";"\ncsv_decimal = ","\ncsv_types = { id = "integer" }\nrecord_bytes_max = 4096\n[order]'
        if as_csv
        else "[order]"
    )
    path.write_text(path.read_text().replace("[order]", csv) + f"\n[engine]\nworkers = {workers}\n")
    return made


def totals(made: Pipeline) -> object:
    """What both must say alike: everything but places, and the header line, which is blank."""
    committed = made.committed()
    assert committed is not None
    counts = committed.state["counts"]
    assert isinstance(counts, dict)
    shown = {name: count for name, count in counts.items() if name not in {"records", "blank"}}
    sink = [json.loads(each) for each in committed.sink.splitlines()]
    return committed.state["categories"], shown, sink


@pytest.fixture(scope="module")
def as_json_lines(tmp_path_factory: pytest.TempPathFactory) -> object:
    made = pipeline(tmp_path_factory.mktemp("jsonl"), as_csv=False)
    assert made.run().exit_code == 0
    return totals(made)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_csv_file_gives_what_the_same_events_give_as_json_lines(workers: int, as_json_lines: object, tmp_path: Path) -> None:
    made = pipeline(tmp_path, as_csv=True, workers=workers)
    finished = made.run()
    assert finished.exit_code == 0, finished.stderr
    assert totals(made) == as_json_lines
    assert made.verify().exit_code == 0


def test_killed_in_the_middle_it_goes_on_with_the_names_of_the_header(as_json_lines: object, tmp_path: Path) -> None:
    made = pipeline(tmp_path, as_csv=True)
    kill_on_the_way(made, made.log.stat().st_size, kills=3)
    assert made.run().exit_code == 0
    assert totals(made) == as_json_lines


def test_a_ragged_row_is_a_dead_letter_with_its_own_bytes_and_place(tmp_path: Path) -> None:
    made = pipeline(tmp_path, as_csv=True)
    assert made.run().exit_code == 0
    committed = made.committed()
    assert committed is not None
    letters = [json.loads(each) for each in committed.dead_letters.splitlines()]
    content = made.log.read_bytes()
    assert [letter["line"] for letter in letters] == [number + 2 for number in range(ROWS) if is_bad(number)]
    for letter in letters:
        assert letter["reason"] == "has 2 cells, but there are 4 columns"
        assert content[letter["offset"] :].startswith(letter["record"].encode() + b"\n")
