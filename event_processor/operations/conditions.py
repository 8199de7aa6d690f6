"""The daemon's view of its own health on disk: `state/conditions.json`.

Owns: its form, and reading it.
Always: read without a lock; the file is replaced as a whole. A file that cannot be read counts as none: it is for people, and
nothing is decided by it.
Never: written here (`service/conditions.py` does); read by the engine.
"""

from __future__ import annotations

import os
from typing import Final, Literal

import msgspec
from msgspec import Struct

from event_processor.model.errors import StorageError
from event_processor.storage.durable import FileSystem, read_file

__all__ = [
    "CONDITIONS_NAME",
    "CONDITION_KINDS",
    "DETACHED",
    "LOST",
    "OTHER_KIND",
    "Condition",
    "PublishedConditions",
    "ReloadAnswer",
    "read_conditions",
]

CONDITIONS_NAME: Final = "conditions.json"
LOST: Final = "lost"
"""The kind of the condition that something is lost. The checkpoint says what."""
DETACHED: Final = "lane_detached"
"""The kind of the condition that a remote sink is detached. The checkpoint says so too."""

CONDITION_KINDS: Final = frozenset(
    {
        "failed",
        "file_damaged",
        "file_missing",
        "file_unreadable",
        "http_unavailable",
        "jobs_unavailable",
        "lane_detached",
        "lane_failed",
        "lane_paused",
        "lane_stopped",
        "lane_waiting",
        "lost",
        "reload_refused",
        "source_unreachable",
        "watcher_unavailable",
    }
)
"""Every kind that this version has. A file of another version may have others."""
OTHER_KIND: Final = "other"

LANE_KINDS: Final = "lane_"
"""How the kinds begin that are about a remote sink. Their `source` is its name."""


class Condition(Struct, frozen=True):
    """Something that an operator should know. It lasts until its reason is gone.

    `kind`: for programs. `since`: RFC 3339 in UTC. `source`: the name of a source or a sink, or empty. `path`: the file or folder,
    or empty. `problem` says what is wrong, `remedy` what to do. If `fails`, `status` is 69 because of it; otherwise it is a note.
    """

    kind: str
    since: str
    source: str
    path: str
    problem: str
    remedy: str
    fails: bool = True

    def __str__(self) -> str:
        is_named = not self.source or self.kind.startswith(LANE_KINDS)  # the problem names the sink
        name = "" if is_named else f"source {self.source}: "
        path = f"{self.path}: " if self.path else ""
        return f"{name}{path}{self.problem} (since {self.since}); {self.remedy}"


class ReloadAnswer(Struct, frozen=True):
    """How the last reload ended.

    `started_s`: when the daemon began to read the configuration, by the machine's monotonic clock. `outcome`: "reloaded",
    "unchanged" or "refused". `changed`: the keys that changed. `reason`: why it was refused.
    """

    started_s: float
    outcome: Literal["reloaded", "unchanged", "refused"]
    changed: tuple[str, ...] = ()
    reason: str = ""


class PublishedConditions(Struct, frozen=True):
    """The whole file. `owner`: the process that wrote it, as the lock file describes it. `unlisted`: conditions beyond the list."""

    owner: str
    conditions: tuple[Condition, ...] = ()
    unlisted: int = 0
    reload: ReloadAnswer | None = None
    version: Literal[1] = 1


_DECODER: Final = msgspec.json.Decoder(PublishedConditions)


def read_conditions(fs: FileSystem, directory: str) -> PublishedConditions | None:
    """What was last published in the state directory; None if there is nothing, or nothing that can be read."""
    try:
        content = read_file(fs, os.path.join(directory, CONDITIONS_NAME))
        return None if content is None else _DECODER.decode(content)
    except (StorageError, OSError, msgspec.DecodeError):
        return None
