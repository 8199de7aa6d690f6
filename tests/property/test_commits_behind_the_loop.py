"""When a commit runs, at once, late or by chance, changes nothing of what it says: not at the end, and not on the way."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from event_processor.assembly import Mode, Replica, lock_state, open_pipeline, open_replica
from event_processor.engine.checkpoint import CheckpointStore
from event_processor.engine.commit import CommitThread, InlineCommits
from event_processor.engine.loop import Processor
from event_processor.model.telemetry import Telemetry
from event_processor.operations.log_reader import LogReader
from support.commits import Committing, LateCommits, RandomCommits
from support.committed import Committed, canonical_state, read_committed
from support.engine import configuration, environment, run
from support.engine_lives import several_logs
from support.logs import adversarial_log, logs, of_records
from support.simulated_faults import SimulatedCrash
from support.simulated_fs import SimulatedFileSystem

FOLDER = "/pipeline"
EXECUTORS = st.one_of(
    st.just(InlineCommits),
    st.just(LateCommits),
    st.just(CommitThread),
    st.builds(
        lambda seed, odds: partial(RandomCommits, seed, odds=odds), st.integers(0, 1000), st.sampled_from([0.05, 0.3, 0.9])
    ),
)
EXAMPLES = settings().max_examples // 2
"""The simulation dies as often under the same executors; here are the other logs, batches and buffers."""


def outcome(fs: SimulatedFileSystem, folder: str = FOLDER) -> Committed:
    committed = read_committed(fs.content, folder)
    assert committed is not None
    committed.assert_sound()
    return committed


def comparable(committed: Committed) -> tuple[bytes, bytes | None, bytes]:
    return canonical_state(committed), committed.sink, committed.dead_letters


@dataclass
class Overseer(Telemetry):
    """Finds every checkpoint sound when it is told of, counting what was told and no less; may stop behind so many."""

    fs: SimulatedFileSystem
    commits_left: int = 0
    told: int = 0
    processor: Processor | None = None

    def batch_committed(self, *, records: int, **_: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert self.processor is not None
        self.told += records
        assert outcome(self.fs).counts["records"] == self.processor.state.counts.records == self.told
        self.commits_left -= 1
        if self.commits_left == 0:
            self.processor.stop()


def live(
    fs: SimulatedFileSystem, *, batch_bytes: int, buffer_events: int, committing: Committing, commits: int, seed: int
) -> None:
    """One life that stops behind `commits` commits (0: at the end), overseen."""
    overseer = Overseer(fs, commits)
    surroundings = environment(fs, seed=seed, telemetry=overseer, committing=committing)
    pipeline = configuration(FOLDER, batch_bytes=batch_bytes, buffer_events=buffer_events)
    with ExitStack() as cleanup:
        lock = lock_state(pipeline, surroundings)
        cleanup.callback(lock.release)
        overseer.processor = open_pipeline(pipeline, surroundings, Mode(once=True)).processor
        cleanup.callback(overseer.processor.close)
        overseer.told = overseer.processor.state.counts.records
        overseer.processor.run()
        assert overseer.told == overseer.processor.state.counts.records == outcome(fs).counts["records"]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    log=st.one_of(logs(), st.integers(0, 10_000).map(lambda seed: adversarial_log(120, seed))),
    lives=st.lists(st.tuples(EXECUTORS, st.sampled_from([1024, 1500, 5000]), st.integers(0, 6), st.floats(0.1, 1)), max_size=5),
    last=EXECUTORS,
    buffer_events=st.sampled_from([0, 1, 8, 1000]),
)
def test_every_executor_ends_in_the_same_state_over_any_lives_and_chunks(
    log: bytes, lives: list[tuple[Committing, int, int, float]], last: Committing, buffer_events: int
) -> None:
    log = of_records(log)
    whole, fs = SimulatedFileSystem(1), SimulatedFileSystem(2)
    whole.plant(f"{FOLDER}/log.jsonl", log)
    run(whole, configuration(FOLDER, batch_bytes=4_194_304, buffer_events=buffer_events), drain=True)
    there_bytes = 0
    fs.plant(f"{FOLDER}/log.jsonl", b"")
    for number, (committing, batch_bytes, commits, share) in enumerate(lives):
        there_bytes += int((len(log) - there_bytes) * share)
        fs.plant(f"{FOLDER}/log.jsonl", log[:there_bytes])
        live(fs, batch_bytes=batch_bytes, buffer_events=buffer_events, committing=committing, commits=commits, seed=number)
    fs.plant(f"{FOLDER}/log.jsonl", log)
    run(fs, configuration(FOLDER, batch_bytes=1024, buffer_events=buffer_events), seed=99, drain=True, committing=last)
    assert comparable(outcome(fs)) == comparable(outcome(whole))


class Told(Telemetry):
    """How many records somebody was told of as committed, over several lives.

    A checkpoint that is seen when a process was killed is not always one: where its rename was not durable yet, a power cut right
    behind that brings back the one before. Nobody was told of it then.
    """

    def __init__(self) -> None:
        self.records = 0
        self._resumed = 0

    def started(self, *, records: int, **_: object) -> None:
        self._resumed = records

    def batch_committed(self, *, records: int, **_: int) -> None:
        self._resumed += records
        self.records = self._resumed


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    deaths=st.lists(st.tuples(EXECUTORS, st.integers(1, 250), st.booleans(), st.booleans()), min_size=1, max_size=4),
    last=EXECUTORS,
    seed=st.integers(0, 10_000),
)
def test_whoever_dies_under_any_commit_loses_only_what_was_not_committed(
    deaths: list[tuple[Committing, int, bool, bool]], last: Committing, seed: int
) -> None:
    log = adversarial_log(80, seed)
    whole, fs = SimulatedFileSystem(1), SimulatedFileSystem(seed)
    for disk in (whole, fs):
        disk.plant(f"{FOLDER}/log.jsonl", log)
    run(whole, configuration(FOLDER), drain=True)
    told = Told()
    for number, (committing, nth, after, power_cut) in enumerate(deaths):
        fs.crash_at(nth, after=after)
        with suppress(SimulatedCrash):
            run(fs, configuration(FOLDER), seed=number, committing=committing, telemetry=told)
        fs = fs.crash() if power_cut else fs.kill()
        committed = read_committed(fs.content, FOLDER)
        if committed is not None:
            committed.assert_sound()
        assert (committed.counts["records"] if committed else 0) >= told.records
    run(fs, configuration(FOLDER), seed=99, drain=True, committing=last)
    assert comparable(outcome(fs)) == comparable(outcome(whole))


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(reading=EXECUTORS, feeding=EXECUTORS, seed=st.integers(0, 1000), batch_bytes=st.sampled_from([1024, 3000, 100_000]))
def test_a_script_that_is_fed_gives_what_was_read_whatever_the_executor(
    reading: Committing, feeding: Committing, seed: int, batch_bytes: int
) -> None:
    """Several logs, so that what was read first depends on the batches and stands in the journal."""
    fs = SimulatedFileSystem(seed)
    for number, path in enumerate(["shop/a.log", "shop/b.log", "audit.log"]):
        fs.plant(f"{FOLDER}/{path}", adversarial_log(30, seed + number))
    pipeline = several_logs(FOLDER, batch_bytes=Random(seed).choice([1024, 2000]), buffer_events=16)
    run(fs, pipeline, drain=True, committing=reading)
    checkpoint = CheckpointStore(fs, f"{FOLDER}/state", Telemetry()).peek()
    assert checkpoint is not None
    fs.make_directory("/again")
    fs.make_directory("/again/state")
    surroundings = environment(fs, seed=7, committing=feeding)
    replica = Replica("/again/state", lambda _name, _path: "/again/out/ordered.jsonl")
    again = several_logs(FOLDER, batch_bytes=batch_bytes, buffer_events=16)
    with ExitStack() as cleanup:
        reader = LogReader(again, surroundings, checkpoint)
        cleanup.callback(reader.close)
        processor = open_replica(again, surroundings, replica, reading=False).processor
        cleanup.callback(processor.close)
        processor.feed(reader.script())
    assert comparable(outcome(fs, "/again")) == comparable(outcome(fs))
