"""Eight shards of one adversarial log, as real processes, and merged: the totals of one process, to the byte.

`SHARDED_LINES=1000000` makes the log that long. `pytest -s` shows the figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from support.logs import adversarial_log, of_records

LINES: Final = int(os.environ.get("SHARDED_LINES", "100000"))
LOG_LINES: Final = 100_000
"""The log is made of logs of this length, one after the other."""
SHARDS: Final = 8
RUN_S_MAX: Final = 3600
CONFIGURATION: Final = """
[sources.log]
path = "log.jsonl"
[aggregates.groups]
group_by = ["category"]
measures = { events = "count", total = "sum(value)", mean = "mean(value)", first = "first(id)", last = "last(id)" }
[state]
dir = "state-{shard}"
[engine]
shard = "1/8"
"""


def call(folder: Path, *arguments: str, kernels: bool = True) -> str:
    """What a command wrote; it must end well."""
    environment = {**os.environ, "EVENT_PROCESSOR_NATIVE": "on" if kernels else "off"}
    done = subprocess.run(
        [sys.executable, "-m", "event_processor", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def categories_of(checkpoint: Path) -> bytes:
    """The bytes of `categories` in the file."""
    content = checkpoint.read_bytes()
    return content[content.index(b'\n    "categories": ') : content.index(b'\n    "config_hash": ')]


def groups_of(checkpoint: Path) -> Any:
    aggregate = json.loads(checkpoint.read_bytes())["state"]["aggregates"]["groups"]
    return aggregate["counts"], [(each["group"], each["measures"]) for each in aggregate["groups"]]


def test_eight_shards_merged_equal_one_process_to_the_byte(tmp_path: Path) -> None:
    (tmp_path / "event-processor.toml").write_text(CONFIGURATION, encoding="utf-8")
    (tmp_path / "log.jsonl").write_bytes(
        of_records(b"".join(adversarial_log(min(LINES, LOG_LINES), seed) for seed in range(-(-LINES // LOG_LINES))))
    )
    call(tmp_path, "run", "--once", "--drain", "--set", 'engine.shard=""', "--state", "one")
    for number in range(1, SHARDS + 1):
        # One shard works without kernels: it must own the same records.
        call(tmp_path, "run", "--once", "--drain", "--set", f"engine.shard={number}/{SHARDS}", kernels=number != SHARDS)
    states = [f"state-{number}-of-{SHARDS}" for number in range(1, SHARDS + 1)]
    said = call(tmp_path, "merge", *states, "--output", "all")
    one, merged = tmp_path / "one" / "checkpoint.json", tmp_path / "all" / "checkpoint.json"
    assert categories_of(merged) == categories_of(one)
    assert json.loads(merged.read_bytes())["state"]["counts"] == json.loads(one.read_bytes())["state"]["counts"]
    assert groups_of(merged) == groups_of(one)
    records = [json.loads((tmp_path / state / "checkpoint.json").read_bytes())["state"]["counts"]["records"] for state in states]
    print(said, "records by shard:", records, "bytes of categories:", len(categories_of(one)))
