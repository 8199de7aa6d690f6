"""What a connector is: one object that stands for one technology.

Owns: `Connector`, what it is given and what it gives back.
Always: the rest of the program knows a connector by this contract alone. Only the connector that wrote a position, or an entry of
`appended`, can read it.
Never: no connector lives here (`connectors/`, and other people's packages by the entry point group `event_processor.connectors`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import orjson

from event_processor.model.contracts import Clock, Released, Sink, Source, Wakeup
from event_processor.model.errors import ConfigurationError
from event_processor.model.event import Json
from event_processor.model.file_system import FileSystem
from event_processor.model.options import SinkOptions, SourceOptions
from event_processor.model.telemetry import Telemetry

__all__ = [
    "CommittedFile",
    "CommittedOutput",
    "Connector",
    "Difference",
    "DiscardingSink",
    "PastGeneration",
    "Piece",
    "SinkContext",
    "SinkVerification",
    "SourceContext",
    "World",
]


class World(Protocol):
    """The world outside, passed in: a test brings its own."""

    @property
    def fs(self) -> FileSystem:
        """The disk."""
        ...

    @property
    def clock(self) -> Clock:
        """The time."""
        ...

    @property
    def telemetry(self) -> Telemetry:
        """Tell it what happens."""
        ...

    @property
    def wakeup(self) -> Wakeup:
        """Set it, from any thread, if there may be something to read."""
        ...


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source is made with. `finished`: nothing more will be written, so the end of the input ends the last record.

    `last_commit_ns`: the wall time of the commit that is resumed, None if it is not known.
    """

    name: str
    world: World
    finished: bool = False
    last_commit_ns: int | None = None


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What a sink is made with. `committed` is the checkpoint's `appended`: the committed length in bytes of each file, by its entry.

    `timestamp_field` and `timestamp_zone` are those of `[event]`.
    """

    name: str
    world: World
    committed: Mapping[str, int]
    timestamp_field: str = ""
    timestamp_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole records that follow each other, or the length of one over the limit. `final`: the last record has no line end."""

    offset: int
    content: bytes
    oversized_bytes: int = 0
    final: bool = False

    @property
    def end_offset(self) -> int:
        """The offset after its last byte."""
        return self.offset + len(self.content) + self.oversized_bytes


class PastGeneration(Protocol):
    """A generation that is read again, long after: for `verify`, `replay` and `explain`. Used by one thread."""

    @property
    def head(self) -> bytes:
        """Its first bytes, 4,096 at the most."""
        ...

    def pieces(self, start: int, end: int, bytes_max: int) -> Iterator[Piece]:
        """What was read from offset `start` to `end`, cut into records as then, about `bytes_max` a piece. Ends early if the rest is gone.

        May be called again, with a later start. Raises `StorageError`.
        """
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """One place at which what is `committed` is not what the log gives; None if one of them has nothing there."""

    path: str
    committed: Json
    recomputed: Json

    def __str__(self) -> str:
        return f"{self.path}: committed {_shown(self.committed)}, from the log {_shown(self.recomputed)}"


def _shown(value: Json) -> str:
    return "nothing" if value is None else orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class CommittedFile:
    """A file's first `length_bytes`; the bytes after them do not count."""

    fs: FileSystem
    path: str
    length_bytes: int


@dataclass(frozen=True, slots=True)
class SinkVerification:
    """What `verify` compared of one sink: its file's committed bytes, and how many bytes were released before the first of them.

    `skipped_bytes` is above 0 only for a sink that was added to a state later. If the sink writes parts, the file is that of the open
    part; `parts` were compared too, and `parts_gone` were not: they, or later parts, were taken away. `not_compared` says why nothing
    was compared. `difference` is the first one found.
    """

    name: str
    path: str = ""
    size_bytes: int = 0
    skipped_bytes: int = 0
    parts: int = 0
    parts_gone: int = 0
    not_compared: str = ""
    difference: Difference | None = None


class CommittedOutput(Protocol):
    """What a sink has committed, held open while a daemon may go on."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it is there; if not, a daemon may have gone on since the checkpoint was read."""
        ...

    def compare(self, released: CommittedFile) -> SinkVerification:
        """Compares it with the end of what was released, as `Connector.replica` wrote it. Raises `StateError`, `StorageError`."""
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...


class DiscardingSink:
    """A sink that writes nothing. It replaces a sink without files while a state is recomputed."""

    def __init__(self, name: str, input_name: str) -> None:
        self.name = name
        self.input = input_name

    @property
    def has_open_part(self) -> bool:
        return False

    def write(self, released: Released) -> None:
        """Nothing: the events went out when they were committed."""

    def finish(self) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def appended(self) -> Mapping[str, int]:
        return {}

    def publish(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Connector:
    """One technology. Extend it, and define what applies: a source, a sink, or both.

    A source's connector defines `source_options`, `source` and `reopen`. A sink's connector defines `sink_options` and `sink`, and if the
    sink owns files, the methods below them.
    """

    type_name: ClassVar[str]
    """The value of `type` in the configuration."""
    source_options: ClassVar[type[SourceOptions] | None] = None
    sink_options: ClassVar[type[SinkOptions] | None] = None
    outside_p2: ClassVar[frozenset[str]] = frozenset()
    """Fields of its positions that depend on the host: left out if states are compared."""

    def source(self, options: Any, context: SourceContext) -> Source:
        """A source, not opened yet."""
        del context
        raise _not_offered(self, options)

    def reopen(self, options: Any, position: Mapping[str, Json], world: World) -> PastGeneration | None:
        """The generation that a source of these options left at `position`; None if it is gone. The caller closes it.

        Raises `StateError` if `position` is none of this connector's, `StorageError`.
        """
        del position, world
        raise _not_offered(self, options)

    def lag_bytes(
        self, options: Any, context: SourceContext, positions: Mapping[int, Mapping[str, Json]], next_generation: int
    ) -> int:
        """How many bytes wait after the committed positions, by a look that changes nothing. Raises `StateError`, `StorageError`."""
        source = self.source(options, context)
        try:
            source.open(positions, next_generation)
            # Only a read finds what was not there before. The state knows nothing of what it gives.
            chunk = source.read(1)
            return source.lag_bytes() + (chunk.end_offset - chunk.offset if chunk else 0)
        finally:
            source.close()

    def sink(self, options: Any, context: SinkContext) -> Sink:
        """A sink that goes on at the committed lengths. Raises `ConfigurationError`, `StateError`, `LockedError`, `StorageError`."""
        del context
        raise _not_offered(self, options)

    def replica(self, options: Any, context: SinkContext, path: str) -> Sink:
        """What replaces the sink while `verify` or `replay` recomputes the state: it may write to `path`, and nowhere else.

        By default it discards everything.
        """
        del path
        return DiscardingSink(context.name, options.input)

    def sink_file(self, options: Any, name: str, key: str) -> str | None:
        """Where the file of an entry of `appended` lies; None if the sink `name` has no such file."""
        del options, name, key
        return None

    def fresh_files(self, options: Any, name: str) -> Mapping[str, str]:
        """The entry of `appended` that a recomputed state has for the sink, and where its file belongs; empty if it has no file."""
        del options, name
        return {}

    def files(self, options: Any, world: World) -> list[str]:
        """Every file of the sink that is there: `reset` and `replay` move them aside. Raises `StorageError`."""
        del options, world
        return []

    def committed_output(self, options: Any, context: SinkContext) -> CommittedOutput | None:
        """What the sink has committed, for `verify`; None if it keeps nothing that could be compared. The caller closes it."""
        del options, context
        return None


def _not_offered(connector: Connector, options: object) -> ConfigurationError:
    what = "source" if isinstance(options, SourceOptions) else "sink"
    return ConfigurationError(f'type = "{connector.type_name}" offers no {what}', hint="use another type")
