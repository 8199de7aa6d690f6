"""The contract of a connector: one object that represents one technology.

Owns: `Connector`, its inputs and its results.
Always: all other code knows a connector by this contract alone. Only the connector that wrote a position or an entry of
`appended` can read it.
Never: contains a connector (`connectors/` does, and so do other packages, by the entry point group `event_processor.connectors`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import orjson

from event_processor.model.discarding_sink import DiscardingSink
from event_processor.model.errors import ConfigurationError
from event_processor.model.event import Json
from event_processor.model.file_system import FileSystem
from event_processor.model.options import SinkOptions, SourceOptions
from event_processor.model.remote import RemoteSinkOptions
from event_processor.model.seeking import SeekPlan, SeekRequest
from event_processor.model.world import World

if TYPE_CHECKING:
    from event_processor.model.columns import IntArray
    from event_processor.model.committed_rows import CommittedRows
    from event_processor.model.contracts import Sink, Source
    from event_processor.model.delivery import Receiver, ReceiverContext, Request
    from event_processor.model.enriching import Enricher, EnricherOptions
    from event_processor.model.probes import Finding, ProbeContext
    from event_processor.model.publishing import Publisher, PublisherContext
    from event_processor.model.snapshots import SnapshotReceiver
    from event_processor.model.transactions import CursorOwner, TransactionalReceiver

__all__ = [
    "CURSOR",
    "CommittedFile",
    "CommittedOutput",
    "Connector",
    "Difference",
    "Guarantee",
    "Lag",
    "PastGeneration",
    "Piece",
    "SeekPlan",
    "SeekRequest",
    "SinkContext",
    "SinkVerification",
    "SourceContext",
    "TableChanges",
    "World",
]


@dataclass(frozen=True, slots=True)
class SourceContext:
    """The context of a new source. `finished`: the input does not grow any more, so its end also ends the last record.

    `once`: the process ends at the end of the input, so it must not wait without end for a system that cannot be reached.
    `last_commit_ns`: the wall time of the commit to resume from; None if unknown. For a source that the state does not know:
    `start` replaces the configured start if it is not empty; `read_before` are the last positions of generations that a lost state
    had read to their end, oldest first, so that they are read again. `retired` reads the last positions of the generations that this
    state has retired, oldest first, from the reading journal: it takes time in proportion to their number. It raises `StateError`,
    `StorageError`. `retires_next`: after a fallback, the last positions of the generations that were retired next, in that order.
    """

    name: str
    world: World
    finished: bool = False
    last_commit_ns: int | None = None
    start: str = ""
    read_before: Sequence[Mapping[str, Json]] = ()
    once: bool = False
    retired: Callable[[], Iterable[Mapping[str, Json]]] = tuple
    retires_next: Sequence[Mapping[str, Json]] = ()


@dataclass(frozen=True, slots=True)
class SinkContext:
    """The context of a new sink.

    `committed` is the checkpoint's `appended`: the committed length in bytes of each file, by entry. `timestamp_field` and
    `timestamp_zone` come from `[event]`. `timestamp_formats`: how its input's timestamps are written.
    """

    name: str
    world: World
    committed: Mapping[str, int]
    timestamp_field: str = ""
    timestamp_zone: str = "UTC"
    timestamp_formats: tuple[str, ...] = ("auto",)


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive whole records, or the length of one record over the limit. `final`: the last record has no line end.

    `own`, `places`: as in `Chunk`.
    """

    offset: int
    content: bytes
    oversized_bytes: int = 0
    final: bool = False
    own: bytes = b""
    places: IntArray | None = field(default=None, compare=False)

    @property
    def end_offset(self) -> int:
        """The offset after its last byte, or after its last record."""
        if self.places is not None:
            return int(self.places[-1]) + 1
        return self.offset + len(self.content) + self.oversized_bytes


class PastGeneration(Protocol):
    """A generation that is read again later, for `verify`, `replay` and `explain`. Used by one thread."""

    @property
    def head(self) -> bytes:
        """Its first bytes, at most 4,096."""
        ...

    def pieces(self, start: int, end: int, bytes_max: int) -> Iterator[Piece]:
        """Yields the bytes from offset `start` to `end` again, cut into the same records, about `bytes_max` bytes a piece.

        Ends early if the rest is gone. May be called again with a later `start`. Raises `StorageError`.
        """
        ...

    def close(self) -> None:
        """Releases everything."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where the committed value differs from the value from the log. A value is None if it is absent."""

    path: str
    committed: Json
    recomputed: Json

    def __str__(self) -> str:
        return f"{self.path}: committed {_shown(self.committed)}, from the log {_shown(self.recomputed)}"


def _shown(value: Json) -> str:
    return "nothing" if value is None else orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """The first `length_bytes` of a file. Later bytes do not count."""

    fs: FileSystem
    path: str
    length_bytes: int


@dataclass(frozen=True, slots=True)
class SinkVerification:
    """What `verify` compared of one sink. `size_bytes`: the committed bytes of its file.

    `skipped_bytes`: bytes that were released before the first byte of the file; above 0 only if the sink was added to an existing
    state. If the sink writes parts, the file is that of the open part. `parts` were compared too. `parts_gone` were not compared,
    because they or later parts were removed. `not_compared` says why nothing was compared. `difference` is the first one found.
    """

    name: str
    path: str = ""
    size_bytes: int = 0
    skipped_bytes: int = 0
    parts: int = 0
    parts_gone: int = 0
    not_compared: str = ""
    difference: Difference | None = None


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a sink guarantees, for people. `words`: how often its output has each record. `by`: the mechanism that makes it hold."""

    words: str
    by: str


@dataclass(frozen=True, slots=True)
class TableChanges:
    """What must be done to the tables of a sink before it can write. `conflicts`: what only a person can decide, in words."""

    table: str
    statements: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lag:
    """How much of a source is unread. `records`: if it numbers its records; then `size_bytes` is an estimate.

    `unknown`: why it could not be found out, for people; empty if it is known. `read_bytes`: what its open generations have read, in the bytes
    of `size_bytes`; None if these cannot be compared.
    """

    size_bytes: int = 0
    records: int = 0
    unknown: str = ""
    read_bytes: int | None = None


CURSOR: Final = "its cursor never passes a record that was not answered, and what was not answered is sent again"


class CommittedOutput(Protocol):
    """The committed output of a sink. It stays open while a daemon may commit more."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it exists. If not, a daemon may have committed since the checkpoint was read."""
        ...

    def compare(self, released: CommittedFile) -> SinkVerification:
        """Compares it with the end of `released`, the output of `Connector.replica`. Raises `StateError`, `StorageError`."""
        ...

    def close(self) -> None:
        """Releases everything."""
        ...


class Connector:
    """One technology. Subclass it and define a source, a sink, or both.

    A source's connector defines `source_options`, `source` and `reopen`. The connector of a sink that is written within the commit
    defines `sink_options` and `sink`, and if the sink owns files, the methods below them. The connector of a remote sink defines
    `sink_options`, which are `RemoteSinkOptions`, and `receiver`.
    """

    type_name: ClassVar[str]
    """The value of `type` in the configuration."""
    source_options: ClassVar[type[SourceOptions] | None] = None
    sink_options: ClassVar[type[SinkOptions] | None] = None
    outside_p2: ClassVar[frozenset[str]] = frozenset()
    """Fields of its positions that depend on the host. A comparison of states leaves them out."""
    asks_for_lag: ClassVar[bool] = False
    """Whether `lag` asks another system, and so may take some seconds. Callers that must not wait then ask in a thread."""

    def source(self, options: Any, context: SourceContext) -> Source:
        """Makes a source, not opened yet."""
        del context
        raise _not_offered(self, options)

    def remarks(self, options: Any, world: World) -> Sequence[str]:
        """What a person should know about the input of a source with these options, though it is no fault. For `validate`.

        Changes nothing, and connects to nothing. Raises `StorageError`.
        """
        del options, world
        return ()

    def probe(self, options: Any, context: ProbeContext) -> Iterable[Finding]:
        """Finds out whether a source or a sink with these options can be reached and used. For `doctor`.

        Changes nothing and sends no record. Takes at most about the service's `timeout_s`. Raises `EventProcessorError`, which counts
        as a finding. Default: finds nothing.
        """
        del options, context
        return ()

    def reopen(self, options: Any, position: Mapping[str, Json], world: World) -> PastGeneration | None:
        """Finds the generation that a source with these options left at `position`; None if it is gone. The caller closes it.

        Raises `StateError` if `position` is not from this connector, `StorageError`.
        """
        del position, world
        raise _not_offered(self, options)

    def source_guarantee(self, options: Any) -> Guarantee:
        """What a source with these options guarantees. Connects to nothing. Default: exactly once."""
        del options
        return Guarantee("exactly once", "its positions are in the checkpoint")

    def chooses_start(self, options: Any) -> bool:
        """Whether a source with these options begins where its input is at its first start, so that a later first start is elsewhere.

        Then both checkpoints know where it began, from its first commit on. Default: with `start = "end"`.
        """
        return getattr(options, "start", "") == "end"

    def lag(self, options: Any, context: SourceContext, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> Lag:
        """How much is unread after the committed positions. Changes nothing. Raises `StateError`, `StorageError`.

        Default: `lag_bytes`.
        """
        return Lag(self.lag_bytes(options, context, positions, next_generation))

    def lag_bytes(
        self, options: Any, context: SourceContext, positions: Mapping[int, Mapping[str, Json]], next_generation: int
    ) -> int:
        """The number of bytes after the committed positions. Changes nothing. Raises `StateError`, `StorageError`."""
        source = self.source(options, context)
        try:
            source.open(positions, next_generation)
            # Only a read finds new input. The state does not learn of this chunk.
            chunk = source.read(1)
            return source.lag_bytes() + (chunk.end_offset - chunk.offset if chunk else 0)
        finally:
            source.close()

    def seek(self, options: Any, context: SourceContext, request: SeekRequest) -> SeekPlan:
        """What must be committed so that a source goes on elsewhere. Changes nothing.

        Raises `UsageError` if the source has no such place, `NotAnsweredError`, `ConfigurationError`.
        """
        del context, request
        raise _not_offered(self, options)

    def sink(self, options: Any, context: SinkContext) -> Sink:
        """Makes a sink that continues at the committed lengths.

        Raises `ConfigurationError`, `StateError`, `LockedError`, `StorageError`.
        """
        del context
        raise _not_offered(self, options)

    def guarantee(self, options: Any) -> Guarantee:
        """What a sink with these options guarantees. Connects to nothing.

        Default: of a remote sink at least once; of others nothing.
        """
        if isinstance(options, RemoteSinkOptions):
            return Guarantee("at least once", CURSOR)
        return Guarantee("not stated", "its connector does not say")

    def shown_body(self, options: Any, request: Request) -> bytes | None:  # noqa: ARG002
        """The body that would be sent, to show it before anything is sent; None if it cannot be shown. Sends nothing.

        Raises `UsageError` if the records cannot be written into a body.
        """
        return None

    def receiver(self, options: Any, context: ReceiverContext) -> Receiver | TransactionalReceiver:
        """Makes the receiver of a sink whose options are `RemoteSinkOptions`: the commit writes no sink for it, a lane sends to it.

        If it is a `TransactionalReceiver`, it may be called again, for the lane of retried records.
        Connects to nothing yet. Raises `ConfigurationError`, for example if an extra is missing.
        """
        del context
        raise _not_offered(self, options)

    def snapshot_receiver(self, options: Any, context: ReceiverContext) -> SnapshotReceiver:
        """Makes the receiver of a sink whose options take snapshots and whose input is one. As `receiver` otherwise."""
        del context
        raise ConfigurationError(f'type = "{options.type}" writes no snapshots', hint="use another input, or another type")

    def drop_snapshot(self, options: Any, context: ReceiverContext, owner: CursorOwner) -> bool:
        """Removes the place of a snapshot at its receiver, whatever state it is of: the next start writes everything anew.

        The rows stay until then. Returns whether there was one. Raises `ConfigurationError`, and `NotAnsweredError` if it may work later.
        """
        del context, owner
        raise ConfigurationError(f'type = "{options.type}" writes no snapshots', hint="use another input, or another type")

    def publisher(self, configured: Sequence[Any], context: PublisherContext) -> Publisher:
        """Makes a publisher, for records that are sent outside of any pipeline.

        `configured`: the options of the configured sources and sinks of this type. Raises `UsageError` if it is not clear where to send,
        `ConfigurationError`, `NotAnsweredError`.
        """
        del configured, context
        raise ConfigurationError(f'type = "{self.type_name}" offers no publisher', hint="use another type")

    def table_changes(self, options: Any, context: ReceiverContext, *, is_done: bool) -> TableChanges | None:
        """What must be done to the tables of a sink; None if it has none. `is_done`: does it, if there is no conflict.

        All of it is done, or nothing. Raises `ConfigurationError`, and `NotAnsweredError` if the database may work later.
        """
        del options, context, is_done
        return None

    def committed_rows(self, options: Any, context: ReceiverContext) -> CommittedRows | None:
        """What the receiver of a remote sink has committed, for `verify --sink`; None if it cannot be read. The caller closes it.

        Connects, and takes one snapshot. Raises as `CommittedRows` does.
        """
        del options, context
        return None

    def enricher(self, options: EnricherOptions, context: ReceiverContext) -> Enricher:
        """Makes an enricher. Connects to nothing yet. Raises `ConfigurationError`, for example if an extra is missing."""
        raise ConfigurationError(f'enrichers.{context.name}: type = "{options.type}" offers no enricher', hint="use another type")

    def replica(self, options: Any, context: SinkContext, path: str) -> Sink:
        """Makes the replacement of the sink for `verify` and `replay`, which recompute a state. It may write to `path` only.

        By default it discards everything.
        """
        del path
        return DiscardingSink(context.name, options.input)

    def sink_file(self, options: Any, name: str, key: str) -> str | None:
        """The path of the file of an entry of `appended`; None if the sink `name` has no such file."""
        del options, name, key
        return None

    def fresh_files(self, options: Any, name: str) -> Mapping[str, str]:
        """The entries of `appended` that a recomputed state has for the sink, with the paths of their files; may be empty."""
        del options, name
        return {}

    def files(self, options: Any, world: World) -> list[str]:
        """All existing files of the sink. `reset` and `replay` move them aside. Raises `StorageError`."""
        del options, world
        return []

    def committed_output(self, options: Any, context: SinkContext) -> CommittedOutput | None:
        """The committed output of the sink, for `verify`; None if there is nothing to compare. The caller closes it."""
        del options, context
        return None


def _not_offered(connector: Connector, options: object) -> ConfigurationError:
    what = "source" if isinstance(options, SourceOptions) else "sink"
    return ConfigurationError(f'type = "{connector.type_name}" offers no {what}', hint="use another type")
