"""The losses on their way into the state, and out of it.

Owns: which sources can lose input, and when the request of a person is carried out.
Never: commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from event_processor.engine.batch import Batch
from event_processor.engine.journal import LossesAcknowledged, LossFound
from event_processor.engine.losses import Losses, LossRequests
from event_processor.model.contracts import Source
from event_processor.model.losses import ReportsLosses

__all__ = ["LossKeeper"]


class LossKeeper:
    """Used by the loop's thread."""

    def __init__(self, sources: Sequence[Source], requests: LossRequests) -> None:
        self._losing: Final = [source for source in sources if isinstance(source, ReportsLosses)]
        self._requests: Final = requests

    def note(self, batch: Batch) -> None:
        """Adds what the sources found to be lost. If we die before the commit, they find it again."""
        for source in self._losing:
            for loss in source.take_losses():
                batch.add_loss(LossFound(loss))

    def asked(self, lost: Losses) -> LossesAcknowledged | None:
        """What another process asks us to acknowledge, if anything. Looks only while something is lost. Raises `StorageError`."""
        request = self._requests.pending() if lost.count else None
        return None if request is None else LossesAcknowledged(request.losses, request.unlisted)

    def done(self) -> None:
        """The request is carried out by a durable checkpoint. Raises `StorageError`."""
        self._requests.remove()
