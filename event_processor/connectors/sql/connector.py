"""The connector of `type = "sql"`: a sink that writes rows into a table.

Owns: what such a sink needs before it can be made, its address, its probe, and the changes of its tables.
Always: no message repeats an address that comes from a secret.
Never: keeps a state.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from event_processor.connectors.sql.options import SQLITE, SqlSinkOptions, is_postgres
from event_processor.model.answers import Answer, Verdict
from event_processor.model.committed_rows import CommittedRows
from event_processor.model.connector import Connector, Guarantee, TableChanges
from event_processor.model.delivery import ReceiverContext
from event_processor.model.errors import ConfigurationError, NotAnsweredError, StorageError
from event_processor.model.file_system import FileSystem
from event_processor.model.probes import Finding, ProbeContext
from event_processor.model.remote import ServiceOptions
from event_processor.model.snapshots import SnapshotReceiver
from event_processor.model.transactions import CursorOwner, TransactionalReceiver
from event_processor.storage.durable import read_file

if TYPE_CHECKING:
    from event_processor.connectors.sql.dialect import Dialect, Session

__all__ = ["SqlConnector"]

TransactionsOfSink = TypeVar("TransactionsOfSink")
BY: str = "its rows, its failed rows and its cursor are one transaction, which only the process that holds the fence can commit"
TIMEOUT_S: Final = 60.0
"""How long one transaction may take, if the sink has no service."""
APPLY = "event-processor sql plan; then: event-processor sql apply"


class SqlConnector(Connector):
    """See `Connector`."""

    type_name = "sql"
    sink_options = SqlSinkOptions

    def guarantee(self, options: SqlSinkOptions) -> Guarantee:
        """Exactly once."""
        words = "exactly once" if not options.enrich else "exactly once, each with one of its service's answers"
        return Guarantee(words, BY)

    def receiver(self, options: SqlSinkOptions, context: ReceiverContext) -> TransactionalReceiver:
        """A receiver with a connection and a thread of its own."""
        # Imported only if there is such a sink: every command starts faster without sqlite3 and asyncio.
        from event_processor.connectors.sql.transactions import LaneTransactions  # noqa: PLC0415
        from event_processor.model.blocking_receiver import BlockingReceiver, WorkerThread  # noqa: PLC0415

        transactions = _transactions(LaneTransactions, options, context)
        return BlockingReceiver(transactions, WorkerThread(f"sql {context.name}"), _timeout_s(context.service))

    def snapshot_receiver(self, options: SqlSinkOptions, context: ReceiverContext) -> SnapshotReceiver:
        """The same, for a table that is as a checkpoint is."""
        from event_processor.connectors.sql.snapshot_receiver import SqlSnapshotReceiver  # noqa: PLC0415
        from event_processor.connectors.sql.snapshot_transactions import SnapshotTransactions  # noqa: PLC0415
        from event_processor.model.blocking_receiver import WorkerThread  # noqa: PLC0415

        transactions = _transactions(SnapshotTransactions, options, context)
        return SqlSnapshotReceiver(transactions, WorkerThread(f"sql {context.name}"), _timeout_s(context.service))

    def drop_snapshot(self, options: SqlSinkOptions, context: ReceiverContext, owner: CursorOwner) -> bool:
        """See `Connector`."""
        from event_processor.connectors.sql.statements import dropped  # noqa: PLC0415 - only if there is such a sink
        from event_processor.connectors.sql.tables import CURSOR  # noqa: PLC0415

        with _as_errors(context), _connection(options, context, may_create=False) as (session, dialect):
            if session is None or dialect.found_table(session, CURSOR.name) is None:
                return False
            session.begin()
            found = session.execute(dropped(dialect), (owner.pipeline, owner.shard, owner.lane))
            # If we die before this, nothing was removed. After it, the next start writes everything.
            session.commit()
            return bool(found)

    def probe(self, options: SqlSinkOptions, context: ProbeContext) -> Iterable[Finding]:
        """Whether the database can be opened, and whether its tables are as the sink needs them."""
        from event_processor.connectors.sql.dialect import SqlError  # noqa: PLC0415 - only if there is such a sink
        from event_processor.connectors.sql.tables import changes_of  # noqa: PLC0415

        key = context.key
        try:
            with _connection(options, context, may_create=False) as (session, dialect):
                if session is None:
                    return [Finding(key, "ok", "the database does not exist yet; the first start makes it")]
                # This also finds out whether it can be written.
                session.begin()
                changes = changes_of(session, dialect, options, is_snapshot=context.is_snapshot)
                session.rollback()
        except SqlError as error:
            is_waiting = error.answer.verdict is Verdict.WAIT
            remedy = error.remedy or "make the database available"
            return [Finding(key, "unreachable" if is_waiting else "wrong", error.answer.words, remedy)]
        if changes.conflicts:
            return [Finding(key, "wrong", "; ".join(changes.conflicts), APPLY)]
        if changes.statements:
            return [
                Finding(
                    key, "ok", f"the table {options.table} is made at the sink's first start, or by event-processor sql apply"
                )
            ]
        return [Finding(key, "ok", f"the table {options.table} can be opened, and is as the sink needs it")]

    def committed_rows(self, options: SqlSinkOptions, context: ReceiverContext) -> CommittedRows:
        """See `Connector`."""
        from event_processor.connectors.sql.committed_rows import SqlRows  # noqa: PLC0415 - only if there is such a sink

        def connect() -> tuple[Session | None, Dialect]:
            url = _url_reader(options, context.world.fs, context.environment)()
            dialect = _dialects(context.world.fs, _timeout_s(context.service))(url)
            return dialect.connect(url, may_create=False, only_look=True), dialect

        return SqlRows(options, connect, sink=context.name, zone=context.timestamp_zone, formats=context.timestamp_formats)

    def table_changes(self, options: SqlSinkOptions, context: ReceiverContext, *, is_done: bool) -> TableChanges:
        """See `Connector`."""
        from event_processor.connectors.sql.tables import apply_changes, changes_of  # noqa: PLC0415 - only if there is such a sink

        with _as_errors(context), _connection(options, context, may_create=is_done) as (session, dialect):
            if session is None:
                with _connection(options, context, may_create=False, in_memory=True) as (empty, _):
                    assert empty is not None, "it is in memory"
                    return changes_of(empty, dialect, options, is_snapshot=context.is_snapshot)
            session.begin()
            dialect.hold_tables(session)
            changes = changes_of(session, dialect, options, is_snapshot=context.is_snapshot)
            if is_done and not changes.conflicts:
                apply_changes(session, changes)
                # If we die before this, nothing was changed.
                session.commit()
            else:
                session.rollback()
            return changes


def _transactions(
    kind: Callable[..., TransactionsOfSink], options: SqlSinkOptions, context: ReceiverContext
) -> TransactionsOfSink:
    """The transactions of a sink, as of this process."""
    from event_processor import __version__  # noqa: PLC0415 - only if there is such a sink

    dialect_of = _dialects(context.world.fs, _timeout_s(context.service))
    if options.url is not None:
        # If its extra is missing, a start should say so.
        dialect_of(str(options.url))
    return kind(
        options,
        dialect_of,
        read_url=_url_reader(options, context.world.fs, context.environment),
        zone=context.timestamp_zone,
        formats=context.timestamp_formats,
        sources=context.sources,
        wall_ns=context.world.clock.wall_ns,
        software=f"event-processor {__version__}",
        writer=f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}",
    )


@contextmanager
def _as_errors(context: ReceiverContext) -> Iterator[None]:
    """Turns errors of the database into those of a command."""
    from event_processor.connectors.sql.dialect import SqlError  # noqa: PLC0415 - only if there is such a sink

    try:
        yield
    except SqlError as error:
        raised = NotAnsweredError if error.answer.verdict is Verdict.WAIT else ConfigurationError
        raise raised(f"sinks.{context.name}: {error.answer.words}", hint=error.remedy or "look at the database") from error


def _timeout_s(service: ServiceOptions | None) -> float:
    """How long one transaction may take, in seconds."""
    return TIMEOUT_S if service is None else service.timeout_s


def _dialects(fs: FileSystem, timeout_s: float) -> Callable[[str], Dialect]:
    """What gives the dialect of an address: one for each kind of database. It raises `ConfigurationError` if an extra is missing."""

    @cache
    def of_kind(is_of_postgres: bool) -> Dialect:
        if is_of_postgres:
            from event_processor.connectors.sql.postgres import PostgresDialect  # noqa: PLC0415 - only if there is such a sink

            return PostgresDialect(timeout_s)
        from event_processor.connectors.sql.sqlite import SqliteDialect  # noqa: PLC0415 - only if there is such a sink

        return SqliteDialect(fs, timeout_s)

    return lambda url: of_kind(is_postgres(url))


@contextmanager
def _connection(
    options: SqlSinkOptions, context: ReceiverContext | ProbeContext, *, may_create: bool, in_memory: bool = False
) -> Iterator[tuple[Session | None, Dialect]]:
    """A connection for one look, and its dialect; None if there is no database. Raises `SqlError`."""
    url = _url_reader(options, context.world.fs, context.environment)()
    dialect = _dialects(context.world.fs, _timeout_s(context.service))(url)
    if in_memory:
        from event_processor.connectors.sql.sqlite import memory_session  # noqa: PLC0415 - only if there is such a sink

        session: Session | None = memory_session()
    else:
        session = dialect.connect(url, may_create=may_create, only_look=not may_create)
    try:
        yield session, dialect
    finally:
        if session is not None:
            session.close()


def _url_reader(options: SqlSinkOptions, fs: FileSystem, environment: Mapping[str, str] | None) -> Callable[[], str]:
    """What reads the address for each connection. It raises `SqlError` if it cannot be read."""
    from event_processor.connectors.sql.dialect import SqlError  # noqa: PLC0415 - only if there is such a sink

    variables = os.environ if environment is None else environment

    def stop(words: str, remedy: str) -> SqlError:
        return SqlError(Answer(Verdict.STOP, words), remedy)

    def read() -> str:
        if options.url is not None:
            return str(options.url)
        if options.url_env is not None:
            where, url = f"${options.url_env}", variables.get(options.url_env, "").strip()
        else:
            assert options.url_file is not None, "one of the three is set"
            try:
                path = options.url_file.in_environment(variables)
                where, url = path, (read_file(fs, path) or b"").decode(errors="replace").strip()
            except KeyError as error:
                raise stop(f"${error.args[0]} is not set", "set it, or name another file in url_file") from error
            except StorageError as error:
                raise stop(error.message, error.hint) from error
        if not is_postgres(url) and (not url.startswith(SQLITE) or url == SQLITE):
            forms = '"postgresql://user:password@host/database" or "sqlite:////srv/results.db"'
            raise stop(f"{where}: has no address such as {forms}", "write the address there")
        return url

    return read
