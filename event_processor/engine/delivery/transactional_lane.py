"""A lane whose receiver holds the cursor: the receiver's cursor wins, and the files of the lane are a mirror of it.

Owns: how the lane finds the receiver's cursor and goes on from there: behind, ahead, or where it was.
Always: the cursor is taken only after its chain was compared: a copy with other records must not stop the process that writes. What
the receiver says is taken as a whole, with its counts and failed rows. The mirror never makes a record that the receiver does not have
count as delivered.
Never: sends a record that the receiver's cursor has passed; starts from zero at a receiver that should know this lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Final

from msgspec.structs import replace

from event_processor.engine.delivery.blocks import BlockWaiting
from event_processor.engine.delivery.cursor import CursorDocument, LaneCounts
from event_processor.engine.delivery.lane import Lane, enricher_stages
from event_processor.engine.delivery.parts import LaneParts
from event_processor.engine.delivery.queue import Waiting
from event_processor.engine.delivery.retries import retry_lane_name
from event_processor.engine.delivery.stage import AnyStage, Stage
from event_processor.engine.delivery.transactional_stage import TransactionalStage, TransactionParts
from event_processor.engine.delivery.window import Released
from event_processor.model.answers import Answer, Verdict
from event_processor.model.errors import StateError
from event_processor.model.transactions import (
    SKIPPED_STAGE,
    Batch,
    CursorOwner,
    FailedRecord,
    Refusal,
    RemoteCursor,
    TransactionalReceiver,
    TransactionError,
    undelivered_places,
)

__all__ = ["TransactionalLane"]

LOOKS_MAX: Final = 10
"""So often the receiver's cursor is looked at if another process moves it meanwhile, before the lane waits for its next try."""


class TransactionalLane(Lane):
    """See `Lane`."""

    def __init__(self, parts: LaneParts, released: Released) -> None:
        """The receiver of `parts` is a `TransactionalReceiver`."""
        assert isinstance(parts.receiver, TransactionalReceiver), "another receiver has another lane"
        self._receiver: Final = parts.receiver
        self._is_moving = False
        self._is_behind = False
        """Whether the last look found the receiver ahead of what was released."""
        options = parts.options
        limits = (options.request_events_max, options.request_bytes_max)
        last = TransactionParts(
            self._receiver,
            parts.service,
            *limits,
            parts.times,
            parts.backoff,
            age_s_max=options.request_age_s_max,
            held_bytes_max=parts.held_bytes_max,
        )
        self._last: Final = TransactionalStage(last, self)
        super().__init__(parts, released)

    def _made_stages(self) -> Sequence[AnyStage]:
        # Enrichers may run ahead and at once: the last stage puts everything in order.
        return [*(Stage(each, self) for each in enricher_stages(self._parts, is_strict=False)), self._last]

    async def _open_receiver(self) -> None:
        identity, earlier = self._parts.identity, self._parts.progress.document.earlier_names
        names = [name if identity.name == identity.sink else retry_lane_name(name) for name, _ in reversed(earlier)]
        owner = CursorOwner(
            identity.pipeline, identity.name, identity.sink, identity.state_id, identity.input, tuple(names), identity.shard
        )
        await self._receiver.open(owner)

    @property
    def outstanding(self) -> int:
        """See `Lane`. Until the receiver's cursor is known, it is not known what is pending."""
        is_known = self._last.is_begun or self.waits_for_records
        if self.health.failure is not None or self.health.is_paused or is_known:
            return super().outstanding
        return max(1, super().outstanding)

    @property
    def may_send(self) -> bool:
        """See `StageLane`."""
        return super().may_send and not self._is_moving

    def hurry(self) -> None:
        """The input is at its end: no record waits for a full transaction any more."""
        self._last.hurry()

    def _give_up(self, waiting: Waiting, refusal: Refusal) -> None:
        # The receiver counts it, in order.
        self._last.queue.refuse(waiting, refusal)
        self._last.changed.set()

    # What the last stage asks and tells.

    @property
    def cursor(self) -> RemoteCursor:
        """See `TransactionLane`."""
        document = self._window.document()
        counts = document.counts
        return RemoteCursor(
            document.started_after, document.sequence, document.chain, counts.delivered, counts.failed, counts.skipped
        )

    def committed(self, waiting: Sequence[Waiting], batch: Batch, answers: Sequence[Answer]) -> None:
        """See `TransactionLane`."""
        failed: dict[int, FailedRecord] = {}
        for place in undelivered_places(answers):
            each, answer = batch.entries[place], answers[place]
            refusal = each.refusal or Refusal(self._last.name, answer, batch.tries + 1)
            record = FailedRecord.of(self.sink, each.record, each.key, refusal, batch.wall_ns)
            failed[record.sequence] = record
        self._passed(waiting, batch.before.after(batch.entries, answers), failed)

    def _passed(self, waiting: Sequence[Waiting], place: RemoteCursor, failed: Mapping[int, FailedRecord]) -> None:
        """These records were answered, and the receiver's cursor is at `place` now."""
        self._failed += failed.values()
        for record in failed.values():
            # What an enricher refused was reported then.
            if record.stage == self._last.name:
                self._parts.telemetry.delivery_failed(
                    sink=self.name, sequence=record.sequence, status=record.status, reason=record.reason
                )
        self._window.finished_through(waiting[-1].record, LaneCounts(place.delivered, place.failed, place.skipped))
        if isinstance(waiting, BlockWaiting) and not failed:
            self.figures.delivered((part.records, part.groups) for part in waiting.parts)
            waiting = ()
        for each in waiting:
            found = failed.get(each.record.sequence)
            if found is not None and found.stage == SKIPPED_STAGE:
                self.figures.skipped(each.groups)
            else:
                self.figures.record(each.record, each.groups, is_delivered=found is None)
        self._dirty.set()
        # The first stage may read on.
        self.stages[0].changed.set()

    @property
    def waits_for_records(self) -> bool:
        """See `TransactionLane`."""
        return self._is_behind and self._window.is_ahead

    async def begin(self) -> bool:
        """See `TransactionLane`."""
        is_begun = await self._begin()
        progress = self._parts.progress
        if is_begun and progress.weakness != self._receiver.weakness:
            progress.weakness = self._receiver.weakness
            # `status` and `validate` read it there.
            self._dirty.set()
        return is_begun

    async def _begin(self) -> bool:
        for _ in range(LOOKS_MAX):
            own = self.cursor
            found = await self._receiver.begin(is_first=own == self._beginning)
            if found is None:
                self._require_first(own)
                # If we die after this, the next start finds the cursor, and the lane begins.
                await self._receiver.start(own)
                return True
            is_earlier = found.started_after != own.started_after
            place = self._of_an_earlier_lane(found) if is_earlier else found
            if place != own:
                self._require_no_way_back(own, place)
                self._require_chain(place)
                await self._follow_receiver(own, place)
                self._window.refill()
            self._is_behind = self._window.is_ahead
            if self._is_behind:
                return False
            if is_earlier:
                await self._receiver.start(place)
                return True
            if await self._receiver.take():
                return True
        raise TransactionError(Answer(Verdict.WAIT, "another process moves the cursor of this lane", "moved"))

    @property
    def _beginning(self) -> RemoteCursor:
        identity = self._parts.identity
        return RemoteCursor(identity.started_after, identity.started_after, identity.started_chain)

    @property
    def _noun(self) -> str:
        return self._receiver.traits.noun

    def _require_first(self, own: RemoteCursor) -> None:
        if own != self._beginning:
            raise StateError(
                f"sink {self.sink}: its {self._noun} does not know this pipeline, but {own.sequence - own.started_after:,} records "
                f"were answered: the {self._noun} was lost or replaced",
                hint=f"restore the {self._noun}; or go on without the earlier records: event-processor sinks drop {self.sink}; "
                f"or send all of them again: event-processor deliver --from {own.started_after + 1} --sink {self.sink}; "
                "or begin anew from the log: event-processor reset",
            )

    def _require_no_way_back(self, own: RemoteCursor, found: RemoteCursor) -> None:
        """Raises `StateError` if the receiver is behind, and its earlier cursor does not say that the records after it are gone."""
        # A receiver that was weak may have written this cursor before it knew that.
        goes_back = self._receiver.traits.goes_back or self._parts.progress.weakness
        if found.sequence < own.sequence and not goes_back:
            raise StateError(
                f"sink {self.sink}: its {self._noun} is at record {found.sequence}, but {own.sequence} were answered: "
                f"its last cursors were lost, and perhaps the records {found.sequence + 1} to {own.sequence} too",
                hint=f"restore the {self._noun}; or send these records again, those that are still there twice: "
                f"event-processor deliver --from {found.sequence + 1} --sink {self.sink}",
            )

    def _of_an_earlier_lane(self, found: RemoteCursor) -> RemoteCursor:
        """The beginning of this lane: the receiver's cursor is from a lane that was dropped. Raises `StateError` if it is later."""
        beginning = self._beginning
        if found.started_after > beginning.started_after or found.sequence > beginning.sequence:
            raise StateError(
                f"sink {self.sink}: its {self._noun} is at record {found.sequence} of a lane that started after {found.started_after}, "
                f"but this one started after {beginning.started_after}: the state is an older copy",
                hint=f"restore the newest state, or let the sink begin anew: event-processor sinks drop {self.sink}",
            )
        return beginning

    def _require_chain(self, found: RemoteCursor) -> None:
        """Raises `StateError` if the outbox does not go on from the receiver's cursor. Then nothing was changed, here or there.

        If the outbox does not have that record yet, it is compared when it is read. If it has it no more, reading on says so.
        """
        released = self._window.released
        is_same = found.sequence != released.sequence or found.chain == released.chain
        if found.sequence < released.sequence:
            with closing(self._parts.reader(released, found.sequence)) as reader, suppress(StateError):
                following = reader.read(1)[0][0]
                is_same = self._parts.chain_after(found.chain, following) == following.chain
        if not is_same:
            raise StateError(
                f"sink {self.sink}: its {self._noun} has another record at sequence {found.sequence} than this state",
                hint=f"restore the state or the {self._noun} that belong together; or let the sink begin anew: "
                f"event-processor sinks drop {self.sink}",
            )

    async def _follow_receiver(self, own: RemoteCursor, found: RemoteCursor) -> None:
        """The receiver is elsewhere. Usually it has committed what was sent last, and its answer was lost."""
        failed = await self._receiver.failed_after(own.sequence) if found.sequence > own.sequence else []
        is_last_sent = found.sequence == self._last.unsettled_through
        sent = self._last.queue.through(own.sequence, found.sequence) if is_last_sent else []
        if sent and sent[-1].record.chain == found.chain:
            self._last.queue.remove(sent)
            self._passed(sent, found, {each.sequence: each for each in failed})
        if self.cursor != found:
            await self._move(found, failed)

    async def _move(self, found: RemoteCursor, failed: Sequence[FailedRecord]) -> None:
        """Goes on after the receiver's cursor, wherever it is. Records that are read or asked about are forgotten and read again."""
        self._is_moving = True
        try:
            # What was answered so far is in the mirror, so that nothing of it is kept twice.
            await self._save()
            asking = [task for stage in self.stages if stage is not self._last for task in stage.running]
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            own = self.cursor
            document = _at(self._window.document(), found)
            after = min(own.sequence, found.sequence)
            newer = [each for each in failed if each.sequence > after]
            async with self._saving:
                await self._parts.offload(lambda: self._parts.progress.move(document, after, newer))
            if found.sequence < own.sequence:
                self._parts.telemetry.lane_rewound(sink=self.name, records=own.sequence - found.sequence)
            for stage in self.stages:
                for waiting in stage.queue.clear():
                    self.figures.skipped(waiting.groups)
            released = self._window.released
            self._window.close()
            self._window = self._made_window(document, released)
            # Records may have been released since they were compared.
            self._window.require_chain()
            self._parts.saved()
        finally:
            self._is_moving = False
            self._wake()


def _at(document: CursorDocument, found: RemoteCursor) -> CursorDocument:
    """The lane's cursor as the receiver has it."""
    counts = LaneCounts(found.delivered, found.failed, found.skipped)
    return replace(document, sequence=found.sequence, chain=found.chain, answered=(), counts=counts)
