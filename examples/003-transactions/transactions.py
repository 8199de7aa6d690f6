"""A transaction, as it must be before the prediction service is asked about it.

Owns: `Transaction`, the model that `event.model` names. It judges what the transforms made of a row.
Always: a transaction that it accepts is one that the service and both tables accept.
Never: changes a value, or guesses one: "5" is no amount.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

AMOUNT_END = 100_000_000
"""A decimal(10,2) has eight digits before the comma."""


class Transaction(BaseModel):
    """Plain fields only, so that it is compiled for the fast decoder. The transforms made `id` a UUID and `timestamp` RFC 3339."""

    model_config = ConfigDict(strict=True)

    id: str
    description: str
    amount: Annotated[float, Field(gt=-AMOUNT_END, lt=AMOUNT_END)]
    timestamp: str
    merchant: str | None
    operation_type: Annotated[str, Field(min_length=1)]
    side: Literal["debit", "credit"]
