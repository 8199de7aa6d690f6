"""What the stages share: where the brokers and the topics are, and the command line of each stage.

Owns: the names of topics, files and processes; the environment and the arguments of every stage.
Always: a stage is event-processor itself with one of the configurations beside this file. The same file has the same state, whichever worker reads it.
Never: starts a process.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = [
    "ASSIGNED",
    "BROKERS",
    "DONE",
    "FAILED",
    "FILES_PARTITIONS",
    "INCOMPLETE",
    "READING",
    "TOPICS",
    "WAITING",
    "WORK",
    "Counts",
    "Report",
    "Stage",
    "counts_of",
    "environment",
    "reader",
    "stages",
    "topic",
]

HERE: Final = Path(__file__).resolve().parent
WORK: Final = HERE / "work"
BROKERS: Final = os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092")
PREFIX: Final = os.environ.get("TOPIC_PREFIX", "example-004")
FILES_PARTITIONS: Final = 8
"""At most so many workers have work at the same time."""
USERS_PARTITIONS: Final = 4
TRANSFORMERS: Final = 2
TOPICS: Final[Mapping[str, tuple[int, Mapping[str, str]]]] = {
    "files": (FILES_PARTITIONS, {}),
    "progress": (1, {"cleanup.policy": "compact"}),
    "users": (USERS_PARTITIONS, {}),
    "results": (1, {}),
    "cursors": (1, {"cleanup.policy": "compact", "segment.bytes": "16777216"}),
}
"""By name: how many partitions, and settings."""


def topic(name: str) -> str:
    """The name that a topic has at the brokers."""
    return f"{PREFIX}.{name}"


def environment() -> dict[str, str]:
    """The environment of every stage: the configurations name the brokers and topics by it, and Python finds users.py."""
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "KAFKA_BROKERS": BROKERS, "TOPIC_PREFIX": PREFIX, "PYTHONPATH": path}


@dataclass(frozen=True, slots=True)
class Stage:
    """One event-processor: its name, the folder of its state, and what comes before and after the command `run`."""

    name: str
    state: Path
    options: Sequence[str] = ()
    at_the_end: Sequence[str] = ("--once",)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        """The file beside this one: transformer.toml for transformer-1."""
        return HERE / f"{self.name.partition('-')[0]}.toml"

    def command(self, *run_options: str) -> list[str]:
        """The command line."""
        program = [sys.executable, "-m", "event_processor", "--config", str(self.configuration), "--state", str(self.state)]
        return [*program, "--log-format", "json", "--log-level", "info", *self.options, "run", *run_options]


def stages() -> list[Stage]:
    """The stages that run all the time, in the order in which records pass them."""
    each = USERS_PARTITIONS // TRANSFORMERS
    transformers = [
        Stage(
            name := f"transformer-{number + 1}",
            WORK / name,
            [
                *("--set", f"state.name={name}"),
                *("--set", f"sources.users.partitions={list(range(number * each, (number + 1) * each))}"),
            ],
        )
        for number in range(TRANSFORMERS)
    ]
    return [*transformers, Stage("writer", WORK / "writer", at_the_end=("--once", "--drain"))]


def reader(path: str) -> Stage:
    """The reader of one file. `path` is absolute: all workers must see the file there."""
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", os.path.basename(path))[:40]
    name = f"{readable}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"
    # The path of a source may be a glob. This one is the name of a file.
    variables = {"USERS_FILE": glob.escape(path), "USERS_NAME": name}
    return Stage("reader", WORK / "files" / name / "state", at_the_end=("--once", "--drain"), variables=variables)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a stage has committed."""

    records: int = 0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0


def counts_of(stage: Stage) -> Counts:
    """From its checkpoint, which is replaced as a whole, so that it can be read at any time. All are 0 if there is none yet."""
    try:
        counts = json.loads((stage.state / "checkpoint.json").read_bytes())["state"]["counts"]
    except FileNotFoundError:
        return Counts()
    return Counts(counts["records"], counts["accepted"], counts["duplicate"], counts["rejected"])


ASSIGNED: Final = "assigned"
READING: Final = "reading"
WAITING: Final = "waiting"
DONE: Final = "done"
INCOMPLETE: Final = "incomplete"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Report:
    """A record of the topic "progress": how far one file is. The file is the key, so the topic keeps the last report of each."""

    file: str
    state: str
    """One of the six above."""
    worker: str = ""
    records: int = 0
    rejected: int = 0
    words: str = ""
    """Why it is waiting, incomplete or failed."""

    @property
    def is_last(self) -> bool:
        """Whether nothing more happens to the file until it is assigned again."""
        return self.state in (DONE, INCOMPLETE, FAILED)

    @property
    def name(self) -> str:
        """The file, from the present folder."""
        return os.path.relpath(self.file)

    def __str__(self) -> str:
        by = f" by {self.worker}" if self.worker else ""
        words = f": {self.words}" if self.words else ""
        return f"{self.name}: {self.state}{by}, {self.records} records, {self.rejected} rejected{words}"

    def to_json(self) -> bytes:
        """As a record."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__}).encode()

    @classmethod
    def from_json(cls, value: bytes) -> Report:
        """From a record."""
        return cls(**json.loads(value))
