"""The judge of what the main job committed, at any moment: the independent model on the bytes of the log up to there."""

from __future__ import annotations

import json
from dataclasses import asdict

from support.processes import BUFFER_EVENTS, Committed
from support.reference import Options, evaluate

__all__ = ["explained_by_the_reference"]


def explained_by_the_reference(committed: Committed, log: bytes) -> None:
    """Asserts that counts, categories, dead letters and sink say what the first `committed.offset` bytes of `log` say.

    A run that was drained at the end of the log has let go what the order stage held; any other still holds it.
    """
    expected = evaluate(log[: committed.offset], Options(buffer_events=BUFFER_EVENTS, drained=False))
    assert committed.state["counts"] == expected.counts
    assert committed.state["categories"] == {name: asdict(total) for name, total in expected.categories.items()}
    rejected = [json.loads(line) for line in committed.dead_letters.splitlines()]
    assert [(letter["line"], letter["offset"]) for letter in rejected] == [(one.line, one.offset) for one in expected.rejected]
    sink = committed.sink.split(b"\n")
    assert sink.pop() == b"", "the committed length of the sink ends a line"
    assert sink in (expected.released, expected.released + expected.held)
