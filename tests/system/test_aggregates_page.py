"""docs/aggregates.md, run as it stands."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from support.processes import warm_job

PAGE = Path(__file__).parents[2] / "docs" / "aggregates.md"


def test_the_example_of_the_page_gives_what_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (configuration,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    log, rows, groups = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    (tmp_path / "event-processor.toml").write_text(configuration)
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "events.jsonl").write_text(log)
    subprocess.run([*warm_job(), "run", "--once", "--drain"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out" / "recent.jsonl").read_text() == rows
    state = json.loads((tmp_path / "state" / "checkpoint.json").read_bytes())["state"]
    found = [{**each["group"], **each["measures"]} for each in state["aggregates"]["countries"]["groups"]]
    assert found == [json.loads(line) for line in groups.splitlines()]
