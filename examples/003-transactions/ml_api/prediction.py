"""The prediction: a category for each transaction.

Owns: `CATEGORIES`, `Transaction` (what a request has), `predictions`, and the faults of a body that has something else.
Always: `category = CATEGORIES[hash(id) % len(CATEGORIES)]`. A UUID has the hash of its number, so it is the same in every process.
Never: predicts for a part of a request. One bad row refuses the whole call.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

CATEGORIES: Final = (
    "Rent",
    "Salary Income",
    "Food",
    "Restaurant",
    "Client Expenses",
    "Transportation",
    "Utilities",
    "Entertainment",
    "Healthcare",
    "Shopping",
    "Travel",
    "Education",
    "Insurance",
    "Investment",
    "Subscriptions",
)


class Transaction(BaseModel):
    """A transaction as a request has it. Other fields are ignored. `merchant` may be null, but must be there."""

    id: UUID
    description: str
    amount: float = Field(allow_inf_nan=False)
    timestamp: datetime
    merchant: str | None
    operation_type: str
    side: str


_REQUEST: Final = TypeAdapter(list[Transaction])


class RefusedError(Exception):
    """A body that is not a list of transactions.

    `faults`: each `{"type", "loc", "msg"}`; `loc` is `["body", row, field]`, rows from 0.
    """

    def __init__(self, faults: list[dict[str, object]]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


def category_of(transaction_id: UUID) -> str:
    """The category of a transaction."""
    return CATEGORIES[hash(transaction_id) % len(CATEGORIES)]


def predictions(body: bytes) -> list[dict[str, str]]:
    """For each transaction of a JSON array, in order, its id and its category. Raises `RefusedError`."""
    try:
        transactions = _REQUEST.validate_json(body)
    except ValidationError as error:
        faults = json.loads(error.json(include_url=False, include_context=False, include_input=False))
        raise RefusedError([{**fault, "loc": ["body", *fault["loc"]]} for fault in faults]) from error
    return [{"transaction_id": str(each.id), "category": category_of(each.id)} for each in transactions]
