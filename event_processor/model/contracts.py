"""The contracts between the core and its replaceable parts.

Owns: Source, ReadsGenerations, Sink, Format, RecordReader, Transform, Decoding, SeenIds, Clock, Wakeup and Notices.
Always: events travel in columns, a batch at a time, so that C can work on them.
Never: contains an implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from event_processor.model.event import Chunk, Json
from event_processor.model.rejections import Rejection
from event_processor.model.released import NOTHING_RELEASED, Released

if TYPE_CHECKING:
    from event_processor.model.columns import BoolArray, Columns, Ids, Lines, PreparedIds

__all__ = [
    "NOTHING_RELEASED",
    "Clock",
    "Decoding",
    "Format",
    "IdsCommit",
    "Notices",
    "NoticesRemoval",
    "ObjectReader",
    "ObjectTransform",
    "Objects",
    "ReadsGenerations",
    "RecordReader",
    "Refusal",
    "Rejection",
    "Released",
    "SeenIds",
    "Sink",
    "SinkPath",
    "Source",
    "Transform",
    "Wakeup",
]

SinkPath: TypeAlias = Callable[[str], str | None]
"""Maps a `sinks.…` entry of `appended` to the path of its file; None if no configured sink wrote it."""


class Format(Protocol):
    """Turns the bytes of a chunk into columns. Pure: the same chunk always gives the same columns, whatever came before."""

    @property
    def lets_others_run(self) -> bool:
        """Whether `decode` runs almost completely outside the interpreter, so that a decoding thread can use its own core."""
        ...

    def decode(self, chunk: Chunk) -> Columns:
        """Gives every record of `chunk` exactly one outcome (accepted here means valid). Never raises for bad input."""
        ...


class RecordReader(Protocol):
    """Your own format: reads the records of a source (lines without their ends) as JSON objects.

    The class is called with one argument, the source's table `format_options`, in each process that decodes. It may get the
    same records again, in other batches, and must give the same answer: no memory of earlier records may change an answer.
    """

    def read(self, records: Sequence[bytes]) -> Sequence[Mapping[str, object] | str | None]:
        """Returns for each record, in order: its object (JSON values), None if it is blank, or a text that says what is wrong."""
        ...


class Transform(Protocol):
    """Your own transform: changes events before their fields are read.

    The class is called with one argument, the table `options`, in each process that decodes. It may get the same records again,
    in other batches, and must give the same answer: neither memory of earlier records nor a clock may change an answer.
    """

    def transform(self, events: Sequence[dict[str, object]]) -> Sequence[Mapping[str, object] | str]:
        """Returns for each event, in order: the new object, with JSON values, or a text that says why the event is rejected.

        The transform owns the objects: it may change and return them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of a chunk's records. Record `rows[i]` (ascending) is the JSON object on line i of `content`.

    All other records are blank or rejected.
    """

    rows: Sequence[int]
    content: bytes
    blank_count: int
    rejections: Sequence[Rejection]


class ObjectReader(Protocol):
    """Reads records as objects. Pure, as `Format.decode`."""

    def read(self, chunk: Chunk, lines: Lines) -> Objects:
        """Reads each record of `lines` (cut from `chunk`) as an object, as blank or as rejected. Never raises for bad input."""
        ...


class Refusal(Struct, frozen=True):
    """Why a transform rejects a record. `field`: the dotted name of the faulty field, or empty."""

    reason: str
    field: str


class ObjectTransform(Protocol):
    """A transform of the configuration, over the bytes of JSON objects. Pure: an answer depends only on its record."""

    def apply(self, records: Sequence[bytes]) -> Sequence[bytes | Refusal]:
        """Returns for each record its new object, on one line, or a refusal. Never raises for bad input.

        Each record is UTF-8, starts and ends with a brace, and is not nested too deeply. If it still is not a JSON object, it is
        returned unchanged, and the judge rejects it.
        """
        ...


class Decoding(Protocol):
    """Decodes chunks, possibly ahead and in other threads or processes. Returns them in the order of `submit`."""

    @property
    def pending(self) -> int:
        """The number of chunks that were submitted but not taken."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be submitted before one is taken."""
        ...

    def submit(self, chunk: Chunk) -> None:
        """Accepts the next chunk. Does not block."""
        ...

    def take(self) -> tuple[Chunk, Columns | None]:
        """Returns the oldest chunk and its columns (None if it has no content).

        Blocks. The columns are valid until the next `take`.
        """
        ...

    def close(self) -> None:
        """Releases everything, and discards pending chunks."""
        ...


class Source(Protocol):
    """A place that gives chunks, and resumes at a position. Used by one thread."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        ...

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        """Resumes each open generation at its position, the `Chunk.position` of its last committed chunk.

        New generations are numbered from `next_generation`. Called once, before any other method. Raises `StateError` if a
        generation cannot be resumed correctly.
        """
        ...

    def read(self, bytes_max: int) -> Chunk | None:
        """Returns the next chunk, of at most about `bytes_max` bytes, or None if there is nothing now. Does not wait for input.

        The chunks of one generation have no gap and are in order. A generation gets its number with its first chunk. Raises
        `StorageError` if the medium fails.
        """
        ...

    def lag_bytes(self) -> int:
        """The number of bytes to read, as far as known without reading."""
        ...

    def has_more(self) -> bool:
        """Whether more input is known without a new look, so that `read` is worth a call. May be wrong."""
        ...

    def wait_s(self) -> float | None:
        """The seconds for which `read` is still worth repeating although it gave nothing; None at the end of the input.

        A number is the time until a deadline of the source, for example of a rotated file that may still grow.
        """
        ...

    def acknowledge(self) -> None:
        """Tells the source that everything read so far is committed. May be repeated."""
        ...

    def close(self) -> None:
        """Releases everything. No other method may be called after it."""
        ...


@runtime_checkable
class ReadsGenerations(Protocol):
    """A source that reads several generations in turn, and can read one of them alone.

    After a fallback they are read in the order in which they were read before. A source without this method then reads in its own.
    """

    def read_from(self, generation: int, after: int, bytes_max: int) -> Chunk | None:
        """As `Source.read`, but only from `generation`, or from what follows it.

        If `generation` was never read: from an input that has no number yet, or from what follows the generation `after` (0: unknown).
        If there is no such input, from any. The caller looks at what it got. Raises `StorageError`.
        """
        ...


class IdsCommit(Protocol):
    """The ids observed since the last commit, detached from the index so that another thread can write them."""

    def write(self) -> Mapping[str, Json]:
        """Makes them durable.

        Returns the manifest for the checkpoint (`ids`). Blocks. Call once, in the order of `take`. Raises `StorageError`.
        """
        ...

    def appended(self) -> Mapping[str, int]:
        """The committed length in bytes of each append file, by path below the state directory. Call after `write`."""
        ...


class SeenIds(Protocol):
    """All ids that were ever accepted, as fingerprints in bounded memory."""

    def observe(self, ids: Ids, prepared: PreparedIds | None = None) -> BoolArray:
        """Returns for each id whether it is new: not earlier in `ids`, and not in an earlier call. Remembers the ids.

        `prepared`: the same ids, as this index prepares them.
        """
        ...

    def contains(self, ids: Ids) -> BoolArray:
        """Returns for each id whether an earlier `observe` saw it. Remembers nothing."""
        ...

    def take(self) -> IdsCommit:
        """Detaches the ids that `observe` added since the last `take`. Does not block."""
        ...

    def close(self) -> None:
        """Stops background work and closes the files.

        Raises an error of that work if no `take` has raised it. Unwritten ids stay uncommitted.
        """
        ...


class Sink(Protocol):
    """Writes released events within a commit: `write`, `sync`, the checkpoint, `publish`.

    The committed lengths make it exactly once. Used by one thread at a time, the thread of the commit.
    """

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        ...

    @property
    def input(self) -> str:
        """What it writes, as configured: "events", "dead_letters" or "aggregates.NAME"."""
        ...

    @property
    def has_open_part(self) -> bool:
        """Whether `finish` would close a part."""
        ...

    def write(self, released: Released) -> None:
        """Appends the events in order. Not durable before `sync`. Raises `StorageError`."""
        ...

    def finish(self) -> None:
        """Closes the open part at the end of the input; it may be shorter than the others.

        Call before `sync`. Raises `StorageError`.
        """
        ...

    def sync(self) -> None:
        """Makes everything written durable. Files may not have their final names yet. Raises `StorageError`."""
        ...

    def appended(self) -> Mapping[str, int]:
        """The length in bytes of each file that it appends to. The keys are those of `committed` after a restart."""
        ...

    def publish(self) -> None:
        """Gives finished files their final names, since a durable checkpoint covers all that was synced. Raises `StorageError`.

        Called after each checkpoint, in order, and once at the start. May be repeated.
        """
        ...

    def close(self) -> None:
        """Releases everything."""
        ...


@runtime_checkable
class NoticesRemoval(Protocol):
    """A sink that can notice that its file was removed or cut by others. A sink without this method does not notice it."""

    def require_presence(self) -> None:
        """Raises `StorageError` if a file that it appends to was removed, replaced or cut. Cheap; may be repeated.

        Called before each commit that the sink may get something of, and otherwise at most once a second.
        """
        ...


class Wakeup(Protocol):
    """An event to wait for. Any thread may set it, and so may a signal handler at any moment."""

    def wait(self, timeout: float | None = None) -> bool:
        """Blocks until it is set, at most `timeout` seconds. Returns whether it is set."""
        ...

    def clear(self) -> None:
        """Clears it."""
        ...

    def set(self) -> None:
        """Sets it, and wakes the waiting thread."""
        ...


class Notices(Protocol):
    """Sets the wakeup if there may be something to read."""

    def rest(self) -> None:
        """Pauses the notices: the loop polls by itself for now."""
        ...

    def attend(self) -> None:
        """Resumes the notices. There are none for changes in the meantime."""
        ...


class Clock(Protocol):
    """The time. It is passed in, so that a test can set it."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC. May jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an unspecified start. Never goes back."""
        ...

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        """Blocks until `wakeup` is set, at most `timeout_s` seconds."""
        ...
