"""The figures of a lane, for people: how much, how fast, how often refused.

Owns: `LaneFigures` while it is counted, and `LaneReport`, the form in which it is published.
Always: one call per answer, in constant time. Figures are since the start of the process, except what the cursor counts.
Never: is relied on by delivery itself.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from event_processor.engine.delivery.health import Described
from event_processor.engine.delivery.progress import LaneIdentity
from event_processor.model.answers import Answer, Verdict

__all__ = ["LaneFigures", "LaneReport", "PublishedLanes", "SourceFigures"]

RATE_S: Final = 10.0
"""The rate is that of this many seconds."""


class SourceFigures(Struct):
    """The records of one source, or of one value of a field, since the start of the process."""

    delivered: int = 0
    failed: int = 0


class LaneReport(Struct, frozen=True):
    """A lane at one moment. `state`: "idle", "sending", "waiting" (an outage), "stopped" or "failed"; `words` say why.

    `pending` records with `pending_bytes` wait. `requests` were answered since the start of the process; of these `waits` could not
    be taken then, and `limit_hits` were refused because of a limit (429). `rate_per_s`: delivered records a second, in the last ten.
    `error_rate_before` is the share of requests that were not delivered at once, `error_rate` that of records that failed for good.
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
    requests: int
    waits: int
    limit_hits: int
    rate_per_s: float
    mean_request_ms: float
    mean_elapsed_ms: float
    error_rate_before: float
    error_rate: float
    by_source: dict[str, SourceFigures]

    @classmethod
    def of(
        cls,
        identity: LaneIdentity,
        figures: LaneFigures,
        described: Described,
        *,
        since: str,
        exit_code: int,
        released: int,
        counts: tuple[int, int, int],
        pending: int,
        pending_bytes: int,
    ) -> LaneReport:
        """The report of a lane. `counts`: delivered, failed, skipped."""
        delivered, failed, skipped = counts
        return cls(
            sink=identity.name,
            input=identity.input,
            state=described.state,
            words=described.words,
            since=since,
            exit_code=exit_code,
            remedy=described.remedy,
            released=released,
            started_after=identity.started_after,
            delivered=delivered,
            failed=failed,
            skipped=skipped,
            pending=pending,
            pending_bytes=pending_bytes,
            requests=figures.requests,
            waits=figures.waits,
            limit_hits=figures.limit_hits,
            rate_per_s=figures.rate_per_s,
            mean_request_ms=figures.mean_request_ms,
            mean_elapsed_ms=figures.mean_elapsed_ms,
            error_rate_before=figures.error_rate_before,
            error_rate=figures.error_rate,
            by_source={name: SourceFigures(each.delivered, each.failed) for name, each in figures.by_source.items()},
        )


class PublishedLanes(Struct, frozen=True):
    """The file that the daemon publishes about once a second. `owner`: the process that wrote it, as in the lock file."""

    owner: str
    lanes: tuple[LaneReport, ...]


class LaneFigures:
    """Counts the answers of one lane. Used by one thread."""

    def __init__(self) -> None:
        self.requests = 0
        self.waits = 0
        self.limit_hits = 0
        self.refused = 0
        self.delivered = 0
        self.failed = 0
        self.by_source: Final[dict[str, SourceFigures]] = {}
        self._request_s = 0.0
        self._elapsed_ms = 0.0
        self._recent: Final[deque[tuple[float, int]]] = deque()

    def answered(self, answer: Answer, took_s: float) -> None:
        """A request was answered after `took_s` seconds."""
        self.requests += 1
        self._request_s += took_s
        self.waits += answer.verdict is Verdict.WAIT
        self.refused += answer.verdict is not Verdict.DELIVERED
        self.limit_hits += answer.status == "429"

    def record(self, source: str, *, is_delivered: bool, elapsed_ms: float) -> None:
        """A record was delivered, or failed for good. `elapsed_ms`: from the read of its batch to its end."""
        figures = self.by_source.setdefault(source, SourceFigures())
        self._elapsed_ms += elapsed_ms
        if is_delivered:
            self.delivered += 1
            figures.delivered += 1
        else:
            self.failed += 1
            figures.failed += 1

    def tick(self, now_s: float) -> None:
        """Call it about once a second: the rate is counted from tick to tick."""
        self._recent.append((now_s, self.delivered))
        while now_s - self._recent[0][0] > RATE_S:
            self._recent.popleft()

    @property
    def rate_per_s(self) -> float:
        """Delivered records a second, in the last `RATE_S` seconds."""
        if len(self._recent) < 2:
            return 0.0
        (begin_s, begin), (end_s, end) = self._recent[0], self._recent[-1]
        return (end - begin) / (end_s - begin_s) if end_s > begin_s else 0.0

    @property
    def mean_request_ms(self) -> float:
        """The mean duration of a request in milliseconds."""
        return 1000 * self._request_s / self.requests if self.requests else 0.0

    @property
    def mean_elapsed_ms(self) -> float:
        """The mean time from the read of a record's batch to its end, in milliseconds."""
        count = self.delivered + self.failed
        return self._elapsed_ms / count if count else 0.0

    @property
    def error_rate_before(self) -> float:
        """The share of requests that were not delivered, before any retry."""
        return self.refused / self.requests if self.requests else 0.0

    @property
    def error_rate(self) -> float:
        """The share of records that failed for good."""
        count = self.delivered + self.failed
        return self.failed / count if count else 0.0
