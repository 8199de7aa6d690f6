"""A PostgreSQL server of our own to measure with, on 127.0.0.1.

Owns: the cluster, from `initdb` to its end, and the processor time of the server's processes.
Always: as durable as a server by default: fsync is on. It is a child that ends with this process, and is stopped by its id.
Never: uses a server that it did not start.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import MeasurementError

__all__ = ["Postgres", "postgres"]

PROGRAMS: Final = ("/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin", "/usr/bin")
USER: Final = "postgres"
START_S_MAX: Final = 60.0
LOOK_S: Final = 0.05
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_NUMBERS: Final = count(1)


class Postgres:
    """A server that runs. `process_id`: of the first of its processes."""

    def __init__(self, port: int, process_id: int) -> None:
        self._port: Final = port
        self._process_id: Final = process_id

    def url(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs a statement, committed. Returns its rows."""
        import psycopg  # noqa: PLC0415 - the extra may be missing

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """The name of a new, empty database."""
        name = f"run_{next(_NUMBERS)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, database: str) -> None:
        """Removes a database, and does now what its rows would cost the next run."""
        self.execute(f"DROP DATABASE {database} WITH (FORCE)")
        self.execute("CHECKPOINT")

    def cpu_s(self) -> float:
        """The processor time of all its processes until now, also of those that ended."""
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            if folder.name == str(self._process_id):
                total += sum(map(int, fields[11:15]))  # own, and of children that ended
            elif fields[1] == str(self._process_id):
                total += sum(map(int, fields[11:13]))
        return total / TICKS_PER_S


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A new server. Raises `MeasurementError` if PostgreSQL is not here, or does not start."""
    programs = next((each for each in PROGRAMS if os.path.exists(f"{each}/initdb") and os.path.exists(f"{each}/postgres")), None)
    if programs is None:
        raise MeasurementError("PostgreSQL is not installed")
    # A short path: the path of its socket has a limit.
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        folder = Path(name)
        as_user: list[str] = ["setpriv", "--pdeathsig=KILL"]
        if os.geteuid() == 0:
            # It refuses root.
            subprocess.run(["chown", USER, name], check=True)
            as_user += [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        made = [*as_user, f"{programs}/initdb", "-D", f"{name}/data", "-A", "trust", "--no-locale", "-E", "UTF8", "-U", USER]
        if subprocess.run(made, capture_output=True, check=False, cwd="/").returncode:
            raise MeasurementError("initdb failed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["-c", "listen_addresses=127.0.0.1", "-k", name, "-p", str(port), "-c", "max_wal_size=4GB"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*as_user, f"{programs}/postgres", "-D", f"{name}/data", *options], stderr=log, cwd="/")
        try:
            server = Postgres(port, process.pid)
            _wait(lambda: bool(server.execute("SELECT 1")), process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(START_S_MAX)


def _wait(is_up: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    import psycopg  # noqa: PLC0415 - the extra may be missing

    deadline_s = time.monotonic() + START_S_MAX
    while True:
        try:
            if is_up():
                return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise MeasurementError("PostgreSQL does not start") from None
        time.sleep(LOOK_S)
