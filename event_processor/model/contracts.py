"""What each replaceable piece promises: the contracts between the core and what plugs into it.

Owns: Source, Format, Sink, SeenIds, Clock, Wakeup and the column form in which events travel.
Always: a batch travels by columns, never event by event, so that C can work on it.
Never: no implementation lives here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from msgspec import Struct

from event_processor.model.columns import BoolArray, Columns, Ids, Lines, PreparedIds
from event_processor.model.event import Chunk, Json
from event_processor.model.rejections import Rejection
from event_processor.model.released import NOTHING_RELEASED, Released

__all__ = [
    "NOTHING_RELEASED",
    "Clock",
    "Decoding",
    "Format",
    "IdsCommit",
    "Notices",
    "ObjectReader",
    "ObjectTransform",
    "Objects",
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
"""Where the file of a `sinks.…` entry of `appended` lies; None where no sink is configured that wrote it."""


class Format(Protocol):
    """Turns the bytes of a chunk into columns. Pure: the same chunk gives the same columns, whatever came before."""

    @property
    def lets_others_run(self) -> bool:
        """Whether almost all of `decode` is done outside of the interpreter, so that a thread which decodes has a core of its own."""
        ...

    def decode(self, chunk: Chunk) -> Columns:
        """Every record of `chunk` has exactly one outcome in the result (accepted here means valid). Never raises for bad input."""
        ...


class RecordReader(Protocol):
    """What a format of your own is: it reads the records of a source, lines without their ends, as JSON objects.

    Made with one argument, the table `format_options` of the source, in each process that decodes. It can be asked for the same records again, in other
    batches, and must answer the same: nothing that it remembers may change an answer.
    """

    def read(self, records: Sequence[bytes]) -> Sequence[Mapping[str, object] | str | None]:
        """For each record, in order: the object that it is, with values that JSON knows; None where it is blank; a text that says why it is no object."""
        ...


class Transform(Protocol):
    """What a transform of your own is: it changes events before their fields are looked at.

    Made with one argument, the table `options`, in each process that decodes. It can be asked about the same records again, in other batches, and must
    answer the same: nothing that it remembers, and no clock, may change an answer.
    """

    def transform(self, events: Sequence[dict[str, object]]) -> Sequence[Mapping[str, object] | str]:
        """For each event, in order: what becomes of it, with values that JSON knows, or a text that says why it is rejected.

        The objects are the transform's own, to be changed and given back.
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
    """Reads records as objects. Pure, as `Format.decode` is."""

    def read(self, chunk: Chunk, lines: Lines) -> Objects:
        """Each record of `lines`, which were cut from `chunk`, is an object, blank or rejected. Never raises for bad input."""
        ...


class Refusal(Struct, frozen=True):
    """Why an object is not transformed, so that its record is rejected: `field` is the dotted name of the field at fault, or empty."""

    reason: str
    field: str


class ObjectTransform(Protocol):
    """A transform of the configuration, over JSON objects as they are written. Pure: an answer depends on its record alone."""

    def apply(self, records: Sequence[bytes]) -> Sequence[bytes | Refusal]:
        """For each record its object, on one line, or a refusal. Never raises for bad input.

        Each is UTF-8, begins and ends with a brace, and nests no deeper than allowed. One that is no JSON object all the same is given back as it
        is, so that the judge rejects it.
        """
        ...


class Decoding(Protocol):
    """Decodes chunks, perhaps ahead of their turn and elsewhere, and gives them back in the order in which they came."""

    @property
    def pending(self) -> int:
        """How many chunks were submitted and not taken."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether another chunk may be submitted before one is taken."""
        ...

    def submit(self, chunk: Chunk) -> None:
        """Takes in the next chunk. Does not wait."""
        ...

    def take(self) -> tuple[Chunk, Columns | None]:
        """The oldest chunk and its columns, which hold until the next `take`; None where it has no content. Waits for them."""
        ...

    def close(self) -> None:
        """Gives everything back; what is pending is forgotten."""
        ...


class Source(Protocol):
    """A place that chunks come from, resumed by position. Used by one thread."""

    @property
    def name(self) -> str:
        """As the configuration names it."""
        ...

    def open(self, positions: Mapping[int, Mapping[str, Json]], next_generation: int) -> None:
        """Resumes each open generation at its position (the `Chunk.position` of its last committed chunk); numbers new ones from `next_generation`.

        Raises `StateError` if a generation cannot be resumed in truth. Once, before anything else.
        """
        ...

    def read(self, bytes_max: int) -> Chunk | None:
        """The next chunk, of about `bytes_max` at the most, or None where nothing is there now. Does not wait.

        Within one generation chunks come without gap and in order. A generation is numbered at its first chunk. Raises `StorageError`
        where the medium fails.
        """
        ...

    def lag_bytes(self) -> int:
        """How many bytes are there to be read, as far as is known without reading."""
        ...

    def has_more(self) -> bool:
        """Whether a read is worth it before anything new came: something is known to be there. Does not look, and may be wrong."""
        ...

    def wait_s(self) -> float | None:
        """How long `read` is still worth repeating though nothing is there, in seconds; None where the input's end is reached.

        A number is the time until a deadline that the source waits for: a rotated file that may yet grow.
        """
        ...

    def acknowledge(self) -> None:
        """Everything read so far is committed. May be repeated."""
        ...

    def close(self) -> None:
        """Gives everything back. Nothing else may be called after it."""
        ...


class IdsCommit(Protocol):
    """What was observed since the last commit, detached from the index so that another thread may write it."""

    def write(self) -> Mapping[str, Json]:
        """Makes it durable and returns the manifest for the checkpoint (`ids`). Blocks; once; in the order of `take`. Raises `StorageError`."""
        ...

    def appended(self) -> Mapping[str, int]:
        """After `write`: the committed length in bytes of each append file, by its path below the state directory."""
        ...


class SeenIds(Protocol):
    """Every id that was ever accepted, held as fingerprints in bounded memory."""

    def observe(self, ids: Ids, prepared: PreparedIds | None = None) -> BoolArray:
        """For each id, whether it is seen for the first time, by position in `ids` and by every earlier call; and remembers it.

        `prepared`: the same ids, as this index prepares them.
        """
        ...

    def contains(self, ids: Ids) -> BoolArray:
        """For each id, whether an earlier `observe` saw it. Remembers nothing."""
        ...

    def take(self) -> IdsCommit:
        """Detaches what `observe` added since the last `take`. Does not block."""
        ...

    def close(self) -> None:
        """Stops the background work and closes the files. Raises what that work raised and no `take` told of; what was not written stays uncommitted."""
        ...


class Sink(Protocol):
    """Where released events go within a commit: `write`, `sync`, the checkpoint, `publish`. The committed lengths make it exactly once.

    Used by one thread at a time: the one that runs the commit.
    """

    @property
    def name(self) -> str:
        """As the configuration names it."""
        ...

    @property
    def input(self) -> str:
        """What it writes, as the configuration says: "events", "dead_letters" or "aggregates.NAME"."""
        ...

    @property
    def has_open_part(self) -> bool:
        """Whether `finish` would close something."""
        ...

    def write(self, released: Released) -> None:
        """Adds the events in their order. Not durable before `sync`. Raises `StorageError`."""
        ...

    def finish(self) -> None:
        """The input is at its end: a part that is open is closed, shorter than the others. Before `sync`. Raises `StorageError`."""
        ...

    def sync(self) -> None:
        """Everything written is durable when this returns, though not all of it may bear its name. Raises `StorageError`."""
        ...

    def appended(self) -> Mapping[str, int]:
        """The length in bytes of each file that it appends to, by the name under which it gets it back after a restart."""
        ...

    def publish(self) -> None:
        """A durable checkpoint covers all that was synced: what waited for that gets its name. May be repeated. Raises `StorageError`.

        Once behind each checkpoint, in their order, and once at the start.
        """
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...


class Wakeup(Protocol):
    """Something to wait for that another thread may set, and a signal handler, whatever it interrupts."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until set, or `timeout` seconds; whether it is set."""
        ...

    def clear(self) -> None:
        """Unsets it."""
        ...

    def set(self) -> None:
        """Wakes who waits."""
        ...


class Notices(Protocol):
    """What sets the wakeup when there may be something to read."""

    def rest(self) -> None:
        """None are wanted for now: who waits looks by himself."""
        ...

    def attend(self) -> None:
        """They are wanted again. Of what happened meanwhile there is none."""
        ...


class Clock(Protocol):
    """The time, passed in so that a test can set it."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC. May jump."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from somewhere; never goes back."""
        ...

    def wait(self, wakeup: Wakeup, timeout_s: float) -> None:
        """Returns when `wakeup` is set, or after `timeout_s`."""
        ...
