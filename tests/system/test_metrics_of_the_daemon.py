"""/metrics of a real daemon: equal to the checkpoint, also after it was killed again and again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.http_daemon import Served, ports
from support.metrics import needs_promtool, samples
from support.processes import Pipeline, wait_until

EVENT = b'{"id": %d, "category": "a", "value": 1}\n'
KILLS = 20


def counts(found: Mapping[tuple[str, ...], float], source: str) -> dict[str, float]:
    return {key[1]: value for key, value in found.items() if key[0] == "event_processor_records_total" and key[2] == source}


def of_the_checkpoint(pipeline: Pipeline) -> dict[str, float]:
    counts = json.loads(pipeline.checkpoint.read_bytes())["state"]["sources"]["events"]["counts"]
    return {outcome: counts[outcome] for outcome in ("accepted", "duplicate", "rejected", "blank")}


def served(pipeline: Pipeline) -> tuple[Served, str]:
    """A started daemon, and what it answers at /metrics."""
    daemon = pipeline.start()
    wait_until(lambda: bool(ports(daemon)) or not daemon.alive, "the server listens")
    running = Served(pipeline, daemon, ports(daemon)[-1])
    return running, running.ask("/metrics").content.decode()


def test_the_counters_are_those_of_the_checkpoint_after_every_kill(tmp_path: Path) -> None:
    """It is asked at once, while the pipeline is opened: the two threads that then read the checkpoint must not hurt each other."""
    pipeline = Pipeline(tmp_path, tmp_path)
    lines = [EVENT % (number // 3) if number % 7 else b"bad\n" for number in range(KILLS * 40)]
    pipeline.prepare(b"")
    path = tmp_path / "pipeline.toml"
    path.write_text(f'{path.read_text()}[http]\nlisten = "127.0.0.1:0"\n')
    before: dict[str, float] = {}
    for part in range(KILLS):
        with pipeline.log.open("ab") as log:
            log.write(b"".join(lines[part * 40 : (part + 1) * 40]))
        running, text = served(pipeline)
        try:
            now = counts(samples(text), "events")
            assert all(now[outcome] >= before[outcome] for outcome in before), "no counter went back"
            wait_until(lambda after=before: sum(of_the_checkpoint_or(pipeline, after).values()) > sum(after.values()), "a commit")  # type: ignore[misc]
        finally:
            running.daemon.kill()
        before = now
    running, _ = served(pipeline)
    try:
        running.wait_for_records(len(lines))
        wait_until(lambda: sum(counts(samples(running.ask("/metrics").content.decode()), "events").values()) == len(lines), "all")
        assert counts(samples(running.ask("/metrics").content.decode()), "events") == of_the_checkpoint(pipeline)
        assert of_the_checkpoint(pipeline) == expected(lines)
    finally:
        running.daemon.kill()


def of_the_checkpoint_or(pipeline: Pipeline, otherwise: dict[str, float]) -> dict[str, float]:
    """The checkpoint's counts; `otherwise` if there is none yet, or if the source is not in it yet."""
    try:
        return of_the_checkpoint(pipeline)
    except (FileNotFoundError, KeyError):
        return otherwise


def expected(lines: list[bytes]) -> dict[str, float]:
    """The outcomes of the lines, counted one by one."""
    found: dict[str, float] = {"accepted": 0, "duplicate": 0, "rejected": 0, "blank": 0}
    seen: set[bytes] = set()
    for line in lines:
        found["rejected" if line == b"bad\n" else "duplicate" if line in seen else "accepted"] += 1
        seen.add(line)
    return found


@needs_promtool
def test_promtool_finds_nothing_to_criticise(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(EVENT % 1)
    path = tmp_path / "pipeline.toml"
    path.write_text(f'{path.read_text()}[http]\nlisten = "127.0.0.1:0"\n')
    running, _ = served(pipeline)
    try:
        running.wait_for_records(1)
        served_text, written = running.ask("/metrics"), pipeline.command_of("metrics").stderr
        assert served_text.headers["content-type"].startswith("text/plain; version=")
        openmetrics = running.ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert openmetrics.content.endswith(b"# EOF\n")
    finally:
        running.daemon.kill()
    for text in (served_text.content.decode(), written):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), text
