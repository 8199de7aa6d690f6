"""A pipeline with several sources and a lane on a simulated disk, its lives by a schedule, and checkpoints that break.

Owns: `Schedule`, what happens to the logs and to the time; `live`, one process that goes through one; `broken`, a disk whose present
checkpoint cannot be used.
Always: everything is a function of the seed. A life ends where its schedule ends.
Never: no real file, thread or clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Literal, cast

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.engine.loop import Processor
from event_processor.model.contracts import Source, Wakeup
from event_processor.model.event import Chunk
from event_processor.model.telemetry import Telemetry
from support.engine import FakeClock, comparable, configuration, environment
from support.outbox import CommittedSeries, FakeRemoteOptions
from support.simulated_fs import SimulatedFileSystem

__all__ = [
    "CHECKPOINT",
    "FOLDER",
    "JOURNAL",
    "PREDECESSOR",
    "Append",
    "Reports",
    "Rotate",
    "Silence",
    "broken",
    "committed_journal",
    "happenings",
    "live",
    "log_path",
    "outbox",
    "settings",
    "shown",
]

FOLDER: Final = "/pipeline"
CHECKPOINT: Final = f"{FOLDER}/state/checkpoint.json"
PREDECESSOR: Final = f"{FOLDER}/state/checkpoint.previous.json"
JOURNAL: Final = f"{FOLDER}/state/journal.jsonl"
NAMES: Final = ("a", "b")
IDLE_S: Final = 2.0
GATHERED_MAX: Final = 15
GATHERING_S: Final = 0.2
REST_MAX: Final = 2000


@dataclass(frozen=True)
class Append:
    """Others append these bytes to a log, which begins then if there is none."""

    log: str
    content: bytes


@dataclass(frozen=True)
class Rotate:
    """The log gets another name."""

    log: str


@dataclass(frozen=True)
class Silence:
    """Nothing comes for so long that the order buffer is flushed."""


Happening = Append | Rotate | Silence


@dataclass
class Reports(Telemetry):
    """What was reported of the journal. `stops` is asked whenever the loop shows that it is alive, and stops it."""

    said: list[tuple[str, int, str]] = field(default_factory=list)
    stops: Callable[[], bool] = lambda: False
    processor: Processor | None = None

    def has_said(self) -> bool:
        """Whether the following of the journal ended."""
        return bool(self.said)

    def progressed(self) -> None:
        if self.stops() and self.processor:
            self.processor.stop()

    def journal_followed(self, *, path: str, entries: int) -> None:
        assert path == JOURNAL
        self.said.append(("followed", entries, ""))

    def journal_left(self, *, path: str, entries: int, reason: str) -> None:
        assert path == JOURNAL
        self.said.append(("left", entries, reason))


def log_path(name: str) -> str:
    return f"{FOLDER}/{name}.jsonl"


def settings(*, lane: bool = True, glob: bool = False, buffer_events: int = 4) -> Configuration:
    """Two logs as two sources, or as one glob; and a lane, or an ordered sink. A commit covers several happenings."""
    made = configuration(
        FOLDER,
        sink=not lane,
        buffer_events=buffer_events,
        order={"idle_release_ms": 2000},
        batch={"bytes_max": 4096},
    )

    def options(name: str) -> FileSourceOptions:
        return FileSourceOptions(path=ConfiguredPath(log_path(name), f"{name}.jsonl"), record_bytes_max=4096, retire_ms=1000)

    sources = {"logs": options("[ab]")} if glob else {name: options(name) for name in NAMES}
    return made.model_copy(update={"sources": sources, **({"sinks": {"api": FakeRemoteOptions()}} if lane else {})})


def happenings(random: Random, count: int, first_id: int = 0, *, rotates: bool = False) -> list[Happening]:
    """What happens in one life: events of about rising ids, some twice, some no events, and silences."""
    made: list[Happening] = []
    number = first_id
    for _ in range(count):
        chance = random.random()
        if chance < 0.2:
            made.append(Silence())
        elif chance < 0.3 and rotates:
            made.append(Rotate(random.choice(NAMES)))
        else:
            lines = []
            for _ in range(random.choice([1, 2, 5, 20])):
                number += 1
                shown_id = max(0, number + random.randint(-6, 3))
                event = {"id": shown_id, "category": random.choice("xyz"), "value": number, "pad": "p" * random.randint(0, 60)}
                lines.append(random.choice([b"", b"bad"]) if random.random() < 0.05 else json.dumps(event).encode())
            made.append(Append(random.choice(NAMES), b"".join(line + b"\n" for line in lines)))
    return made


@dataclass
class _Scheduled(FakeClock):
    """A clock that lets the next thing happen when the loop waits; at the end it stops the loop.

    Up to `GATHERED_MAX` more happen while the loop gathers what it found, so that one commit covers several.
    """

    fs: SimulatedFileSystem
    schedule: Iterator[Happening]
    is_over: Callable[[], bool]
    processor: Processor | None = None
    rest: int = 0
    """How often the loop waited after the end of the schedule."""
    coming: Happening | None = None
    """What happens next, if that is known already."""
    gathered: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        super().wait(wakeup, timeout_s)
        self.gathered = 0
        happening, self.coming = self.coming or next(self.schedule, None), None
        if happening is None:
            assert self.processor is not None
            self.rest += 1
            assert self.rest < REST_MAX, "the life has no end"
            if self.is_over():
                self.processor.stop()
        elif isinstance(happening, Silence):
            self.now_s += 2 * IDLE_S
        else:
            self._happen(happening)

    def has_more(self) -> bool:
        """Whether something else happens before the loop commits."""
        if self.gathered < GATHERED_MAX and self.coming is None:
            self.coming = next(self.schedule, None)
        return self.gathered < GATHERED_MAX and isinstance(self.coming, Append | Rotate)

    def stir(self) -> bool:
        """Lets it happen, if so."""
        if not self.has_more():
            return False
        happening, self.coming = self.coming, None
        assert isinstance(happening, Append | Rotate)
        self.gathered += 1
        self.now_s += GATHERING_S
        self._happen(happening)
        return True

    def _happen(self, happening: Append | Rotate) -> None:
        if isinstance(happening, Rotate):
            self._rotate(log_path(happening.log))
        else:
            path = log_path(happening.log)
            self.fs.plant(path, (self.fs.content(path) or b"") + happening.content)

    def _rotate(self, path: str) -> None:
        if self.fs.content(path):
            taken = sum(each.startswith(f"{path}.") for each in self.fs.paths())
            self.fs.rename(path, f"{path}.{taken + 1}")


class _Stirred:
    """A source during whose reads others append to the logs."""

    def __init__(self, source: Source, clock: _Scheduled) -> None:
        self._source, self._clock = source, clock

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)

    def read(self, bytes_max: int) -> Chunk | None:
        chunk = self._source.read(bytes_max)
        return chunk if chunk is not None or not self._clock.stir() else self._source.read(bytes_max)

    def has_more(self) -> bool:
        return self._clock.has_more() or self._source.has_more()


def live(
    fs: SimulatedFileSystem,
    configured: Configuration,
    schedule: Sequence[Happening] = (),
    *,
    seed: int = 0,
    reports: Reports | None = None,
    is_over: Callable[[], bool] = lambda: True,
) -> None:
    """One process, from its lock until the end of its schedule, and after that until `is_over`."""
    reports = reports or Reports()
    surroundings = environment(fs, seed=seed, telemetry=reports)
    clock = _Scheduled(fs, iter(schedule), is_over)
    object.__setattr__(surroundings, "clock", clock)
    with ExitStack() as cleanup:
        lock = lock_state(configured, surroundings)
        cleanup.callback(lock.release)
        clock.processor = open_pipeline(configured, surroundings, Mode()).processor
        cleanup.callback(clock.processor.close)
        reports.processor = clock.processor
        turns = clock.processor._sources
        turns.all[:] = [cast("Source", _Stirred(source, clock)) for source in turns.all]
        clock.processor.run()


def broken(fs: SimulatedFileSystem, seed: int = 0, how: Literal["torn", "gone"] = "torn") -> SimulatedFileSystem:
    """A copy of the disk whose present checkpoint cannot be used."""
    copy = fs.copy(seed)
    content = copy.content(CHECKPOINT) or b""
    # A new inode: after a death between two renames, the file is its own predecessor.
    copy.unlink(CHECKPOINT)
    if how == "torn":
        copy.plant(CHECKPOINT, content[:-20])
    return copy


def shown(fs: SimulatedFileSystem) -> dict[str, Any]:
    """The committed state without what depends on history."""
    return comparable(fs.content(CHECKPOINT) or b"")


def committed_journal(fs: SimulatedFileSystem) -> list[bytes]:
    """The committed lines of the journal."""
    length_bytes = json.loads(fs.content(CHECKPOINT) or b"")["state"]["appended"]["journal.jsonl"]
    return (fs.content(JOURNAL) or b"")[:length_bytes].splitlines()


def outbox(fs: SimulatedFileSystem) -> CommittedSeries:
    return CommittedSeries.read(fs.content, FOLDER, "events")
