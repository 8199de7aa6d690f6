"""The options of `[[tests]]`: sample records, and what must become of them.

Owns: the keys of a test, and the form of an expected outcome.
Always: the state does not depend on a test.
Never: runs a test (`operations/trial.py` does).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.transforms import plain_table
from event_processor.model.options import Section

__all__ = ["TestOptions"]

_OUTCOME: Final = re.compile(r"accepted|duplicate|blank|rejected(: .+)?", re.DOTALL)

Table = Annotated[Mapping[str, object], BeforeValidator(plain_table)]


def _record(value: object) -> object:
    """A text or a table, with JSON values. One check instead of one for each kind, so that a fault is named once."""
    if not isinstance(value, (str, Mapping)):
        raise PydanticCustomError("record", "a text, or a table")
    return plain_table(value)


Record = Annotated[str | Mapping[str, object], BeforeValidator(_record)]


def _is_outcome(text: str) -> str:
    if not _OUTCOME.fullmatch(text):
        raise PydanticCustomError(
            "outcome", '"accepted", "duplicate", "blank", "rejected", or "rejected: " and a part of the reason'
        )
    return text


class TestOptions(Section):
    """Sample records and what must become of them, for `event-processor test`. A run does not use it. There may be any number of tables."""

    __test__ = False  # the name does not make it a test of pytest

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(examples=["a refund counts once"])
    """What the test shows."""
    records: tuple[Record, ...] = Field(min_length=1, examples=[['{"id": 1, "category": "order", "value": 5}']])
    """The records, in order: each as a text in the source's format, or as a table, which becomes a JSON object."""
    source: str | None = Field(default=None, examples=["events"])
    """The configured source of files that would read these records; needed only if sources have different formats."""
    outcomes: tuple[Annotated[str, AfterValidator(_is_outcome)], ...] | None = Field(default=None, examples=[["accepted"]])
    """The outcome of each record: "accepted", "duplicate", "blank" or "rejected"; "rejected: TEXT" if the reason contains TEXT. If it is not
    set, outcomes are not compared."""
    rows: tuple[Table, ...] | None = Field(default=None, examples=[[{"category": "order", "count": 1}]])
    """The rows of the result, in order, as `event-processor process` writes them. Only the columns that are named are compared. If it is
    not set, rows are not compared."""

    @model_validator(mode="after")
    def _something_is_expected(self) -> Self:
        if self.outcomes is None and self.rows is None:
            raise ValueError("outcomes or rows: what must become of the records")
        if self.outcomes is not None and len(self.outcomes) != len(self.records):
            raise ValueError(f"as many outcomes as records ({len(self.records)})")
        return self
