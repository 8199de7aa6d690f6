"""The published schema of `checkpoint.json`: what the tool makes, and what real checkpoints keep to."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any, Final

import pytest

from event_processor.assembly import Mode, lock_state, open_pipeline
from support.engine import configuration, environment, run
from support.engine_lives import several_logs
from support.json_schema import faults
from support.simulated_fs import SimulatedFileSystem

ROOT: Final = Path(__file__).resolve().parents[2]
PUBLISHED: Final = ROOT / "docs" / "checkpoint.schema.json"
SCHEMA: Final[dict[str, Any]] = json.loads(PUBLISHED.read_bytes())
FOLDER: Final = "/pipeline"


def checkpoint(fs: SimulatedFileSystem) -> dict[str, Any]:
    content = fs.content(f"{FOLDER}/state/checkpoint.json")
    assert content is not None
    return dict(json.loads(content))


def disk_with(**logs: bytes) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(0)
    for name, content in logs.items():
        fs.plant(f"{FOLDER}/{name}.jsonl", content)
    return fs


def events(count: int, *, start: int = 0) -> bytes:
    return b"".join(
        b'{"id": %d, "category": "c%d", "value": 0.1}\n' % (number, number % 2) for number in range(start, start + count)
    )


def test_the_published_schema_is_what_the_tool_makes() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "make_schema.py"))
    assert tool["SCHEMA_PATH"] == PUBLISHED
    assert json.loads(PUBLISHED.read_bytes()) == json.loads(json.dumps(tool["checkpoint_schema"]()))


def test_a_fresh_checkpoint_keeps_to_the_schema() -> None:
    fs = disk_with()
    lock_state(configuration(FOLDER), environment(fs)).release()
    open_pipeline(configuration(FOLDER), environment(fs), Mode()).processor.close()
    assert checkpoint(fs)["state"]["counts"]["records"] == 0
    assert faults(SCHEMA, checkpoint(fs)) == []


def test_held_events_keep_to_the_schema() -> None:
    fs = disk_with(log=events(40) + b"bad\n\n" + events(3) + b'{"id": "')
    run(fs, configuration(FOLDER))
    assert checkpoint(fs)["state"]["order"]["held"] == 8
    assert faults(SCHEMA, checkpoint(fs)) == []


@pytest.mark.parametrize("event_id", [("id", "category"), "@position", ("category",)])
def test_ids_of_several_parts_keep_to_the_schema(event_id: str | tuple[str, ...]) -> None:
    fs = disk_with(log=events(40))
    run(fs, configuration(FOLDER, event={"id": event_id}))
    total = checkpoint(fs)["state"]["categories"]["c1"]
    assert isinstance(total["last_id"], list)
    assert faults(SCHEMA, checkpoint(fs)) == []


def test_counts_without_values_keep_to_the_schema() -> None:
    fs = disk_with(log=events(40))
    run(fs, configuration(FOLDER, event={"value": "", "category": "", "timestamp": ""}, sink=False))
    assert checkpoint(fs)["state"]["categories"][""]["min"] is None
    assert faults(SCHEMA, checkpoint(fs)) == []


def test_several_sources_keep_to_the_schema() -> None:
    fs = disk_with()
    for name in ("shop/a.log", "shop/b.log", "audit.log"):
        fs.plant(f"{FOLDER}/{name}", events(30))
    run(fs, several_logs(FOLDER, batch_bytes=1024), drain=True)
    assert checkpoint(fs)["state"]["sources"].keys() == {"shop", "audit"}
    assert faults(SCHEMA, checkpoint(fs)) == []


def test_a_rotated_file_keeps_to_the_schema() -> None:
    fs = disk_with(log=events(30))
    run(fs, configuration(FOLDER))
    fs.rename(f"{FOLDER}/log.jsonl", f"{FOLDER}/log.jsonl.1")
    fs.plant(f"{FOLDER}/log.jsonl", events(30, start=30))
    run(fs, configuration(FOLDER), seed=1, drain=True)
    source = checkpoint(fs)["state"]["sources"]["log"]
    assert (source["retired"]["generations"], source["counts"]["accepted"]) == (1, 60)
    assert faults(SCHEMA, checkpoint(fs)) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (["version"], 1),
        (["state", "counts", "late"], None),
        (["state", "sources", "log", "generations"], {}),
        (["state", "categories", "c0", "sum_parts"], ["0.1"]),
        (["state", "order", "last_released"], [0, 1]),
        (["state", "appended", "journal.jsonl"], "0"),
    ],
)
def test_what_is_wrong_does_not_keep_to_the_schema(path: list[str], wrong: object) -> None:
    fs = disk_with(log=events(40))
    run(fs, configuration(FOLDER))
    document = checkpoint(fs)
    inner: dict[str, Any] = document
    for key in path[:-1]:
        inner = inner[key]
    assert path[-1] in inner
    inner[path[-1]] = wrong
    assert faults(SCHEMA, document) != []
