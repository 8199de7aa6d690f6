"""The daemon with several workers, threads or processes: the same state as alone, killed in the middle or not, and nobody left behind."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from event_processor.kernels.library import LIBRARY, SWITCH
from support.processes import Committed, Daemon, Pipeline, wait_until

LINES = 24_000
BATCH_BYTES = 131_072
"""Chunks large enough to be handed over, and enough of them."""


def log() -> bytes:
    """Lines of one form; some duplicates, some of another form, some that are no events, some that come late."""
    lines = []
    for number in range(LINES):
        name = number - 500 if number % 50 == 7 and number > 500 else number
        line = f'{{"id":"event-{name:07d}","category":"c{number % 9}","value":{number % 997}.{number % 10},"timestamp":"2026-01-01T00:00:00Z"}}'
        if number % 211 == 0:
            line = f'{{"value":1e2,"id":{number},"category":"\\u0063"}}'
        if number % 307 == 0:
            line = '{"id":"x"}'
        lines.append(line)
    return "\n".join(lines).encode() + b"\n"


def pipeline(folder: Path, workers: int) -> Pipeline:
    made = Pipeline(folder, folder, batch_bytes_max=BATCH_BYTES)
    made.prepare(log())
    with (folder / "pipeline.toml").open("a") as configuration:
        configuration.write(f"\n[engine]\nworkers = {workers}\n")
    return made


def state_of(made: Pipeline) -> Committed:
    committed = made.committed()
    assert committed is not None
    return committed


def workers_of(daemon: Daemon) -> list[int]:
    """The processes that it said it started."""
    said = [json.loads(line) for line in daemon.said().splitlines() if line.startswith("{")]
    return [line["process_id"] for line in said if line["event"] == "worker_started"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Committed:
    made = pipeline(tmp_path_factory.mktemp("alone"), 1)
    assert made.run().exit_code == 0
    return state_of(made)


PROCESSES = {SWITCH: "off"}
THREADS: dict[str, str] = {}
KINDS = [pytest.param(PROCESSES, id="processes"), pytest.param(THREADS, id="threads")]
"""Without the kernels the interpreter decodes, and a thread would gain nothing."""


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_that_of_one_alone(kind: dict[str, str], workers: int, alone: Committed, tmp_path: Path) -> None:
    made = pipeline(tmp_path, workers)
    daemon = made.start("--once", "--drain", environment=kind)
    assert daemon.wait().exit_code == 0
    assert state_of(made) == alone
    started = workers_of(daemon)
    assert len(started) == (workers - 1 if kind == PROCESSES or LIBRARY is None else 0)
    assert all(map(_is_gone, started)), "they went with it"
    assert made.verify().exit_code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_the_middle_it_leaves_nobody_behind_and_goes_on_right(
    kind: dict[str, str], alone: Committed, tmp_path: Path
) -> None:
    made = pipeline(tmp_path, 2)
    for part in (1, 2):
        daemon = made.start("--once", "--drain", environment=kind)
        wait_until(partial(_is_past, made, daemon, part * len(log()) // 4), "a part is committed")
        os.kill(daemon.process_id, signal.SIGKILL)
        daemon.wait()
        for process in workers_of(daemon):
            wait_until(partial(_is_gone, process), "the worker is gone")
    assert made.run(environment=kind).exit_code == 0
    assert state_of(made) == alone


def _is_past(made: Pipeline, daemon: Daemon, offset: int) -> bool:
    return made.progress() > offset or not daemon.alive


def _is_gone(process_id: int) -> bool:
    return not os.path.exists(f"/proc/{process_id}")
