"""The commit behind the loop: what runs meanwhile, who is told and when, and what a failure leaves."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from event_processor.assembly import Mode, lock_state, open_pipeline
from event_processor.configuration.configuration import Configuration, ConfiguredPath
from event_processor.connectors.files.source_options import FileSourceOptions
from event_processor.engine import batch_limits
from event_processor.engine.batch_limits import COVERED_BATCHES_MAX, GROWN_BATCHES_MAX, STEPS_WORTH
from event_processor.engine.commit import CommitExecutor, CommitThread, InlineCommits
from event_processor.engine.loop import Processor, StopReason
from event_processor.model.contracts import Source
from event_processor.model.errors import StorageError
from event_processor.model.event import Chunk, Json
from event_processor.model.telemetry import Telemetry
from support.commits import DEADLINE_S, Committing, GatedCommits, LateCommits, NoCommits, RandomCommits
from support.committed import read_committed
from support.engine import FakeClock, configuration, environment
from support.simulated_faults import MUTATING_CALLS
from support.simulated_fs import Fault, SimulatedFileSystem

FOLDER = "/pipeline"
LOG = f"{FOLDER}/log.jsonl"
LINE_BYTES_MAX = 50
"""A batch ends with a whole line: so far it may reach over its limit."""
EXECUTORS: Mapping[str, Committing] = {
    "inline": InlineCommits,
    "late": LateCommits,
    "by chance": partial(RandomCommits, 1),
    "thread": CommitThread,
}


def events(count: int, *, categories: int = 3) -> bytes:
    return b"".join(b'{"id": %d, "category": "c%d", "value": 0.1}\n' % (n, n % categories) for n in range(count))


def disk_with(content: bytes) -> SimulatedFileSystem:
    fs = SimulatedFileSystem(1)
    fs.plant(LOG, content)
    return fs


def committed_counts(fs: SimulatedFileSystem) -> dict[str, int]:
    committed = read_committed(fs.content, FOLDER)
    assert committed is not None
    committed.assert_sound()
    return committed.counts


class Told(Telemetry):
    """Remembers what each commit said, and sees that it stands on the disk when it is said, told by the loop's own thread."""

    def __init__(self, fs: SimulatedFileSystem) -> None:
        self.fs = fs
        self.rounds = 0
        self.batches: list[int] = []
        self.content_bytes: list[int] = []
        self.on_round: Callable[[int], None] = lambda _: None

    def progressed(self) -> None:
        self.rounds += 1
        self.on_round(self.rounds)

    def batch_committed(self, *, records: int, content_bytes: int, **_: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.batches.append(records)
        self.content_bytes.append(content_bytes)
        assert committed_counts(self.fs)["records"] == sum(self.batches)


class WatchedSource:
    """A source that tells what it gave, and sees at each acknowledgement that all of it is committed."""

    def __init__(self, source: Source, fs: SimulatedFileSystem) -> None:
        self.name = source.name
        self.source = source
        self.fs = fs
        self.asked: list[int] = []
        self.given_end = 0
        self.acknowledged: list[int] = []
        self.on_read: Callable[[int], None] = lambda _: None
        self.read_from: Callable[[int], Chunk | None] = source.read

    def open(self, parts: Mapping[int, Mapping[str, Json]], next_part: int) -> None:
        self.source.open(parts, next_part)

    def read(self, bytes_max: int) -> Chunk | None:
        self.asked.append(bytes_max)
        self.on_read(len(self.asked))
        chunk = self.read_from(bytes_max)
        self.given_end = chunk.end_offset if chunk else self.given_end
        return chunk

    def lag_bytes(self) -> int:
        return self.source.lag_bytes()

    def has_more(self) -> bool:
        return self.source.has_more()

    def wait_s(self) -> float | None:
        return self.source.wait_s()

    def acknowledge(self) -> None:
        assert threading.current_thread() is threading.main_thread()
        committed = read_committed(self.fs.content, FOLDER)
        assert committed is not None
        files = committed.state["sources"][self.name]["generations"] if self.given_end else []
        assert {file["position"]["offset"] for file in files} == ({self.given_end} if self.given_end else set())
        self.acknowledged.append(self.given_end)

    def close(self) -> None:
        self.source.close()


class Pipeline:
    """One opened pipeline over the log, its telemetry and its watched source."""

    def __init__(self, processor: Processor, told: Told, source: WatchedSource, clock: FakeClock) -> None:
        self.processor = processor
        self.told = told
        self.source = source
        self.clock = clock


@contextmanager
def opened(
    fs: SimulatedFileSystem, executor: CommitExecutor, *, once: bool = True, settings: Configuration | None = None
) -> Iterator[Pipeline]:
    told, clock = Told(fs), FakeClock()
    surroundings = replace(environment(fs, telemetry=told, committing=lambda: executor), clock=clock)
    settings = settings or configuration(FOLDER)
    lock = lock_state(settings, surroundings)
    processor = open_pipeline(settings, surroundings, Mode(once=once)).processor
    places = [place for place, source in enumerate(processor._sources.all) if source.name == "log"]
    source = WatchedSource(processor._sources.all[places[0]], fs)
    processor._sources.all[places[0]] = source
    yield Pipeline(processor, told, source, clock)
    processor.close()
    lock.release()


@pytest.mark.parametrize("name", EXECUTORS)
def test_nobody_is_told_of_a_commit_before_it_is_durable(name: str) -> None:
    fs = disk_with(events(1200))
    with opened(fs, EXECUTORS[name]()) as pipeline:
        assert pipeline.processor.run() is StopReason.END
        assert pipeline.processor.state.counts.records == 1200
    assert sum(pipeline.told.batches) == 1200
    assert len(pipeline.told.batches) > 8
    assert pipeline.source.acknowledged[-1] == len(events(1200))


def test_a_source_that_gave_more_meanwhile_is_acknowledged_when_that_is_committed_too() -> None:
    fs = disk_with(events(300))
    with opened(fs, LateCommits()) as pipeline:
        pipeline.processor.run()
    assert pipeline.source.acknowledged == [len(events(300))] * len(pipeline.source.acknowledged)


def test_the_next_batch_is_read_while_the_commit_is_under_way_and_the_state_is_the_last_committed() -> None:
    fs = disk_with(events(300))
    executor = GatedCommits()
    with opened(fs, executor) as pipeline:
        before: list[int] = []

        def look(_: int) -> None:
            # The gate opens only once something was read behind the batch whose commit waits there.
            before.append(pipeline.processor.state.counts.records)
            assert before[-1] == committed_counts(fs)["records"] or executor.gate.is_set()
            if pipeline.source.given_end > 1024:
                executor.gate.set()

        pipeline.source.on_read = look
        pipeline.processor.run()
    assert before[:3] == [0, 0, 0]
    assert sum(pipeline.told.batches) == 300


def test_a_batch_grows_to_four_times_its_limit_while_a_commit_is_under_way_and_no_further() -> None:
    fs = disk_with(events(1200))
    with opened(fs, LateCommits()) as pipeline:
        pipeline.processor.run()
    grown_bytes = GROWN_BATCHES_MAX * 1024
    assert pipeline.told.content_bytes[0] < 1024 + LINE_BYTES_MAX
    assert max(pipeline.told.content_bytes) < grown_bytes + LINE_BYTES_MAX
    assert min(pipeline.told.content_bytes[2:-1]) >= grown_bytes - 1024 // STEPS_WORTH
    assert len(pipeline.told.content_bytes) > 8
    assert max(pipeline.source.asked) <= 1024


def test_a_batch_that_is_full_when_no_commit_is_under_way_does_not_grow() -> None:
    fs = disk_with(events(300))
    with opened(fs, InlineCommits()) as pipeline:
        pipeline.processor.run()
    assert max(pipeline.told.content_bytes) < 1024 + LINE_BYTES_MAX


@pytest.mark.parametrize("covered", [1, 4])
def test_no_step_is_taken_for_the_few_bytes_that_are_missing_to_a_full_batch(
    covered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b'{"id": %3d, "category": "c", "value": 1}'
    fs = disk_with(b"".join((line % number).ljust(44) + b"\n" for number in range(91 * 8)))
    with opened(fs, InlineCommits(), settings=configuration(FOLDER, batch_bytes=4096)) as pipeline:
        if covered > 1:
            # As where the checkpoint is large: a commit covers several multiples, and each is read as one.
            monkeypatch.setattr(batch_limits, "CHECKPOINT_BYTES_SMALL", 1)
            monkeypatch.setattr(batch_limits, "CHECKPOINT_WORTH", 1000)
            monkeypatch.setattr(batch_limits, "COVERED_BATCHES_MAX", covered)
            pipeline.processor._checkpoint_bytes = 2000
        assert pipeline.processor.run() is StopReason.END
    # 91 lines are 4,095 bytes.
    assert set(pipeline.told.batches) == {91 * covered}
    assert set(pipeline.source.asked) <= {4096}


def test_a_log_without_a_backlog_is_committed_without_another_thread() -> None:
    fs = disk_with(events(3))
    with opened(fs, NoCommits(), once=False) as pipeline:

        def append(turn: int) -> None:
            if turn < 8:
                fs.plant(LOG, events(3 + turn))
            else:
                pipeline.processor.stop()

        pipeline.told.on_round = append
        assert pipeline.processor.run() is StopReason.SIGNAL
    assert committed_counts(fs)["records"] == 10


def test_a_commit_waits_for_nothing_that_comes_while_it_is_gathered() -> None:
    fs = disk_with(b"")
    with opened(fs, NoCommits(), once=False) as pipeline:

        def append(reads: int) -> None:
            # Each look finds one record more, as in a log that grows faster than a step takes.
            fs.plant(LOG, events(reads))
            if reads == 20:
                pipeline.processor.stop()

        pipeline.source.on_read = append
        assert pipeline.processor.run() is StopReason.SIGNAL
    assert pipeline.told.batches == [1] * 20


def test_what_many_files_hold_already_is_one_commit() -> None:
    fs = SimulatedFileSystem(1)
    for number in range(5):
        fs.plant(f"{FOLDER}/logs/{number}.jsonl", b'{"id": %d, "category": "c", "value": 1}\n' % number)
    logs = FileSourceOptions(path=ConfiguredPath(f"{FOLDER}/logs/*.jsonl", "logs/*.jsonl"))
    settings = configuration(FOLDER).model_copy(update={"sources": {"log": logs}})
    with opened(fs, NoCommits(), once=False, settings=settings) as pipeline:

        def stop(round_number: int) -> None:
            if round_number > 1:
                pipeline.processor.stop()

        pipeline.told.on_round = stop
        assert pipeline.processor.run() is StopReason.SIGNAL
    assert pipeline.told.batches == [5]


@pytest.mark.parametrize("ask", [Processor.stop, Processor.reload])
@pytest.mark.parametrize("name", ["late", "thread"])
def test_a_stop_under_a_commit_ends_behind_the_batch_at_hand(ask: Callable[[Processor], None], name: str) -> None:
    fs = disk_with(events(300))
    with opened(fs, EXECUTORS[name](), once=False) as pipeline:
        read_before: list[int] = []

        def stop(reads: int) -> None:
            if pipeline.source.given_end > 1024 and not read_before:
                # The first commit was handed over: this read is of the batch behind it.
                read_before.append(reads)
                ask(pipeline.processor)

        pipeline.source.on_read = stop
        assert pipeline.processor.run() is (StopReason.SIGNAL if ask is Processor.stop else StopReason.RELOAD)
        assert pipeline.processor.state.counts.records == committed_counts(fs)["records"] == sum(pipeline.told.batches)
    assert len(pipeline.told.batches) in (2, 3)
    committed = read_committed(fs.content, FOLDER)
    assert committed is not None
    assert committed.state["sources"]["log"]["generations"][0]["position"]["offset"] == pipeline.source.given_end


@pytest.mark.parametrize("name", ["late", "by chance", "thread"])
def test_a_stop_while_the_batch_at_hand_is_full_waits_for_its_commit_too(name: str) -> None:
    lines = [b'{"id": %d, "category": "c", "value": 1}' % number for number in range(300)]
    fs = disk_with(b"".join(line.ljust(63) + b"\n" for line in lines))
    with opened(fs, EXECUTORS[name](), once=False) as pipeline:

        def stop(_: int) -> None:
            if pipeline.source.given_end == 1024:
                pipeline.processor.stop()

        pipeline.source.on_read = stop
        assert pipeline.processor.run() is StopReason.SIGNAL
        assert pipeline.told.batches == [16, 16]
        assert pipeline.processor.state.counts.records == committed_counts(fs)["records"] == 32


def calls_that_change(fs: SimulatedFileSystem) -> int:
    return sum(count for call, count in fs.calls.items() if call in MUTATING_CALLS)


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize(
    ("kind", "nth"), [("write", 25), ("sync", 15), ("sync_directory", 25), ("link", 6), ("rename", 9), ("create", 9)]
)
def test_a_commit_that_fails_behind_the_loop_ends_it_and_nothing_behind_it_is_written(name: str, kind: str, nth: int) -> None:
    fs = disk_with(events(1200))
    with opened(fs, EXECUTORS[name]()) as pipeline:
        fs.fail(Fault(errno=errno.EIO, nth=nth, kinds={kind}))
        with pytest.raises(StorageError, match=FOLDER):
            pipeline.processor.run()
        stands, changes = committed_counts(fs)["records"], calls_that_change(fs)
        assert 0 < sum(pipeline.told.batches) <= stands < 1200
        assert pipeline.processor.state.counts.records == sum(pipeline.told.batches)
        # Even who goes on as if nothing had been writes nothing.
        with pytest.raises(StorageError, match="cannot continue"):
            pipeline.processor.run()
        assert calls_that_change(fs) == changes
    assert committed_counts(fs)["records"] == stands
    assert calls_that_change(fs) == changes


class ToldWhenDone(CommitThread):
    """The real thread, and a flag that is set when a commit is done, well or not."""

    def __init__(self) -> None:
        super().__init__()
        self.done = threading.Event()

    def submit(self, job: Callable[[], int]) -> Future[int]:
        future = super().submit(job)
        future.add_done_callback(lambda _: self.done.set())
        return future


def test_a_commit_that_failed_is_seen_at_the_next_look_and_not_only_when_the_batch_is_full() -> None:
    fs = disk_with(events(300))
    executor = ToldWhenDone()
    with opened(fs, executor) as pipeline:
        source, reads_behind = pipeline.source.source, list[int]()

        def read_a_line(bytes_max: int) -> Chunk | None:
            """Behind the first batch the source gives little at a time, so that the second is long in gathering."""
            if pipeline.source.given_end < 1024 - 1024 // STEPS_WORTH:
                return source.read(bytes_max)
            reads_behind.append(bytes_max)
            assert executor.done.wait(DEADLINE_S)
            return source.read(50)

        pipeline.source.read_from = read_a_line
        fs.fail(Fault(errno=errno.ENOSPC, kinds={"write"}, lasting=True))
        with pytest.raises(StorageError, match="write failed"):
            pipeline.processor.run()
    assert len(reads_behind) == 1


@pytest.mark.parametrize("name", ["late", "by chance", "thread"])
def test_a_loop_that_fails_under_a_commit_leaves_that_commit_whole(name: str) -> None:
    fs = disk_with(events(1200))
    with opened(fs, EXECUTORS[name]()) as pipeline:

        def fail(_: int) -> None:
            if pipeline.source.given_end > 16_000:
                raise OSError(errno.EIO, "the log cannot be read", LOG)

        pipeline.source.on_read = fail
        with pytest.raises(StorageError, match=LOG):
            pipeline.processor.run()
    # `Told` saw that every commit stood on the disk when it was told of, the last one at the closing.
    assert committed_counts(fs)["records"] == sum(pipeline.told.batches) == pipeline.processor.state.counts.records
    assert sum(pipeline.told.content_bytes) > 1000


def test_a_commit_that_fails_at_the_closing_is_raised_and_every_file_is_closed() -> None:
    fs = disk_with(events(300))

    def live() -> None:
        with opened(fs, LateCommits()) as pipeline:

            def fail(_: int) -> None:
                if pipeline.source.given_end > 1024:
                    fs.fail(Fault(errno=errno.EIO, kinds={"sync"}))
                    raise OSError(errno.EIO, "the log cannot be read", LOG)

            pipeline.source.on_read = fail
            with pytest.raises(StorageError, match=LOG):
                pipeline.processor.run()

    with pytest.raises(StorageError, match="fsync failed"):
        live()
    assert [file.path for file in fs._open_files.values() if not file.path.endswith("/lock")] == []


def test_a_large_checkpoint_is_rewritten_only_for_so_much_of_the_log_as_it_is_worth() -> None:
    """With a checkpoint of hundreds of kilobytes a commit covers 16 batches of a kilobyte, which is the bound, in steps of one."""
    fs = disk_with(events(2500, categories=800))
    with opened(fs, LateCommits()) as pipeline:
        pipeline.processor.run()
    size_bytes = len(fs.content(f"{FOLDER}/state/checkpoint.json") or b"")
    assert size_bytes > 128 * 1024
    limit_bytes = COVERED_BATCHES_MAX * 1024
    assert max(pipeline.told.content_bytes) < limit_bytes + LINE_BYTES_MAX
    assert pipeline.told.content_bytes[0] < 1024 + LINE_BYTES_MAX
    assert min(pipeline.told.content_bytes[-4:-1]) >= limit_bytes - 1024 // STEPS_WORTH
    assert max(pipeline.source.asked) <= 1024
    assert committed_counts(fs)["accepted"] == 2500


def test_a_commit_covers_eight_times_its_checkpoint_where_that_is_less_than_the_bound() -> None:
    fs = disk_with(events(60_000, categories=700))
    settings = configuration(FOLDER, batch_bytes=200_000, sink=False)
    with opened(fs, LateCommits(), settings=settings) as pipeline:
        pipeline.processor.run()
    size_bytes = len(fs.content(f"{FOLDER}/state/checkpoint.json") or b"")
    assert pipeline.told.content_bytes[0] < 200_000 + LINE_BYTES_MAX
    for content_bytes in pipeline.told.content_bytes[2:-1]:
        assert 7 * size_bytes < content_bytes < 9 * size_bytes + 200_000


def test_one_thread_runs_every_commit_and_ends_when_it_is_closed() -> None:
    executor, threads = CommitThread(), set[threading.Thread]()

    def job() -> int:
        threads.add(threading.current_thread())
        return 7

    def failing() -> int:
        raise StorageError("write", "x", errno.EIO, "no")

    assert [executor.submit(job).result(20) for _ in range(3)] == [7, 7, 7]
    with pytest.raises(StorageError):
        executor.submit(failing).result(20)
    assert executor.submit(job).result(20) == 7
    executor.close()
    assert [(thread.name, thread.daemon, thread.is_alive()) for thread in threads] == [("commit", True, False)]
    assert threading.main_thread() not in threads


def test_a_thread_that_was_never_needed_is_never_begun() -> None:
    before = threading.active_count()
    executor = CommitThread()
    assert threading.active_count() == before
    executor.close()
