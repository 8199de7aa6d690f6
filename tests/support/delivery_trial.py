"""Real runs that deliver to a real HTTP service, killed at one point and resumed.

Owns: the pipeline of such a run, the service that remembers each request, and what must hold after a kill and at the end.
Always: record `n` of the log is record `n` of the outbox. One record is refused for good.
Never: nothing here imports the package; the cursor is read as any stranger would read it.
"""

from __future__ import annotations

import itertools
import json
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.crash_trial import MAIN_PROGRAM
from support.faults import CALLS, Site, fault_prefix, record_prefix, sites
from support.http_service import HttpService, Received, Reply
from support.processes import Daemon, Finished, Pipeline
from support.remote_sink import remote_configuration

__all__ = ["RECORDS", "DeliveryTrial"]

RECORDS: Final = 24
BAD: Final = 7
KILLED_EXIT: Final = -signal.SIGKILL
SECTIONS: Final = """\
[batch]
bytes_max = 1024
[state]
dir = "durable/state"
[outbox]
keep_s = 0
once_wait_s = 60
"""
LANE_FOLDERS: Final = ("state/delivery", "state/outbox")


def log_of(records: int) -> bytes:
    """A log of so many events, several commits long."""
    return b"".join(b'{"id": %d, "category": "c", "value": 1, "pad": "%s"}\n' % (n, b"x" * 100) for n in range(1, records + 1))


@dataclass
class DeliveryTrial:
    """Runs in folders below `root`. `service` is started; its answers are set here."""

    root: Path
    service: HttpService
    events_max: int = 1
    on_request: Callable[[int], None] = lambda _: None
    """Called with the number of each request of the present run, from 1, before it is answered."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _begun: int = 0

    def __post_init__(self) -> None:
        self.service.answers = self._answer

    def _answer(self, request: Received) -> Reply:
        self.on_request(len(self.service.received) - self._begun)
        ids = [record["id"] for record in request.json()]
        return Reply(422, b"no sevens") if BAD in ids else Reply()

    def pipeline(self) -> Pipeline:
        """A new pipeline, before its first run."""
        folder = self.root / f"{next(self._numbers):05}"
        # Files have the same names in every run, so that a point can be met again.
        pipeline = Pipeline(folder, folder / "durable", MAIN_PROGRAM.disturbed)
        pipeline.prepare(log_of(RECORDS))
        text = remote_configuration(
            self.service.base_url,
            service="timeout_s = 5",
            sink=f'path = "/records"\nrequest_events_max = {self.events_max}\nbody = "array"',
            more=SECTIONS,
        )
        (folder / "pipeline.toml").write_text(text)
        self._begun = len(self.service.received)
        return pipeline

    def calls(self) -> dict[Site, int]:
        """Where a run meets the files of the outbox and the lane, and how often."""
        pipeline = self.pipeline()
        trace = pipeline.folder / "trace"
        finished = pipeline.run("--once", prefix=record_prefix(trace))
        self.require_end(pipeline, finished, lambda _: False, 0)
        found = sites(trace, pipeline.durable)
        return {site: count for site, count in found.items() if site.kind in CALLS and site.file.startswith(LANE_FOLDERS)}

    def kill_at(self, site: Site, when: int) -> bool:
        """SIGKILL at the `when`th call of `site`, then a run to the end. Whether the call was reached: runs are not all alike."""
        pipeline = self.pipeline()
        prefix = fault_prefix(site, "SIGKILL", when, durable=pipeline.durable, trace=pipeline.folder / "trace")
        finished = pipeline.run("--once", prefix=prefix)
        assert finished.exit_code in (0, KILLED_EXIT), f"{site} {when}: {finished}"
        self._resume(pipeline)
        return finished.exit_code == KILLED_EXIT

    def kill_around(self, number: int, after_s: float | None) -> bool:
        """SIGKILL when the service has received request `number`: before it answers (None), or so long after. Whether it was met."""
        pipeline = self.pipeline()
        running: list[Daemon] = []

        def kill() -> None:
            running[0].send(signal.SIGKILL)

        def on_request(count: int) -> None:
            if count == number and running:
                if after_s is None:
                    kill()
                else:
                    self.service._loop.call_later(after_s, kill)

        self.on_request = on_request
        running.append(pipeline.start("--once"))
        finished = running[0].wait()
        self.on_request = lambda _: None
        assert finished.exit_code in (0, KILLED_EXIT), f"request {number}, {after_s}: {finished}"
        self._resume(pipeline)
        return finished.exit_code == KILLED_EXIT

    def _resume(self, pipeline: Pipeline) -> None:
        has_passed = _passed(pipeline)
        before = len(self.service.received)
        finished = pipeline.run("--once")
        self.require_end(pipeline, finished, has_passed, before)
        shutil.rmtree(pipeline.folder)

    def require_end(self, pipeline: Pipeline, finished: Finished, has_passed: Callable[[int], bool], before: int) -> None:
        """Requires that each record came, always under one key, and none that the cursor had passed after the `before`th request."""
        assert finished.exit_code == 0, f"{pipeline.folder}: {finished}"
        assert "Traceback" not in finished.stderr, finished.stderr
        keys: dict[int, set[str]] = defaultdict(set)
        bodies: dict[int, set[str]] = defaultdict(set)
        for number, request in enumerate(self.service.received):
            if number < self._begun:
                continue
            records = request.json()
            for record in records:
                assert number < before or not has_passed(record["id"]), f"{record['id']} came again, in {pipeline.folder}"
                if len(records) == 1:
                    keys[record["id"]].add(request.headers["idempotency-key"])
                bodies[record["id"]].add(json.dumps(record))
        assert set(bodies) == set(range(1, RECORDS + 1)), f"{pipeline.folder}: {sorted(bodies)}"
        assert all(len(each) == 1 for each in (*keys.values(), *bodies.values())), f"{pipeline.folder}: {keys}"
        if self.events_max == 1:
            assert len(set.union(*keys.values())) == RECORDS
        failed = _failed(pipeline)
        assert failed == [BAD], f"{pipeline.folder}: {failed}"
        cursor = json.loads(_cursor_path(pipeline).read_bytes())
        assert (cursor["sequence"], cursor["answered"]) == (RECORDS, [])
        assert cursor["counts"] == {"delivered": RECORDS - 1, "failed": 1, "skipped": 0}


def _cursor_path(pipeline: Pipeline) -> Path:
    return pipeline.durable / "state" / "delivery" / "remote.json"


def _passed(pipeline: Pipeline) -> Callable[[int], bool]:
    """Whether the cursor on disk has passed a sequence."""
    path = _cursor_path(pipeline)
    if not path.exists():
        return lambda _: False
    cursor = json.loads(path.read_bytes())
    ranges: Sequence[tuple[int, int, str]] = cursor["answered"]
    return lambda sequence: sequence <= cursor["sequence"] or any(first <= sequence <= last for first, last, _ in ranges)


def _failed(pipeline: Pipeline) -> list[int]:
    """The sequences of the failed records, as they are on disk."""
    path = pipeline.durable / "state" / "delivery" / "remote.failed.jsonl"
    return [json.loads(line)["sequence"] for line in path.read_bytes().splitlines()]
