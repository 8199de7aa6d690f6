"""What the order stage holds, on disk: `state/held/`, so that a crash forgets none of it.

Owns: one append file of held events, and its replacement by a shorter one.
Always: an event stands in the file once it outlives a commit. Events leave the stage in ascending order, so that what the
file holds beyond the last released key is what is held; a released one is never taken off, only left behind with its file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from event_processor.arrivals import HeldEvent
from event_processor.durable import AppendFile, FileSystem, prepare_directory, read_file
from event_processor.errors import StateError
from event_processor.ordering import OrderStage
from event_processor.state import OrderSummary, summarise_order

__all__ = ["HeldEvents", "read_held_events"]

FOLDER: Final = "held"
REWRITE_BYTES_MIN: Final = 1_048_576
"""Below this a file is not worth replacing; above it, it is replaced when less than a quarter of it is still held."""

_Row = tuple[int, int | str | tuple[tuple[int, int | str], ...], int, str]
_DECODER: msgspec.json.Decoder[_Row] = msgspec.json.Decoder(_Row)
_ENCODER: Final = msgspec.json.Encoder()


def read_held_events(
    fs: FileSystem, directory: str, appended: Mapping[str, int], summary: OrderSummary, buffer_events: int
) -> OrderStage:
    """The order stage as the checkpoint says it was. Raises `StateError` where the files do not give it back."""
    last = summary.last_released
    held: list[HeldEvent] = []
    for name, length_bytes in appended.items():
        if name.startswith(f"{FOLDER}/"):
            content = read_file(fs, f"{directory}/{name}")
            held += _rows((content or b"")[:length_bytes], f"{directory}/{name}")
    if last is not None:
        held = [event for event in held if event[:3] > last]
    stage = OrderStage(buffer_events, tuple(sorted(held)), last, summary.released)
    if summarise_order(stage) != summary:
        raise StateError(
            f"{directory}/{FOLDER}: does not hold the {summary.held} events that the checkpoint says are waiting",
            hint="put the folder back from a backup, or make the state anew from the log: event-processor replay",
        )
    return stage


def _rows(content: bytes, path: str) -> list[HeldEvent]:
    try:
        rows = [_DECODER.decode(line) for line in content.split(b"\n") if line]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(
            f"{path}: not a file of held events: {error}", hint="make the state anew from the log: event-processor replay"
        ) from error
    return [(kind, value, sequence, record.encode()) for kind, value, sequence, record in rows]


class HeldEvents:
    """The file that held events are appended to. Used by one commit at a time."""

    def __init__(self, fs: FileSystem, directory: str, appended: Mapping[str, int], new_name: Callable[[str], str]) -> None:
        """Takes up the file that `appended` names, if any. `new_name` gives file names that are never used twice."""
        self._fs: Final = fs
        self._directory: Final = directory
        self._new_name: Final = new_name
        self._name = ""
        self._file: AppendFile | None = None
        for name, length_bytes in appended.items():
            if name.startswith(f"{FOLDER}/"):
                self._name = name
                self._file = AppendFile(fs, f"{directory}/{name}", length_bytes)

    def write(self, held: Sequence[HeldEvent], first_new_sequence: int) -> None:
        """Makes durable what is held and came at or after `first_new_sequence`; the rest stands already. Raises `StorageError`."""
        new = [event for event in held if event[2] >= first_new_sequence]
        if not new and (self._file is None or held):
            return
        if self._file is not None and not held:
            # Nothing waits: the checkpoint names no file, and this one goes when its predecessor names it no more.
            self.close()
            return
        content = _encode(new)
        if self._file is None or self._is_mostly_released(held, len(content)):
            self._start_anew()
            content = _encode(held)
        assert self._file is not None
        self._file.append(content)
        # If we die here, the committed length cuts off what was appended: the events come again from the log.
        self._file.sync()

    def appended(self) -> dict[str, int]:
        """The committed length of the file, if there is one."""
        return {self._name: self._file.length_bytes} if self._file else {}

    def close(self) -> None:
        """Gives the file back."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def _is_mostly_released(self, held: Sequence[HeldEvent], new_bytes: int) -> bool:
        assert self._file is not None
        length_bytes = self._file.length_bytes + new_bytes
        return length_bytes > REWRITE_BYTES_MIN and length_bytes > 4 * sum(len(event[3]) for event in held)

    def _start_anew(self) -> None:
        """A new file in the place of the present one, which stays on disk while a checkpoint names it."""
        self.close()
        prepare_directory(self._fs, f"{self._directory}/{FOLDER}")
        self._name = f"{FOLDER}/{self._new_name('held')}"
        self._file = AppendFile(self._fs, f"{self._directory}/{self._name}", 0)


def _encode(events: Sequence[HeldEvent]) -> bytes:
    return b"".join(_ENCODER.encode((kind, value, sequence, record.decode())) + b"\n" for kind, value, sequence, record in events)
