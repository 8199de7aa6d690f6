"""A real PostgreSQL server on 127.0.0.1, with a cluster of its own in a folder of its own.

Owns: `PostgresServer`: how a cluster is made, started, killed, stopped, copied and restored; `why_no_postgres`.
Always: the server is a child that dies with this process, and is stopped by the id it was started with. Every wait is bounded.
Never: trusts a server that it did not start. A database of each test is its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import pytest

from support.processes import wait_until

__all__ = ["PostgresServer", "server_of_tests", "why_no_postgres"]

PROGRAMS: Final = (
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/bin",
    "/usr/local/bin",
)
USER: Final = "postgres"
NUMBERS: Final = count(1)


def _programs() -> str | None:
    """The folder of initdb and postgres; None if they are not here."""
    return next(
        (folder for folder in PROGRAMS if all(os.path.exists(f"{folder}/{each}") for each in ("initdb", "postgres"))), None
    )


def why_no_postgres() -> str:
    """Why no server can run here; "" if one can."""
    return "" if _programs() else "PostgreSQL is not installed: apt install postgresql"


def _as_user(*command: str) -> list[str]:
    """The command as a user that PostgreSQL accepts: it refuses root. It dies with this process."""
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig=KILL", *command]
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig=KILL", *command]


@dataclass
class PostgresServer:
    """A context manager: inside, the server runs. `folder` exists and must be short: the path of its socket has a limit.

    `settings`: as in postgresql.conf.
    """

    folder: Path
    settings: Sequence[str] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    databases: list[str] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def make(self) -> None:
        """Makes an empty cluster."""
        self._own(self.folder)
        options = ["-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8", "-U", USER]
        made = subprocess.run(_as_user(f"{_programs()}/initdb", "-D", str(self.data), *options), capture_output=True, check=False)
        assert made.returncode == 0, made.stderr.decode()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        """Starts the server, and waits until it takes connections."""
        assert self.process is None
        addresses = ["-c", "listen_addresses=127.0.0.1", "-k", str(self.folder), "-p", str(self.port)]
        settings = [each for setting in self.settings for each in ("-c", setting)]
        with open(self.folder / "log", "ab") as log:
            command = _as_user(f"{_programs()}/postgres", "-D", str(self.data), *addresses, *settings)
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        wait_until(self.is_up, f"PostgreSQL on port {self.port} takes connections")

    def is_up(self) -> bool:
        """Whether it takes connections. Fails the test if the process has ended."""
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kills the server with -9: its sessions end as soon as they notice."""
        self._end(signal.SIGKILL)
        # The postmaster's children notice its death; a new one refuses to start before the last is gone.
        pattern = f"postgres: .*{self.data}"
        wait_until(
            lambda: subprocess.run(["pgrep", "-f", pattern], capture_output=True, check=False).returncode != 0, "sessions end"
        )

    def stop(self) -> None:
        """Stops the server at once, without waiting for sessions, and waits for its end."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def __enter__(self) -> Self:
        self.make()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self, database: str, *, port: int | None = None) -> str:
        """The address of a database; `port`: of a proxy in between."""
        return f"postgresql://{USER}@127.0.0.1:{port or self.port}/{database}"

    def new_database(self) -> str:
        """The name of a new, empty database."""
        name = f"test_{next(NUMBERS)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        self.databases.append(name)
        return name

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Runs one statement, committed. Returns its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def copy_to(self, name: str) -> None:
        """Keeps a copy of everything under this name. The server is stopped meanwhile."""
        self.stop()
        shutil.copytree(self.data, self.folder / name, symlinks=True)
        self.start()

    def restore(self, name: str) -> None:
        """Puts the copy back. The server is stopped meanwhile."""
        self.stop()
        shutil.rmtree(self.data)
        shutil.copytree(self.folder / name, self.data, symlinks=True)
        self._own(self.data)
        self.data.chmod(0o700)
        self.start()

    def _own(self, path: Path) -> None:
        """Gives a folder, and what is in it, to the user of the server."""
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{USER}:{USER}", str(path)], check=True)


@contextmanager
def server_of_tests(*settings: str) -> Iterator[PostgresServer]:
    """A server that runs with these settings. Skips the test if none can run here; with CI=true it may not skip."""
    reason = why_no_postgres()
    if reason and os.environ.get("CI") != "true":
        pytest.skip(reason)
    # The path of the socket has a limit, so the folder is not pytest's.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder, PostgresServer(Path(folder), settings) as server:
        yield server
