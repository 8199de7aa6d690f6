"""A model as users write them, with a validator of its own: what the daemon cannot compile, and judges record by record."""

from __future__ import annotations

from pydantic import BaseModel, field_validator

__all__ = ["PricedEvent"]


class PricedEvent(BaseModel):
    """An event whose value is a price in whole cents."""

    category: str
    value: float

    @field_validator("value")
    @classmethod
    def _value_is_a_price(cls, value: float) -> float:
        """Raises `ValueError` for what is less than nothing."""
        if value < 0:
            raise ValueError("a price is not negative")
        return value
