"""The whole program while PostgreSQL, its disk, its network or the program fails: each record is a row once, and the checkpoint says so."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from support.database_trial import DatabaseTrial
from support.ext4 import resize, tmpfs
from support.postgres_server import PostgresServer, server_of_tests
from support.processes import Daemon, Pipeline, wait_until
from support.tcp_proxy import TcpProxy

KILLS = 20
ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with server_of_tests() as server:
        yield server


@pytest.fixture
def trial(server: PostgresServer, tmp_path: Path) -> Iterator[DatabaseTrial]:
    if server.process is None:
        server.start()  # a test that failed left it so
    trial = DatabaseTrial(tmp_path, server)
    yield trial
    trial.disconnect()


def failed_tries(trial: DatabaseTrial) -> int:
    """How often the receiver did not answer, as the daemon published it."""
    return int(trial.lane().get("waits", 0))


def wait_for_failed_tries(trial: DatabaseTrial, daemon: Daemon, count: int) -> None:
    wait_until(lambda: failed_tries(trial) >= count or not daemon.alive, f"{count} tries failed")
    assert daemon.alive, daemon.said()


def test_after_twenty_kills_of_the_program_each_record_is_a_row_once(trial: DatabaseTrial) -> None:
    numbers = Random(11)
    for _ in range(KILLS):
        before = trial.expected().released
        trial.append(120)
        wanted = before + 1 + int(numbers.random() * (trial.expected().released - before))
        daemon = trial.pipeline.start()
        trial.wait_for(daemon, wanted)
        assert daemon.kill().exit_code == -signal.SIGKILL
    trial.once()
    trial.require_end()


def test_a_server_that_is_killed_during_a_load_gets_the_rest_when_it_is_back(trial: DatabaseTrial) -> None:
    trial.append(300)
    daemon = trial.pipeline.start()
    for wanted in (100, 400):
        trial.wait_for(daemon, wanted)
        trial.server.kill()
        trial.append(300)
        wait_for_failed_tries(trial, daemon, failed_tries(trial) + 2)
        trial.server.start()
    trial.finish(daemon)


def test_a_backend_that_is_terminated_again_and_again_loses_nothing(trial: DatabaseTrial) -> None:
    daemon = trial.pipeline.start()
    for _ in range(5):
        before = trial.expected().released
        trial.append(200)
        trial.wait_for(daemon, before + 50)
        trial.server.execute("postgres", ENDED.format(trial.database))
    trial.finish(daemon)


def test_connections_that_are_cut_in_commits_are_settled(trial: DatabaseTrial) -> None:
    """Before and after the server took it."""
    with TcpProxy(trial.server.port) as proxy:
        trial.configure(port=proxy.port)
        daemon = trial.pipeline.start()
        for number, when in enumerate(["before", "after"] * 3):
            proxy.cut_at(b"COMMIT", when, number // 2)  # type: ignore[arg-type]  # one of the two
            trial.append(150)
            wait_until(lambda number=number: proxy.cuts > number or not daemon.alive, "the connection is cut")  # type: ignore[misc]
        trial.finish(daemon)
        assert proxy.cuts == 6


def test_a_network_that_is_cut_and_then_slow_delays_and_loses_nothing(trial: DatabaseTrial) -> None:
    with TcpProxy(trial.server.port) as proxy:
        trial.configure(port=proxy.port, timeout_s=1, request_events_max=100)
        trial.append(200)
        daemon = trial.pipeline.start()
        trial.wait_for(daemon, 100)
        proxy.freeze()
        trial.append(200)
        # Each waits a second for an answer that does not come.
        wait_for_failed_tries(trial, daemon, 3)
        assert trial.lane()["pending"] > 0
        proxy.thaw()
        proxy.delay_s = 0.02
        trial.append(200)
        trial.finish(daemon)


@contextmanager
def small_tablespace(trial: DatabaseTrial, size_bytes: int) -> Iterator[Path]:
    """The sink's table is on a file system of this size. Gives its folder."""
    disk = trial.server.folder / "small"
    with tmpfs(disk, size_bytes):
        subprocess.run(["chown", "postgres:postgres", str(disk)], check=True)
        trial.query(f"CREATE TABLESPACE small LOCATION '{disk}'")
        try:
            trial.call("sql", "apply")
            trial.query("ALTER TABLE results SET TABLESPACE small")
            yield disk
        finally:
            trial.disconnect()
            trial.server.execute("postgres", f"DROP DATABASE {trial.database} WITH (FORCE)")
            trial.server.execute("postgres", "DROP TABLESPACE small")


@pytest.mark.root
def test_a_full_tablespace_is_waited_for(trial: DatabaseTrial) -> None:
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("needs root: mounts a small file system for a tablespace")
    with small_tablespace(trial, 512 << 10) as disk:
        trial.append(6000)
        daemon = trial.pipeline.start()
        wait_for_failed_tries(trial, daemon, 3)
        assert "could not extend file" in trial.server_said()
        lane = trial.lane()
        assert 0 < lane["delivered"] + lane["failed"] < trial.expected().released
        resize(disk, 64 << 20)
        trial.finish(daemon)


def test_a_deferred_constraint_makes_failed_rows_of_what_breaks_it_and_of_nothing_else(trial: DatabaseTrial) -> None:
    trial.call("sql", "apply")
    trial.query("CREATE TABLE kinds (kind text PRIMARY KEY)")
    trial.query("INSERT INTO kinds VALUES ('k0'), ('k1'), ('k2')")
    trial.query("ALTER TABLE results ADD FOREIGN KEY (kind) REFERENCES kinds DEFERRABLE INITIALLY DEFERRED")
    trial.append(100)
    # Few of many: more would be a fault of the schema, and stop the lane.
    text = trial.pipeline.log.read_text().splitlines(keepends=True)
    changed = [line.replace('"k1"', '"k9"') if number % 20 == 7 else line for number, line in enumerate(text)]
    trial.pipeline.log.write_text("".join(changed))
    trial.once()
    trial.require_end(refused=frozenset({"k9"}))
    reasons = trial.query("SELECT DISTINCT status FROM event_processor_failed ORDER BY 1")
    assert ("23503",) in reasons


def test_a_copy_of_the_state_that_runs_at_the_same_time_writes_alone_until_the_other_is_started_again(
    trial: DatabaseTrial, tmp_path: Path
) -> None:
    trial.append(200)
    trial.once()
    copy = Pipeline(tmp_path / "copy", tmp_path / "copy")
    trial.pipeline.copy_to(copy.folder)
    ours = trial.pipeline.start()
    trial.append(100)
    trial.wait_for(ours, trial.expected().released)
    theirs = copy.start()
    fence = trial.query("SELECT fence FROM event_processor_cursor")
    wait_until(lambda: trial.query("SELECT fence FROM event_processor_cursor") > fence or not theirs.alive, "the copy begins")
    trial.append(100)
    wait_until(lambda: trial.lane().get("state") == "stopped" or not ours.alive, "the first process is fenced off")
    assert "another process" in trial.lane()["words"]
    trial.wait_for(theirs, trial.expected().released)
    theirs.send(signal.SIGTERM)
    assert theirs.wait().exit_code == 0
    ours.send(signal.SIGTERM)
    ours.wait()
    ours = trial.pipeline.start()
    trial.append(100)
    trial.finish(ours)
