"""What a sink may write beside the events: the rejected records, and the rows of windows; in any format, exactly once."""

from __future__ import annotations

import json
from pathlib import Path

from support.processes import Pipeline, kill_on_the_way

SINKS = """
[event]
timestamp = "at"
[aggregates.minutes]
measures = { events = "count" }
window = { size_s = 60, timestamp_format = "datetime", start_as = "", end_as = "minute" }
[sinks.refused]
input = "dead_letters"
path = "out/refused.csv"
format = "csv"
columns = ["line", "field", "reason as why"]
[sinks.minutes]
input = "aggregates.minutes"
path = "out/minutes_{n}.json"
format = "json"
part_events = 7
"""


def line(number: int) -> bytes:
    value = '"no"' if number % 10 == 3 else str(number)
    return f'{{"id":{number},"category":"c","value":{value},"at":{number * 12}}}\n'.encode()


def test_refused_records_and_rows_go_to_their_sinks_in_any_format_whatever_is_killed(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, tmp_path)
    made.prepare(b"".join(map(line, range(600))))
    path = tmp_path / "pipeline.toml"
    text = path.read_text()
    assert "[event]" not in text
    path.write_text(text + SINKS)
    kill_on_the_way(made, made.log.stat().st_size, kills=3)
    finished = made.run()
    assert finished.exit_code == 0, finished.stderr
    refused = (tmp_path / "out" / "refused.csv").read_text().splitlines()
    assert refused[0] == "line,field,why"
    assert [row.split(",")[:2] for row in refused[1:]] == [[str(number + 1), "value"] for number in range(3, 600, 10)]
    # 600 events, 12 s apart, are 120 minutes of five events, but for those that are refused; seventeen parts of seven rows and one of one.
    parts = [json.loads((tmp_path / "out" / f"minutes_{number}.json").read_bytes()) for number in range(1, 19)]
    assert [len(part) for part in parts] == [7] * 17 + [1]
    rows = [row for part in parts for row in part]
    assert [row["events"] for row in rows] == [
        sum(each % 10 != 3 for each in range(begin, begin + 5)) for begin in range(0, 600, 5)
    ]
    assert (rows[0]["minute"], rows[-1]["minute"]) == ("1970-01-01 00:01:00", "1970-01-01 02:00:00")
    assert made.verify().exit_code == 0
