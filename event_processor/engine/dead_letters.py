"""Dead letters on disk: `state/dead_letters.jsonl`, one JSON object per line, append-only.

Owns: their form, both ways. A record that is UTF-8 is in `record`, any other is in `record_base64`. A record that was too long to
be kept has neither; it has `length` in bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from event_processor.model.contracts import NOTHING_RELEASED, Released
from event_processor.model.event import Chunk, DeadLetter, Json
from event_processor.model.rejections import Fault, Rejections

if TYPE_CHECKING:
    from event_processor.model.columns import Columns

__all__ = ["DEAD_LETTERS_NAME", "encode_dead_letters", "first_letter", "letters_of", "record_of"]

DEAD_LETTERS_NAME = "dead_letters.jsonl"
_ENCODER: Final = msgspec.json.Encoder()


def encode_dead_letters(letters: Sequence[DeadLetter]) -> Released:
    """The letters as lines."""
    return _released(_ENCODER.encode_lines(letters), len(letters)) if letters else NOTHING_RELEASED


class _LetterPlace(Struct, frozen=True, gc=False):
    """The part of a letter that says where its record stands."""

    source: str
    generation: int
    offset: int
    line: int


_PLACES: Final = msgspec.json.Decoder(_LetterPlace)


@dataclass(frozen=True, slots=True)
class _LetterPlaces:
    """The places of the records of some letters, read from the letters only if a lane reads them."""

    letters: bytes

    def __iter__(self) -> Iterator[list[bytes]]:
        from event_processor.columns.places import place_texts  # noqa: PLC0415 - only if a lane reads them

        places = (_PLACES.decode(letter) for letter in self.letters.split(b"\n")[:-1])
        yield place_texts((place.source, place.generation, place.offset, place.line) for place in places)


def _released(letters: bytes, count: int) -> Released:
    return Released((letters,), count, _LetterPlaces(letters))


def first_letter(letters: Released) -> DeadLetter:
    """The first of some letters; there is at least one."""
    line, _, _ = next(bytes(piece) for piece in letters.pieces if len(piece)).partition(b"\n")
    return msgspec.json.decode(line, type=DeadLetter)


def letters_of(chunk: Chunk, columns: Columns, rejections: Rejections, line: int) -> Released:
    """One line per rejected record of a chunk, with its own bytes. `line` lines of its part come before the chunk."""
    if not len(rejections):
        return NOTHING_RELEASED
    from event_processor.kernels.dead_letters import write_letters  # noqa: PLC0415 - only to write

    content = chunk.own or chunk.content
    begins, ends = columns.starts[rejections.rows], columns.ends[rejections.rows]
    lines, offsets = line + 1 + rejections.rows, chunk.offsets(columns.starts, rejections.rows)
    pieces = _pieces(chunk, rejections.faults)
    written = write_letters(content, (begins, ends), (lines, offsets), rejections.numbers, pieces)
    if written is not None:
        return _released(written, len(rejections))
    places = zip(lines.tolist(), offsets.tolist(), begins.tolist(), ends.tolist(), rejections, strict=True)
    return encode_dead_letters(
        [
            DeadLetter(
                chunk.source,
                chunk.generation,
                line,
                offset,
                each.stage,
                each.reason,
                each.field,
                *_kept(content[begin:end]),
            )
            for line, offset, begin, end, each in places
        ]
    )


def _pieces(chunk: Chunk, faults: Sequence[Fault]) -> list[bytes]:
    """The constant pieces of a letter's line, by fault.

    They come before the line number, before the offset, and between the offset and the record.
    """
    letters = [
        DeadLetter(chunk.source, chunk.generation, 0, 0, each.stage, each.reason, each.field, record="") for each in faults
    ]
    # No text can contain this separator, because its quotes would be escaped.
    begun = [_ENCODER.encode(letter).partition(b'"line":0,"offset":0') for letter in letters]
    return [begun[0][0] + b'"line":', b',"offset":', *(behind.removesuffix(b'"}') for _, _, behind in begun)]


def _kept(record: bytes) -> tuple[str | UnsetType, str | UnsetType]:
    """A letter's `record` and `record_base64`; one of them is set."""
    try:
        return record.decode(), UNSET
    except UnicodeDecodeError:
        return UNSET, base64.b64encode(record).decode("ascii")


def record_of(letter: dict[str, Json]) -> bytes | None:
    """The record's bytes from a letter's JSON object; None if it holds no record."""
    text = letter.get("record")
    if isinstance(text, str):
        return text.encode("utf-8", "surrogatepass")
    encoded = letter.get("record_base64")
    return base64.b64decode(encoded) if isinstance(encoded, str) else None
