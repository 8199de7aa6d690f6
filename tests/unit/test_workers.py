"""Decoding by several at once: the same columns in the same order, whoever decoded them and whoever died meanwhile."""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from event_processor.configuration.configuration import EventOptions
from event_processor.deduplication.runs import SortedFingerprints
from event_processor.engine.decoding.decoder import ChunkDecoder, DecoderSpec, InlineDecoding
from event_processor.engine.decoding.pool import DecodingPool
from event_processor.engine.decoding.process import ProcessWorker
from event_processor.engine.decoding.thread import ThreadWorker
from event_processor.engine.decoding.wire import pack, unpack
from event_processor.kernels.lines import KERNELS
from event_processor.model.columns import Columns
from event_processor.model.event import Chunk
from event_processor.model.telemetry import Telemetry
from event_processor.records.json_lines.format import JsonLinesFormat
from event_processor.records.objects import LineReader, ObjectFormat
from support.columns import categories_of, ids_of, timestamps_of
from support.processes import wait_until

SLOT_BYTES = 1 << 20
FORMAT = functools.partial(JsonLinesFormat, EventOptions(), record_bytes_max=1 << 20, timestamps_used=False)
SPEC = DecoderSpec({"events": FORMAT}, ("xxh3", "00" * 8))
LINES = functools.partial(LineReader, record_bytes_max=1 << 20)
LARGE = 900


class Heard(Telemetry):
    """Which workers came and went."""

    def __init__(self) -> None:
        self.born: list[int] = []
        self.lost: list[int] = []
        self.reasons: list[str] = []

    def worker_started(self, *, process_id: int) -> None:
        self.born.append(process_id)

    def worker_lost(self, *, process_id: int) -> None:
        self.lost.append(process_id)

    def worker_unavailable(self, *, reason: str) -> None:
        self.reasons.append(reason)


def lines(first: int, count: int) -> bytes:
    """Lines of one form, every hundredth spelt another way and every hundred and first no event."""
    made = []
    for number in range(first, first + count):
        line = b'{"id":"event-%08d","category":"c%d","value":%d.25,"timestamp":"2026-01-01T00:00:00Z","pad":"%s"}' % (
            number, number % 7, number % 1000, b"x" * 40,
        )  # fmt: skip
        if number % 100 == 0:
            line = b'{"value":1e3,"category":"\\u0063","id":%d}' % number
        if number % 101 == 0:
            line = b'{"id":1}'
        made.append(line + b"\n")
    return b"".join(made)


def chunks(sizes: list[int]) -> list[Chunk]:
    made: list[Chunk] = []
    offset, first = 0, 0
    for size in sizes:
        content = lines(first, size)
        made.append(Chunk("events", 1, offset, content, {"offset": offset + len(content)}))
        offset, first = offset + len(content), first + size
    return made


def plain(columns: Columns | None) -> object:
    """Everything that columns say, as Python values."""
    if columns is None:
        return None
    assert columns.values is not None
    prepared = columns.prepared_ids
    assert prepared is None or isinstance(prepared, SortedFingerprints)
    return (
        columns.content, columns.record_count, columns.blank_count, columns.rows.tolist(), columns.starts.tolist(), columns.ends.tolist(),
        ids_of(columns), categories_of(columns), columns.values.tolist(), timestamps_of(columns), list(columns.rejections),
        prepared and (prepared.run.rows().tolist(), prepared.places.tolist(), prepared.algorithm, prepared.seed),
    )  # fmt: skip


def expected(handed_in: list[Chunk]) -> list[object]:
    decode = SPEC()
    return [plain(decode(chunk)) if chunk.content else None for chunk in handed_in]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def pool_of(workers: int, telemetry: Telemetry, make_decoder: Callable[[], ChunkDecoder] = SPEC) -> DecodingPool:
    """One of processes."""
    return DecodingPool(SPEC(), workers, functools.partial(ProcessWorker, make_decoder, SLOT_BYTES), telemetry)


@pytest.fixture
def pool(heard: Heard) -> Iterator[DecodingPool]:
    made = pool_of(3, heard)
    yield made
    made.close()


@pytest.fixture
def threads(heard: Heard) -> Iterator[DecodingPool]:
    made = DecodingPool(SPEC(), 3, functools.partial(ThreadWorker, SPEC), heard)
    yield made
    made.close()


def start_workers(pool: DecodingPool) -> None:
    """By a first large chunk; afterwards they are ready."""
    (first,) = chunks([LARGE])
    pool.submit(first)
    assert plain(pool.take()[1]) == expected([first])[0]
    wait_until(lambda: all(worker.is_ready() for worker in pool._workers), "the workers are ready")


def through(pool: DecodingPool, handed_in: list[Chunk]) -> list[object]:
    """What comes back, compared while it holds."""
    found: list[object] = []
    rest = iter(handed_in)
    chunk = next(rest, None)
    while chunk is not None or pool.pending:
        while chunk is not None and pool.has_room:
            pool.submit(chunk)
            chunk = next(rest, None)
        taken, columns = pool.take()
        assert taken is handed_in[len(found)]
        found.append(plain(columns))
    return found


@pytest.mark.parametrize("kind", ["pool", "threads"])
def test_chunks_come_back_in_order_with_what_their_format_gives(kind: str, heard: Heard, request: pytest.FixtureRequest) -> None:
    pool: DecodingPool = request.getfixturevalue(kind)
    start_workers(pool)
    given = [0 for _ in pool._workers]
    for number, worker in enumerate(pool._workers):
        worker.give = functools.partial(counted, given, number, worker.give)  # type: ignore[method-assign]
    handed_in = chunks([LARGE, 1, LARGE, LARGE, 40, LARGE, LARGE, 0, LARGE, LARGE, 3000])
    assert through(pool, handed_in) == expected(handed_in)
    assert len(given) == 2
    assert len(heard.born) == (2 if kind == "pool" else 0)
    assert heard.lost == []
    assert all(given), "every worker had a part in it"


def counted(given: list[int], number: int, give: Callable[[Chunk], None], chunk: Chunk) -> None:
    given[number] += 1
    give(chunk)


def processes_of(pool: DecodingPool) -> list[int]:
    return [worker.process_id for worker in pool._workers if worker.process_id is not None]


def test_until_workers_are_there_everything_is_decoded_here(pool: DecodingPool) -> None:
    handed_in = chunks([LARGE] * 5)
    assert through(pool, handed_in) == expected(handed_in)


def test_small_chunks_start_no_process(pool: DecodingPool, heard: Heard) -> None:
    handed_in = chunks([3, 1, 20])
    assert through(pool, handed_in) == expected(handed_in)
    assert not heard.born


def test_a_worker_that_is_killed_costs_nothing_but_its_work(pool: DecodingPool, heard: Heard) -> None:
    start_workers(pool)
    handed_in = chunks([LARGE] * 9)
    found: list[object] = []
    for number, chunk in enumerate(handed_in):
        pool.submit(chunk)
        if number == 2:
            for process_id in processes_of(pool):
                os.kill(process_id, signal.SIGKILL)
                os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOWAIT)
        if not pool.has_room or number == 4:
            found.append(plain(pool.take()[1]))
    while pool.pending:
        found.append(plain(pool.take()[1]))
    assert found == expected(handed_in)
    assert sorted(heard.lost) == sorted(heard.born[:2])
    assert len(heard.born) == 4, "others took their place"


def test_where_no_process_can_be_started_everything_is_decoded_here(
    pool: DecodingPool, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    handed_in = chunks([LARGE] * 3)
    assert through(pool, handed_in) == expected(handed_in)
    assert heard.reasons == ["Resource temporarily unavailable"], "said once"


def test_where_no_thread_can_be_started_everything_is_decoded_here(
    threads: DecodingPool, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    handed_in = chunks([LARGE] * 3)
    assert through(threads, handed_in) == expected(handed_in)
    assert heard.reasons == ["can't start new thread"], "said once"


class Failing:
    """A decoder that fails at chunks that begin behind the first."""

    lets_others_run = True

    def __init__(self) -> None:
        self._decode = SPEC()

    def __call__(self, chunk: Chunk) -> Columns:
        if chunk.offset:
            raise MemoryError(chunk.offset)
        return self._decode(chunk)


def test_what_a_thread_raises_is_raised_where_its_columns_are_taken(heard: Heard) -> None:
    pool = DecodingPool(SPEC(), 2, functools.partial(ThreadWorker, Failing), heard)
    first, second = chunks([LARGE, LARGE])
    pool.submit(first)
    pool.submit(second)
    assert plain(pool.take()[1]) == expected([first])[0]
    with pytest.raises(MemoryError, match=str(second.offset)):
        pool.take()
    pool.close()


def test_a_thread_that_is_closed_decodes_no_more_and_is_gone(heard: Heard) -> None:
    decode = Held()
    before = set(threading.enumerate())
    pool = DecodingPool(SPEC(), 2, functools.partial(ThreadWorker, lambda: decode), heard)
    handed_in = chunks([LARGE] * 3)
    for chunk in handed_in:
        pool.submit(chunk)
    decode.begun.wait()
    decode.may_go_on.set()
    pool.close()
    assert set(threading.enumerate()) == before
    assert decode.asked[0] is handed_in[0]
    assert len(decode.asked) <= 2, "only what it had been given"


class Held:
    """A decoder that waits to be let go on."""

    lets_others_run = True

    def __init__(self) -> None:
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.asked: list[Chunk] = []

    def __call__(self, chunk: Chunk) -> Columns:
        self.asked.append(chunk)
        self.begun.set()
        self.may_go_on.wait()
        return SPEC()(chunk)


def test_threads_are_for_formats_that_the_kernels_read() -> None:
    assert SPEC().lets_others_run == (KERNELS is not None)
    timed = functools.partial(JsonLinesFormat, EventOptions(), record_bytes_max=1 << 20, timestamps_used=True)
    two_ids = functools.partial(JsonLinesFormat, EventOptions(id=("a", "b")), record_bytes_max=1 << 20, timestamps_used=False)
    for other in (
        timed,
        two_ids,
        functools.partial(ObjectFormat, LINES, EventOptions(), record_bytes_max=1, timestamps_used=False),
    ):
        assert not DecoderSpec({"events": FORMAT, "others": other}, None)().lets_others_run


class OnlyHere:
    """A decoder that can be made in the process that made this, and in no other."""

    def __init__(self) -> None:
        self.process_id = os.getpid()

    def __call__(self) -> ChunkDecoder:
        if os.getpid() != self.process_id:
            raise RuntimeError("not here")
        return SPEC()


def test_workers_that_always_end_are_given_up(heard: Heard, capfd: pytest.CaptureFixture[str]) -> None:
    pool = pool_of(3, heard, OnlyHere())
    for chunk in chunks([LARGE] * 30):
        for process_id in processes_of(pool):
            os.waitid(os.P_PID, process_id, os.WEXITED | os.WNOWAIT)
        pool.submit(chunk)
        assert plain(pool.take()[1]) == expected([chunk])[0]
    pool.close()
    assert len(heard.lost) == len(heard.born) <= 8 + 1
    assert heard.reasons == [f"{len(heard.lost)} worker processes ended"], "said once"
    assert capfd.readouterr() == ("", ""), "no traceback reaches anybody"


def test_closing_ends_the_processes(pool: DecodingPool, heard: Heard) -> None:
    start_workers(pool)
    pool.close()
    for process_id in heard.born:
        with pytest.raises(ProcessLookupError):
            os.kill(process_id, 0)


def test_a_worker_has_nothing_of_ours_open_and_dies_with_us(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        f"import fcntl, sys, time; sys.path.insert(0, {os.path.dirname(__file__)!r}); from test_workers import *\n"
        f"lock = open({str(tmp_path / 'lock')!r}, 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "pool = pool_of(2, Heard()); start_workers(pool)\n"
        "print(pool._workers[0].process_id, flush=True); sys.stdin.read()\n"
    )
    support = str(Path(__file__).parents[1])
    called = [sys.executable, str(program)]
    environment = {**os.environ, "PYTHONPATH": support}
    with subprocess.Popen(called, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        targets = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{child}/fd")]
        assert not [target for target in targets if "lock" in target]
        status = Path(f"/proc/{child}/status").read_text()
        ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
        # A service manager sends it to all; the worker goes when its parent goes.
        assert ignored & (1 << (signal.SIGTERM - 1))
        parent.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{child}"), "the worker is gone")


@pytest.mark.parametrize("room", [0, 100, 1 << 20])
def test_columns_cross_the_boundary_whether_or_not_their_arrays_find_room(room: int) -> None:
    (chunk,) = chunks([LARGE])
    columns = SPEC()(chunk)
    shared = memoryview(bytearray(room))
    message = pack(columns, shared)
    back = unpack(message, shared, chunk.content)
    assert plain(back) == plain(columns)
    assert back.content is chunk.content
    assert (len(message) < len(chunk.content) // 2) == (room > len(chunk.content))
    assert np.shares_memory(back.starts, np.frombuffer(shared, np.uint8)) == (room > len(chunk.content))


def test_inline_decoding_is_one_chunk_at_a_time() -> None:
    decoding = InlineDecoding({"events": FORMAT()})
    handed_in = chunks([3, 0])
    assert decoding.has_room
    decoding.submit(handed_in[0])
    assert (decoding.has_room, decoding.pending) == (False, 1)
    taken, columns = decoding.take()
    assert taken is handed_in[0]
    assert columns is not None
    assert len(ids_of(columns)) == columns.record_count - len(columns.rejections)
    decoding.submit(handed_in[1])
    assert decoding.take() == (handed_in[1], None)
    decoding.close()
