"""The options of a sink that is a class of the user's.

Owns: the keys of `[sinks.NAME]` with `type = "python"`.
Never: imports the class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from event_processor.configuration.transforms import plain_table
from event_processor.model.event import Json
from event_processor.model.remote import RemoteSinkOptions

__all__ = ["PythonSinkOptions"]

_CLASS: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


class PythonSinkOptions(RemoteSinkOptions):
    """Records given to a class of your own, with `async def deliver(self, records)`; at least once."""

    type: Literal["python"]
    """The kind of sink: a class of your own."""
    class_: str = Field(alias="class", examples=["package.module:Class"])
    """ "package.module:Class": the class. It is called with the table `options`."""
    options: Annotated[Mapping[str, object], BeforeValidator(plain_table)] = Field(default={}, examples=[{"currency": "EUR"}])
    """The options for the class. No secrets: read those from a file or the environment."""

    @field_validator("class_")
    @classmethod
    def _class_is_a_reference(cls, reference: str) -> str:
        if _CLASS.fullmatch(reference):
            return reference
        raise PydanticCustomError("reference", '"package.module:Class"')

    def own_classes(self) -> Mapping[str, str]:
        return {"class": self.class_}

    def target(self) -> Mapping[str, Json]:
        """The service and the class."""
        return {"type": self.type, "service": self.service, "class": self.class_}
