"""The result of a one-shot run, as rows: JSON objects, one a line.

Owns: what is in a row, and in which order rows stand. It is a contract (docs/json-output.md), and a function of the inputs and the configuration.
Never: nothing here knows where the rows go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from event_processor.event import Json
from event_processor.state import State

__all__ = ["ResultRow", "encoded_rows", "result_rows"]

ResultRow: TypeAlias = Mapping[str, Json]
"""One row; all rows of a result have the same keys, in the same order."""


def result_rows(state: State) -> Iterator[ResultRow]:
    """The rows of the whole result: the totals, a row for each category, ascending by its name."""
    for name, total in sorted(state.categories.items()):
        fields = msgspec.to_builtins(total)
        del fields["sum_parts"]  # how an exact sum is held, not what it is
        yield {"category": name, **fields}


def encoded_rows(rows: Iterable[ResultRow]) -> Iterator[bytes]:
    """Each row as a line."""
    return (msgspec.json.encode(row) + b"\n" for row in rows)
