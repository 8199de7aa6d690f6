"""A worker: takes names of files from the topic "files", has event-processor read each, and reports to the topic "progress".

`python worker.py NAME`. Owns: one file at a time, and the process that reads it.
Always: a file is done when its reader ended and its last report is at the brokers; only then the group's offset moves. If the worker dies before that,
the file is assigned again: to this worker if it starts within SESSION_S, otherwise to another one. The reader's state says where to continue, and
its lock lets one process read the file. So a file that is assigned twice is not read twice.
Never: opens a file of users, or counts anything itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients import SETTINGS, ProgressWriter, require_brokers
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from stages import DONE, FAILED, INCOMPLETE, READING, WAITING, Report, Stage, counts_of, environment, reader, topic

SESSION_S: Final = 10
"""A worker that is silent for so long is dead: its files are assigned to others."""
POLL_S: Final = 0.2
REPORT_S: Final = 1.0
"""While a file is read, a report of it comes at most this often."""
LAST_REPORT_S: Final = 5.0
"""A worker that is stopped waits at most this long until the brokers have its last report."""
AGAIN_S: Final = 1.0
"""So long after its end, a reader is started again that could not do its work at that time."""
NOT_DELIVERED, LOCKED = 69, 75
ENDS: Final = {0: DONE, 66: INCOMPLETE}
"""What exit codes of `event-processor run --once` mean. Others are a failure, which needs a person."""


@dataclass(slots=True)
class Job:
    """A file that this worker has taken, and the process that reads it."""

    message: Message
    stage: Stage
    path: str
    log: Path
    """What the reader says. Another worker may try the same file: each has a log of its own."""
    process: subprocess.Popen[bytes] | None = None
    reported: Report | None = None
    due_at: float = 0.0
    """When to report, or to start the reader again."""

    def start(self) -> None:
        """Starts the reader."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            command = self.stage.command(*self.stage.at_the_end)
            variables = {**environment(), **self.stage.variables}
            self.process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_at_the_end(self) -> bool:
        """Whether the reader ended because the file did. A reader that was stopped ends with 0 too."""
        said = [json.loads(line) for line in self._lines() if line.startswith("{")]
        return any(each["event"] == "stopped" and each["reason"] == "end of input" for each in said)

    def words(self) -> str:
        """Why the reader ended, as it says itself."""
        lines = self._lines()
        for prefix in ("event-processor: ", "not read: ", "sink users: "):
            if found := [line for line in lines if line.startswith(prefix)]:
                return found[-1]
        return f"see {self.log}"

    def _lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8", errors="replace").splitlines()


class Worker:
    """One member of the group that shares the names of files."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._job: Job | None = None
        self._progress = ProgressWriter()
        self.stopped = False
        self._consumer = Consumer(
            {
                **SETTINGS,
                "group.id": topic("workers"),
                "group.instance.id": name,
                "session.timeout.ms": SESSION_S * 1000,
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )

    def run(self) -> None:
        """Works until it is stopped. A file that is being read then stays assigned."""
        self._consumer.subscribe([topic("files")], on_assign=self._on_assign)
        while not self.stopped:
            message = self._consumer.poll(POLL_S)
            if message is not None:
                self._take(message)
            if self._job is not None and self._look(self._job):
                self._job = None
                self._consumer.resume(self._consumer.assignment())
        if self._job is not None and self._job.process is not None:
            self._job.process.terminate()
            self._job.process.wait()
            self._report(self._job, WAITING, "its worker was stopped")
            self._progress.is_flushed(LAST_REPORT_S)
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions that come while a file is read wait for its end."""
        consumer.incremental_assign(partitions)
        if self._job is not None:
            consumer.pause(partitions)

    def _take(self, message: Message) -> None:
        if (error := message.error()) is not None:
            if error.fatal():
                raise SystemExit(f"{self._name}: {error.str()}; is there another worker of this name?")
            print(f"{self._name}: {error.str()}", flush=True)
            return
        assert self._job is None, "all partitions are paused while a file is read"
        path = os.fsdecode(message.value() or b"")
        stage = reader(path)
        self._job = Job(message, stage, path, stage.state.parent / f"{self._name}.log")
        # From here on `poll` only says that this worker is alive.
        self._consumer.pause(self._consumer.assignment())

    def _look(self, job: Job) -> bool:
        """Starts what has to start, and reports. Whether the file needs nothing more."""
        if job.process is None:
            if time.monotonic() >= job.due_at:
                job.start()
                self._report(job, READING)
            return False
        code = job.process.poll()
        if code is None:
            if time.monotonic() >= job.due_at:
                self._report(job, READING)
            return False
        job.process = None
        if code < 0 or code in (NOT_DELIVERED, LOCKED) or (code in ENDS and not job.is_at_the_end()):
            self._report(job, WAITING, f"{job.words()} (exit code {code})")
            return False
        self._report(job, ENDS.get(code, FAILED), "" if code == 0 else f"{job.words()} (exit code {code})")
        # If we die before the commit, the file is assigned again. Its reader then finds that it is done, and the same report is written.
        self._commit(job)
        return True

    def _report(self, job: Job, state: str, words: str = "") -> None:
        job.due_at = time.monotonic() + (AGAIN_S if state == WAITING else REPORT_S)
        counts = counts_of(job.stage)
        report = Report(job.path, state, self._name, counts.records, counts.rejected, words)
        if report != job.reported:
            self._progress.report(report)
            job.reported = report

    def _commit(self, job: Job) -> None:
        """Ends the file for the group, once the brokers have its last report."""
        while not self._progress.is_flushed(POLL_S):
            if self.stopped:
                return
        try:
            self._consumer.commit(message=job.message, asynchronous=False)
        except KafkaException as error:
            # The file was assigned to another worker meanwhile, which finds that it is done.
            print(f"{self._name}: {error.args[0].str()}", flush=True)


def main(name: str) -> None:
    """Runs one worker until TERM or INT."""
    require_brokers()
    worker = Worker(name)

    def stop(*_: object) -> None:
        worker.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    worker.run()


if __name__ == "__main__":
    main(sys.argv[1])
