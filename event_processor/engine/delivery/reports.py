"""The figures of lanes as they are published: what `status` shows of a daemon that runs.

Owns: `GroupReport`, `LaneReport`, `SnapshotReport`, `OutboxReport` and the file of them, `state/history/lanes.json`; how fast the outbox grows.
Always: plain values, which a reader of another process decodes.
Never: counts anything (`figures.py` does).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

__all__ = [
    "FIGURES_NAME",
    "HISTORY_FOLDER",
    "GroupReport",
    "Growth",
    "LaneReport",
    "OutboxReport",
    "PublishedLanes",
    "RetriedFigures",
    "SnapshotReport",
    "undelivered_bytes",
]

HISTORY_FOLDER: Final = "history"
FIGURES_NAME: Final = f"{HISTORY_FOLDER}/lanes.json"
"""The file, below the state directory."""
GROWTH_S: Final = 300.0
"""The growth is taken over this many seconds."""
GROWTH_S_MIN: Final = 10.0
"""Before so many seconds, the growth is not known."""


class GroupReport(Struct, frozen=True):
    """The records of one source, or with one value of a field, since the start of the process or its last reload.

    `pending`: those that the lane has read; at most 10,000 records are read ahead. `error_rate_before`: the share of their tries that
    were not delivered; `error_rate`: the share of records that failed for good. `mean_request_ms`: of their tries.
    """

    processed: int = 0
    delivered: int = 0
    failed: int = 0
    pending: int = 0
    limit_hits: int = 0
    rate_per_s: float = 0.0
    mean_request_ms: float = 0.0
    mean_elapsed_ms: float = 0.0
    error_rate_before: float = 0.0
    error_rate: float = 0.0


class RetriedFigures(Struct, frozen=True):
    """The repaired records of a sink, which an operator retried: `delivered + failed + pending` of them, apart from the others."""

    delivered: int
    failed: int
    pending: int
    state: str
    words: str


class LaneReport(Struct, frozen=True):
    """A lane at one moment. `state`: "idle", "sending", "waiting" (an outage), "paused", "stopped", "detached" or "failed"; `words` say why.

    `delivered`, `failed` and `skipped` come from the cursor: since the lane began. `pending` records with `pending_bytes` wait.
    All else is since the start of the process or its last reload. `processed` records were delivered or failed for good; `requests` were
    answered. Of these, `waits` could not be taken then, and `limit_hits` were refused because of a limit (429). `rate_per_s`: delivered
    records a second, in the last ten; `run_rate_per_s`: processed records a second, from the start to the last of them.
    `mean_elapsed_ms`: from the read of a record's batch to its last answer. `error_rate_before` is the share of requests that were not
    delivered (before retries), `error_rate` that of records that failed for good (after retries). `retried`: records that were
    repaired and retried; None if there are none. They are in no other figure. `detached_after`: the last record that is for it; None if all are.
    Those after it are counted as `skipped` until it is attached. `waits_for`: the shares of the last minute in which it waited for its
    "limit", for "answers", because the service asked for it ("held"), in an "outage", was "stopped", was "sending" or was "idle". `limit`: the limit
    that it waited for last, in words.
    """

    sink: str
    input: str
    state: str
    words: str
    since: str
    exit_code: int
    remedy: str
    released: int
    started_after: int
    delivered: int
    failed: int
    skipped: int
    pending: int
    pending_bytes: int
    processed: int = 0
    requests: int = 0
    waits: int = 0
    limit_hits: int = 0
    rate_per_s: float = 0.0
    run_rate_per_s: float = 0.0
    mean_request_ms: float = 0.0
    mean_elapsed_ms: float = 0.0
    error_rate_before: float = 0.0
    error_rate: float = 0.0
    by_source: dict[str, GroupReport] = {}
    by_field: dict[str, dict[str, GroupReport]] = {}
    retried: RetriedFigures | None = None
    detached_after: int | None = None
    waits_for: dict[str, float] = {}
    limit: str = ""

    def with_retries(self, other: LaneReport) -> LaneReport:
        """The same, with the lane of retried records. If only that one failed, the exit code is its own."""
        retried = RetriedFigures(other.delivered, other.failed, other.pending, other.state, other.words)
        return replace(self, retried=retried, exit_code=self.exit_code or other.exit_code)


class SnapshotReport(Struct, frozen=True):
    """A snapshot at one moment. `state`: "idle", "sending", "waiting" (an outage), "paused", "stopped", "ahead" or "failed"; `words` say why.

    `as_of`: how many records the table covers; None if that is not known yet. `committed`: how many the last checkpoint covers. If
    `as_of` is greater, the state is "ahead": an older state was restored. `rows`: in the table, as of then; None if nothing was written by
    this process. `left_out`: rows that do not fit the table. `snapshots`: how many were written since the start of the process or its
    last reload.
    """

    sink: str
    input: str
    state: str
    words: str
    since: str
    exit_code: int
    remedy: str
    as_of: int | None
    committed: int
    rows: int | None = None
    left_out: int = 0
    snapshots: int = 0

    @property
    def behind(self) -> int:
        """How many records the table does not cover yet."""
        return max(0, self.committed - (self.as_of or 0))

    @property
    def is_current(self) -> bool:
        """Whether the table is what the last checkpoint says, whole."""
        return self.as_of == self.committed and not self.left_out


class OutboxReport(Struct, frozen=True):
    """All records that wait on disk: `undelivered_bytes`, of each input those that its slowest lane has not got.

    `growth_bytes_per_s`: in the last five minutes, negative if it shrinks; None if it is not known yet.
    """

    undelivered_bytes: int = 0
    growth_bytes_per_s: int | None = None


class PublishedLanes(Struct, frozen=True):
    """The file that the daemon publishes about once a second. `owner`: the process that wrote it, as in the lock file."""

    owner: str
    lanes: tuple[LaneReport, ...]
    outbox: OutboxReport = OutboxReport()
    snapshots: tuple[SnapshotReport, ...] = ()


def undelivered_bytes(reports: Sequence[LaneReport]) -> int:
    """The bytes that wait: of each input those that its slowest lane has not got. Lanes that are detached do not count."""
    by_input: dict[str, int] = {}
    for each in reports:
        if each.detached_after is not None:
            continue
        by_input[each.input] = max(each.pending_bytes, by_input.get(each.input, 0))
    return sum(by_input.values())


class Growth:
    """How fast the outbox grows. Used by one thread."""

    def __init__(self) -> None:
        self._recent: Final[deque[tuple[float, int]]] = deque()

    def tick(self, reports: Sequence[LaneReport], now_s: float) -> OutboxReport:
        """The outbox at this moment. Call it about once a second."""
        size_bytes = undelivered_bytes(reports)
        self._recent.append((now_s, size_bytes))
        while now_s - self._recent[0][0] > GROWTH_S:
            self._recent.popleft()
        began_s, began_bytes = self._recent[0]
        if now_s - began_s < GROWTH_S_MIN:
            return OutboxReport(size_bytes)
        return OutboxReport(size_bytes, round((size_bytes - began_bytes) / (now_s - began_s)))
