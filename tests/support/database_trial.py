"""A whole pipeline that writes into a PostgreSQL database, and what an independent reading of its log says must be there.

Owns: `DatabaseTrial`: its log, its configuration, what is read back from the database and the state, and the judgement at the end.
Always: what is expected is computed here from the bytes of the log alone: which lines are events, which are duplicates, which do not fit
their column. The database is read by a connection of its own.
Never: imports the package.
"""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg

from support.postgres_server import PostgresServer
from support.processes import Daemon, Finished, Pipeline, wait_until

__all__ = ["DatabaseTrial", "Expected"]

CONFIGURATION: Final = """
[sources.events]
path = "events.jsonl"
[order]
buffer_events = 0
[batch]
bytes_max = 16384
{more}
[services.database]
timeout_s = {timeout_s}
[sinks.rows]
type = "sql"
service = "database"
url = "{url}"
table = "results"
columns = {{ id = "integer", amount = "double", kind = {{ type = "text", field = "more.kind" }} }}
request_events_max = {request_events_max}
"""


@dataclass(frozen=True)
class Expected:
    """`rows`: (id, amount, kind, line, offset), in order. `failed`: the lines of events that do not fit."""

    rows: list[tuple[Any, ...]]
    failed: list[int]

    @property
    def released(self) -> int:
        """How many events there are."""
        return len(self.rows) + len(self.failed)


@dataclass
class DatabaseTrial:
    """One pipeline and one database. `state_name`, `more`: parts of the configuration, see `configure`."""

    folder: Path
    server: PostgresServer
    seed: int = 7
    database: str = ""
    pipeline: Pipeline = field(init=False)

    def __post_init__(self) -> None:
        self.database = self.database or self.server.new_database()
        self.pipeline = Pipeline(self.folder, self.folder)
        self._numbers = Random(self.seed)
        self._count = 0
        self._connection: psycopg.Connection[Any] | None = None
        self.pipeline.log.write_bytes(b"")
        self.configure()

    def configure(self, *, port: int | None = None, more: str = "", request_events_max: int = 25, timeout_s: float = 30) -> None:
        """Writes the configuration. `port`: of a proxy before the server. `more`: sections before the sink's."""
        url = self.server.url(self.database, port=port)
        text = CONFIGURATION.format(url=url, more=more, request_events_max=request_events_max, timeout_s=timeout_s)
        (self.folder / "pipeline.toml").write_text(text)

    # The log.

    def append(self, count: int) -> None:
        """Appends lines: events, with duplicates, lines that are no events, and amounts that do not fit their column."""
        numbers, lines = self._numbers, []
        for number in range(self._count, self._count + count):
            id_ = number if numbers.random() > 0.05 else numbers.randrange(max(1, number))
            amount: Any = number / 4 if numbers.random() > 0.01 else "much"
            event = {"id": id_, "category": f"c{number % 7}", "value": 1, "amount": amount, "more": {"kind": f"k{number % 3}"}}
            lines.append((json.dumps(event) if numbers.random() > 0.01 else "no event") + "\n")
        self._count += count
        with self.pipeline.log.open("a") as log:
            log.write("".join(lines))

    def expected(self, *, refused: frozenset[str] = frozenset(), before: int = 0, after: int = 0) -> Expected:
        """What the log says. `refused`: kinds that the database refuses. Without the events after `before` up to `after`."""
        rows, failed, seen, offset, sequence = [], [], set(), 0, 0
        for number, line in enumerate(self.pipeline.log.read_bytes().splitlines(keepends=True), start=1):
            place, offset = offset, offset + len(line)
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event["id"] in seen:
                continue
            seen.add(event["id"])
            sequence += 1
            if before < sequence <= after:
                continue
            kind = event["more"]["kind"]
            if isinstance(event["amount"], str) or kind in refused:
                failed.append(number)
            else:
                rows.append((event["id"], event["amount"], kind, number, place))
        return Expected(rows, failed)

    # What is there.

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a statement by a connection that is kept. Raises `psycopg.OperationalError` if the server is not there."""
        if self._connection is None:
            self._connection = psycopg.connect(self.server.url(self.database), autocommit=True, connect_timeout=10)
        try:
            cursor = self._connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []
        except psycopg.OperationalError:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Closes the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def server_said(self) -> str:
        """What the server has logged."""
        return (self.server.folder / "log").read_text(errors="replace")

    def sequence(self) -> int:
        """Where the cursor in the database is; -1 if that cannot be seen now."""
        try:
            found = self.query("SELECT sequence FROM event_processor_cursor WHERE sink = 'rows' ORDER BY changed_at DESC LIMIT 1")
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable):
            return -1
        return int(found[0][0]) if found else -1

    def lane(self) -> dict[str, Any]:
        """What the daemon last published about the sink, as `status` shows it; empty before it did."""
        try:
            published = json.loads((self.folder / "state" / "history" / "lanes.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return next((dict(each) for each in published["lanes"] if each["sink"] == "rows"), {})

    # Copies. No run may be connected.

    def copy_database(self) -> str:
        """The name of a copy of the database."""
        self.disconnect()
        name = f"{self.database}_kept"
        self.server.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {self.database}")
        return name

    def replace_database(self, copy: str = "template1") -> None:
        """Puts the copy in place of the database; by default an empty one."""
        self.disconnect()
        self.server.execute("postgres", f"DROP DATABASE {self.database} WITH (FORCE)")
        self.server.execute("postgres", f"CREATE DATABASE {self.database} TEMPLATE {copy}")

    def copy_state(self, name: str) -> None:
        """Keeps a copy of the state under this name."""
        shutil.copytree(self.folder / "state", self.folder / name)

    def replace_state(self, copy: str) -> None:
        """Puts the copy in place of the state, which is kept as `replaced`."""
        (self.folder / "state").rename(self.folder / "replaced")
        shutil.copytree(self.folder / copy, self.folder / "state")

    # Its life.

    def wait_for(self, daemon: Daemon, sequence: int) -> None:
        """Waits until the cursor in the database has reached `sequence`, while the daemon lives."""
        wait_until(lambda: self.sequence() >= sequence or not daemon.alive, f"the cursor is at {sequence}")
        assert daemon.alive, daemon.said()

    def finish(self, daemon: Daemon, **expected: Any) -> None:
        """Waits until everything is written, ends the daemon, and judges."""
        self.wait_for(daemon, self.expected(**expected).released)
        daemon.send(signal.SIGTERM)
        finished = daemon.wait()
        assert finished.exit_code == 0, finished
        assert "Traceback" not in finished.stderr
        self.require_end(**expected)

    def once(self, code: int = 0) -> Finished:
        """Runs to the end of the log, and requires this exit code."""
        finished = self.pipeline.run("--once")
        assert finished.exit_code == code, finished
        assert "Traceback" not in finished.stderr
        return finished

    def call(self, *arguments: str, code: int = 0) -> str:
        """Runs a command. Returns what it said."""
        finished = self.pipeline.command_of(*arguments)
        assert finished.exit_code == code, finished
        return finished.stderr

    def require_end(self, *, name: str = "pipeline", **expected: Any) -> None:
        """The rows, the failed rows, the cursor, its mirror and the checkpoint are what the log says. `name`: of the pipeline.

        With `after`, the lane began there; rows and failed rows up to `before` are of an earlier lane or state.
        """
        whole, ours = self.expected(**expected), self.expected(**{**expected, "before": 0})
        after = expected.get("after", 0)
        where = f"WHERE _pipeline = '{name}'"
        rows = self.query(f"SELECT id, amount, kind, _line, _offset FROM results {where} ORDER BY _sequence")
        assert rows == whole.rows
        where = f"WHERE pipeline = '{name}' AND sink = 'rows'"
        places = self.query(f"SELECT place FROM event_processor_failed {where} ORDER BY sequence")
        assert [json.loads(place)["line"] for (place,) in places] == whole.failed
        counts = (len(ours.rows), len(ours.failed), 0)
        cursor = self.query(f"SELECT sequence, delivered, failed, skipped FROM event_processor_cursor {where}")
        assert cursor == [(after + ours.released, *counts)]
        state = json.loads(self.pipeline.checkpoint.read_bytes())["state"]
        released, started_after = state["outbox"]["events"]["sequence"], state["lanes"]["rows"]["from"]
        mirror = json.loads((self.folder / "state" / "delivery" / "rows.json").read_bytes())
        mirrored = tuple(mirror["counts"][each] for each in ("delivered", "failed", "skipped"))
        pending = released - mirror["sequence"]
        assert (mirrored, pending, started_after) == (counts, 0, after)
        assert released - started_after == sum(mirrored) + pending == ours.released
