"""A number on its way from the record to the files of sinks, through every format, transform and sink: its digits are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from event_processor import load, run

HERE = __name__
LONG = "1234567890123456789"
PI = "3.14159265358979323846"
HUGE = "123456789012345678901234567890"
SMALL = "1.0000000000000000000001e-3"
NUMBERS = {"v": PI, "n": LONG, "huge": HUGE, "small": SMALL}
RECORD = '{"id":1,"v":%s,"n":%s,"huge":%s,"small":%s}' % tuple(NUMBERS.values())  # noqa: UP031 - braces of JSON
CSV = f"id;v;n;huge;small\n1;{','.join(PI.split('.'))};+{LONG};00{HUGE};{SMALL.replace('.', ',')}\n"
CSV_KEYS = """
format = "csv"
csv_delimiter = ";"
csv_decimal = ","
csv_types = { id = "integer", v = "number", n = "number", huge = "number", small = "number" }
"""
SINKS = """
[sinks.lines]
input = "events"
path = "out/lines.jsonl"
[sinks.columns]
input = "events"
path = "out/columns.jsonl"
columns = ["v", "n", "huge", "small"]
[sinks.table]
input = "events"
path = "out/table.csv"
format = "csv"
columns = ["v", "n", "huge", "small"]
[sinks.arrays]
input = "events"
path = "out/array-{n}.json"
format = "json"
part_events = 10
"""


class Same:
    """A transform that changes another field."""

    def __init__(self, _options: Mapping[str, object]) -> None: ...

    def transform(self, events: Sequence[dict[str, object]]) -> Sequence[dict[str, object]]:
        return [event | {"own": True} for event in events]


@pytest.mark.parametrize(
    ("content", "keys", "transform"),
    [
        (RECORD + "\n", "", ""),
        (CSV, CSV_KEYS, ""),
        (f'{{"value":[{RECORD}]}}', 'format = "json"\njson_item_path = "value.item"\n', ""),
        (RECORD + "\n", "", '[[transforms]]\nset = { own = true }\nuuid5 = { u = "n" }\n'),
        (RECORD.replace('"v"', '"w"') + "\n", "", '[[transforms]]\nrename = { v = "w" }\n'),
        (
            RECORD.replace(PI, f'"0{PI}"').replace(HUGE, f'"+{HUGE}"') + "\n",
            "",
            '[[transforms]]\nconvert = { v = "number", huge = "number", n = "integer" }\n',
        ),
        (RECORD + "\n", "", f'[[transforms]]\nclass = "{HERE}:Same"\n'),
        (CSV, CSV_KEYS, f'[[transforms]]\nclass = "{HERE}:Same"\n[[transforms]]\nkeep = ["id", "v", "n", "huge", "small"]\n'),
    ],
    ids=["jsonl", "csv", "json", "set", "rename", "convert", "own class", "csv, own class and keep"],
)
def test_every_sink_has_the_digits_of_the_record(tmp_path: Path, content: str, keys: str, transform: str) -> None:
    (tmp_path / "log").write_text(content)
    event = '[event]\ncategory = ""\nvalue = "v"\ntimestamp = ""\n'
    (tmp_path / "p.toml").write_text(f'[sources.log]\npath = "log"\n{keys}{transform}{event}{SINKS}')
    state = run(load(str(tmp_path / "p.toml")), drain=True)
    assert state.counts.accepted == 1
    members = ",".join(f'"{name}":{digits}' for name, digits in NUMBERS.items())
    out = tmp_path / "out"
    line, (part,) = (out / "lines.jsonl").read_text(), [path.read_text() for path in out.glob("array-*.json")]
    for name, digits in NUMBERS.items():
        assert f'"{name}":{digits}' in line
        assert f'"{name}":{digits}' in part
    assert (out / "columns.jsonl").read_text() == f"{{{members}}}\n"
    assert (out / "table.csv").read_text().splitlines()[1] == ",".join(NUMBERS.values())
