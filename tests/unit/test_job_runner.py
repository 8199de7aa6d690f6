"""Which job runs, which is tried again, and which has failed: by the ends of scripted processes, on a clock that only waits move."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from event_processor.assembly import Environment, process_name
from event_processor.configuration.configuration import JobsOptions
from event_processor.model.contracts import Wakeup
from event_processor.model.errors import StorageError
from event_processor.model.options import ConfiguredPath
from event_processor.model.telemetry import Telemetry
from event_processor.service.jobs import process as job_process
from event_processor.service.jobs import uploads
from event_processor.service.jobs.inputs import JobInputs
from event_processor.service.jobs.job import Job, JobFolder, JobInput, JobRequest, RefusedError
from event_processor.service.jobs.process import Call, FoundProcess, StartedProcess, start
from event_processor.service.jobs.retries import FAILURES_MAX
from event_processor.service.jobs.runner import Runner, Settings
from event_processor.service.jobs.store import JobStore
from event_processor.service.jobs.uploads import UploadStore
from event_processor.storage.durable import OperatingSystem
from event_processor.storage.lock import HANDED_LOCK, DirectoryLock
from support.processes import wait_until


class Clock:
    """Moves when it is waited for."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        self.now_s += timeout_s


@dataclass
class Process:
    """Ends when the test says so."""

    argument: str
    arriving: str = ""
    code: int | None = None
    signals: list[signal.Signals] = field(default_factory=list)

    def is_over(self) -> bool:
        return self.code is not None

    def exit_code(self) -> int | None:
        return self.code

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number)


class Disk(OperatingSystem):
    """The real one. Nothing below a path of `broken` can be opened; if it `is_full`, nothing new can be written."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.is_full = False

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        if any(path.startswith(each) for each in self.broken):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        if self.is_full and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return super().open(path, flags, mode)


class Heard(Telemetry):
    """What was reported about files of jobs."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def jobs_unavailable(self, *, path: str, reason: str) -> None:
        self.reasons.append(reason)


class World:
    """A runner of a folder, whose processes are scripted."""

    def __init__(self, folder: Path, processes_max: int = 2, disk: Disk | None = None) -> None:
        for name in ("pipelines", "inputs"):
            (folder / name).mkdir(exist_ok=True)
        (folder / "pipelines" / "counts.toml").write_text("")
        for name in "abc":
            (folder / "inputs" / name).write_text("")
        self.clock = Clock()
        self.disk = disk or Disk()
        self.heard = Heard()
        self.environment = Environment(clock=self.clock, fs=self.disk, telemetry=self.heard)
        self.options = JobsOptions(
            pipelines_dir=ConfiguredPath(str(folder / "pipelines")),
            input_dirs=(ConfiguredPath(str(folder / "inputs")),),
            processes_max=processes_max,
            keep_s=600,
        )
        self.uploads = UploadStore(self.environment, str(folder / "jobs" / "uploads"))
        self.inputs = JobInputs(self.options, self.environment, {}, self.uploads)
        self.store = JobStore(self.environment, str(folder / "jobs"), lambda: None, self.uploads)
        self.started: list[Process] = []
        self.runner = Runner(self.environment, self.store, self.uploads, Settings(self.options, self.inputs), starts=self._start)
        self.runner._open()

    def _start(self, _environment: object, _folder: JobFolder, call: Call) -> Process:
        self.started.append(Process(call.argument, call.arriving))
        return self.started[-1]

    def submit(self, name: str = "a") -> Job:
        request = JobRequest("counts", JobInput(path=name))
        return self.store.submit(request, self.inputs.argument(request.input), "", self.options)[0]

    def upload(self, length: int) -> tuple[str, Job]:
        """An upload to which nothing was sent yet, and a job that reads it."""
        upload = self.uploads.create(length, self.options).id
        request = JobRequest("counts", JobInput(upload=upload))
        return upload, self.store.submit(request, self.inputs.argument(request.input), "", self.options)[0]

    def send(self, upload: str, content: bytes) -> None:
        piece = self.uploads.begin(upload, self.uploads.get(upload).offset, self.options)
        piece.add(content)
        piece.close()

    def rounds(self, seconds: float = 0.0) -> None:
        """Rounds for so long, one a second."""
        self.runner._round()
        for _ in range(int(seconds)):
            self.clock.now_s += 1
            self.runner._round()

    def says(self, job: Job, *, done_bytes: int) -> None:
        Path(self.store.folder(job.id).progress).write_text(json.dumps({"done_bytes": done_bytes, "size_bytes": 9}))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def test_jobs_run_in_the_order_of_submission_and_only_so_many_at_a_time(world: World) -> None:
    jobs = [world.submit(name) for name in "abc"]
    world.rounds()
    assert [os.path.basename(each.argument) for each in world.started] == ["a", "b"]
    assert world.runner.running() == {jobs[0].id, jobs[1].id}
    world.started[1].code = 0
    world.rounds()
    assert [os.path.basename(each.argument) for each in world.started] == ["a", "b", "c"]
    assert [world.store.get(each.id).state for each in jobs] == ["queued", "done", "queued"]


@pytest.mark.parametrize("code", [64, 65, 66, 78])
def test_an_end_that_does_not_change_is_a_failure_at_once(world: World, code: int) -> None:
    job = world.submit()
    world.rounds()
    said = {"event": "failed", "message": "no such column", "hint": "name another"}
    Path(world.store.folder(job.id).said).write_text(f"not json\n{json.dumps(said)}\n")
    world.started[0].code = code
    world.rounds(100)
    failed = world.store.get(job.id)
    assert (failed.state, failed.exit_code, failed.error, failed.hint) == ("failed", code, "no such column", "name another")
    assert len(world.started) == 1


def test_a_process_that_fails_without_progress_is_started_again_only_so_often(world: World) -> None:
    job = world.submit()
    world.rounds()
    for failures in range(1, FAILURES_MAX):
        world.started[-1].code = -9
        world.rounds(100)
        assert (world.store.get(job.id).failures, len(world.started)) == (failures, failures + 1)
    world.started[-1].code = 70
    world.rounds(100)
    failed = world.store.get(job.id)
    assert (failed.state, failed.failures, failed.error) == ("failed", FAILURES_MAX, "the process ended with 70")
    assert len(world.started) == FAILURES_MAX


def test_a_process_that_fails_after_progress_is_always_started_again(world: World) -> None:
    job = world.submit()
    world.rounds()
    for number in range(1, 3 * FAILURES_MAX):
        world.says(job, done_bytes=number)
        world.started[-1].code = -9
        world.rounds(100)
    assert (world.store.get(job.id).failures, len(world.started)) == (1, 3 * FAILURES_MAX)
    world.started[-1].code = 0
    world.rounds()
    assert (world.store.get(job.id).state, world.store.get(job.id).error) == ("done", "")


def test_a_cancelled_job_is_asked_to_end_and_then_killed(world: World) -> None:
    job = world.submit()
    world.rounds()
    world.store.cancel(job.id)
    world.rounds(9)
    assert world.started[0].signals == [signal.SIGTERM]
    world.rounds(2)
    assert world.started[0].signals == [signal.SIGTERM, signal.SIGKILL]
    world.started[0].code = 0  # it finished all the same, too late
    world.rounds(1)
    assert (world.store.get(job.id).state, world.runner.running()) == ("cancelled", frozenset())


def test_the_files_of_a_deleted_job_go_only_when_its_process_has_ended(world: World) -> None:
    job = world.submit()
    world.rounds()
    world.store.delete(job.id)
    world.rounds(5)
    assert os.path.isdir(world.store.folder(job.id).path)
    world.started[0].code = 143
    world.rounds()
    assert not os.path.exists(world.store.folder(job.id).path)
    assert world.store.all() == []


def test_a_job_is_kept_for_a_while_after_its_end(world: World) -> None:
    job = world.submit()
    world.rounds()
    world.started[0].code = 0
    world.rounds(590)
    assert world.store.get(job.id).state == "done"
    world.rounds(20)
    assert world.store.all() == []


def test_a_process_of_an_earlier_server_is_waited_for_and_counts(world: World, tmp_path: Path) -> None:
    """Whatever the earlier server knew: the lock decides."""
    job = world.submit()
    held = os.open(world.store.folder(job.id).lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    world.store.close()
    later = World(tmp_path, processes_max=1)
    waiting = later.submit("b")
    later.rounds(10)
    assert later.runner.running() == {job.id}
    assert not later.started
    os.close(held)
    later.rounds(1)
    # How it ended is not known, so another one looks at what it left.
    assert later.runner.running() == {job.id}
    later.started[0].code = 0
    later.rounds(1)
    assert later.store.get(job.id).state == "done"
    assert later.runner.running() == {waiting.id}
    later.store.close()


def test_a_process_is_known_to_the_next_server_before_its_first_step(tmp_path: Path) -> None:
    """The first server dies while the process has done nothing yet, as on a machine that is busy."""
    spawned: list[StartedProcess] = []

    def stopped(environment: Environment, folder: JobFolder, call: Call) -> StartedProcess:
        spawned.append(start(environment, folder, call))
        spawned[-1].send(signal.SIGSTOP)
        return spawned[-1]

    world = World(tmp_path)
    job = world.submit()
    Runner(world.environment, world.store, world.uploads, Settings(world.options, world.inputs), starts=stopped)._round()
    assert not os.path.exists(world.store.folder(job.id).state), "it holds no lock of its own"
    world.store.close()
    later = World(tmp_path)
    later.rounds(100)
    assert later.runner.running() == {job.id}
    assert not later.started
    later.store.cancel(job.id)
    later.rounds(11)
    wait_until(spawned[0].is_over, "the next server has killed it, by its name in the lock")
    assert spawned[0].exit_code() == -signal.SIGKILL
    later.rounds()
    assert later.runner.running() == frozenset()
    later.store.close()


def test_a_process_of_an_earlier_server_gets_one_signal_although_two_locks_name_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.store.folder(world.submit().id)
    os.makedirs(folder.state)
    held = [
        DirectoryLock(world.disk, path, process_name(os.getpid())) for path in (folder.lock, os.path.join(folder.state, "lock"))
    ]
    signals: list[int] = []
    monkeypatch.setattr(job_process, "_arguments_of", lambda *_: [folder.state])
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda _descriptor, number: signals.append(number))
    FoundProcess(world.environment, folder).send(signal.SIGTERM)
    assert signals == [signal.SIGTERM]
    for lock in held:
        lock.release()


def test_a_process_that_finds_the_lock_taken_is_no_failure(world: World) -> None:
    job = world.submit()
    world.rounds()
    os.makedirs(world.store.folder(job.id).state)
    held = os.open(os.path.join(world.store.folder(job.id).state, "lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    world.started[0].code = 75
    world.rounds(10)
    assert (world.store.get(job.id).failures, len(world.started)) == (0, 1)
    assert world.runner.running() == {job.id}
    os.close(held)
    world.rounds(1)
    assert len(world.started) == 2


def test_an_input_that_leads_elsewhere_at_the_start_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("")
    job = world.submit()
    (tmp_path / "inputs" / "a").unlink()
    (tmp_path / "inputs" / "a").symlink_to(tmp_path / "secret")
    world.rounds()
    assert (world.store.get(job.id).state, world.started) == ("failed", [])


def test_a_parameter_cannot_read_the_environment(world: World, tmp_path: Path) -> None:
    (tmp_path / "pipelines" / "counts.toml").write_text('[jobs]\nparameters = ["event.category"]\n')
    inputs = JobInputs(world.options, world.environment, {"SECRET": "s"}, world.uploads)
    given = JobRequest("counts", JobInput(path="a"), {"event.category": "kind"})
    assert inputs.overrides(given) == ['event.category="kind"']
    with pytest.raises(RefusedError, match="with"):
        inputs.overrides(JobRequest("counts", JobInput(path="a"), {"event.category": "${SECRET}"}))


def test_a_folder_that_cannot_be_used_is_reported_once_and_tried_again(world: World, tmp_path: Path) -> None:
    heard = Heard()
    environment = replace(world.environment, telemetry=heard)
    (tmp_path / "elsewhere").write_text("a file, not a folder")
    for directory, words in ((tmp_path / "jobs", "held by process"), (tmp_path / "elsewhere", "is a file")):
        heard.reasons.clear()
        store, uploads = JobStore(environment, str(directory), lambda: None), UploadStore(environment, str(directory / "uploads"))
        runner = Runner(environment, store, uploads, Settings(world.options, world.inputs))
        assert [runner._guarded(runner._open) for _ in range(3)] == [False] * 3
        assert (len(heard.reasons), words in heard.reasons[0], store.is_open) == (1, True, False)


def test_a_fault_of_one_round_is_reported_and_does_not_end_the_thread(world: World) -> None:
    heard = Heard()
    runner = Runner(
        replace(world.environment, telemetry=heard), world.store, world.uploads, Settings(world.options, world.inputs)
    )

    def faulty() -> None:
        raise ValueError("unexpected")

    assert (runner._guarded(faulty), heard.reasons) == (False, ["internal error: ValueError: unexpected"])


def test_a_document_that_cannot_be_read_is_left_as_it_is_and_counted(world: World, tmp_path: Path) -> None:
    job = world.submit()
    world.store.close()
    document = Path(world.store.folder(job.id).document)
    document.write_bytes(b"torn")
    later = World(tmp_path)
    assert (later.store.all(), later.store.unreadable, document.read_bytes()) == ([], [str(document)], b"torn")
    later.store.close()


def test_documents_that_the_disk_does_not_give_stop_no_other_job_and_are_looked_at_again(world: World, tmp_path: Path) -> None:
    bad, good = world.submit("a"), world.submit("b")
    upload = world.uploads.create(0, world.options)
    request = JobRequest("counts", JobInput(upload=upload.id))
    waiting, _ = world.store.submit(request, world.inputs.argument(request.input), "", world.options)
    world.store.close()
    disk = Disk()
    disk.broken = {world.store.folder(bad.id).document, os.path.join(world.uploads.directory, upload.id)}
    later = World(tmp_path, processes_max=3, disk=disk)
    later.rounds()
    assert (set(later.runner.running()), list(later.store.unreadable)) == ({good.id}, [world.store.folder(bad.id).document])
    disk.broken.clear()
    later.rounds(6)
    assert (set(later.runner.running()), list(later.store.unreadable)) == ({good.id, bad.id, waiting.id}, [])
    later.store.close()


def test_a_lock_that_cannot_be_looked_at_stops_no_other_job(world: World, tmp_path: Path) -> None:
    bad, good = world.submit("a"), world.submit("b")
    Path(world.store.folder(bad.id).lock).touch()
    world.store.close()
    disk = Disk()
    disk.broken = {world.store.folder(bad.id).lock}
    later = World(tmp_path, disk=disk)
    later.rounds(5)
    assert (set(later.runner.running()), len(later.heard.reasons)) == ({good.id}, 1)
    disk.broken.clear()
    later.rounds(2)
    assert later.runner.running() == {good.id, bad.id}
    later.store.close()


def test_an_end_that_cannot_be_written_stops_no_other_job_and_is_written_later(world: World) -> None:
    bad, good, waiting = (world.submit(name) for name in "abc")
    world.rounds()
    world.disk.broken = {world.store.folder(bad.id).path}
    for process in world.started:
        process.code = 0
    world.rounds(5)
    assert [world.store.get(each.id).state for each in (bad, good)] == ["queued", "done"]
    assert world.runner.running() == {bad.id, waiting.id}
    assert len(world.heard.reasons) == 1
    world.disk.broken.clear()
    world.rounds(2)
    assert (world.store.get(bad.id).state, len(world.started)) == ("done", 3)


def test_a_full_disk_of_the_jobs_is_healed_by_their_removal(world: World) -> None:
    """Neither a deletion nor the end of the time for which a job is kept needs room."""
    deleted, old = world.submit("a"), world.submit("b")
    world.rounds()
    for process in world.started:
        process.code = 0
    world.rounds()
    world.disk.is_full = True
    world.store.delete(deleted.id)
    assert not os.path.exists(world.store.folder(deleted.id).document), "durable before the answer"
    world.rounds()
    assert not os.path.exists(world.store.folder(deleted.id).path)
    world.rounds(620)
    assert not os.path.exists(world.store.folder(old.id).path)
    assert (world.store.all(), world.heard.reasons) == ([], [])


def test_a_job_that_is_cancelled_on_a_full_disk_is_ended_and_written_when_there_is_room(world: World, tmp_path: Path) -> None:
    job = world.submit()
    world.rounds()
    world.disk.is_full = True
    for _ in range(2):
        with pytest.raises(RefusedError, match="a restart would undo that"):
            world.store.cancel(job.id)
    world.rounds()
    assert (world.started[0].signals, world.store.get(job.id).state) == ([signal.SIGTERM], "cancelled")
    world.started[0].code = 143
    world.rounds(5)
    world.disk.is_full = False
    world.rounds(6)
    assert world.store.unwritten == []
    world.store.close()
    later = World(tmp_path)
    assert later.store.get(job.id).state == "cancelled"
    later.store.close()


def test_a_job_that_is_deleted_on_a_full_disk_is_ended_and_removed(world: World) -> None:
    job = world.submit()
    world.rounds()
    world.disk.is_full = True
    with pytest.raises(RefusedError, match="a restart would undo that"):
        world.store.delete(job.id)
    world.rounds()
    assert world.started[0].signals == [signal.SIGTERM]
    world.started[0].code = 143
    world.rounds()
    assert not os.path.exists(world.store.folder(job.id).path)
    assert (world.store.all(), len(world.started)) == ([], 1)


def test_a_deleted_job_whose_process_ends_slowly_makes_no_sweep_in_each_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps: list[int] = []
    monkeypatch.setattr(world.runner, "_sweep", lambda: sweeps.append(1))
    job = world.submit()
    world.rounds()
    world.store.delete(job.id)
    for _ in range(100):
        world.rounds()
    assert len(sweeps) == 1


def test_no_job_is_started_while_the_disk_has_too_little_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    free = world.options.free_bytes_min - 1
    monkeypatch.setattr(uploads, "free_bytes", lambda _folder: free)
    world.submit()
    world.rounds(5)
    assert (world.started, len(world.heard.reasons)) == ([], 1)
    free += 1
    world.rounds(1)
    assert len(world.started) == 1


def test_an_upload_finds_no_room_in_what_others_may_still_bring(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    free = world.options.free_bytes_min + 100
    monkeypatch.setattr(uploads, "free_bytes", lambda _folder: free)
    first = world.uploads.create(60, world.options)
    with pytest.raises(RefusedError, match="no room"):
        world.uploads.create(41, world.options)
    piece = world.uploads.begin(first.id, 0, world.options)
    piece.add(b"x" * 30)
    piece.close()
    free -= 30
    world.uploads.create(40, world.options)
    free = world.options.free_bytes_min - 1
    with pytest.raises(RefusedError, match="no room"):
        world.uploads.begin(first.id, 30, world.options)


@pytest.mark.parametrize("code", [69, 74])
def test_a_job_that_lacks_something_outside_waits_for_it_without_a_limit(world: World, code: int) -> None:
    job = world.submit()
    world.rounds()
    for _ in range(3 * FAILURES_MAX):
        world.started[-1].code = code
        world.rounds(61)
    waiting = world.store.get(job.id)
    assert (waiting.state, waiting.failures, waiting.exit_code) == ("queued", 0, code)
    assert (len(world.started), waiting.error) == (1 + 3 * FAILURES_MAX, f"the process ended with {code}")
    world.started[-1].code = 0
    world.rounds()
    assert (world.store.get(job.id).state, world.store.get(job.id).error) == ("done", "")


@pytest.mark.parametrize("code", [143, 130, -15])
def test_a_stop_of_the_service_that_reaches_the_process_first_is_no_failure_of_its_job(tmp_path: Path, code: int) -> None:
    """A job whose upload is silent makes no progress, however often the service is restarted meanwhile."""
    for _ in range(2 * FAILURES_MAX):
        world = World(tmp_path)
        job = world.store.all()[0] if world.store.all() else world.upload(4)[1]
        world.rounds()
        world.started[0].code = code
        world.rounds()
        kept = world.store.get(job.id)
        world.store.close()
    assert (kept.state, kept.failures) == ("queued", 0)


def test_a_process_that_the_system_cannot_start_is_tried_again_without_a_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Process:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    job = world.submit()
    with monkeypatch.context() as patched:
        patched.setattr(world.runner, "_starts", refused)
        world.rounds(1000)
    assert (world.store.get(job.id).state, world.store.get(job.id).exit_code) == ("queued", 71)
    world.rounds(61)
    assert world.runner.running() == {job.id}


def test_a_folder_of_inputs_that_is_away_is_waited_for(world: World, tmp_path: Path) -> None:
    """Whether it is seen at the start of a process or by the process. A mount point is an empty folder without its disk."""
    job, running = world.submit("a"), world.submit("b")
    world.rounds()
    (tmp_path / "inputs").rename(tmp_path / "away")
    for process in world.started:
        process.code = 66
    world.rounds(100)
    (tmp_path / "inputs").mkdir()
    world.rounds(500)
    assert [world.store.get(each.id).state for each in (job, running)] == ["queued", "queued"]
    assert (len(world.started), "no file of jobs.input_dirs" in world.store.get(job.id).error) == (2, True)
    (tmp_path / "inputs").rmdir()
    (tmp_path / "away").rename(tmp_path / "inputs")
    (tmp_path / "inputs" / "b").unlink()
    world.rounds(61)
    assert set(world.runner.running()) == {job.id}
    assert world.store.get(running.id).state == "failed"


def test_a_job_that_is_cancelled_while_it_waits_for_its_next_try_is_no_longer_looked_at(world: World) -> None:
    job = world.submit()
    world.rounds()
    world.started[0].code = -9
    world.rounds()
    assert world.runner._retries.has_pauses
    world.store.cancel(job.id)
    world.rounds()
    assert not world.runner._retries.has_pauses


def test_a_job_whose_upload_still_comes_has_only_a_place_that_no_other_one_needs(world: World) -> None:
    (first, coming), (_, later) = world.upload(4), world.upload(4)
    assert world.runner.running() == frozenset()
    world.rounds(100)
    assert world.runner.running() == {coming.id, later.id}
    assert world.started[0].arriving == world.uploads.document(first)
    a = world.submit("a")
    world.rounds(1)
    assert [each.signals for each in world.started] == [[signal.SIGTERM], []], "one place is enough"
    world.rounds(1)
    assert world.runner.running() == {coming.id, later.id}, "it commits what it has"
    world.started[0].code = 143
    world.rounds()
    assert world.runner.running() == {a.id, later.id}
    b = world.submit("b")
    world.rounds(20)
    assert world.started[1].signals == [signal.SIGTERM, signal.SIGKILL], "one that does not end is killed"
    world.started[1].code = -9
    world.rounds(100)
    assert world.runner.running() == {a.id, b.id}
    assert [world.store.get(each.id).failures for each in (coming, later)] == [0, 0]
    c = world.submit("c")
    world.send(first, b"abcd")
    world.started[2].code = world.started[3].code = 0
    world.rounds()
    assert world.runner.running() == {coming.id, c.id}, "as soon as all has come, the order of submission counts"


def test_a_job_whose_upload_has_just_got_its_place_keeps_it_for_a_while(world: World) -> None:
    (_, one), (_, two) = world.upload(4), world.upload(4)
    world.rounds()
    waiting = world.submit()
    world.rounds(3)
    assert [each.signals for each in world.started] == [[], []]
    world.rounds(3)
    assert [each.signals for each in world.started] == [[signal.SIGTERM], []]
    world.started[0].code = 66  # its upload was damaged, whatever was asked
    world.rounds()
    assert world.store.get(one.id).state == "failed"
    assert world.runner.running() == {two.id, waiting.id}


def test_a_job_that_cannot_be_started_takes_places_of_others_only_seldom(tmp_path: Path) -> None:
    world = World(tmp_path, processes_max=1)
    _, coming = world.upload(4)
    world.rounds(10)
    broken = world.submit()
    Path(world.store.folder(broken.id).lock).touch()
    world.disk.broken.add(world.store.folder(broken.id).lock)

    def seconds(count: int) -> int:
        """In how many of these seconds the upload was worked on. A process that is asked to end does so."""
        worked = 0
        for _ in range(count):
            world.rounds(1)
            worked += coming.id in world.runner.running()
            if world.started[-1].signals:
                world.started[-1].code = 143
        return worked

    assert seconds(100) > 80
    assert len(world.started) <= 8
    world.disk.broken.clear()
    seconds(40)
    assert world.runner.running() == {broken.id}


def test_a_job_whose_upload_is_silent_makes_room_for_one_whose_upload_comes(world: World) -> None:
    (_, silent), (spoken, other) = world.upload(4), world.upload(4)
    world.rounds(25)
    world.send(spoken, b"ab")
    _, waiting = world.upload(4)
    world.rounds(4)
    assert [each.signals for each in world.started] == [[], []], "nothing came for less than 30 s"
    world.rounds(4)
    assert [each.signals for each in world.started] == [[signal.SIGTERM], []]
    world.started[0].code = 143
    world.rounds(20)
    assert world.runner.running() == {other.id, waiting.id}
    world.rounds(100)
    assert [each.signals for each in world.started[1:]] == [[], []], "now all are silent: no turns are taken"
    assert world.store.get(silent.id).failures == 0


def test_a_job_whose_upload_is_never_completed_fails_with_its_upload(world: World) -> None:
    upload, job = world.upload(4)
    whole, waiting = world.upload(4)
    world.send(whole, b"abcd")
    world.rounds()
    world.send(upload, b"ab")
    world.rounds(590)
    piece = world.uploads.begin(upload, 2, world.options)
    world.rounds(20)
    assert world.store.get(job.id).state == "queued", "a piece is on its way"
    piece.close()
    world.rounds(6)
    failed = world.store.get(job.id)
    assert (failed.state, failed.error.partition(",")[0]) == ("failed", "only 2 of 4 bytes of its upload came")
    assert [each.signals for each in world.started] == [[], [signal.SIGTERM]], "the one whose input is there was started first"
    assert world.store.get(waiting.id).state == "queued"
    with pytest.raises(RefusedError, match="no such upload"):
        world.uploads.get(upload)
    assert world.uploads.get(whole).is_complete


def test_an_upload_goes_on_where_its_document_says_after_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is renamed, and its folder cannot be synced: what a job may have read by it must not be cut off."""
    upload, _ = world.upload(8)
    world.send(upload, b"abcd")

    def fails(_fs: Disk, path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "sync_directory", fails)
        with pytest.raises(StorageError):
            world.send(upload, b"efgh")
        with pytest.raises(RefusedError, match="cannot be read now"):
            world.uploads.get(upload)
    synced: list[str] = []
    monkeypatch.setattr(Disk, "sync_directory", lambda _fs, path: synced.append(path))
    assert json.loads(Path(world.uploads.document(upload)).read_bytes())["offset"] == 8
    assert world.uploads.get(upload).is_complete
    assert synced == [os.path.dirname(world.uploads.document(upload))], "what is answered is durable"


def test_what_becomes_of_jobs_is_counted(world: World) -> None:
    a, b, c = (world.submit(name) for name in "abc")
    world.clock.now_s += 30
    world.rounds()
    world.clock.now_s += 10
    world.started[0].code, world.started[1].code = 0, 65
    world.rounds()
    world.store.cancel(c.id)
    upload, _ = world.upload(4)
    world.send(upload, b"abc")
    world.rounds()
    counts = world.store.counts
    assert (counts.started, counts.wait_s) == (4, 30 + 30 + 40 + 0)
    assert counts.ended == {"done": 1, "failed": 1, "cancelled": 1}
    assert world.uploads.counts.upload_bytes == 3
    assert [world.store.get(each.id).state for each in (a, b, c)] == ["done", "failed", "cancelled"]


def test_a_job_that_is_deleted_is_counted_once_as_ended(world: World) -> None:
    jobs = [world.submit(name) for name in "abc"]
    world.rounds()
    world.store.cancel(jobs[1].id)
    world.started[0].code = 0
    world.rounds()
    for job in jobs:
        world.store.delete(job.id)
    for process in world.started[1:]:
        process.code = 143
    world.rounds(30)
    assert world.store.all() == []
    assert world.store.counts.ended == {"done": 1, "cancelled": 2}


def test_a_process_that_is_started_again_is_not_counted_again(world: World) -> None:
    job = world.submit()
    world.rounds()
    os.makedirs(world.store.folder(job.id).state)
    world.started[0].code = -9
    world.rounds(100)
    assert (len(world.started), world.store.counts.started, world.store.counts.ended) == (2, 1, {})


def test_a_process_that_ended_before_it_had_a_state_is_counted_once(world: World) -> None:
    """Such as one whose object store does not answer yet: the object is asked for before the state is made."""
    world.submit()
    world.clock.now_s += 30
    world.rounds()
    for tries in range(1, 4):
        world.started[-1].code = 69
        world.rounds(100)
        assert len(world.started) == tries + 1
    assert (world.store.counts.started, world.store.counts.wait_s) == (1, 30)


def test_a_full_queue_says_when_a_place_will_be_free_as_jobs_showed(world: World) -> None:
    """Two processes at a time: a place is free after half the time that a job takes."""
    options = world.options.model_copy(update={"queue_max": 1})

    def wait_s() -> int:
        request = JobRequest("counts", JobInput(path="b"))
        with pytest.raises(RefusedError, match="1 jobs wait") as refused:
            world.store.submit(request, world.inputs.argument(request.input), "", options)
        return refused.value.wait_s

    waits = []
    for seconds in (0, 0.5, 40, 100_000):
        if seconds:
            world.clock.now_s += seconds
            world.started[-1].code = 0
            world.rounds()
        world.submit()
        world.rounds()
        waits.append(wait_s())
    # Nothing is known; less than a second is one; the mean of eight moves by an eighth of 39.5 s; and no wait is longer than 300 s.
    assert waits == [5, 1, 3, 300]


def test_jobs_whose_upload_never_comes_fill_no_queue_for_others(world: World) -> None:
    world.options = world.options.model_copy(update={"queue_max": 2})
    first, _ = world.upload(4)
    world.upload(4)
    with pytest.raises(RefusedError, match="2 jobs wait for their upload"):
        world.upload(4)
    world.submit("a")
    world.send(first, b"abcd")
    with pytest.raises(RefusedError, match="2 jobs wait "):
        world.submit("b")
    world.upload(4)


def test_how_long_a_job_took_is_known_from_its_end_and_not_from_when_that_could_be_written(world: World) -> None:
    world.submit()
    world.rounds(2)
    world.disk.is_full = True
    world.started[0].code = 0
    world.rounds(200)
    assert world.store.counts.next_place_s(1) == 2


def test_a_job_that_fails_again_and_again_is_a_problem_until_it_is_deleted(world: World) -> None:
    job = world.submit("a")
    refused = world.submit("b")
    world.rounds()
    world.started[1].code = 65
    for _ in range(FAILURES_MAX):
        assert "failed" not in world.runner.problem
        world.started[-1 if len(world.started) > 2 else 0].code = -9
        world.rounds(100)
    assert world.store.get(refused.id).state == "failed", "by the fault of its client"
    assert world.runner.problem == f"1 job failed again and again, {job.id}: the process was ended by SIGKILL"
    world.store.delete(job.id)
    world.rounds(6)
    assert world.runner.problem == ""


def test_what_keeps_jobs_from_going_on_is_a_problem_until_it_is_over(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = world.submit("a"), world.submit("b")
    world.rounds()
    for _ in range(3):
        assert world.runner.problem == ""
        world.started[-1 if len(world.started) > 2 else 0].code = 69
        world.rounds(100)
    assert world.runner.problem.startswith(f"1 job tried again and again, {job.id}: ")
    world.started[-1].code = 0
    world.rounds(6)
    assert world.runner.problem == ""
    world.started[1].code = 0
    monkeypatch.setattr(uploads, "free_bytes", lambda _folder: 0)
    full = world.submit("c")
    world.rounds(6)
    assert world.runner.problem == "no job is started: the disk has less room than jobs.free_bytes_min"
    world.store.cancel(full.id)
    monkeypatch.undo()
    world.rounds(6)
    assert world.runner.problem == ""
    world.store.close()
    Path(world.store.folder(job.id).document).write_bytes(b"torn")
    later = World(tmp_path)
    later.rounds(6)
    assert later.runner.problem == f"1 job cannot be read, {later.store.folder(job.id).document}"
    shutil.rmtree(later.store.folder(job.id).path)
    later.rounds(6)
    assert later.runner.problem == "", "its folder may be removed"
    later.store.close()


@pytest.mark.parametrize("code", [69, -9])
def test_a_job_that_goes_on_again_is_no_problem_any_more(world: World, code: int) -> None:
    job = world.submit()
    world.rounds()
    progress = Path(world.store.folder(job.id).progress)
    progress.write_text('{"done_bytes": 10, "size_bytes": 100}')
    for _ in range(4):
        world.started[-1].code = code
        world.rounds(100)
    assert world.runner.problem.startswith(f"1 job tried again and again, {job.id}: ")
    progress.write_text('{"done_bytes": 11, "size_bytes": 100}')
    world.rounds(6)
    assert world.runner.problem == ""
    world.started[-1].code = code
    world.rounds(100)
    assert world.runner.problem == "", "once is no problem"


def test_a_lock_that_is_held_after_a_kill_is_a_problem_that_says_what_to_do(world: World) -> None:
    job = world.submit()
    world.rounds()
    world.store.cancel(job.id)
    world.rounds(16)
    assert (world.started[0].signals, world.runner.problem) == ([signal.SIGTERM, signal.SIGKILL], "")
    world.rounds(10)
    assert world.runner.problem.startswith(f"1 job cannot be worked on, {job.id}: it was killed, and its lock is held still; ")
    assert world.runner.running() == {job.id}
    world.started[0].code = -9
    world.rounds(30)
    assert (world.runner.problem, world.runner.running()) == ("", frozenset())


def test_a_trouble_ends_with_what_it_kept_from_being_done(world: World, tmp_path: Path) -> None:
    job = world.submit()
    world.disk.broken.add(world.store.folder(job.id).lock)
    Path(world.store.folder(job.id).lock).touch()
    world.rounds(6)
    assert world.runner.problem.startswith(f"1 job cannot be worked on, {job.id}: ")
    world.rounds(100)
    assert world.runner.problem.startswith(f"1 job cannot be worked on, {job.id}: "), "as long as it is tried"
    assert len(world.heard.reasons) == 1
    world.store.cancel(job.id)
    world.rounds(30)
    assert world.runner.problem == "", "nothing is tried any more"


def test_a_key_belongs_to_the_last_job_that_is_there_after_a_restart_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the names of the folders are, by which they are read."""
    request = JobRequest("counts", JobInput(path="a"))
    tokens = iter(["f" * 16, "0" * 16])
    monkeypatch.setattr(Environment, "new_token", lambda _: next(tokens))
    first, _ = world.store.submit(request, world.inputs.argument(request.input), "k", world.options)
    world.store.delete(first.id)
    second, is_new = world.store.submit(request, world.inputs.argument(request.input), "k", world.options)
    assert (is_new, second.id) == (True, "0" * 16)
    world.store.close()
    later = World(tmp_path)
    assert later.store.submitted("k", request) == second
    assert later.store.get(second.id) == second
    later.store.close()


def test_a_long_last_line_of_a_process_is_read_whole(world: World) -> None:
    job = world.submit()
    world.rounds()
    line = {"event": "processed", "accepted": 3, "incomplete": ["x" * 100] * 2_000}
    Path(world.store.folder(job.id).said).write_text(json.dumps(line) + "\n")
    world.started[0].code = 0
    world.rounds()
    assert (world.store.get(job.id).summary or {})["accepted"] == 3


def test_what_a_process_says_is_appended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output and error are one file, and each must write after the other. It is told which descriptor is its lock."""
    flags: list[int] = []
    locks: list[tuple[str, list[int]]] = []

    class Started:
        pid = os.getpid()

        def __init__(self, *_: object, stdout: int, env: dict[str, str], pass_fds: list[int], **__: object) -> None:
            flags.append(fcntl.fcntl(stdout, fcntl.F_GETFL))
            locks.append((env[HANDED_LOCK], pass_fds))

    monkeypatch.setattr("event_processor.service.jobs.process.subprocess.Popen", Started)
    monkeypatch.setattr("event_processor.service.jobs.process.os.setpriority", lambda *_: None)
    job = world.submit()
    start(world.environment, world.store.folder(job.id), Call("counts.toml", [], "a"))
    assert flags[0] & os.O_APPEND
    assert [[int(told)] for told, _ in locks] == [handed for _, handed in locks]


def test_a_process_that_cannot_be_looked_at_keeps_a_stop_from_no_other_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for name in "ab":
        world.submit(name)
    world.rounds()
    monkeypatch.setattr(world.started[0], "is_over", refused)
    monkeypatch.setattr(world.started[0], "send", lambda _number: refused())
    world.runner._stop()
    assert world.started[1].signals == [signal.SIGTERM, signal.SIGKILL]
