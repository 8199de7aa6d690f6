"""Where duplicates are not looked for: every id is new."""

from __future__ import annotations

import numpy as np

from event_processor.contracts import BoolArray, Ids, PreparedIds

__all__ = ["NothingIsKnown"]


class NothingIsKnown:
    """Answers as an index that never saw an id, and remembers none."""

    def observe(self, ids: Ids, prepared: PreparedIds | None = None) -> BoolArray:  # noqa: ARG002 -- as any index is asked
        """All are new."""
        return np.ones(len(ids), dtype=np.bool_)

    def contains(self, ids: Ids) -> BoolArray:
        """None was seen."""
        return np.zeros(len(ids), dtype=np.bool_)
