"""The sample in the repository: made by its script, and with everything in it that a first run should show."""

from __future__ import annotations

import json
import runpy
import tomllib
from pathlib import Path

from support.reference import Options, evaluate

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "events" / "events.jsonl"


def test_the_sample_is_what_its_script_makes() -> None:
    made = runpy.run_path(str(ROOT / "tools" / "make_sample.py"))["sample"]()
    assert SAMPLE.read_bytes() == made


def test_the_sample_has_duplicates_bad_lines_a_blank_one_and_four_categories() -> None:
    result = evaluate(SAMPLE.read_bytes())
    assert result.counts == {"records": 302, "accepted": 285, "duplicate": 8, "rejected": 8, "blank": 1, "late": 0}
    assert sorted(result.categories) == ["order", "payment", "refund", "shipping"]


def test_the_sample_is_in_order_once_it_passed_a_buffer_of_twenty_events() -> None:
    content = SAMPLE.read_bytes()
    assert evaluate(content, Options(buffer_events=0)).released != evaluate(content).released
    result = evaluate(content, Options(buffer_events=20))
    ids = [json.loads(record)["id"] for record in result.released]
    assert ids == [f"evt-{number:06}" for number in range(1, 286)]
    assert result.counts["late"] == 0


def test_the_configuration_in_the_repository_reads_the_sample() -> None:
    configuration = tomllib.loads((ROOT / "event-processor.toml").read_text())
    assert ROOT / configuration["sources"]["events"]["path"] == SAMPLE
    assert configuration["sinks"]["ordered"] == {"type": "file", "input": "events", "path": "out/ordered.jsonl"}
