"""A sink in a real PostgreSQL server whose connection, network, backend or whole server fails: each record is one row, and never two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from event_processor.connectors.sql.dialect import Session, SqlError
from event_processor.engine.delivery.reports import LaneReport
from event_processor.model.answers import Verdict
from event_processor.model.blocking_receiver import BlockingReceiver, WorkerThread
from support.lanes import Bench, MemoryOutbox, records
from support.postgres_server import PostgresServer, server_of_tests
from support.postgres_world import PostgresWorld
from support.processes import until
from support.sql_world import Fault, FaultyDialect, deliver, require_true, transactions_of
from support.tcp_proxy import TcpProxy

RECORDS = 60


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with server_of_tests() as server:
        yield server


@pytest.fixture
def world(server: PostgresServer) -> PostgresWorld:
    return PostgresWorld(server)


class Interrupted(Fault):
    """At the `nth` call of a connection, something happens to the server; then the call goes on."""

    def __init__(self, nth: int, event: Callable[[], object]) -> None:
        super().__init__(nth)
        self._event = event

    def around(self, call: Callable[[], Any], close: Callable[[], None]) -> Any:
        self.calls += 1
        if self.calls == self.nth:
            self._event()
        return call()


def require_all(world: PostgresWorld, state: Path, report: LaneReport) -> None:
    assert (report.state, report.delivered, report.failed) == ("idle", RECORDS, 0)
    assert world.query("SELECT n FROM results ORDER BY _sequence") == [(n,) for n in range(1, RECORDS + 1)]
    require_true(world, state, report)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("skipped", [0, 1, 2, 4])
def test_a_connection_that_is_cut_in_a_commit_is_settled_first(
    world: PostgresWorld, tmp_path: Path, when: str, skipped: int
) -> None:
    """Before or after the server took it: of the look, of the commit that makes the tables and the cursor, and of two with rows."""
    with TcpProxy(world.server.port) as proxy:
        proxy.cut_at(b"COMMIT", when, skipped)  # type: ignore[arg-type]  # one of the two
        options = world.options(url=world.server.url(world.database, port=proxy.port))
        report = deliver(world, tmp_path, MemoryOutbox(records(RECORDS)), options=options)
        assert proxy.cuts == 1
    require_all(world, tmp_path, report)


@pytest.mark.parametrize("nth", [3, 20, 38, 41, 60])
def test_a_server_that_is_killed_and_comes_back_has_each_row_once(world: PostgresWorld, tmp_path: Path, nth: int) -> None:
    def killed() -> None:
        world.server.kill()
        world.server.start()

    fault = Interrupted(nth, killed)
    report = deliver(world, tmp_path, MemoryOutbox(records(RECORDS)), dialect=FaultyDialect(world.dialect(), fault))
    assert fault.was_met
    require_all(world, tmp_path, report)


@pytest.mark.parametrize("nth", [5, 30, 39, 50])
def test_a_backend_that_is_terminated_is_a_wait(world: PostgresWorld, tmp_path: Path, nth: int) -> None:
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{world.database}'"
    fault = Interrupted(nth, lambda: world.server.execute("postgres", ended))
    report = deliver(world, tmp_path, MemoryOutbox(records(RECORDS)), dialect=FaultyDialect(world.dialect(), fault))
    assert fault.was_met
    require_all(world, tmp_path, report)


def test_a_deferred_constraint_finds_its_row(world: PostgresWorld, tmp_path: Path) -> None:
    deliver(world, tmp_path, MemoryOutbox([]))
    world.query("CREATE TABLE known (n bigint PRIMARY KEY)")
    world.query(f"INSERT INTO known SELECT * FROM generate_series(1, {RECORDS}) WHERE generate_series <> 33")
    world.query("ALTER TABLE results ADD FOREIGN KEY (n) REFERENCES known DEFERRABLE INITIALLY DEFERRED")
    report = deliver(world, tmp_path, MemoryOutbox(records(RECORDS)))
    assert (report.state, report.delivered, report.failed) == ("idle", RECORDS - 1, 1)
    ((sequence, status),) = world.query("SELECT sequence, status FROM event_processor_failed")
    assert (sequence, status) == (33, "23503")
    require_true(world, tmp_path, report)


def test_a_commit_is_durable_whatever_the_default(world: PostgresWorld) -> None:
    world.query(f"ALTER DATABASE {world.database} SET synchronous_commit = off")
    world.query(f"ALTER DATABASE {world.database} SET default_transaction_isolation = 'serializable'")
    session = world.dialect().connect(world.server.url(world.database), may_create=True)
    assert session is not None
    session.begin()
    assert [session.execute(f"SHOW {name}") for name in ("synchronous_commit", "transaction_isolation")] == [
        [("on",)], [("read committed",)],
    ]  # fmt: skip
    session.rollback()
    session.close()


def test_a_database_that_is_not_there_stops_the_lane(world: PostgresWorld, tmp_path: Path) -> None:
    states: list[str] = []

    def seen(session: Session) -> None:
        states.append("connected")

    async def main() -> LaneReport:
        made = transactions_of(FaultyDialect(world.dialect(), prepared=seen), world.options(url=world.server.url("nowhere")))
        bench = Bench(str(tmp_path), MemoryOutbox(records(3)), lambda: BlockingReceiver(made(), WorkerThread("sql test"), 5.0))
        await until(lambda: bench.lane.report().state == "stopped")
        report = bench.lane.report()
        await bench.close()
        return report

    report = asyncio.run(main())
    assert 'database "nowhere" does not exist' in report.words
    assert "correct the sink's address" in report.remedy
    assert states == []


def test_a_network_that_is_cut_ends_the_connection_and_then_everything_arrives(world: PostgresWorld, tmp_path: Path) -> None:
    with TcpProxy(world.server.port) as proxy:
        options = world.options(url=world.server.url(world.database, port=proxy.port))
        made = transactions_of(world.dialect(), options)

        async def main() -> LaneReport:
            outbox = MemoryOutbox(records(RECORDS))
            bench = Bench(
                str(tmp_path), outbox, lambda: BlockingReceiver(made(), WorkerThread("sql test"), 1.0), request_events_max=1
            )
            await until(lambda: bench.lane.report().delivered >= 5)
            proxy.freeze()
            connections = proxy.connections
            await until(lambda: proxy.connections > connections)
            assert bench.lane.report().pending > 0
            proxy.thaw()
            await bench.idle()
            return await bench.close()

        report = asyncio.run(main())
    require_all(world, tmp_path, report)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:hunt/hunter2@127.0.0.1:{port}/x",
        "postgresql://u@127.0.0.1:hunter2/x",
        "postgresql://u@h/x?sslmode%hunter2",
    ],
)
def test_no_message_repeats_a_part_of_an_address_that_cannot_be_read(world: PostgresWorld, address: str) -> None:
    with pytest.raises(SqlError) as raised:
        world.dialect().connect(address.format(port=world.server.port), may_create=True)
    assert "hunt" not in str(raised.value)
    assert raised.value.answer.verdict is Verdict.STOP


def test_a_refused_password_is_in_no_message(world: PostgresWorld) -> None:
    """The server trusts everyone, so the user is wrong instead."""
    with pytest.raises(SqlError) as raised:
        world.dialect().connect(f"postgresql://nobody:hunter2@127.0.0.1:{world.server.port}/x", may_create=True)
    assert "hunter2" not in str(raised.value) + raised.value.remedy
    assert (raised.value.answer.verdict, 'role "nobody" does not exist' in str(raised.value)) == (Verdict.STOP, True)
