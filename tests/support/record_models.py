"""Models that a user may write: some with an exact counterpart in the decoder, some without."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from annotated_types import MaxLen
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    StrictFloat,
    StrictInt,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel


class Scalars(BaseModel):
    text: str
    count: int = 0
    ratio: float | None = None
    flag: bool = False
    anything: Any = None
    nothing: None = None


class Limits(BaseModel):
    text: str = Field(default="ab", min_length=2, max_length=4)
    count: int = Field(default=0, ge=-5, lt=10)
    ratio: float = Field(default=1.0, gt=0.5, le=1e300)
    perhaps: int | None = Field(default=None, ge=0)
    items: list[Annotated[str, MaxLen(2)]] = Field(default=[], max_length=2)
    strict: StrictInt | None = None
    strict_ratio: StrictFloat = 0.0


class Inner(BaseModel):
    size: int
    name: str | None = None


class Nested(BaseModel):
    payload: Inner
    more: list[Inner] = []
    by_name: dict[str, Inner | None] = {}
    kind: Literal["a", "b", 1] = "a"
    either: int | str | list[float] = 0


class Aliased(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    text: str = Field(alias="the text")
    item_count: int
    other: float = Field(default=0.0, validation_alias="o", serialization_alias="x")


class StrictModel(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    count: int
    ratio: float = 0.0


class Validated(BaseModel):
    """Refuses odd counts, and makes of what it accepts something else."""

    count: int

    @field_validator("count")
    @classmethod
    def _even(cls, count: int) -> int:
        if count % 2:
            raise ValueError("odd")
        return count * 1000


class WholeValidated(BaseModel):
    count: int

    @model_validator(mode="after")
    def _divides(self) -> WholeValidated:
        if 1 // self.count < 0:
            raise ValueError("negative")
        return self


class Dated(BaseModel):
    at: datetime


class Patterned(BaseModel):
    text: str = Field(pattern="^a")


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    text: str = Field(default="", alias="t")


class Choices(BaseModel):
    text: str = Field(default="", validation_alias=AliasChoices("a", "b"))


class Tree(BaseModel):
    children: list[Tree] = []


class CheckedDefault(BaseModel):
    text: str = Field(default="", min_length=1, validate_default=True)


class Constructed(BaseModel):
    text: str

    def __init__(self, **given: object) -> None:
        super().__init__(**given)


class Private(BaseModel):
    text: str
    _seen: int = PrivateAttr(default=0)


class Root(RootModel[dict[str, int]]):
    pass


class Ambiguous(BaseModel):
    either: Inner | Scalars


TRANSLATABLE: list[type[BaseModel]] = [Scalars, Limits, Nested, Aliased, StrictModel]
UNTRANSLATABLE: list[type[BaseModel]] = [
    Validated, WholeValidated, Dated, Patterned, Closed, ByName, Choices, Tree, CheckedDefault, Constructed, Private, Root, Ambiguous,
]  # fmt: skip
NOT_A_MODEL = 5
