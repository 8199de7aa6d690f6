"""What a sink's manifest and the metadata of its objects say.

Owns: `Manifest` and `ObjectFacts`, and how each is read and written.
Always: what another program wrote is refused with words that say where it is.
Never: makes a request.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from event_processor.model.errors import StateError
from event_processor.model.transactions import RemoteCursor

__all__ = ["Manifest", "ObjectFacts"]

VERSION = 1


class Manifest(Struct, frozen=True, kw_only=True):
    """Which objects count: those in `folder` whose name has a number of at most `through`. It is the sink's cursor, and its fence.

    `writer`: the process that writes; `fence`: how often one took the cursor. `moved_to`: the name that the sink has since.
    `is_conditional`: whether the service has conditional writes; without them, records may be in two objects, and this may be an earlier one.
    """

    version: int = VERSION
    state_id: str
    input: str
    folder: str
    life: int
    started_after: int
    through: int
    chain: str
    objects: int = 0
    delivered: int = 0
    failed: int = 0
    skipped: int = 0
    writer: str = ""
    fence: int = 0
    at: str = ""
    software: str = ""
    moved_to: str = ""
    is_conditional: bool = True

    @property
    def cursor(self) -> RemoteCursor:
        """The cursor of the lane."""
        return RemoteCursor(self.started_after, self.through, self.chain, self.delivered, self.failed, self.skipped)

    def after(self, cursor: RemoteCursor, objects: int) -> Manifest:
        """The manifest after `objects` more objects."""
        return replace(
            self,
            through=cursor.sequence,
            chain=cursor.chain,
            objects=self.objects + objects,
            delivered=cursor.delivered,
            failed=cursor.failed,
            skipped=cursor.skipped,
        )

    @property
    def encoded(self) -> bytes:
        """As it is stored: JSON, for people too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    @classmethod
    def decoded(cls, content: bytes, where: str) -> Manifest:
        """Reads a manifest. Raises `StateError`."""
        try:
            found = msgspec.json.decode(content, type=cls)
        except msgspec.MsgspecError as error:
            raise StateError(
                f"{where}: is not a manifest of ours ({type(error).__name__})",
                hint="restore an earlier version of the object; or name another url, which begins anew",
            ) from error
        if found.version != VERSION:
            raise StateError(f"{where}: has version {found.version}, not {VERSION}", hint="use the release that wrote it")
        return found


def _metadata_name(name: str) -> str:
    return {"first": "from", "last": "to"}.get(name, name.replace("_", "-"))


class ObjectFacts(Struct, frozen=True, kw_only=True, rename=_metadata_name):
    """The metadata of an object: which records it has, and the cursor after them. `failed_token` names its failed records, if there are any."""

    state_id: str
    sink: str
    input: str
    first: int
    last: int
    chain: str
    started_after: int
    delivered: int
    failed: int
    skipped: int
    failed_token: str = ""

    @classmethod
    def of(
        cls, before: RemoteCursor, after: RemoteCursor, *, state_id: str, lane: str, input_name: str, failed_token: str
    ) -> ObjectFacts:
        """The facts of the object with the records after the cursor `before`, up to `after`."""
        return cls(
            state_id=state_id,
            sink=lane,
            input=input_name,
            first=before.sequence + 1,
            last=after.sequence,
            chain=after.chain,
            started_after=after.started_after,
            delivered=after.delivered,
            failed=after.failed,
            skipped=after.skipped,
            failed_token=failed_token,
        )

    @property
    def cursor(self) -> RemoteCursor:
        """The cursor after its records."""
        return RemoteCursor(self.started_after, self.last, self.chain, self.delivered, self.failed, self.skipped)

    @property
    def metadata(self) -> dict[str, str]:
        """As the object has them."""
        return {name: str(value) for name, value in msgspec.to_builtins(self).items() if value != ""}

    @classmethod
    def read(cls, metadata: Mapping[str, str], where: str) -> ObjectFacts:
        """Reads the metadata of an object. Raises `StateError` if they are not ours."""
        try:
            return msgspec.convert(dict(metadata), cls, strict=False)
        except msgspec.MsgspecError as error:
            raise StateError(
                f"{where}: another program wrote this object", hint="move it elsewhere, or name another url, which begins anew"
            ) from error
