"""The transactions of one lane into Kafka: records, dead letters, and the cursor, which is a record of the cursor topic.

Owns: `KafkaTransactions`: how the cursor is taken, moved and kept from others, and which record of a batch is bad.
Always: before a cursor is read, `init_transactions` settles every earlier transaction of this lane; then it is read to the end of the
topic. So what was committed is never sent again. Of two copies of a state the later one writes: the earlier one finds the other's name in
the cursor. A copy whose chain differs writes no name, so the process that writes connects again and goes on. No transaction is open between two calls.
Never: used by two threads at once; it may block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError

from event_processor.connectors.kafka.batch_writing import BatchWriting, Part
from event_processor.connectors.kafka.client import words_of
from event_processor.connectors.kafka.client_options import ClientSetting
from event_processor.connectors.kafka.cursor_entries import CursorEntry, cursor_key
from event_processor.connectors.kafka.cursor_topic import CursorTopic
from event_processor.connectors.kafka.failures import failure_of
from event_processor.connectors.kafka.producer_session import BATCH_BYTES, ProducerSession, SessionOptions, is_bad
from event_processor.connectors.kafka.sink_clients import Clients, Interruption
from event_processor.connectors.kafka.sink_messages import Message, MessageWriter
from event_processor.connectors.kafka.sink_options import KafkaSinkOptions
from event_processor.model.answers import KAFKA_FENCED, Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.errors import ConfigurationError, StateError, StorageError
from event_processor.model.messages import cut
from event_processor.model.transactions import (
    Batch,
    CursorOwner,
    FailedRecord,
    RemoteCursor,
    TransactionError,
)
from event_processor.model.world import World

__all__ = ["KafkaTransactions"]

ANOTHER: Final = RemoteCursor(-1, -1, "")
"""In place of a cursor of the same name that counts the records of another input."""
BATCH_BYTES_MIN: Final = 512
TRIES_MAX: Final = 20
"""So often a batch is tried while bad records are taken out of it. Then the lane hands over fewer."""


@dataclass(slots=True)
class _Connection:
    """What `begin` made. `found`: the cursor as it was read, with its earlier name if it has one; None if there is none.

    `entry`: the cursor as it is committed, with our name; None before it was taken.
    """

    clients: Clients
    session: ProducerSession
    found: CursorEntry | None
    earlier_name: str = ""
    entry: CursorEntry | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """This process, for the entries. No other has the same `writer`."""

    writer: str
    software: str


class KafkaTransactions:
    """See `BlockingTransactions`."""

    def __init__(
        self,
        options: KafkaSinkOptions,
        read_settings: Callable[[], Mapping[str, ClientSetting]],
        identity: Identity,
        *,
        world: World,
        timeout_s: float,
        make_clients: Callable[[Mapping[str, ClientSetting], str, Interruption], Clients] = Clients,
    ) -> None:
        """`read_settings` is called for each connection; it may raise `ConfigurationError`, `StorageError`. `timeout_s`: for a transaction."""
        self._make_clients: Final = make_clients
        self._options: Final = options
        self._read_settings: Final = read_settings
        self._identity: Final = identity
        self._clock: Final = world.clock
        self._timeout_s: Final = timeout_s
        self._interruption: Final = Interruption()
        self._connection: _Connection | None = None
        self._owner: CursorOwner | None = None
        self._topic: CursorTopic | None = None
        self._messages: MessageWriter | None = None
        self._batch_bytes = int(options.client.get("batch.size", BATCH_BYTES))
        self._has_taken = False
        """Whether this process has taken the cursor before. Then it takes it again only if no other process has since."""

    def open(self, owner: CursorOwner) -> None:
        """See `TransactionalReceiver`."""
        self._owner = owner
        self._topic = CursorTopic(self._options, owner, self._clock.monotonic_s)
        self._messages = MessageWriter(self._options, owner.pipeline)

    @property
    def owner(self) -> CursorOwner:
        """Whose cursor it is."""
        assert self._owner is not None, "it was opened"
        return self._owner

    @property
    def topic(self) -> CursorTopic:
        """The cursor topic as it was read."""
        assert self._topic is not None, "it was opened"
        return self._topic

    # Taking the cursor.

    def begin(self, *, is_first: bool) -> RemoteCursor | None:
        """See `TransactionalReceiver`."""
        self._interruption.clear()
        connection = self._connect(may_make=is_first, is_alone=False)
        if connection is None or connection.found is None:
            return None
        return connection.found.cursor if connection.found.input == self.owner.input else ANOTHER

    def take(self) -> bool:
        """See `TransactionalReceiver`. If another process has taken the cursor since `begin`, the producer is fenced: a *wait*."""
        self._interruption.clear()
        self._take(self._opened())
        return True

    def _connect(self, *, may_make: bool, is_alone: bool) -> _Connection | None:
        """A connection that no earlier one can disturb, and the cursor; None if there is no topic for cursors."""
        self.close()
        clients = self._make_clients(self._settings(), f"sinks.{self.owner.sink}", self._interruption)
        try:
            admin = clients.admin()
            if not self.topic.prepare(clients, admin, may_make=may_make):
                return None
            if self._has_taken:
                # Not after `fence`: that would stop the other process. Our own open transaction may hide later entries, not theirs.
                self.topic.read(clients, None)
                self._require_ours()
            session = self._session(clients, self.owner.lane, is_alone=is_alone)
            try:
                # If we die after this, nothing of ours is open, and no other process was stopped but an earlier one of this lane.
                session.fence()
                self.topic.read(clients, self.topic.end(clients, admin))
                connection = self._found(clients, session)
            except BaseException:
                session.close()
                raise
        except ConfigurationError as error:
            raise _stop(error.message, error.hint) from error
        except TransactionError as error:
            raise _unfenced(error) from error
        self._connection = connection
        return connection

    def _settings(self) -> Mapping[str, ClientSetting]:
        try:
            return self._read_settings()
        except (ConfigurationError, StorageError) as error:
            raise _stop(error.message, error.hint) from error

    def _session(self, clients: Clients, lane: str, *, is_alone: bool = False) -> ProducerSession:
        name = f"event-processor.{self.owner.state_id}.{lane}"
        options = SessionOptions(name, self._timeout_s, batch_bytes=self._batch_bytes, is_alone=is_alone)
        return ProducerSession(clients, options, self._options.client)

    def _found(self, clients: Clients, session: ProducerSession) -> _Connection:
        """The connection with the cursor, also under an earlier name. Raises `StateError` if it is of another state."""
        self._require_ours()
        entries = self.topic.entries
        if entries.cursor is not None:
            return _Connection(clients, session, entries.cursor)
        for name, entry in entries.earlier():
            if entry.state_id == self.owner.state_id:
                return _Connection(clients, session, entry, name)
        return _Connection(clients, session, None)

    def _take(self, connection: _Connection) -> None:
        """Writes the name of this process into the cursor that was found. From then on, every other process of this lane stops."""
        found, name = connection.found, connection.earlier_name
        if found is None or connection.entry is not None:
            return
        if found.writer == self._identity.writer and not name:
            self._has_taken, connection.entry = True, found
            return
        if name:
            self._fence(connection.clients, name)
        entry = self._entry(found.input, found.cursor)
        # If we die before the commit, the cursor has the name of an earlier process, and the next start does the same. The outcome may
        # be unknown: then the entry with our name is found.
        self._has_taken = True
        removed = [Message(self._options.cursor_topic, None, cursor_key(self.owner, name), (), 0)] if name else []
        self._write(connection.session, [self._message(entry), *removed])
        self._committed(connection, entry)

    def _fence(self, clients: Clients, name: str) -> None:
        """A process that still runs under the lane's earlier name must not write any more."""
        session = self._session(clients, name)
        try:
            session.fence()
        finally:
            session.close()

    def _require_ours(self) -> None:
        """Raises `StateError` if the cursor is of another state; `TransactionError` if another process has taken it since."""
        found, owner = self.topic.entries.cursor, self.owner
        if found is None:
            return
        if found.state_id != owner.state_id:
            raise StateError(
                f"sink {owner.sink}: the topic {self._options.cursor_topic} has the cursor of another state of the pipeline "
                f"{owner.pipeline}: {cut(found.state_id)}, not {owner.state_id}",
                hint="restore that state; or give this pipeline another state.name, or another cursor_topic, which begin anew",
            )
        if self._has_taken and found.writer != self._identity.writer:
            writer = cut(found.writer.rpartition(":")[0])
            words = f"another process ({writer}) has taken the place of {owner.lane} in this cluster: perhaps a copy of the state is running"
            raise TransactionError(
                Answer(Verdict.STOP, words, "fenced"),
                remedy="stop one of the two; then restart this process if it is the one to go on",
            )

    def _entry(self, input_name: str, cursor: RemoteCursor) -> CursorEntry:
        """The entry with a cursor, and with the name of this process."""
        identity = self._identity
        return CursorEntry(
            state_id=self.owner.state_id,
            input=input_name,
            started_after=cursor.started_after,
            sequence=cursor.sequence,
            chain=cursor.chain,
            delivered=cursor.delivered,
            failed=cursor.failed,
            skipped=cursor.skipped,
            writer=identity.writer,
            at=utc_text(self._clock.wall_ns()),
            software=identity.software,
        )

    def _message(self, entry: CursorEntry) -> Message:
        key = cursor_key(self.owner, self.owner.lane)
        return Message(self._options.cursor_topic, entry.encoded, key, (), 0)

    def start(self, cursor: RemoteCursor) -> None:
        """See `TransactionalReceiver`."""
        self._interruption.clear()
        connection = self._opened()
        self._take(connection)
        entry = self._entry(self.owner.input, cursor)
        # Also if the outcome is unknown: if it is there with our name, it is ours.
        self._has_taken = True
        self._write(connection.session, [self._message(entry)])
        self._committed(connection, entry)

    def _opened(self) -> _Connection:
        assert self._connection is not None, "`begin` was called"
        return self._connection

    def _write(self, session: ProducerSession, messages: Sequence[Message]) -> None:
        """Writes entries of the cursor topic, which never are at fault."""
        try:
            refused = session.write(messages)
        except TransactionError as error:
            self.close()
            raise _unfenced(error) from error
        for refusal in refused.values():
            self.close()
            raise self._refused(refusal)

    def _refused(self, error: KafkaError) -> TransactionError:
        if is_bad(error):
            words = f"the topic {self._options.cursor_topic} does not take a cursor: {words_of(error)}"
            return _stop(words, "its max.message.bytes must be at least 1048588; then: event-processor reload")
        return _unfenced(failure_of(error, "write"))

    def _committed(self, connection: _Connection, entry: CursorEntry) -> None:
        connection.entry = entry
        self.topic.entries.note_cursor(entry)

    # Writing.

    def deliver(self, batch: Batch) -> Sequence[Answer]:
        """See `TransactionalReceiver`."""
        self._interruption.clear()
        assert self._messages is not None, "it was opened"
        writing = BatchWriting(batch, self._messages, self.owner, self._options, self.topic.entries)
        is_alone = False
        for _ in range(TRIES_MAX):
            connection = self._connected(batch.before, is_alone=is_alone)
            answers = writing.answers()
            entry = self._entry(self.owner.input, batch.before.after(batch.entries, answers))
            parts = [*writing.parts(answers), Part(self._message(entry))]
            try:
                refused = connection.session.write([part.message for part in parts])
                if not refused:
                    self._note(connection, entry, parts)
                    return answers
                is_alone = writing.take_out(parts, refused, is_alone=is_alone)
            except TransactionError as error:
                self.close()
                raise _unfenced(error) from error
            # The session is closed. The next one aborts what this one wrote.
            self.close()
        raise TransactionError(Answer(Verdict.BAD, "too many records are refused to find them all in one try"))

    def _connected(self, before: RemoteCursor, *, is_alone: bool) -> _Connection:
        """The connection, if the cursor is at `before` still; a new one if need be. Raises `TransactionError`."""
        connection = self._connection
        if connection is None:
            connection = self._connect(may_make=False, is_alone=is_alone)
            if connection is not None:
                self._take(connection)
        if connection is None or connection.entry is None or connection.entry.cursor != before:
            words = f"the cursor of {self.owner.lane} was moved in the topic {self._options.cursor_topic}"
            raise TransactionError(Answer(Verdict.WAIT, words, "moved"))
        return connection

    def _note(self, connection: _Connection, entry: CursorEntry, parts: Sequence[Part]) -> None:
        """A transaction is committed."""
        self._committed(connection, entry)
        for part in parts:
            if part.failed is not None:
                size = None if part.message.value is None else len(part.message.value)
                self.topic.entries.note_failed(part.failed, size)
        if connection.session.options.is_alone:
            if all(part.failed is None for part in parts):
                # No record was at fault: together they were too large for the topic.
                self._batch_bytes = max(BATCH_BYTES_MIN, self._batch_bytes // 4)
            self.close()

    def failed_after(self, sequence: int) -> list[FailedRecord]:
        """See `TransactionalReceiver`."""
        self._interruption.clear()
        return self.topic.failed_after(self._opened().clients, sequence)

    # The connection.

    def interrupt(self) -> None:
        """See `BlockingTransactions`."""
        self._interruption.set()

    def close(self) -> None:
        """See `BlockingTransactions`."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.session.close()


def _stop(words: str, remedy: str) -> TransactionError:
    return TransactionError(Answer(Verdict.STOP, words), remedy=remedy)


def _unfenced(error: TransactionError) -> TransactionError:
    """The error; if a producer of the same name began, a short wait: `begin` finds out from the cursor whether it is of another process.

    The brokers also fence a producer whose transaction took too long, for example because this process was frozen.
    """
    if error.answer.status not in KAFKA_FENCED:
        return error
    return TransactionError(Answer(Verdict.WAIT, error.answer.words, error.answer.status))
