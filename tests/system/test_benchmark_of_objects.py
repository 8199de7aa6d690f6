"""The benchmark of objects: all contestants read the same records, and a short read is no measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.measure import MeasurementError
from benchmarks.report import table_of
from benchmarks.results import load_results, machine, save_results
from benchmarks.s3 import BARE, Objects, reading, s3_server
from benchmarks.subjects import Logs

RECORDS = 1_500


def test_each_contestant_reads_the_whole_object_and_a_longer_one_is_no_measurement(tmp_path: Path) -> None:
    with s3_server() as server:
        objects = Objects(server, Logs(tmp_path))
        for once in reading().values():
            once(objects, RECORDS)
        server.put(
            objects.bucket, objects.of(RECORDS), b'{"id":"more","category":"c","value":1,"timestamp":"2026-01-01T00:00:00Z"}\n'
        )
        with pytest.raises(MeasurementError, match=r'"records": 1,'):
            reading()[BARE](objects, RECORDS)


def test_the_rows_of_the_page_show_the_rate_beside_what(tmp_path: Path) -> None:
    figures = {"wall_ns": 4_000.0, "cpu_ns": 3_000.0, "startup_s": 0.75, "peak_bytes": 99_000_000}
    save_results("s3", {"A": figures, "B": {"failed": "no server"}}, machine(tmp_path), tmp_path)
    assert table_of(load_results(tmp_path)["s3"]).splitlines()[0].startswith("| from an object | records a second |")
    assert table_of(load_results(tmp_path)["s3"]).splitlines()[2:4] == [
        "| A | 250,000 | 4.0 | 3.0 | – | – | – | 0.8 | 99 |",
        "| B | no server | – | – | – | – | – | – | – |",
    ]
