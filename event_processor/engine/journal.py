"""The reading journal: what was read in what order, so that a recomputation reads the same.

Owns: its entries and their form on disk, a JSON object a line.
Always: neighbouring bytes of one generation are one entry. The run that may still grow stands in the checkpoint; the file
holds the closed ones, so that a log of one file writes nothing here however long it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct, field

from event_processor.model.errors import StateError

__all__ = [
    "JOURNAL_NAME",
    "IdleRelease",
    "InputFinished",
    "JournalEntry",
    "JournalRun",
    "OrderBegun",
    "OrderEnded",
    "RetiredGeneration",
    "decode_entries",
    "encode_entries",
]

JOURNAL_NAME = "journal.jsonl"


class JournalRun(Struct, frozen=True, tag_field="what", tag="read"):
    """Bytes of one generation read one after the other, from offset `start` to `end`."""

    source: str
    generation: int
    start: int = field(name="from")
    end: int = field(name="to")
    final: bool = False
    """The last record of the run has no line end: finished input ended it."""


class IdleRelease(Struct, frozen=True, tag_field="what", tag="idle_release"):
    """The order stage let go of everything it held, after `records` records in all."""

    records: int


class InputFinished(Struct, frozen=True, tag_field="what", tag="finished"):
    """The input was taken for finished after `records` records in all: the windows that were open were closed."""

    records: int


class OrderBegun(Struct, frozen=True, tag_field="what", tag="order_begun"):
    """From here on accepted events enter the order stage: a sink or a window reads them. `records` were read before.

    With 0 records it counts from the start, wherever it stands: a state of version 1 did not write it.
    """

    records: int


class OrderEnded(Struct, frozen=True, tag_field="what", tag="order_ended"):
    """From here on accepted events pass the order stage by, after `records` records; what it held was released to no reader."""

    records: int


class RetiredGeneration(Struct, frozen=True, tag_field="what", tag="retired"):
    """A generation that was read to its end, and its last position.

    `end`: the offset after its last byte; None in entries of version 1, whose positions are those of files.
    """

    source: str
    generation: int
    position: dict[str, Any] = field(name="resume")  # as version 1 called it
    end: int | None = None

    def end_offset(self) -> int:
        """The offset after its last byte."""
        return int(self.position.get("offset", 0)) if self.end is None else self.end


JournalEntry: TypeAlias = JournalRun | IdleRelease | InputFinished | OrderBegun | OrderEnded | RetiredGeneration

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[JournalEntry] = msgspec.json.Decoder(JournalEntry)


def encode_entries(entries: Iterable[JournalEntry]) -> bytes:
    """The entries as lines."""
    return b"".join(_ENCODER.encode(entry) + b"\n" for entry in entries)


def decode_entries(content: bytes, path: str, *, first_line: int = 1) -> Iterator[JournalEntry]:
    """The entries of committed whole lines of the file at `path`, the first of them being line `first_line`.

    Raises `StateError` with the line at fault.
    """
    for number, line in enumerate(content.splitlines(), start=first_line):
        try:
            yield _DECODER.decode(line)
        except msgspec.DecodeError as error:
            raise StateError(
                f"{path}:{number}: not an entry of the reading journal: {error}",
                hint="the totals are not affected; to have a journal again, make the state anew: event-processor replay",
            ) from error
