"""A small job that commits as the real one promises to, and that can be told to make a classic mistake.

It counts the lines of a log and copies them to a sink. The crash tests run on it first: on the honest job they must
find nothing, and each of its flaws (`COUNTING_JOB_FLAW`) must be found, or the tests would prove nothing of the real one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypedDict

FLAW: Final = os.environ.get("COUNTING_JOB_FLAW", "")


class Checkpoint(TypedDict):
    """What the checkpoint file holds."""

    state: State


class State(TypedDict):
    """The counted records, how far the log was read, and the committed length of the sink."""

    counts: dict[str, int]
    sources: dict[str, dict[str, list[dict[str, dict[str, int]]]]]
    appended: dict[str, int]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A failed call says on which file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write(descriptor: int, path: Path, content: bytes) -> None:
    """Writes all of it, however short the kernel's writes are."""
    with naming(path):
        while content:
            content = content[os.write(descriptor, content) :]


def sync(descriptor: int, path: Path) -> None:
    """Makes it durable, where that was not forgotten."""
    if FLAW == "forgets-fsync":
        return
    with naming(path):
        try:
            os.fsync(descriptor)
        except OSError:
            if FLAW != "ignores-fsync":
                raise


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replaces the checkpoint."""
    temporary = path if FLAW == "overwrites" else path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write(descriptor, temporary, json.dumps(checkpoint).encode())
    sync(descriptor, temporary)
    os.close(descriptor)
    os.rename(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    sync(folder, path.parent)
    os.close(folder)


class Job:
    """The job on one log, resumed where its checkpoint says."""

    def __init__(self, configuration_path: Path) -> None:
        with configuration_path.open("rb") as file:
            configuration = tomllib.load(file)
        self.log_path = configuration_path.parent / configuration["sources"]["events"]["path"]
        self.batch_bytes_max: int = configuration["batch"]["bytes_max"]
        self.sink_path = configuration_path.parent / configuration["sinks"]["ordered"]["path"]
        self.checkpoint_path = configuration_path.parent / configuration["state"]["dir"] / "checkpoint.json"
        for folder in (self.sink_path.parent, self.checkpoint_path.parent):
            folder.mkdir(exist_ok=True)
        self.offset = self.records = self.sink_bytes = 0
        if self.checkpoint_path.exists():
            state: State = json.loads(self.checkpoint_path.read_bytes())["state"]
            self.offset = state["sources"]["events"]["generations"][0]["position"]["offset"]
            self.records = state["counts"]["records"]
            self.sink_bytes = state["appended"][str(self.sink_path)]
        self.sink = os.open(self.sink_path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if FLAW != "keeps-tail":
            with naming(self.sink_path):
                os.ftruncate(self.sink, self.sink_bytes)

    def step(self) -> bool:
        """Counts one batch of whole lines and commits it; whether there was one."""
        with self.log_path.open("rb") as log:
            log.seek(self.offset)
            read = log.read(self.batch_bytes_max)
        batch = read[: read.rfind(b"\n") + 1]
        if not batch:
            return False
        write(self.sink, self.sink_path, batch)
        sync(self.sink, self.sink_path)
        self.offset += len(batch)
        self.records += batch.count(b"\n")
        self.sink_bytes += len(batch)
        counted: State = {
            "counts": {"records": self.records},
            "sources": {"events": {"generations": [{"position": {"offset": self.offset}}]}},
            "appended": {str(self.sink_path): self.sink_bytes},
        }
        save(self.checkpoint_path, {"state": counted})
        return True


def main() -> None:
    """Runs to the end of the log, or until TERM."""
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    job = Job(Path(sys.argv[sys.argv.index("--config") + 1]))
    while job.step() or ("--once" not in sys.argv and not stopped.wait(0.005)):
        pass


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(74)
