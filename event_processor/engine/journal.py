"""The reading journal: what was read and in what order, so that a recomputation reads the same.

Owns: its entries and their form on disk, one JSON object per line.
Always: adjacent bytes of one generation are one entry. The run that may still grow is in the checkpoint; the file has only closed
runs. So a log of one file writes nothing here, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, field

from event_processor.model.errors import StateError
from event_processor.model.losses import Loss

__all__ = [
    "JOURNAL_NAME",
    "IdleRelease",
    "InputFinished",
    "JournalEntry",
    "JournalRun",
    "LossFound",
    "LossesAcknowledged",
    "OrderEnded",
    "OrderStarted",
    "RetiredGeneration",
    "decode_entries",
    "encode_entries",
    "entries_until_torn",
]

JOURNAL_NAME = "journal.jsonl"


class JournalRun(Struct, frozen=True, tag_field="what", tag="read"):
    """Bytes of one generation that were read without a gap, from offset `start` to `end`."""

    source: str
    generation: int
    start: int = field(name="from")
    end: int = field(name="to")
    final: bool = False
    """The last record of the run has no line end: the end of the finished input ended it."""


class IdleRelease(Struct, frozen=True, tag_field="what", tag="idle_release"):
    """The order stage flushed everything it held, after `records` records in total, of all shards."""

    records: int


class InputFinished(Struct, frozen=True, tag_field="what", tag="finished"):
    """The input was treated as finished after `records` records in total: the open windows were closed."""

    records: int


class OrderStarted(Struct, frozen=True, tag_field="what", tag="order_started"):
    """From here on accepted events enter the order stage, because a sink or a window reads them. `records` came before.

    With 0 records it applies from the start, wherever it is in the file: a state of version 1 did not write it.
    """

    records: int


class OrderEnded(Struct, frozen=True, tag_field="what", tag="order_ended"):
    """From here on accepted events bypass the order stage. `records` records came before.

    What the stage held was released to no reader.
    """

    records: int


class RetiredGeneration(Struct, frozen=True, tag_field="what", tag="retired"):
    """A generation that was read to its end, with its last position.

    `end` is the offset after its last byte. It is None in entries of version 1, whose positions are positions in files.
    """

    source: str
    generation: int
    position: dict[str, Any] = field(name="resume")  # as version 1 called it
    end: int | None = None

    def end_offset(self) -> int:
        """The offset after its last byte."""
        return int(self.position.get("offset", 0)) if self.end is None else self.end


class LossFound(Struct, frozen=True, tag_field="what", tag="lost"):
    """A source found that input is lost."""

    loss: Loss


class LossesAcknowledged(Struct, frozen=True, tag_field="what", tag="lost_acknowledged"):
    """A person acknowledged these losses, and this number of losses that were only counted."""

    losses: tuple[Loss, ...]
    unlisted: int = 0


JournalEntry: TypeAlias = (
    JournalRun | IdleRelease | InputFinished | OrderStarted | OrderEnded | RetiredGeneration | LossFound | LossesAcknowledged
)

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[JournalEntry] = msgspec.json.Decoder(JournalEntry)


def encode_entries(entries: Iterable[JournalEntry]) -> bytes:
    """The entries as lines."""
    return b"".join(_ENCODER.encode(entry) + b"\n" for entry in entries)


def decode_entries(content: bytes, path: str, *, first_line: int = 1) -> Iterator[JournalEntry]:
    """The entries in committed whole lines of the file at `path`. Their first line has the number `first_line`.

    Raises `StateError` with the number of the faulty line.
    """
    for number, line in enumerate(content.splitlines(), start=first_line):
        try:
            yield _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise StateError(
                f"{path}:{number}: not an entry of the reading journal: {error}",
                hint="the totals are not affected; to repair the journal, rebuild the state from the log: event-processor replay",
            ) from error


def entries_until_torn(content: bytes) -> Iterator[tuple[JournalEntry, bytes]]:
    """Yields the entries of whole lines, each with its line, until the first line that is torn or is no entry.

    For bytes that no checkpoint covers: nothing says that they are whole.
    """
    for text in content.split(b"\n")[:-1]:
        line = text + b"\n"
        try:
            entry = _DECODER.decode(line)
        except msgspec.DecodeError:
            return
        yield entry, line
