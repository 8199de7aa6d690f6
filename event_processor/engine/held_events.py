"""The events in the order stage, on disk in `state/held/`, so that a crash loses none of them.

Owns: which events are added to the file, and their form there.
Always: an event is in the file once it outlives a commit. Events leave the stage in ascending order. So the held events are
exactly those in the file that sort after the last released key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from event_processor.columns.event_slices import HeldEvent, Place
from event_processor.engine.order import OrderStage
from event_processor.engine.state import OrderSummary, summarise_order
from event_processor.model.errors import StateError
from event_processor.storage.durable import FileSystem
from event_processor.storage.replaced_file import EVENTS_FOLDER, HeldFile, held_lines, is_worth_replacing

__all__ = ["HeldEvents", "read_held_events"]

_Value = int | str | tuple[tuple[int, int | str], ...]
_Row = tuple[int, _Value, int, str, Place]
_RowOfVersion1 = tuple[int, _Value, int, str]
_DECODER: msgspec.json.Decoder[_Row] = msgspec.json.Decoder(_Row)
_DECODER_OF_VERSION_1: msgspec.json.Decoder[_RowOfVersion1] = msgspec.json.Decoder(_RowOfVersion1)
_NO_PLACE: Final[Place] = ("", 0, 0, 0)
_ENCODER: Final = msgspec.json.Encoder()


def read_held_events(
    fs: FileSystem, directory: str, appended: Mapping[str, int], summary: OrderSummary, buffer_events: int
) -> OrderStage:
    """The order stage as of the checkpoint. Raises `StateError` if the files do not restore it."""
    last = summary.last_released
    if summary.sorting:
        return OrderStage(buffer_events, (), last, summary.released, summary.sorting, summary.held)
    held = _events(held_lines(fs, directory, EVENTS_FOLDER, appended), f"{directory}/{EVENTS_FOLDER}")
    if last is not None:
        held = [event for event in held if event[:3] > last]
    stage = OrderStage(buffer_events, tuple(sorted(held)), last, summary.released)
    if summarise_order(stage, active=summary.active) != summary:
        raise StateError(
            f"{directory}/{EVENTS_FOLDER}: does not hold the {summary.held} events that the checkpoint says are held",
            hint="restore the folder from a backup, or rebuild the state from the log: event-processor replay",
        )
    return stage


def _events(lines: Iterable[bytes], path: str) -> list[HeldEvent]:
    try:
        return [_event(line) for line in lines]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(
            f"{path}: not a file of held events: {error}", hint="rebuild the state from the log: event-processor replay"
        ) from error


def _event(line: bytes) -> HeldEvent:
    """One line of the file. Lines of version 1, which may come before others, have no place."""
    try:
        kind, value, sequence, record, place = _DECODER.decode(line)
    except msgspec.ValidationError:
        kind, value, sequence, record = _DECODER_OF_VERSION_1.decode(line)
        return kind, value, sequence, record.encode(), _NO_PLACE
    return kind, value, sequence, record.encode(), place


class HeldEvents:
    """The file that held events are added to. Only one commit at a time uses it."""

    def __init__(self, file: HeldFile) -> None:
        self._file: Final = file

    def write(self, held: Sequence[HeldEvent], first_new_sequence: int) -> None:
        """Makes the held events from `first_new_sequence` on durable; the older ones are already. Raises `StorageError`."""
        if not held:
            self._file.close()
            return
        new = [event for event in held if event[2] >= first_new_sequence]
        if new:
            content = _encode(new)
            anew = not self._file.length_bytes or is_worth_replacing(
                self._file.length_bytes + len(content), sum(len(event[3]) for event in held)
            )
            self._file.add(_encode(held) if anew else content, anew=anew)

    def appended(self) -> dict[str, int]:
        """The committed length of the file, if there is one."""
        return self._file.appended()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _encode(events: Sequence[HeldEvent]) -> bytes:
    return _ENCODER.encode_lines(
        [(kind, value, sequence, record.decode(), place) for kind, value, sequence, record, place in events]
    )
