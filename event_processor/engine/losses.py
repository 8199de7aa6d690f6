"""The losses that a state remembers until a person acknowledges them, and the request to do so.

Owns: `Losses`, the form of `lost` in the checkpoint; when each loss was recorded; the file with which another process asks the
loop to acknowledge.
Always: `Losses` depends only on the order of the entries in the reading journal. It is bounded: above `LISTED_MAX`, losses are
only counted.
Never: drops a loss that was not acknowledged; knows a clock (`LossTimes` gets its times, and they are in `meta`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from event_processor.model.event import Json
from event_processor.model.losses import Loss
from event_processor.storage.durable import FileSystem, read_file, remove_files, replace_file

__all__ = ["NOTHING_LOST", "REQUEST_NAME", "LossRequest", "LossRequests", "LossTimes", "Losses", "recorded_times"]

LISTED_MAX: Final = 1_000
"""The checkpoint lists this number of losses. All further ones are counted."""
ACKNOWLEDGED_MAX: Final = 100
"""This number of acknowledged losses is remembered, because a restart may find one of them again."""
REQUEST_NAME: Final = "lost.request.json"


class Losses(Struct, frozen=True, omit_defaults=True):
    """Input that is lost.

    `entries`: not acknowledged, oldest first. `unlisted`: how many more there are. `acknowledged`: the latest that a person has
    acknowledged; if one of them is found again, it is not a new loss.
    """

    entries: tuple[Loss, ...] = ()
    unlisted: int = 0
    acknowledged: tuple[Loss, ...] = ()

    @property
    def count(self) -> int:
        """The number of losses that were not acknowledged."""
        return len(self.entries) + self.unlisted

    def adding(self, loss: Loss) -> Losses:
        """The same with `loss`; this object itself if it is known."""
        if any(loss.is_again(known) for known in (*self.entries, *self.acknowledged)):
            return self
        if len(self.entries) >= LISTED_MAX:
            return replace(self, unlisted=self.unlisted + 1)
        return replace(self, entries=(*self.entries, loss))

    def acknowledging(self, seen: Sequence[Loss], unlisted: int) -> Losses:
        """The same without what a person has seen: these losses, and this number of unlisted ones."""
        known = [each for each in self.entries if any(each.is_again(other) for other in seen)]
        left = tuple(each for each in self.entries if each not in known)
        acknowledged = (*self.acknowledged, *known)[-ACKNOWLEDGED_MAX:]
        if len(left) == len(self.entries) and not min(unlisted, self.unlisted):
            return self
        return replace(self, entries=left, unlisted=max(0, self.unlisted - unlisted), acknowledged=acknowledged)


NOTHING_LOST: Final = Losses()


def recorded_times(meta: Mapping[str, Json]) -> dict[str, str]:
    """When each loss was recorded, as the `meta` of a checkpoint says."""
    recorded = meta.get("lost_at")
    return {name: str(time) for name, time in recorded.items()} if isinstance(recorded, dict) else {}


class LossTimes:
    """When each loss was recorded, for `meta`: a clock is outside the state."""

    def __init__(self, earlier: Mapping[str, str]) -> None:
        """`earlier`: what `recorded` returned for the checkpoint that is resumed."""
        self._times: dict[str, str] = dict(earlier)

    def recorded(self, losses: Losses, now: str) -> dict[str, str]:
        """The time of each listed loss, by `key`. A loss that is new has the time `now`."""
        self._times = {key(loss): self._times.get(key(loss), now) for loss in losses.entries}
        return self._times


def key(loss: Loss) -> str:
    """The name of a loss in `meta.lost_at`."""
    return f"{loss.source}/{loss.generation}/{loss.offset}/{loss.path}"


class LossRequest(Struct, frozen=True):
    """What a person has seen and acknowledges."""

    losses: tuple[Loss, ...]
    unlisted: int = 0


class LossRequests:
    """The request in the state directory. Another process writes it, the owner of the state carries it out and removes it."""

    def __init__(self, fs: FileSystem, directory: str) -> None:
        self._fs: Final = fs
        self._path: Final = os.path.join(directory, REQUEST_NAME)

    def write(self, request: LossRequest, token: str) -> None:
        """Leaves a request for the owner. It replaces an earlier one. Raises `StorageError`."""
        replace_file(self._fs, self._path, [msgspec.json.encode(request)], token)

    def pending(self) -> LossRequest | None:
        """The request, if there is one. One that cannot be read acknowledges nothing. Raises `StorageError`."""
        content = read_file(self._fs, self._path)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=LossRequest)
        except msgspec.DecodeError:
            return LossRequest(())

    def remove(self) -> None:
        """Removes the request, because a durable checkpoint carries it out.

        If we die before this, the next start finds it again, and it changes nothing. Raises `StorageError`.
        """
        remove_files(self._fs, [self._path])
