"""What one commit will cover, while the loop gathers it.

Owns: `Batch`: the state after its steps, and everything that the steps release.
Always: it no longer changes after it was handed to a commit.
Never: writes or decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from event_processor.aggregation.windows.rows import WindowRun
from event_processor.columns.event_tables import EventTable
from event_processor.engine.dead_letters import first_letter
from event_processor.engine.journal import JournalEntry, LossesAcknowledged, LossFound
from event_processor.engine.state import Counts, State
from event_processor.engine.step import Step, acknowledge, lose
from event_processor.model.contracts import NOTHING_RELEASED, Released
from event_processor.model.telemetry import Telemetry

__all__ = ["Batch"]


@dataclass(slots=True)
class Batch:
    """What one commit will cover, while it is gathered. It no longer changes after it was handed to a commit."""

    state: State
    first_sequence: int
    counts: Counts = field(default_factory=Counts)
    content_bytes: int = 0
    steps: int = 0
    released: Released = NOTHING_RELEASED
    dead_letters: Released = NOTHING_RELEASED
    journal: list[JournalEntry] = field(default_factory=list)
    rows: dict[str, list[WindowRun]] = field(default_factory=dict)
    waiting: list[EventTable] = field(default_factory=list)
    finishes: bool = False
    """The input ends with this batch: sinks close their open parts."""
    has_news: bool = False
    """The batch changes the state although it has no step: something is lost."""
    begun_s: float = 0.0
    """When the loop began to gather it, by the monotonic clock."""

    @classmethod
    def behind(cls, state: State, begun_s: float = 0.0) -> Batch:
        """An empty batch whose steps continue from `state`."""
        return cls(state, state.counts.read, begun_s=begun_s)

    @property
    def releases(self) -> bool:
        """Whether sinks or lanes get something of it."""
        return bool(self.released.count or self.dead_letters.count or self.rows)

    def add(self, step: Step, content_bytes: int) -> None:
        """Adds one step."""
        self.state = step.state
        self.counts = self.counts + step.counts
        self.content_bytes += content_bytes
        self.steps += 1
        self.released = self.released + step.released
        self.dead_letters = self.dead_letters + step.dead_letters
        self.journal += step.journal_closed
        self.waiting += step.waiting
        for name, runs in step.rows.items():
            self.rows.setdefault(name, []).extend(runs)

    def report(self, telemetry: Telemetry, before: State, commit_s: float) -> None:
        """Reports the batch, which is durable now. `before`: the state before it. `commit_s`: how long its commit took, in seconds."""
        if before.lost is not self.state.lost:
            telemetry.losses_committed(count=self.state.lost.count)
        if self.counts.rejected:
            self._report_rejections(telemetry)
        telemetry.batch_committed(
            records=self.counts.records,
            accepted=self.counts.accepted,
            duplicate=self.counts.duplicate,
            rejected=self.counts.rejected,
            released=self.released.count,
            content_bytes=self.content_bytes,
        )
        telemetry.commit_timed(seconds=commit_s)

    def _report_rejections(self, telemetry: Telemetry) -> None:
        """Reports the batch's rejected records, with the place of the first. There is at least one."""
        first = first_letter(self.dead_letters)
        generation = self.state.source(first.source).open_generation(first.generation)
        path = str(generation.position.get("path", "")) if generation else ""
        telemetry.records_rejected(
            count=self.counts.rejected,
            source=first.source,
            path=path,
            line=first.line,
            offset=first.offset,
            reason=first.reason,
        )

    def add_loss(self, entry: LossFound | LossesAcknowledged) -> None:
        """Adds a loss, or the end of some. What is known already changes nothing."""
        change = lose(self.state, entry.loss) if isinstance(entry, LossFound) else acknowledge(self.state, entry)
        self.state, entries = change
        self.journal += entries
        self.has_news = self.has_news or bool(entries)
