"""The daemon with the kernels and without: the same state, also where one goes on with what the other has left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from event_processor.kernels.library import LIBRARY, SWITCH
from support.processes import Committed, Pipeline

OFF = {SWITCH: "off"}
LINES = 30_000

if LIBRARY is None and not os.environ.get("CI"):
    pytest.skip("the kernels are not compiled", allow_module_level=True)


def log() -> bytes:
    """Ids of every kind, also twice; lines of other forms, lines that are no events, numbers that are hard to read."""
    lines = []
    for number in range(LINES):
        name = number - 700 if number % 40 == 7 and number > 700 else number
        event_id: str = json.dumps(
            (f"event-{name:07d}", name, str(uuid.UUID(int=name * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)))[name // 5000 % 3]
        )
        value = (f"{name % 997}.{name % 10}", f"{name / 7!r}", f"{name}e-7", "-0.0", f"{name}12345678901234567")[number % 5]
        line = f'{{"id":{event_id},"category":"c{name % 9}","value":{value},"timestamp":"2026-01-01T00:00:00Z"}}'
        if number % 211 == 0:
            line = f'{{"value":1e2,"more":{{"id":[1,"\\n"]}}, "id":"x{number}","category":"\\u0063"}}'
        if number % 307 == 0:
            line = '{"id":"x"}'
        lines.append(line)
    return "\n".join(lines).encode() + b"\n"


def state_of(made: Pipeline) -> Committed:
    committed = made.committed()
    assert committed is not None
    return committed


def pipeline(folder: Path, content: bytes) -> Pipeline:
    made = Pipeline(folder, folder, batch_bytes_max=262_144)
    made.prepare(content)
    return made


def has_kernels(environment: dict[str, str]) -> bool:
    command = [sys.executable, "-m", "event_processor", "version", "--json"]
    done = subprocess.run(command, env={**os.environ, SWITCH: "", **environment}, check=True, capture_output=True)
    return bool(json.loads(done.stdout)["kernels"])


def test_the_state_is_the_same_with_the_kernels_without_them_and_with_one_behind_the_other(tmp_path: Path) -> None:
    content = log()
    with_kernels, without = pipeline(tmp_path / "with", content), pipeline(tmp_path / "without", content)
    assert with_kernels.run().exit_code == without.run(environment=OFF).exit_code == 0
    assert (has_kernels({}), has_kernels(OFF)) == (True, False)
    assert state_of(with_kernels) == state_of(without)
    for first in (OFF, {}):
        half = content.index(b"\n", len(content) // 2) + 1
        made = pipeline(tmp_path / f"half-{len(first)}", content[:half])
        assert made.run("--once", environment=first).exit_code == 0
        with made.log.open("ab") as more:
            more.write(content[half:])
        assert made.run(environment={} if first else OFF).exit_code == 0
        assert state_of(made) == state_of(with_kernels)
        assert made.verify().exit_code == 0
