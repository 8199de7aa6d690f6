"""The format that the guide makes, followed to the letter: counted, verified, and decoded in a further process too."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.processes import Pipeline

GUIDE = Path(__file__).parents[2] / "docs" / "formats.md"
ROWS = 20_000


@pytest.mark.parametrize("workers", [1, 2])
def test_the_guides_format_reads_what_it_says(workers: int, tmp_path: Path) -> None:
    guide = GUIDE.read_text(encoding="utf-8").split("## A format of your own")[1]
    code, configuration = re.findall(r"```(?:python|toml)\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "key_values.py").write_text(code)
    keys = configuration[configuration.index("format = ") :]
    rows = [f"id=e{number}|category=c{number % 7}|value={number}.5" for number in range(ROWS)]
    rows[10], rows[20], rows[30] = "nothing of the kind", "a=1", ""
    made = Pipeline(tmp_path, tmp_path, batch_bytes_max=131_072)
    made.prepare("\n".join(rows).encode() + b"\n")
    path = tmp_path / "pipeline.toml"
    path.write_text(path.read_text().replace("[order]", f"{keys}[order]") + f"\n[engine]\nworkers = {workers}\n")
    finished = made.run(environment={"PYTHONPATH": str(tmp_path)})
    assert finished.exit_code == 0, finished.stderr
    committed = made.committed()
    assert committed is not None
    counts = committed.state["counts"]
    assert isinstance(counts, dict)
    assert (counts["accepted"], counts["rejected"], counts["blank"]) == (ROWS - 3, 2, 1)
    assert json.loads(committed.sink.splitlines()[0]) == {"id": "e0", "category": "c0", "value": 0.5}
    letters = [json.loads(line) for line in committed.dead_letters.splitlines()]
    assert [(letter["line"], letter["reason"]) for letter in letters] == [(11, "is not name=value"), (21, "KeyError: 'value'")]


def test_where_python_does_not_find_the_class_the_start_is_refused_and_says_so(tmp_path: Path) -> None:
    made = Pipeline(tmp_path, tmp_path)
    made.prepare(b"id=1\n")
    path = tmp_path / "pipeline.toml"
    path.write_text(path.read_text().replace("[order]", 'format = "key_values:KeyValues"\n[order]'))
    finished = made.run()
    assert finished.exit_code == 78
    assert 'cannot import "key_values"' in finished.stderr
    assert "Traceback" not in finished.stderr
