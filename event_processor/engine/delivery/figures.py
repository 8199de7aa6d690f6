"""The figures of a lane while they are counted: how much, how fast, how often refused.

Owns: `LaneFigures`: in all, by source, and by the value of the fields that the sink names.
Always: constant time per record and answer. Figures are since the start of the process or its last reload; they survive nothing.
Never: is relied on by delivery itself. The counts that survive are in the cursor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from event_processor.engine.delivery.groups import GROUPS_MAX, OTHER, Grouping
from event_processor.engine.delivery.reports import GroupReport
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import wall_ns_of
from event_processor.model.delivery import OutboxRecord
from event_processor.model.record_blocks import RecordBlock, Runs

__all__ = ["Figures", "LaneFigures"]

RATE_S: Final = 10.0
"""The rate is taken over this many seconds."""


class Figures:
    """Counts the records of a lane, or of one group of them, and their tries. Used by one thread."""

    __slots__ = ("_recent", "delivered", "elapsed_ms", "failed", "limit_hits", "pending", "refused", "request_s", "tries")

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.pending = 0
        self.tries = 0
        self.refused = 0
        self.limit_hits = 0
        self.request_s = 0.0
        self.elapsed_ms = 0.0
        self._recent: Final[deque[tuple[float, int]]] = deque()

    def tried(self, answer: Answer, took_s: float, count: int = 1) -> None:
        """A try was answered after `took_s` seconds; in a group, one of each of `count` records."""
        self.tries += count
        self.request_s += count * took_s
        self.refused += count * (answer.verdict is not Verdict.DELIVERED)
        self.limit_hits += count * (answer.status == "429")

    def ended(self, elapsed_ms: float, count: int = 1, *, is_delivered: bool) -> None:
        """`count` records were delivered, or failed for good; `elapsed_ms` is the sum of their times."""
        self.pending -= count
        self.elapsed_ms += elapsed_ms
        self.delivered += count * is_delivered
        self.failed += count * (not is_delivered)

    def tick(self, now_s: float) -> None:
        """Counts the rate from tick to tick."""
        self._recent.append((now_s, self.delivered))
        while now_s - self._recent[0][0] > RATE_S:
            self._recent.popleft()

    @property
    def processed(self) -> int:
        """The records that were delivered, or failed for good."""
        return self.delivered + self.failed

    @property
    def rate_per_s(self) -> float:
        """Delivered records a second, in the last `RATE_S` seconds."""
        if len(self._recent) < 2:
            return 0.0
        (begin_s, begin), (end_s, end) = self._recent[0], self._recent[-1]
        return (end - begin) / (end_s - begin_s) if end_s > begin_s else 0.0

    @property
    def mean_request_ms(self) -> float:
        """The mean duration of a try in milliseconds."""
        return 1000 * _share(self.request_s, self.tries)

    @property
    def mean_elapsed_ms(self) -> float:
        """The mean time from the read of a record's batch to its last answer, in milliseconds."""
        return _share(self.elapsed_ms, self.processed)

    @property
    def error_rate_before(self) -> float:
        """The share of tries that were not delivered: the error rate before retries."""
        return _share(self.refused, self.tries)

    @property
    def error_rate(self) -> float:
        """The share of records that failed for good: the error rate after retries."""
        return _share(self.failed, self.processed)

    def report(self) -> GroupReport:
        """The figures at this moment."""
        return GroupReport(
            processed=self.processed,
            delivered=self.delivered,
            failed=self.failed,
            pending=self.pending,
            limit_hits=self.limit_hits,
            rate_per_s=self.rate_per_s,
            mean_request_ms=self.mean_request_ms,
            mean_elapsed_ms=self.mean_elapsed_ms,
            error_rate_before=self.error_rate_before,
            error_rate=self.error_rate,
        )


class LaneFigures:
    """Counts for one lane. `all`: a try is a request there, and a record's try in the groups. Used by one thread."""

    def __init__(self, fields: Sequence[str], wall_ns: Callable[[], int], now_s: Callable[[], float]) -> None:
        """`fields`: the fields of the record by whose values it counts too. `now_s`: monotonic."""
        self.all: Final = Figures()
        self.waits = 0
        self._grouping: Final = Grouping(fields)
        self._groups: Final[list[dict[str, Figures]]] = [{} for _ in range(1 + len(self._grouping.fields))]
        """By source, then by each field."""
        self._known: Final[dict[tuple[str, ...], tuple[Figures, ...]]] = {}
        """The groups of some names, so that they are not looked for again."""
        self._wall_ns: Final = wall_ns
        self._now_s: Final = now_s
        self._began_s: Final = now_s()
        self._last_s = self._began_s
        self._written = ("", 0)
        """The last `now` of a record, and the same in nanoseconds: the records of a commit have the same."""

    def taken(self, record: OutboxRecord) -> tuple[Figures, ...]:
        """The record was read and waits. Returns its groups, for the calls that follow."""
        return self._waiting(self._grouping.names(record), 1)

    def taken_block(self, records: RecordBlock) -> Runs[tuple[Figures, ...]]:
        """The same, for all records of a block."""
        names = self._grouping.names_of(records)
        return Runs([self._waiting(each, count) for each, count in names.counted()], names.ends)

    def _waiting(self, names: tuple[str, ...], count: int) -> tuple[Figures, ...]:
        """The groups with these names, in which `count` more records wait."""
        groups = self._known.get(names)
        if groups is None:
            groups = tuple(_group(each, name) for each, name in zip(self._groups, names, strict=True))
            if len(self._known) < GROUPS_MAX:
                self._known[names] = groups
        for group in (self.all, *groups):
            group.pending += count
        return groups

    def answered(self, answer: Answer, took_s: float, groups: Iterable[tuple[Sequence[Figures], int]]) -> None:
        """A request was answered after `took_s` seconds. `groups`: those of its records, each with how many have them."""
        self.all.tried(answer, took_s)
        self.waits += answer.verdict is Verdict.WAIT
        for each, count in groups:
            for group in each:
                group.tried(answer, took_s, count)

    def record(self, record: OutboxRecord, groups: Sequence[Figures], *, is_delivered: bool) -> None:
        """The record was delivered, or failed for good."""
        self._last_s = self._now_s()
        elapsed_ms = record.elapsed_ms + self._since_ms(record.now)
        for group in (self.all, *groups):
            group.ended(elapsed_ms, is_delivered=is_delivered)

    def delivered(self, blocks: Iterable[tuple[RecordBlock, Runs[tuple[Figures, ...]]]]) -> None:
        """All records of these blocks, with their groups, were delivered."""
        self._last_s = self._now_s()
        for records, runs in blocks:
            begin = 0
            for groups, count in runs.counted():
                clocks = records.clocks.part(begin, begin + count).counted()
                elapsed_ms = sum(times * (elapsed_ms + self._since_ms(now)) for (now, elapsed_ms), times in clocks)
                for group in (self.all, *groups):
                    group.ended(elapsed_ms, count, is_delivered=True)
                begin += count

    def skipped(self, groups: Sequence[Figures]) -> None:
        """An operator gave the record up."""
        for group in (self.all, *groups):
            group.pending -= 1

    def tick(self, now_s: float) -> None:
        """Call it about once a second."""
        for group in (self.all, *(group for groups in self._groups for group in groups.values())):
            group.tick(now_s)

    @property
    def run_rate_per_s(self) -> float:
        """Processed records a second, from the start to the last answer that ended a record."""
        return _share(self.all.processed, self._last_s - self._began_s)

    def by_source(self) -> dict[str, GroupReport]:
        """The groups by source."""
        return _reports(self._groups[0])

    def by_field(self) -> dict[str, dict[str, GroupReport]]:
        """The groups by each field."""
        return {field: _reports(groups) for field, groups in zip(self._grouping.fields, self._groups[1:], strict=True)}

    def _since_ms(self, written: str) -> float:
        """The milliseconds since a record was put into the outbox; 0 if the clock was set back."""
        if written != self._written[0]:
            self._written = (written, wall_ns_of(written) or self._wall_ns())
        return max(0.0, (self._wall_ns() - self._written[1]) / 1e6)


def _group(groups: dict[str, Figures], name: str) -> Figures:
    """The group with this name; that of the rest if there are too many."""
    found = groups.get(name)
    if found is None:
        found = groups.setdefault(name if len(groups) < GROUPS_MAX else OTHER, Figures())
    return found


def _reports(groups: dict[str, Figures]) -> dict[str, GroupReport]:
    return {name: figures.report() for name, figures in groups.items()}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
