"""Dead letters that are retried by their places, some of them repaired.

Owns: which of the chosen letters can be retried, and why the others cannot.
Always: a retry does what the commands do: rejected records come back through the intake, failed records go to their sink alone.
Never: appends by itself (`dead_letters.py` and `failed_deliveries.py` do).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

import msgspec
import orjson
from msgspec import Meta, Struct

from event_processor.assembly import Environment
from event_processor.configuration.configuration import Configuration
from event_processor.engine.delivery.retries import first_key
from event_processor.model.errors import UsageError
from event_processor.model.event import Json
from event_processor.operations.dead_letters import read_dead_letters, repaired_record, retry_records
from event_processor.operations.failed_deliveries import read_failed, retry_failed

__all__ = ["RETRIED_MAX", "ChosenLetter", "RefusedLetter", "RetriedLetters", "retry_letters"]

RETRIED_MAX: Final = 1000
"""The maximum number of letters of one retry."""
Name: TypeAlias = str | tuple[str | None, int | None, int | None]
"""How a letter is named: by the key of a failed record, or by source, generation and offset."""


class ChosenLetter(Struct, frozen=True, forbid_unknown_fields=True):
    """A dead letter by its place, or a failed record by its key, and its repaired record as text; None: as it was.

    Only a key names a failed row of an aggregate, or one of several events of a line. Raises `ValueError` if neither is there, or both.
    """

    source: str | None = None
    generation: Annotated[int, Meta(ge=0)] | None = None
    offset: Annotated[int, Meta(ge=0)] | None = None
    record: str | None = None
    key: Annotated[str, Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        place = (self.source, self.generation, self.offset)
        if any(each is None for each in place) if self.key is None else place != (None, None, None):
            raise ValueError("a record is named by source, generation and offset, or by key alone")

    @property
    def name(self) -> Name:
        """Its key, or where its record is."""
        return self.key or (self.source, self.generation, self.offset)


class RefusedLetter(Struct, frozen=True, omit_defaults=True):
    """A letter that was not retried, and why. One that was named by its `key` has no place: "", 0 and 0."""

    source: str
    generation: int
    offset: int
    reason: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class RetriedLetters:
    """How many letters were retried, or with `dry_run` would be, and those that were not."""

    retried: int
    refused: Sequence[RefusedLetter]
    dry_run: bool


def retry_letters(
    configuration: Configuration, environment: Environment, chosen: Sequence[ChosenLetter], sink: str | None, *, dry_run: bool
) -> RetriedLetters:
    """Retries the chosen letters that can be retried, durably; with `dry_run`, only says which.

    `sink`: None for rejected records, otherwise the remote sink that refused them. Raises `UsageError` if there is no such sink,
    `LockedError`, `StateError`, `StorageError`; then nothing was retried.
    """
    wanted: dict[Name, ChosenLetter] = {}
    refused = []
    for each in chosen:
        if each.name in wanted:
            refused.append(_refused(each, "it is there twice"))
        else:
            wanted[each.name] = each
    retry = _retry_rejected if sink is None else _retry_failed
    retried = retry((configuration, environment), wanted, refused, sink or "", dry_run=dry_run)
    return RetriedLetters(retried, refused, dry_run)


Around: TypeAlias = tuple[Configuration, Environment]


def _retry_rejected(
    around: Around, wanted: Mapping[Name, ChosenLetter], refused: list[RefusedLetter], _sink: str, *, dry_run: bool
) -> int:
    letters = _found(read_dead_letters(*around), wanted)
    records = []
    for name, each in wanted.items():
        if name not in letters:
            words = "there is no dead letter of this place" if each.key is None else "only the failed records of a sink have keys"
            refused.append(_refused(each, words))
            continue
        letter = letters[name] if each.record is None else {**letters[name], "record": each.record}
        source = str(each.source)
        try:
            records.append(repaired_record(letter, source))
        except UsageError as error:
            refused.append(_refused(each, error.message.removeprefix(f"{source}: ")))
    if records and not dry_run:
        retry_records(*around, records)
    return len(records)


def _retry_failed(
    around: Around, wanted: Mapping[Name, ChosenLetter], refused: list[RefusedLetter], sink: str, *, dry_run: bool
) -> int:
    letters = _found(read_failed(*around, sink), wanted)
    by_key: dict[str, ChosenLetter] = {}
    lines = []
    for name, each in wanted.items():
        if name not in letters:
            refused.append(
                _refused(each, f"sink {sink} has no failed record {'of this place' if each.key is None else 'with this key'}")
            )
            continue
        letter = letters[name]
        if (repaired := _repaired_object(letter, each)) is None:
            refused.append(_refused(each, "the record is not a JSON object"))
            continue
        key = str(letter["key"])
        line = orjson.dumps({"key": key, "object": orjson.Fragment(repaired)})
        origin = letter["place"]
        first = first_key(key, origin if isinstance(origin, dict) else {})
        if first in by_key:
            refused.append(_refused(each, "it is there twice"))
            continue
        by_key[first] = each
        lines.append(line)
    if not lines:
        return 0
    found = retry_failed(*around, sink, lines, "records", dry_run=dry_run)
    waiting = (by_key[key.rpartition(":r")[0]] for key in found.already)
    refused.extend(_refused(each, "a retry of it waits, or was delivered") for each in waiting)
    return len(found.records)


def _repaired_object(letter: Mapping[str, Json], chosen: ChosenLetter) -> bytes | None:
    """The object to send, as JSON on one line; None if it is no object."""
    if chosen.record is None:
        return msgspec.json.encode(letter.get("object"))
    try:
        # Its numbers are for the receiver to read.
        msgspec.json.decode(chosen.record, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
    # Between JSON tokens a line feed means the same as a space. Inside a string it is not valid.
    return chosen.record.encode().replace(b"\r", b" ").replace(b"\n", b" ")


def _found(letters: Iterable[dict[str, Json]], wanted: Mapping[Name, ChosenLetter]) -> dict[Name, dict[str, Json]]:
    """The letters that are wanted, by name; of several the last. A failed record has its place in `place`."""
    found: dict[Name, dict[str, Json]] = {}
    for letter in letters:
        within = letter.get("place", letter)
        if not isinstance(within, dict):
            continue
        for name in (letter.get("key"), (within.get("source"), within.get("generation"), within.get("offset"))):
            if name in wanted:
                found[name] = letter  # type: ignore[index]  # it is equal to one
    return found


def _refused(chosen: ChosenLetter, reason: str) -> RefusedLetter:
    return RefusedLetter(chosen.source or "", chosen.generation or 0, chosen.offset or 0, reason, chosen.key or "")
