"""The contract of a receiver of snapshots: a table that is, as a whole, what one checkpoint says.

Owns: `Snapshot`, its rows, `SnapshotReceiver`, and the words of its guarantee.
Always: a snapshot is written in one transaction with its `as_of`, so a reader sees one consistent cut. `as_of` never goes back.
Never: contains a sink or a receiver (`engine/delivery/` and `connectors/` do).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from event_processor.model.transactions import CursorOwner

__all__ = ["SNAPSHOT_BY", "SNAPSHOT_WORDS", "Snapshot", "SnapshotReceiver", "SnapshotRow", "WrittenSnapshot"]

SNAPSHOT_WORDS: Final = "a snapshot, true as of a checkpoint"
SNAPSHOT_BY: Final = "its rows and its as_of are one transaction, which only the process that holds the fence can commit"


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """One row. `key` identifies it in the snapshot; `content` is a JSON object."""

    key: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a checkpoint says. `as_of`: how many records that checkpoint covers. `wall_ns`: now.

    `rows` may be read more than once, and in another thread. If `is_whole`, they are all rows, and a row with another key is to be
    removed. Otherwise they are those that may differ from what was written last.
    """

    as_of: int
    rows: Iterable[SnapshotRow]
    is_whole: bool
    wall_ns: int


@dataclass(frozen=True, slots=True)
class WrittenSnapshot:
    """What became of a snapshot. `keys`: of all its rows. `left_out`: by key, why a row does not fit and is not in the table."""

    keys: Collection[str]
    left_out: Mapping[str, str]


class SnapshotReceiver(ABC):
    """Writes the snapshots of one sink. Used in the delivery loop; one call runs at a time.

    `begin` and `write` may raise `TransactionError`. After that the sink calls `begin` before anything else.
    """

    @abstractmethod
    async def open(self, owner: CursorOwner) -> None:
        """Prepares for transactions. Connects to nothing yet. Called once, before any other method."""

    @abstractmethod
    async def begin(self) -> int:
        """Connects anew, and takes the snapshot's place. Returns its `as_of`; 0 if nothing was written yet.

        From now on no other process can write. An earlier transaction of unknown outcome is settled when it returns. If another
        process took the place since, that is a *stop*. Raises `StateError` if the snapshot is of another state.
        """

    @abstractmethod
    async def write(self, before: int, snapshot: Snapshot) -> WrittenSnapshot:
        """Writes the snapshot in one transaction, if the one that is there is as of `before`.

        A row that does not fit is left out; the row with its key is removed. If most rows of a whole snapshot do not fit, it raises
        *bad* and writes nothing.
        """

    @abstractmethod
    async def refresh(self) -> None:
        """The sink is stopped and is about to probe: reads again what an operator may have repaired."""

    @abstractmethod
    async def close(self) -> None:
        """Releases everything. A transaction that still runs ends on its own; its outcome is unknown."""
