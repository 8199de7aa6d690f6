"""The live pipeline of the example of transactions as tests see it: a copy of the example, a broker, a prediction service, a database.

Owns: how its programs are called, and how both kinds of database are asked.
Always: what was started in the background is stopped by its number at the end of the block, and the topic is removed.
Never: imports the example or the package.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.documents import SESSION_S_MAX
from support.kafka_broker import KafkaBroker
from support.postgres_server import PostgresServer
from support.transactions import environment

__all__ = ["LiveExample", "live_example", "made_by"]

TOPIC = "transactions"


def made_by(folder: Path, variables: Mapping[str, str], target: str, *, exit_code: int = 0) -> str:
    """Makes a target of a copy of the example without Docker; what is said."""
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", "DOCKER=no", target]
    return _said_by(command, folder, variables, exit_code)


def _said_by(command: Sequence[str], folder: Path, variables: Mapping[str, str], exit_code: int) -> str:
    finished = subprocess.run(
        command, cwd=folder, env=variables, check=False, capture_output=True, text=True, timeout=SESSION_S_MAX
    )
    said = finished.stdout + finished.stderr
    assert "Traceback" not in said
    assert finished.returncode == exit_code, said
    return said


@dataclass
class LiveExample:
    """A copy of the example in `folder`. `postgres`: a server, if the tables are there; otherwise they are in SQLite."""

    folder: Path
    broker: KafkaBroker
    api: str
    postgres: PostgresServer | None = None
    name: str = ""

    @property
    def environment(self) -> dict[str, str]:
        found = environment() | {"KAFKA_BROKERS": self.broker.address, "ML_API_URL": self.api}
        return found | ({"DATABASE_URL": self.postgres.url(self.name)} if self.postgres else {})

    @property
    def database(self) -> str:
        return "postgres" if self.postgres else "sqlite"

    def step(self, *arguments: str, exit_code: int = 0) -> str:
        """Runs a program of the example; what it says."""
        return _said_by([sys.executable, *arguments], self.folder, self.environment, exit_code)

    def make(self, target: str) -> str:
        """Makes a target of the example without Docker; what is said."""
        return made_by(self.folder, self.environment, target)

    def batch(self) -> str:
        return self.step("batch.py", "--database", self.database, "--api", self.api)

    def streaming(self, command: str = "all", *options: str, exit_code: int = 0) -> str:
        return self.step("streaming.py", command, "--database", self.database, *options, exit_code=exit_code)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Asks the database."""
        if self.postgres:
            return self.postgres.execute(self.name, statement)
        path = self.folder / "out" / "transactions.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)) as connection:
            return connection.execute(statement).fetchall()

    def has_row(self, table: str, pipeline: str) -> bool:
        """Whether a pipeline has written a row. The table may not be there yet."""
        listed = "pg_tables" if self.postgres else "sqlite_master"
        name = "tablename" if self.postgres else "name"
        if not self.query(f"SELECT 1 FROM {listed} WHERE {name} = '{table}'"):
            return False
        return bool(self.query(f"SELECT 1 FROM {table} WHERE _pipeline = '{pipeline}' LIMIT 1"))

    @contextmanager
    def in_the_foreground(self) -> Iterator[None]:
        """The live pipeline as a container runs it, until the end of the block."""
        command = [sys.executable, "streaming.py", "run", "--database", self.database]
        with (self.folder / "work" / "foreground.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            assert process.wait(SESSION_S_MAX) == 0, (self.folder / "work" / "foreground.log").read_text()

    def columns(self, table: str) -> list[str]:
        """The columns of a table, in order."""
        if self.postgres:
            asked = f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
            return [name for (name,) in self.query(asked)]
        return [row[1] for row in self.query(f"PRAGMA table_info({table})")]

    def kill(self, part: str) -> None:
        """Kills a process that `streaming.py` started, with -9. `part`: such as "1-of-2"."""
        (number,) = (self.folder / "work").glob(f"streaming*-{part}.pid")
        os.kill(int(number.read_text()), signal.SIGKILL)


@contextmanager
def live_example(example: LiveExample) -> Iterator[LiveExample]:
    """The example, with a database of its own."""
    if example.postgres:
        example.name = example.postgres.new_database()
    try:
        yield example
    finally:
        example.streaming("clean")
        with example.broker.admin() as admin:
            is_left = TOPIC in admin.list_topics(timeout=60).topics
        if is_left:
            example.broker.delete_topic(TOPIC)
