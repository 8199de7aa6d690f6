"""The options of a sink that writes objects into a bucket.

Owns: the keys of `[sinks.NAME]` with `type = "s3"`, and the names of what such a sink writes.
Always: the name of an object has the number of its first record alone, so two objects with one record have one name. Only if the service has no
conditional writes, it also has a token of its own: there, one name could be written twice, and the second object would replace the first.
Never: connects, or imports the client library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from event_processor.connectors.s3.options import S3ClientOptions
from event_processor.model.event import Json
from event_processor.model.remote import RemoteSinkOptions
from event_processor.model.transactions import CursorOwner

__all__ = ["S3SinkOptions", "SinkKeys", "first_of", "object_key"]

_URL: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9._=-]+)*)/?")
_NAME: Final = re.compile(r"([0-9]{20})(?:-[0-9a-z]+)?")
_ESCAPED: Final = re.compile(r"[^A-Za-z0-9._-]|^\.")


class S3SinkOptions(S3ClientOptions, RemoteSinkOptions):
    """Records in objects, exactly once for readers of the manifest if the service has conditional writes: an object is written whole and never again."""

    holds_cursor: ClassVar[bool] = True
    place_key: ClassVar[str] = "url"
    type: Literal["s3"]
    """The kind of sink: objects in S3, or in a service that speaks its protocol."""
    url: str = Field(examples=["s3://bucket/prefix"])
    """The bucket, and what the keys of all objects begin with. The objects are below `prefix/PIPELINE/SINK/`."""
    compression: Literal["none", "gzip"] = "none"
    """How the objects are compressed. An object is JSON Lines."""
    request_events_max: int = Field(default=100_000, ge=1, le=1_000_000, alias="object_events_max")
    """The maximum number of records in an object."""
    request_bytes_max: int = Field(default=16_777_216, ge=1, le=268_435_456, alias="object_bytes_max")
    """The maximum bytes of records in an object, as they wait in the outbox: with their places, and not compressed. A larger record is
    alone. Memory grows with it: an object is made in memory. An object is smaller if these records take half of `outbox.bytes_max`,
    shared by the inputs that remote sinks have: else the outbox would be full before an object is."""
    object_age_s_max: float = Field(default=60.0, ge=0.0, le=86_400.0)
    """An object with fewer records is written when one has waited so long, in seconds. 0: as soon as there is a record. At its end,
    `run --once` waits for none."""
    order: Literal["strict"] = "strict"
    """Always "strict": one object at a time, in order."""

    @field_validator("url")
    @classmethod
    def _url_names_a_prefix(cls, text: str) -> str:
        found = _URL.fullmatch(text)
        if not found or any(set(part) == {"."} for part in found[2].split("/") if part):
            raise PydanticCustomError("url", 's3://bucket/prefix, of letters, digits, and . _ = -, such as "s3://bucket/results"')
        return text

    @property
    def request_age_s_max(self) -> float:
        """See `RemoteSinkOptions`."""
        return self.object_age_s_max

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return self.url.split("/")[2]

    @property
    def prefix(self) -> str:
        """What all keys begin with: empty, or with a slash at its end."""
        prefix = "".join(self.url.split("/", 3)[3:]).rstrip("/")
        return f"{prefix}/" if prefix else ""

    @property
    def suffix(self) -> str:
        """How the keys of objects end."""
        return ".jsonl.gz" if self.compression == "gzip" else ".jsonl"

    def target(self) -> Mapping[str, Json]:
        """Where it writes, and how the keys end: what was written under one name must not be written again under another."""
        return {"type": self.type, "url": self.url.rstrip("/"), "compression": self.compression}


class SinkKeys:
    """The keys of one sink's objects."""

    def __init__(self, options: S3SinkOptions, owner: CursorOwner) -> None:
        shard = f".{owner.shard.replace('/', 'of')}" if owner.shard else ""
        self._base: Final = f"{options.prefix}{_escaped(owner.pipeline + shard)}/"

    def manifest(self, lane: str) -> str:
        """The key of a lane's manifest."""
        return f"{self._base}{_escaped(lane)}/manifest.json"

    def folder(self, lane: str, life: int) -> str:
        """What the keys of a lane's objects begin with. `life`: from 1; a lane that begins anew has the next one."""
        return f"{self._base}{_escaped(lane)}/objects-{life:04d}/"

    def failed(self, folder: str) -> str:
        """Where the failed records are of the objects in a folder."""
        head, _, name = folder.rstrip("/").rpartition("/")
        return f"{head}/failed-{name}"


def object_key(folder: str, first: int, suffix: str, token: str = "") -> str:
    """The key of the object whose first record has this sequence. `token`: of a try that must not meet another one under the same key."""
    return f"{folder}{first:020d}{f'-{token}' if token else ''}{suffix}"


def first_of(key: str, folder: str, suffix: str) -> int | None:
    """The sequence of the first record of an object in a folder; None if its name is none of ours."""
    name, is_ours = key.removeprefix(folder), key.startswith(folder) and key.endswith(suffix)
    found = _NAME.fullmatch(name.removesuffix(suffix)) if is_ours else None
    return int(found[1]) if found else None


def _escaped(name: str) -> str:
    """A name as a part of a key."""
    return _ESCAPED.sub(lambda found: f"={ord(found[0]):x}=", name)
