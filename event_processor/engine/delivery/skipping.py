"""Skips records of a lane that no process runs: what its lane would do, without sending.

Owns: `skip_records`.
Always: the caller holds the lock of the state. The same rules as in a lane: a skipped record is kept among the failed ones, durable
before the cursor that counts it.
Never: sends.
"""

from __future__ import annotations

from event_processor.engine.delivery.figures import LaneFigures
from event_processor.engine.delivery.orders import SKIPPED
from event_processor.engine.delivery.progress import LaneIdentity, Progress
from event_processor.engine.delivery.queue import Queue
from event_processor.engine.delivery.window import Window
from event_processor.model.answers import Answer, Verdict
from event_processor.model.transactions import SKIPPED_STAGE, FailedRecord, Refusal
from event_processor.storage.durable import FileSystem
from event_processor.storage.outbox import SeriesView
from event_processor.storage.outbox_reader import OutboxReader, chain_after_record

__all__ = ["skip_records"]


def skip_records(
    fs: FileSystem, directory: str, identity: LaneIdentity, view: SeriesView, *, sequences: frozenset[int], wall_ns: int
) -> frozenset[int]:
    """Skips the pending records with these sequences. Returns those that it skipped: all that a lane would have read by now.

    Raises `StateError` if the outbox is not the one that the cursor knows, `LockedError`, `StorageError`; then none is skipped.
    """
    progress = Progress(fs, directory, identity)
    try:
        progress.require()
        queue = Queue(1, 1, strict=False)
        reader = OutboxReader(fs, view, min(progress.document.sequence, view.sequence))
        window = Window(
            identity,
            progress.document,
            view,
            reader=reader,
            queue=queue,
            chain_after=chain_after_record,
            figures=LaneFigures((), lambda: wall_ns, lambda: 0.0),
        )
        try:
            window.require_chain()
            failed: list[FailedRecord] = []
            while True:
                window.refill()
                found = queue.drop(sequences)
                if not found:
                    break
                for waiting, tries in found:
                    refusal = Refusal(SKIPPED_STAGE, Answer(Verdict.BAD, SKIPPED), tries)
                    failed.append(FailedRecord.of(identity.sink, waiting.record, waiting.key, refusal, wall_ns))
                    window.finished(waiting, "skipped")
            if failed:
                # If we die before the cursor is durable, the lines are cut off, and nothing was skipped.
                progress.save(window.document(), failed)
        finally:
            window.close()
    finally:
        progress.close()
    return frozenset(each.sequence for each in failed)
