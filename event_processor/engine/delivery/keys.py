"""The key of a record at one sink: the same for every try, after every restart, and after a rename of the sink.

Owns: the form of a key, and that of the key of a retried record.
Always: two records of one sink have different keys. A repaired record has another key than the one that was refused.
Never: depends on the clock, or on how records are put into requests.
"""

from __future__ import annotations

from typing import Final

from event_processor.engine.delivery.cursor import CursorDocument
from event_processor.engine.delivery.progress import LaneIdentity
from event_processor.model.delivery import OutboxRecord

__all__ = ["RETRY", "key_of"]

RETRY: Final = "retry"
"""The input of the lane of retried records, and the field of a place that says which retry it is (`r1`)."""


def key_of(identity: LaneIdentity, document: CursorDocument, record: OutboxRecord) -> str:
    """`state_id:sink:source:generation:offset[:index]`; for a retried record, the key it had first, then `:rN`."""
    if identity.input == RETRY:
        return f"{record.place['key']}:{record.place[RETRY]}"
    return f"{identity.state_id}:{document.name_of(record.sequence, identity.sink)}:{record.place_text}"
