"""A random life of a whole pipeline over a real folder, against a model that knows only what was written, and what was destroyed.

The world appends, tears, rotates, compresses, cuts, replaces and removes; the engine commits in batches of any size, stops,
dies at any call and is started with another configuration. Every checkpoint on the way must be sound; at the end every record
that was not destroyed unread is counted once.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.engine.loop import Processor
from event_processor.model.contracts import Wakeup
from event_processor.model.errors import ConfigurationError, ExitCode
from event_processor.model.telemetry import Telemetry
from support.committed import Committed, read_committed
from support.engine import configuration, environment
from support.file_source import LogFolder, ManualClock
from support.mortal_fs import MortalFileSystem
from support.reference import Options, evaluate
from support.simulated_faults import SimulatedCrash

LOG = "log.jsonl"
KEPT_ROTATIONS = 60
EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 40
IDLE_S = 12.0
"""Longer than a rotated file is waited for, and than the order stage waits in silence."""


class PatientClock(ManualClock):
    """Time that passes where the engine waits; once it waited `IDLE_S` in a row there is nothing more to come."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0
        self.processor: Processor | None = None

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        self.now_s += max(timeout_s, 0.001)
        self.waited_s += max(timeout_s, 0.001)
        if self.waited_s > IDLE_S and self.processor:
            self.processor.stop()


class Overseer(Telemetry):
    """Looks at the disk behind every commit, and stops the engine behind so many."""

    def __init__(self, root: Path, clock: PatientClock) -> None:
        self.root = root
        self.clock = clock
        self.commits_left = 0

    def batch_committed(self, **facts: int) -> None:
        self.clock.waited_s = 0.0
        assert look(self.root) is not None
        self.commits_left -= 1
        if self.commits_left == 0 and self.clock.processor:
            self.clock.processor.stop()


def look(root: Path) -> Committed | None:
    """The checkpoint on the disk, sound, and its predecessor likewise."""

    def read(path: str) -> bytes | None:
        with suppress(FileNotFoundError):
            return Path(path).read_bytes()
        return None

    for name in ("checkpoint.previous.json", "checkpoint.json"):
        if committed := read_committed(read, str(root), name=name):
            committed.assert_sound()
    return committed


@dataclass
class ModelFile:
    """One file: where its whole lines stand among all records ever written, and an unfinished one."""

    records: list[int] = field(default_factory=list)
    torn: bytes = b""


class EngineMachine(RuleBasedStateMachine):
    """The world's rules first, then the engine's."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="engine-"))
        self.clock = PatientClock()
        self.folder = LogFolder(self.root, self.clock)
        self.overseer = Overseer(self.root, self.clock)
        self.batch_bytes = 1024
        self.names = Random(7)
        self.fs: MortalFileSystem | None = None
        self.life = ExitStack()
        self.processor: Processor | None = None
        self.live: ModelFile | None = None
        self.records: list[bytes] = []
        """Every record in the order of writing, of which only those in `losable` may be missing."""
        self.losable: set[int] = set()
        self.settled = 0
        """So many of the records are surely committed."""

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            shutil.rmtree(self.root)

    # The world.

    @initialize()
    def begin(self) -> None:
        """What was rotated before anything was committed is history; so begin with a commit."""
        self.append(["new", "new"])
        self.catch_up()

    @rule(kinds=st.lists(st.sampled_from(["new", "new", "new", "again", "bad", "blank", "long"]), min_size=1, max_size=12))
    def append(self, kinds: list[str]) -> None:
        live = self._live()
        content = b""
        for kind in kinds:
            record = self._record(kind)
            content += record + b"\n"
            self._wrote(live, live.torn + record)
            live.torn = b""
        self.folder.append(LOG, content)

    @rule(kind=st.sampled_from(["new", "again", "bad"]), share=st.sampled_from([0.2, 0.7, 1.0]))
    def tear(self, kind: str, share: float) -> None:
        live = self._live()
        record = self._record(kind)
        torn = record[: max(1, int(len(record) * share))]
        self.folder.append(LOG, torn)
        live.torn += torn

    @precondition(lambda self: self.live is not None)
    @rule(times=st.sampled_from([1, 1, 1, 3]), compress=st.booleans())
    def rotate(self, times: int, compress: bool) -> None:
        for turn in range(times):
            if turn:
                self.append(["new", "again"])
            assert self.live is not None
            self._end_torn(self.live)
            self.folder.rotate(LOG, KEPT_ROTATIONS)
            self.live = None
        if compress and self.processor is None and (self.root / f"{LOG}.2").exists():
            self.folder.compress(f"{LOG}.2")

    @precondition(lambda self: self.live is not None)
    @rule()
    def copytruncate(self) -> None:
        """An unfinished line that is cut and replaced by another of the same length before anybody looks cannot be missed."""
        assert self.live is not None
        if self.live.torn:
            self.losable.add(len(self.records))
        self._end_torn(self.live)
        self.folder.copytruncate(LOG, KEPT_ROTATIONS)
        self.live = ModelFile()

    @precondition(lambda self: self.live is not None)
    @rule(unread=st.sampled_from([False, False, True]), way=st.sampled_from(["truncate", "rewrite", "replace", "delete"]))
    def destroy(self, unread: bool, way: str) -> None:
        """The live file ends without a trace; what was read and committed of it stays counted."""
        assert self.live is not None
        if not unread:
            if self.live.torn:
                self.append(["new"])
            self.catch_up()
        self._end_torn(self.live)
        self.losable.update(index for index in self.live.records if index >= self.settled)
        self.live = ModelFile()
        if way == "truncate":
            self.folder.truncate(LOG)
        elif way == "rewrite":
            size_bytes = (self.root / LOG).stat().st_size
            record = self._record("new")
            padded = record[:-1] + b" " * max(0, size_bytes - len(record) - 1) + b"}"
            self.folder.write_at(LOG, 0, padded + b"\n")
            self._wrote(self.live, padded)
        elif way == "replace":
            record = self._record("new")
            self.folder.replace(LOG, record + b"\n")
            self._wrote(self.live, record)
        else:
            (self.root / LOG).unlink()
            self.live = None

    # The engine.

    @rule(commits=st.integers(1, 4))
    def commit_some(self, commits: int) -> None:
        with self._started() as processor:
            self.overseer.commits_left = commits
            self._run(processor)

    @rule()
    def catch_up(self) -> None:
        """Until nothing more comes: then all that is complete is counted."""
        with self._started() as processor:
            self.overseer.commits_left = 0
            self._run(processor)
        self._settle(drained=False)

    @rule()
    def stop(self) -> None:
        self.end()

    @rule(nth=st.integers(1, 60))
    def crash(self, nth: int) -> None:
        """Dies at a call of this run or, where the run has not so many, behind it."""
        with suppress(SimulatedCrash), self._started() as processor:
            assert self.fs is not None
            self.fs.die_at(nth)
            self.overseer.commits_left = 0
            self._run(processor)
        assert self.fs is not None
        self.fs.die()
        self._forget()
        look(self.root)

    @rule(nth=st.integers(1, 40))
    def crash_while_opening(self, nth: int) -> None:
        self.end()
        with suppress(SimulatedCrash):
            self._open(Mode(), die_at=nth)
            assert self.fs is not None
            self.fs.die()
        self._forget()
        look(self.root)

    @rule(batch_bytes=st.sampled_from([1024, 1500, 5000, 100_000]))
    def change_batch_size(self, batch_bytes: int) -> None:
        self.end()
        self.batch_bytes = batch_bytes
        self.catch_up()

    @rule()
    def change_the_value(self) -> None:
        """Another `event.value` is refused by name, and nothing is touched."""
        self.end()
        before = self._files()
        with pytest.raises(ConfigurationError) as refused:
            self._open(Mode(), value="amount")
        assert refused.value.exit_code == ExitCode.CONFIGURATION
        assert 'event.value: "value" -> "amount"' in str(refused.value)
        assert "replay" in str(refused.value)
        self._forget()
        assert self._files() == before

    @rule()
    def drain(self) -> None:
        """The end, as if it were: everything is let go and compared; then the world goes on."""
        if self.live and self.live.torn:
            self.append(["new"])
        self.end()
        self.overseer.commits_left = 0
        self._run(self._open(Mode(once=True, drain=True)))
        self.end()
        self._settle(drained=True)

    # The life of the engine.

    @contextmanager
    def _started(self) -> Iterator[Processor]:
        """The running engine, opened where it is not; whoever dies inside is gone."""
        yield self.processor or self._open(Mode())

    def _open(self, mode: Mode, *, value: str = "value", die_at: int = 0) -> Processor:
        self.fs = MortalFileSystem()
        self.fs.die_at(die_at)
        settings_now = configuration(
            str(self.root), batch_bytes=self.batch_bytes, buffer_events=6, event={"value": value}, record_bytes_max=600
        )
        surroundings = replace(environment(self.fs, seed=self.names.getrandbits(32), telemetry=self.overseer), clock=self.clock)
        lock = lock_state(settings_now, surroundings)
        self.life.callback(lock.release)
        self.processor = open_pipeline(settings_now, surroundings, mode).processor
        self.life.callback(self.processor.close)
        self.clock.processor = self.processor
        return self.processor

    def _run(self, processor: Processor) -> None:
        """Lets it run until the overseer or the clock stops it; a stopped loop may be taken up again."""
        self.clock.waited_s = 0.0
        processor._stop_reason = None
        processor.run()

    def end(self) -> None:
        """Stops it cleanly."""
        self.life.close()
        self._forget()

    def _forget(self) -> None:
        """Nothing of the process is left but its file system, for the kernel to clean up."""
        self.life.pop_all()
        if self.fs:
            self.fs.die()
        self.processor = self.clock.processor = None

    # The model.

    def _live(self) -> ModelFile:
        self.live = self.live or ModelFile()
        return self.live

    def _record(self, kind: str) -> bytes:
        number = len(self.records) + self.names.getrandbits(40) * 1_000_000
        again = self.names.choice(self.records) if kind == "again" and self.records else b""
        if kind == "blank":
            return b""
        if kind == "bad":
            return b'{"number": %d}' % number
        event_id = next(iter(_ids([again])), None) or f"e{len(self.records) + self.names.randint(-5, 5)}-{number}"
        padding = ', "padding": "' + "x" * 1000 + '"' if kind == "long" else ""
        value = self.names.choice(["0.1", "1e16", "-1e16", "3"])
        return (f'{{"id": "{event_id}", "category": "c{number % 3}", "value": {value}, "number": {number}{padding}}}').encode()

    def _wrote(self, file: ModelFile, record: bytes) -> None:
        file.records.append(len(self.records))
        self.records.append(record)

    def _end_torn(self, file: ModelFile) -> None:
        """The end of a file ends its last line."""
        if file.torn:
            self._wrote(file, file.torn)
            file.torn = b""

    def _files(self) -> dict[str, bytes]:
        below = [*(self.root / "state").rglob("*"), *(self.root / "out").rglob("*")]
        return {str(path): path.read_bytes() for path in below if path.is_file() and path.name != "lock"}

    def _settle(self, *, drained: bool) -> None:
        """What is committed is what was written; what may be missing is then gone for good."""
        committed = look(self.root)
        assert committed is not None
        missing = len(self.records) - committed.counts["records"]
        # What was rotated last is not over before something stands at the path; what was copied away may wait for that too.
        may_wait = not drained and (self.live is None or self.live == ModelFile())
        assert missing >= 0, "something was counted twice"
        assert may_wait or missing <= len(self.losable), f"{missing} of {len(self.records)} are missing"
        if drained:
            self._compare(committed)
        if not missing:
            self.losable.clear()
        if not may_wait or not missing:
            self.settled = len(self.records)

    def _compare(self, committed: Committed) -> None:
        options = Options(record_bytes_max=600, buffer_events=6, finished=True)
        if not self.losable:
            expected = evaluate(b"".join(record + b"\n" for record in self.records), options)
            assert {**committed.counts, "late": 0} == {**expected.counts, "late": 0}
            assert sorted(committed.released) == sorted(expected.released)
        totals = evaluate(b"".join(record + b"\n" for record in committed.released), options).categories
        assert committed.state["categories"] == {name: asdict(total) for name, total in totals.items()}
        accepted = {json.loads(record)["id"]: record for record in committed.released}
        assert len(accepted) == len(committed.released), "an id was accepted twice"
        places: dict[str, list[int]] = {}
        for index, record in enumerate(self.records):
            for event_id in _ids([record]) if len(record) <= 600 else []:
                places.setdefault(event_id, []).append(index)
        for event_id, indices in places.items():
            kept = [index for index in indices if self.records[index] == accepted.get(event_id)]
            before = indices[: indices.index(kept[0])] if kept else indices
            assert self.losable.issuperset(before), f"{event_id} was not accepted at its first place"
        assert accepted.keys() <= places.keys()


def _ids(records: list[bytes]) -> Iterator[str]:
    """The ids of those that are events."""
    for record in records:
        with suppress(ValueError, KeyError):
            yield json.loads(record)["id"]


TestEngineMachine = EngineMachine.TestCase
TestEngineMachine.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
