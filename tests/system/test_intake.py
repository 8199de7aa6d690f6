"""Events posted to a real daemon: whatever kills it, every acknowledged event is counted once."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from typing import Any

import pytest

from event_processor.storage.file_system import OperatingSystem
from event_processor.storage.shared_log import SharedLog
from support.http_daemon import Served, ports, served, served_in
from support.processes import DEADLINE_S, Daemon, Pipeline, wait_until

KILLS = int(os.environ.get("INTAKE_KILLS", "10"))
CLIENTS = 4
BATCH_MAX = 12
FILE_BYTES = 4096
KEYS = "[intake]\nenabled = true\nfree_bytes_min = 0\n"
LISTEN = f'[http]\nlisten = "127.0.0.1:0"\n{KEYS}'


def event(number: int) -> dict[str, object]:
    return {"id": number, "category": f"c{number % 3}", "value": number}


def lines(numbers: Sequence[int]) -> bytes:
    return b"".join(json.dumps(event(number)).encode() + b"\n" for number in numbers)


def totals(pipeline: Pipeline) -> tuple[int, float]:
    """How many events are counted, and the sum of their values."""
    state = json.loads(pipeline.checkpoint.read_bytes())["state"]
    return state["counts"]["accepted"], sum(each["sum"] for each in state["categories"].values())


def intake_pipeline(folder: Path, keys: str = "") -> Pipeline:
    """`keys`: further ones of `[intake]`."""
    pipeline = Pipeline(folder, folder)
    pipeline.prepare(b"")
    path = folder / "pipeline.toml"
    path.write_text(path.read_text() + LISTEN + keys)
    return pipeline


def intake_files(pipeline: Pipeline) -> list[Path]:
    """The files of the intake, in the order in which they were appended to."""
    state = pipeline.checkpoint.parent
    return [*sorted((state / "intake").glob("*.jsonl")), state / "intake.jsonl"]


def port_of(daemon: Daemon) -> int:
    wait_until(lambda: bool(ports(daemon)) or not daemon.alive, "the server listens")
    assert daemon.alive, daemon.said()
    return ports(daemon)[-1]


class Clients:
    """Threads that post what is not acknowledged yet, until the daemon is gone or nothing is left."""

    def __init__(self, port: int, numbers: Sequence[int], acknowledged: dict[int, str], seed: int) -> None:
        """`acknowledged`: those that were, with their positions; more are added."""
        self._port = port
        self._missing = [number for number in numbers if number not in acknowledged]
        self._acknowledged = acknowledged
        self._lock = Lock()
        self._stopping = Event()
        self._threads = [Thread(target=self._post, args=(Random(seed * 100 + place),)) for place in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    @property
    def are_gone(self) -> bool:
        """Whether all have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def wait_for(self, count: int) -> None:
        """Returns when so many are acknowledged, or all threads have ended."""
        wait_until(lambda: len(self._acknowledged) >= count or self.are_gone, "some are acknowledged")

    def join(self) -> None:
        """Returns when all is acknowledged, or the daemon is gone."""
        for thread in self._threads:
            thread.join()

    def _next(self, random: Random) -> list[int]:
        with self._lock:
            return [self._missing.pop() for _ in range(min(len(self._missing), random.randrange(1, BATCH_MAX)))]

    def _post(self, random: Random) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_S)
        try:
            while taken := self._next(random):
                connection.request("POST", "/v1/events", lines(taken))
                answer = connection.getresponse()
                document = json.loads(answer.read())
                if answer.status == 503:  # it is still opening
                    with self._lock:
                        self._missing.extend(taken)
                    continue
                assert (answer.status, document["appended"]) == (202, len(taken)), document
                with self._lock:
                    self._acknowledged.update(zip(taken, (each["position"] for each in document["lines"]), strict=True))
        except (OSError, http.client.HTTPException):
            return  # killed
        finally:
            connection.close()


def test_after_any_kills_every_acknowledged_event_is_counted_once(tmp_path: Path) -> None:
    pipeline, random = intake_pipeline(tmp_path, f"file_bytes_max = {FILE_BYTES}\n"), Random(20261130)
    acknowledged: dict[int, str] = {}
    numbers: list[int] = []
    for life in range(KILLS):
        numbers = list(range(600 * (life + 1)))
        daemon = pipeline.start()
        try:
            clients = Clients(port_of(daemon), numbers, acknowledged, life)
            until = len(acknowledged) + random.randrange(1, 300)
            clients.wait_for(until)
            assert daemon.alive, daemon.said()
            assert len(acknowledged) >= until, daemon.said()
        finally:
            daemon.kill()
        clients.join()
    # What was acknowledged so far is there, before anything is sent again.
    assert pipeline.run("--once").exit_code == 0
    counted, _ = totals(pipeline)
    assert len(acknowledged) <= counted <= len(numbers)
    ids = {json.loads(line)["id"] for path in intake_files(pipeline) for line in path.read_bytes().splitlines()}
    assert acknowledged.keys() <= ids
    assert counted == len(ids)
    # What was not acknowledged is sent again, some of it for the second time.
    daemon = pipeline.start()
    try:
        Clients(port_of(daemon), numbers, acknowledged, KILLS).join()
        assert len(acknowledged) == len(numbers)
        daemon.send(signal.SIGTERM)
        assert daemon.wait().exit_code == 0
    finally:
        daemon.kill()
    assert pipeline.run("--once").exit_code == 0
    assert totals(pipeline) == (len(numbers), sum(numbers))
    assert pipeline.verify().exit_code == 0
    # Each position names the file and the place where the event is, and each file is a generation.
    contents = [path.read_bytes() for path in intake_files(pipeline)]
    assert len(contents) > KILLS
    assert all(len(each) >= FILE_BYTES for each in contents[:-1])
    for number, position in acknowledged.items():
        generation, offset = map(int, position.split(":"))
        assert contents[generation - 1].startswith(lines([number]), offset), position


def test_files_that_nothing_has_read_yet_are_counted_in_order_and_positions_say_which_file_it_is(tmp_path: Path) -> None:
    pipeline = intake_pipeline(tmp_path, f"file_bytes_max = {FILE_BYTES}\nkeep_days = 1\n")
    assert pipeline.run("--once").exit_code == 0
    log = SharedLog(OperatingSystem(), str(tmp_path / "state" / "intake.jsonl"))
    log.file_bytes_max = FILE_BYTES

    filled = [0]

    def fill(files: int) -> None:
        """Fills so many files, each with events of its own."""
        for _ in range(files):
            log.append(lines(range(filled[-1], filled[-1] + 100)))
            filled.append(filled[-1] + 100)

    fill(4)
    assert pipeline.run("--once").exit_code == 0
    assert totals(pipeline)[0] == 400
    assert pipeline.verify().exit_code == 0
    fill(4)
    for path in intake_files(pipeline)[:-1]:
        os.utime(path, (1_600_000_000, 1_600_000_000))
    first, full_bytes = intake_files(pipeline)[0], intake_files(pipeline)[-1].stat().st_size
    daemon = pipeline.start()
    try:
        served_here = Served(pipeline, daemon, port_of(daemon))
        wait_until(lambda: served_here.ask("/v1/events", "POST", body=b"no event").status == 422, "events are taken")
        answer = served_here.ask("/v1/events", "POST", body=lines([7_000_000])).json
        # Only what this process has synced to its end is set aside, so that is still the last file that was filled.
        assert [each["position"] for each in answer["lines"]] == [f"8:{full_bytes}"]
        waited = served_here.ask("/v1/events", "POST", body=lines([7_000_001]), headers={"Prefer": "wait=60"}).json
        assert [(each["position"], each["outcome"]) for each in waited["lines"]] == [("9:0", "accepted")]
        assert served_here.ask("/v1/receipts/8:0").json == {"position": "8:0", "status": "counted", "outcome": "accepted"}
        # The counted files that are older than a day go, once neither checkpoint needs them.
        for number in range(3):
            served_here.ask("/v1/events", "POST", body=lines([7_000_010 + number]), headers={"Prefer": "wait=60"})
        wait_until(lambda: not first.exists(), "the first file is removed")
        assert '"intake_files_removed"' in daemon.said()
    finally:
        daemon.kill()
    assert totals(pipeline)[0] == 805
    pipeline.checkpoint.unlink()  # the predecessor needs none of them
    assert pipeline.run("--once").exit_code == 0
    assert totals(pipeline)[0] == 805
    finished = pipeline.verify()
    assert finished.exit_code == 66, finished
    assert "intake.keep_days = 1" in str(finished)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_after_a_failed_fsync_the_daemon_ends_with_74_and_only_what_was_acknowledged_is_counted(tmp_path: Path) -> None:
    pipeline = intake_pipeline(tmp_path)
    assert pipeline.run("--once").exit_code == 0
    intake = tmp_path / "state" / "intake.jsonl"
    fails = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=3+"]
    daemon = pipeline.start(prefix=["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-P", str(intake), *fails])
    try:
        served = Served(pipeline, daemon, port_of(daemon))

        def answered(number: int) -> int:
            return served.ask("/v1/events", "POST", body=lines([number])).status

        wait_until(lambda: answered(1) == 202, "the pipeline is open")
        acknowledged = 1
        while answered(acknowledged + 1) == 202:
            acknowledged += 1
        assert daemon.wait().exit_code == 74
        assert "fsync failed" in daemon.said()
        assert "Traceback" not in daemon.said()
    finally:
        daemon.kill()
    assert pipeline.run("--once").exit_code == 0
    assert totals(pipeline) == (acknowledged, sum(range(1, acknowledged + 1)))


def test_a_retry_and_posts_share_the_intake_while_a_daemon_runs(tmp_path: Path) -> None:
    with served_in(tmp_path, b'{"id": 0, "category": "c0", "value": "x"}\n', KEYS) as running:
        running.wait_for_records(1)
        numbers, acknowledged = list(range(1, 2001)), dict[int, str]()
        clients = Clients(running.port, numbers, acknowledged, 1)
        letters = tmp_path / "letters.jsonl"
        for _ in range(3):
            letters.write_bytes(lines([0]))
            finished = running.pipeline.command_of("dead-letters", "retry", str(letters))
            assert finished.exit_code == 0, finished
        clients.join()
        assert len(acknowledged) == len(numbers)
        running.wait_for_records(1 + 3 + len(numbers))
        assert totals(running.pipeline) == (2001, sum(numbers))


def test_a_client_can_wait_until_its_events_are_counted_or_ask_later_what_became_of_them(tmp_path: Path) -> None:
    sink = '[sinks.rows]\ntype = "sql"\nurl = "sqlite:///rows.db"\ntable = "rows"\ncolumns = { id = "integer" }\n'
    pipeline = Pipeline(tmp_path, tmp_path)
    pipeline.prepare(b"")
    path = tmp_path / "pipeline.toml"
    path.write_text(path.read_text().replace("idle_release_ms = 0", "idle_release_ms = 50"))
    with served(pipeline, f"{KEYS}[totals]\ncategories_max = 2\n{sink}") as running:
        wait_until(lambda: running.ask("/v1/events", "POST", body=lines([1])).status == 202, "the pipeline is open")
        # Event 2 would open a third category.
        body = lines([1, 3, 2]) + b"not an event\n"
        answer = running.ask("/v1/events", "POST", body=body, headers={"Prefer": "respond-async, wait=counted"})
        assert (answer.status, answer.json["counted"], answer.json["appended"]) == (200, True, 3)
        assert answer.headers["preference-applied"] == "wait=30"
        assert running.records() == 4
        outcomes = [(each["status"], each.get("outcome"), each.get("reason")) for each in answer.json["lines"]]
        assert outcomes[:3] == [
            ("appended", "duplicate", None),
            ("appended", "accepted", None),
            ("appended", "rejected", "category limit"),
        ]
        assert outcomes[3][:2] == ("invalid", None)
        duplicate, accepted, rejected = (each["position"] for each in answer.json["lines"][:3])
        assert_outcomes(running, duplicate, accepted, rejected)
        end = (tmp_path / "state" / "intake.jsonl").stat().st_size
        within = accepted.replace(":", ":1")
        assert [running.ask(f"/v1/receipts/{each}").status for each in (f"1:{end}", "2:0", "x", "1", within)] == [404] * 5
    # A killed daemon knows outcomes again. If the file of outcomes is gone, that is said, and a place within a record is still none.
    with served_again(pipeline) as running:
        assert_outcomes(running, duplicate, accepted, rejected)
    (tmp_path / "state" / "history" / "intake.ring").unlink()
    with served_again(pipeline) as running:
        receipt = running.ask(f"/v1/receipts/{accepted}").json
        assert (receipt["status"], receipt["outcome"]) == ("counted", "unknown")
        assert "/v1/records?id=" in receipt["reason"]
        assert running.ask(f"/v1/receipts/{within}").status == 404


@contextmanager
def served_again(pipeline: Pipeline) -> Iterator[Served]:
    """A daemon of a pipeline that was served before, when the pipeline is open."""
    daemon = pipeline.start()
    try:
        running = Served(pipeline, daemon, port_of(daemon))
        wait_until(lambda: '"started"' in daemon.said() or not daemon.alive, "the pipeline is open")
        wait_until(lambda: running.ask("/v1/events", "POST", body=b"no event").status == 422, "events are taken")
        yield running
    finally:
        daemon.kill()


def assert_outcomes(running: Served, duplicate: str, accepted: str, rejected: str) -> None:
    """Asks for these receipts, and waits until the accepted event is delivered."""

    def receipt(position: str) -> Any:
        return running.ask(f"/v1/receipts/{position}").json

    assert receipt(duplicate) == {"position": duplicate, "status": "counted", "outcome": "duplicate"}
    limit = {"outcome": "rejected", "reason": "category limit"}
    assert receipt(rejected) == {"position": rejected, "status": "counted", **limit}
    assert (receipt(accepted)["outcome"], [each["sink"] for each in receipt(accepted)["lanes"]]) == ("accepted", ["rows"])
    wait_until(lambda: receipt(accepted)["lanes"][0]["result"] == "delivered", "it is delivered")


def test_a_reload_keeps_the_intake(tmp_path: Path) -> None:
    with served_in(tmp_path, b"", KEYS) as running:

        def position(number: int) -> Any:
            answer = running.ask("/v1/events", "POST", body=lines([number]))
            return answer.json["lines"][0]["position"] if answer.status == 202 else None

        wait_until(lambda: position(1) is not None, "the pipeline is open")
        running.wait_for_records(1)
        path = tmp_path / "pipeline.toml"
        path.write_text(path.read_text().replace("bytes_max = 1024", "bytes_max = 2048"))
        assert running.pipeline.command_of("reload").exit_code == 0
        before = (tmp_path / "state" / "intake.jsonl").stat().st_size
        assert position(2) == f"1:{before}"
        running.wait_for_records(2)
