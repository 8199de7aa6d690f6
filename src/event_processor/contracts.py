"""What each replaceable piece promises: the contracts between the core and what plugs into it.

Owns: Source, Format, Sink, SeenIds, Clock, Wakeup and the column form in which events travel.
Always: a batch travels by columns, never event by event, so that C can work on it.
Never: no implementation lives here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from event_processor.event import Chunk, EventId, Json
from event_processor.rejections import Rejection
from event_processor.released import NOTHING_RELEASED, Released

__all__ = [
    "NOTHING_RELEASED",
    "BoolArray",
    "ByteArray",
    "CategoryColumn",
    "Clock",
    "Columns",
    "Decoding",
    "EventLines",
    "FloatArray",
    "Format",
    "IdColumn",
    "Ids",
    "IdsCommit",
    "IntArray",
    "Notices",
    "ObjectTransform",
    "PreparedIds",
    "RecordReader",
    "Refusal",
    "Rejection",
    "Released",
    "SeenIds",
    "Sink",
    "Source",
    "TimestampColumn",
    "Transform",
    "Wakeup",
]

BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
ByteArray: TypeAlias = NDArray[np.uint8]


class IdColumn(Protocol):
    """The ids of m events, in whatever form costs least; an id becomes a Python value only where it is asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> EventId:
        """One id."""
        ...

    def to_list(self) -> list[EventId]:
        """All of them."""
        ...

    def picked(self, places: IntArray) -> IdColumn:
        """Those at these places, in arrays of their own."""
        ...

    def is_ascending(self) -> bool:
        """Whether they are known to rise (equal ones may follow each other), by `id_order`; False says nothing."""
        ...


@dataclass(frozen=True, slots=True)
class CategoryColumn:
    """The categories of m events: event i counts in `names[codes[i]]`. `names` are distinct, each is that of some event."""

    codes: IntArray
    names: Sequence[str]

    def picked(self, places: IntArray) -> CategoryColumn:
        """Those at these places."""
        codes, counts = self.codes[places], np.zeros(len(self.names), np.int64)
        counts[codes] = 1
        if counts.all():
            return CategoryColumn(codes, self.names)
        kept = np.flatnonzero(counts)
        renumbered = np.cumsum(counts) - 1
        return CategoryColumn(renumbered[codes], [self.names[code] for code in kept.tolist()])


Ids: TypeAlias = "IdColumn | Sequence[EventId]"


class PreparedIds(Protocol):
    """Ids in a form that only the index that prepared them can read."""

    def __len__(self) -> int: ...


class TimestampColumn(Protocol):
    """The timestamps of m events, as they stand in the records; one becomes a Python value only where it is asked for."""

    def picked(self, places: IntArray) -> TimestampColumn:
        """Those at these places, in arrays of their own."""
        ...

    def to_list(self) -> Sequence[object]:
        """All of them: str, int, float, or None where there is none."""
        ...

    def spans(self) -> tuple[bytes, IntArray, IntArray] | None:
        """Where they stand as they are: timestamp i is the text `content[begins[i]:ends[i]]`; None where they are not all such texts."""
        ...


@dataclass(frozen=True, slots=True)
class EventLines:
    """The JSON objects of m events, where the records are not that: event i is `content[starts[i]:ends[i]]`, a line feed behind it."""

    content: bytes
    starts: IntArray
    ends: IntArray


@dataclass(frozen=True, slots=True)
class Columns:
    r"""One chunk, decoded: its valid events by column, and what became of the other records.

    A chunk of n records has `record_count` n; record i is `content[starts[i]:ends[i]]`, its line end (`\n` or `\r\n`)
    left out. The m valid events stand in ascending place: `rows` (m, ascending) are their record indices, and
    `ids`, `categories`, `values`, `timestamps` have m entries each. `rejections` are ascending by row, and
    m + blank_count + len(rejections) == n.

    categories: None where every event counts in one total. values: finite, below 2**960 in magnitude, never -0.0; None where events are only counted.
    has_value: None where every event has one; else False marks an event that is counted without a value (`values` holds 0.0).
    timestamps: None where the configuration names no field. timestamps_ns: since 1970-01-01 UTC; None unless they are used to order or window by.
    prepared_ids: the same ids in a form that the index prepared ahead, or None. events: the events' JSON objects; None where each is its record.
    """

    content: bytes
    record_count: int
    blank_count: int
    starts: IntArray
    ends: IntArray
    rows: IntArray
    ids: IdColumn
    categories: CategoryColumn | None
    values: FloatArray | None
    has_value: BoolArray | None
    timestamps: TimestampColumn | None
    timestamps_ns: IntArray | None
    rejections: Sequence[Rejection]
    prepared_ids: PreparedIds | None = None
    events: EventLines | None = None

    def record(self, row: int) -> bytes:
        """The bytes of record `row`, without its line end."""
        return self.content[int(self.starts[row]) : int(self.ends[row])]


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

    def open(self, parts: Mapping[int, Mapping[str, Json]], next_part: int) -> None:
        """Resumes each open part where `parts` says (the `Chunk.resume` of its last committed chunk); numbers new ones from `next_part`.

        Raises `StateError` where a part cannot be resumed in truth. Once, before anything else.
        """
        ...

    def read(self, bytes_max: int) -> Chunk | None:
        """The next chunk, of about `bytes_max` at the most, or None where nothing is there now. Does not wait.

        Within one part chunks come without gap and in order. A part is numbered at its first chunk. Raises `StorageError`
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
