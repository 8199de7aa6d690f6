"""Which folder of objects is a lane's if its manifest is gone: a lane that was dropped and began anew has another one.

Owns: `life_at_start`.
Always: objects that are there say of themselves in their metadata after which record their lane started.
Never: writes anything; takes a folder whose objects are of another state.
"""

from __future__ import annotations

import re
from typing import Final

from event_processor.connectors.s3.bucket_writing import WritableBucket
from event_processor.connectors.s3.manifest import Manifest, ObjectFacts
from event_processor.model.errors import StateError
from event_processor.model.transactions import CursorOwner

__all__ = ["life_at_start"]

_OBJECT: Final = re.compile(r"/objects-([0-9]{4,})/[0-9]{20}[^/]*$")


async def life_at_start(bucket: WritableBucket, owner: CursorOwner, key: str, found: Manifest | None, started_after: int) -> int:
    """The life of a lane that starts: one more than the manifest at `key` has, if there is one.

    If there is none: the life whose objects began after the same record; the next one if all are of earlier lanes of this state; 1 if there is
    no object. Raises `RequestError`.
    """
    if found is not None:
        return found.life + 1
    firsts: dict[int, str] = {}
    for each in await bucket.keys(key.rpartition("/")[0]):
        if named := _OBJECT.search(each):
            firsts.setdefault(int(named[1]), each)
    last = 0
    for life in sorted(firsts, reverse=True):
        stored = await bucket.look(firsts[life])
        try:
            facts = ObjectFacts.read(stored.metadata if stored else {}, firsts[life])
        except StateError:
            continue  # the lane says so if it meets such an object
        if (facts.state_id, facts.input, facts.started_after) == (owner.state_id, owner.input, started_after):
            return life
        if facts.state_id == owner.state_id:
            last = max(last, life)
    return last + 1
