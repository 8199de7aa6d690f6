"""A daemon that takes jobs over HTTP, and a client of it.

Owns: the folder of such a server, how it is started and killed, and the calls of a client.
Always: every wait is bounded, and ends when what it looks at is so.
Never: imports the package.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.http_daemon import Response, Served, ports
from support.numbered_events import event
from support.processes import Pipeline, wait_until

__all__ = ["JobsServer", "jobs_server", "numbered", "rows_of"]

COUNTS = '[jobs]\nparameters = ["event.category", "order.buffer_events"]\n'
SLOW = f"{COUNTS}[batch]\nbytes_max = 1024\n"
"""A commit for about twenty events: a job of many events is long at work."""
CONFIGURATION = """\
[http]
listen = "127.0.0.1:0"
[jobs]
pipelines_dir = "pipelines"
input_dirs = ["inputs"]
input_urls = [{urls}]
processes_max = 2
queue_max = {queue_max}
"""
URLS = ", ".join(f'"s3://bucket-{number}/part/"' for number in range(1, 300))
"""Which number a bucket gets depends on the tests before."""
ENDED = ("done", "failed", "cancelled")


def numbered(count: int, first: int = 0) -> bytes:
    """So many events."""
    return b"".join(event(number) + b"\n" for number in range(first, first + count))


def rows_of(count: int, first: int = 0) -> list[dict[str, Any]]:
    """What is counted of them, by category, from the numbers alone."""
    rows = []
    for category in range(3):
        numbers = [number for number in range(first, first + count) if number % 3 == category]
        rows.append({"category": f"c{category}", "count": len(numbers), "sum": sum(numbers) / 4})
    return rows


@dataclass(slots=True)
class JobsServer:
    """A folder with pipelines and inputs, and the daemon that serves it now."""

    pipeline: Pipeline
    served: Served

    @property
    def jobs(self) -> Path:
        return self.pipeline.folder / "state" / "jobs"

    @property
    def inputs(self) -> Path:
        return self.pipeline.folder / "inputs"

    def post(self, path: str, value: object, **headers: str) -> Response:
        return self.served.ask(path, "POST", headers=headers, body=json.dumps(value).encode())

    def submit(self, pipeline: str, given: Mapping[str, str], **parameters: object) -> Response:
        return self.post("/v1/jobs", {"pipeline": pipeline, "input": given, "parameters": parameters})

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.served.ask(f"/v1/jobs/{job_id}").json)

    def wait_for(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job, when it is in one of these states."""
        wait_until(lambda: self.job(job_id)["state"] in states, f"{job_id} is {' or '.join(states)}")
        return self.job(job_id)

    def ended(self, job_id: str) -> dict[str, Any]:
        return self.wait_for(job_id, *ENDED)

    def rows(self, job_id: str) -> list[dict[str, Any]]:
        lines = self.served.ask(f"/v1/jobs/{job_id}/result").content.splitlines()
        return [{name: json.loads(line)[name] for name in ("category", "count", "sum")} for line in lines]

    def conditions(self) -> list[tuple[str, str]]:
        """What an operator must know of the daemon: kind and problem."""
        found = self.served.ask("/readyz").json["conditions"]
        return [(each["kind"], each["problem"]) for each in found if each["kind"] != "file_missing"]

    def is_at_work(self, job_id: str) -> bool:
        """Whether a process holds the lock of the job."""
        try:
            descriptor = os.open(self.jobs / job_id / "state" / "lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def kill_the_server_alone(self) -> None:
        """The processes of its jobs go on."""
        os.kill(self.served.daemon.process_id, signal.SIGKILL)
        self.served.daemon.wait()

    def restart(self) -> None:
        self.served = _started(self.pipeline)


@contextmanager
def jobs_server(folder: Path, *, queue_max: int = 100, keys: str = "") -> Iterator[JobsServer]:
    """A server of a new folder. `keys`: more lines of `[jobs]`."""
    pipeline = Pipeline(folder, folder)
    pipeline.prepare(b"")
    for name, text in (("counts", COUNTS), ("slow", SLOW)):
        (folder / "pipelines").mkdir(exist_ok=True)
        (folder / "pipelines" / f"{name}.toml").write_text(text)
    (folder / "inputs").mkdir()
    path = folder / "pipeline.toml"
    path.write_text(f"{path.read_text()}{CONFIGURATION.format(queue_max=queue_max, urls=URLS)}{keys}")
    server = JobsServer(pipeline, _started(pipeline))
    try:
        yield server
        assert "Traceback" not in server.served.daemon.said()
    finally:
        server.served.daemon.kill()


def _started(pipeline: Pipeline) -> Served:
    daemon = pipeline.start()
    wait_until(lambda: bool(ports(daemon)) or not daemon.alive, "the server listens")
    assert daemon.alive, daemon.said()
    served = Served(pipeline, daemon, ports(daemon)[-1])
    wait_until(lambda: served.ask("/v1/jobs").status == 200, "the jobs are open")
    return served
