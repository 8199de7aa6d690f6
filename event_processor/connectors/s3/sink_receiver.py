"""The objects of one lane: each is made once, under a name that its first record decides, and the manifest says which count.

Owns: `S3Receiver`: how the manifest is taken, moved and kept from others, and what an object without a manifest after it means.
Always: an object has the records directly after the one before. Its name has the number of its first record, and it is made only if
there is none: so two tries can never write one record into two objects, whatever bounds each would choose. If an object is there and the
manifest is not after it, an earlier try made it: `begin` finds it, and its metadata say how far it goes. The lane compares its chain,
and the manifest moves over it as it is. Of two copies of a state the later one writes: the earlier one finds another name in the manifest.
If the service has no conditional writes, each try has a name of its own, so no object replaces another: a record may be in two, never in none.
Never: replaces or deletes an object with records.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec
from msgspec.structs import replace

from event_processor.connectors.s3.bucket_writing import ChangedError, Stored, WritableBucket
from event_processor.connectors.s3.client import RequestError
from event_processor.connectors.s3.lives import life_at_start
from event_processor.connectors.s3.manifest import Manifest, ObjectFacts
from event_processor.connectors.s3.sink_options import S3SinkOptions, SinkKeys, first_of, object_key
from event_processor.model.answers import Answer, Verdict
from event_processor.model.clock import utc_text
from event_processor.model.errors import ConfigurationError, StateError, StorageError
from event_processor.model.messages import cut
from event_processor.model.transactions import (
    Batch,
    BatchAnswers,
    CursorOwner,
    FailedRecord,
    HandedBlocks,
    ReceiverTraits,
    RemoteCursor,
    TransactionalReceiver,
    TransactionError,
)

__all__ = ["MANIFEST", "S3Receiver", "Writer"]

MANIFEST: Final = ReceiverTraits("manifest", goes_back=False)
WEAK_MANIFEST: Final = ReceiverTraits("manifest", goes_back=True)
"""Without conditional writes, an earlier manifest may replace a later one when it arrives late. Then the records after it are sent again."""
WEAKNESS: Final = "the service has no conditional writes (If-None-Match, If-Match): a record may be in two objects, and two copies of a state are not always kept apart"
ANOTHER: Final = RemoteCursor(-1, -1, "")
"""In place of a cursor of the same name that counts the records of another input, or of a sink that has another name now."""
RIGHTS: Final = "list the bucket, and to read and to write its objects"
NO_ETAG: Final = '"0000"'
PROBES: Final = 2


@dataclass(frozen=True, slots=True)
class Writer:
    """This process, for the manifest. No other has the same `name`. `new_token` makes a text that no other call makes."""

    name: str
    software: str
    wall_ns: Callable[[], int]
    new_token: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Found:
    """A manifest as it was read. `key`: where. `own_etag`: of the manifest at our own key; None if there is none.

    `cursor`: after the objects that are there; the manifest is not after the last `objects` of them yet.
    """

    key: str
    manifest: Manifest
    etag: str
    own_etag: str | None
    cursor: RemoteCursor
    objects: int = 0


class S3Receiver(TransactionalReceiver):
    """See `TransactionalReceiver`."""

    def __init__(self, options: S3SinkOptions, bucket: WritableBucket, writer: Writer) -> None:
        """Connects to nothing yet."""
        self._options: Final = options
        self._bucket: Final = bucket
        self._writer: Final = writer
        self._owner: CursorOwner | None = None
        self._found: _Found | None = None
        self._own_etag: str | None = None
        self._taken: tuple[Manifest, str] | None = None
        """The manifest as we wrote it, and its ETag; None if it must be read first."""
        self._has_taken = False
        """Whether this process wrote its name into the manifest. Then it goes on only if no other process has since."""
        self._is_weak = False
        """Whether the service had no conditions when it was last looked at."""

    @property
    def traits(self) -> ReceiverTraits:  # type: ignore[override]  # it depends on the service
        """See `TransactionalReceiver`."""
        is_weak = self._is_weak or (self._found is not None and not self._found.manifest.is_conditional)
        return WEAK_MANIFEST if is_weak else MANIFEST

    @property
    def weakness(self) -> str:  # type: ignore[override]  # it depends on the service
        """See `TransactionalReceiver`."""
        return WEAKNESS if self._is_weak else ""

    async def open(self, owner: CursorOwner) -> None:
        """See `TransactionalReceiver`."""
        self._owner = owner

    @property
    def owner(self) -> CursorOwner:
        """Whose manifest it is."""
        assert self._owner is not None, "it was opened"
        return self._owner

    @property
    def _keys(self) -> SinkKeys:
        return SinkKeys(self._options, self.owner)

    def _path(self, key: str) -> str:
        return f"s3://{self._options.bucket}/{key}"

    # Taking the manifest.

    async def begin(self, *, is_first: bool) -> RemoteCursor | None:  # noqa: ARG002 - nothing is made before `start`
        """See `TransactionalReceiver`."""
        self._taken = self._found = None
        if not self._is_weak:
            # After an outage it may be another release of the service. Without conditions, a look comes before each write until the next start.
            self._bucket.has_conditions = None
        async with self._as_transaction_errors():
            await self._bucket.connect()
            key = self._keys.manifest(self.owner.lane)
            own = await self._manifest(key)
            self._own_etag = own[1] if own else None
            if own is None or own[0].moved_to:
                for name in self.owner.earlier_lanes:
                    earlier_key = self._keys.manifest(name)
                    earlier = await self._manifest(earlier_key)
                    if earlier and earlier[0].state_id == self.owner.state_id and earlier[0].moved_to in ("", self.owner.lane):
                        return await self._noted(earlier_key, *earlier)
            if own is None:
                return None
            self._require_ours(key, own[0])
            if own[0].moved_to or own[0].input != self.owner.input:
                self._found = _Found(key, *own, own[1], ANOTHER)
                return ANOTHER
            return await self._noted(key, *own)

    async def _manifest(self, key: str) -> tuple[Manifest, str] | None:
        stored = await self._bucket.read(key)
        if stored is None:
            return None
        if not stored.etag:
            raise _stop("the service shows no ETags, so two processes could not be told apart", "use a service that has ETags")
        return Manifest.decoded(stored.content, self._path(key)), stored.etag

    async def _noted(self, key: str, manifest: Manifest, etag: str) -> RemoteCursor:
        """The cursor after the last object that is there, which may be after that of the manifest: then we died between the two."""
        cursor, objects = manifest.cursor, 0
        while (stored := await self._bucket.look(self._object_key(manifest, cursor.sequence + 1))) is not None:
            cursor = self._facts(manifest, cursor, stored).cursor
            objects += 1
        self._found = _Found(key, manifest, etag, self._own_etag, cursor, objects)
        return cursor

    def _facts(self, manifest: Manifest, before: RemoteCursor, stored: Stored) -> ObjectFacts:
        """What the object after `before` says of itself. Raises `StateError` if it is not of this lane."""
        path = self._path(self._object_key(manifest, before.sequence + 1))
        facts = ObjectFacts.read(stored.metadata, path)
        wanted = (self.owner.state_id, manifest.input, before.sequence + 1, manifest.started_after)
        if (facts.state_id, facts.input, facts.first, facts.started_after) != wanted:
            raise StateError(
                f"sink {self.owner.sink}: {path} is of another state, input or beginning: {cut(facts.state_id)}, {cut(facts.input)}",
                hint="move it elsewhere if no reader needs it; or name another url, which begins anew",
            )
        return facts

    def _object_key(self, manifest: Manifest, first: int) -> str:
        return object_key(manifest.folder, first, self._options.suffix)

    def _require_ours(self, key: str, manifest: Manifest) -> None:
        """Raises `StateError` if it is of another state; `TransactionError` if another process has taken it since."""
        if manifest.state_id != self.owner.state_id:
            raise StateError(
                f"sink {self.owner.sink}: {self._path(key)} is of another state of the pipeline {self.owner.pipeline}: "
                f"{cut(manifest.state_id)}, not {self.owner.state_id}",
                hint="restore that state; or give this pipeline another state.name, or another url, which begin anew",
            )
        if self._has_taken and manifest.writer != self._writer.name:
            writer = cut(manifest.writer.rpartition(":")[0])
            raise _stop(
                f"another process ({writer}) has taken the place of {self.owner.lane} in {self._path(key)}: perhaps a copy of the state is running",
                "stop one of the two; then restart this process if it is the one to go on",
            )

    async def take(self) -> bool:
        """See `TransactionalReceiver`."""
        found = self._found
        assert found is not None, "`begin` found it"
        key = self._keys.manifest(self.owner.lane)
        manifest = self._ours(found.manifest.after(found.cursor, found.objects))
        async with self._as_transaction_errors():
            try:
                if found.key != key:
                    moved = replace(self._ours(found.manifest), moved_to=self.owner.lane)
                    # If we die after this, the manifest is still under the earlier name: the next start finds it there, and moves it.
                    await self._bucket.replace(found.key, moved.encoded, found.etag)
                # If we die before this, no other process was stopped, and nothing was moved. After it, the next start takes it from us.
                await self._write(manifest, found.own_etag)
            except ChangedError:
                return False
            await self._probe()
        return True

    async def start(self, cursor: RemoteCursor) -> None:
        """See `TransactionalReceiver`."""
        found, key = self._found, self._keys.manifest(self.owner.lane)
        own = found.manifest if found and found.key == key else None
        async with self._as_transaction_errors():
            life = await life_at_start(self._bucket, self.owner, key, own, cursor.started_after)
            manifest = Manifest(
                state_id=self.owner.state_id,
                input=self.owner.input,
                folder=self._keys.folder(self.owner.lane, life),
                life=life,
                started_after=cursor.started_after,
                through=cursor.sequence,
                chain=cursor.chain,
                delivered=cursor.delivered,
                failed=cursor.failed,
                skipped=cursor.skipped,
                fence=found.manifest.fence if found else 0,
            )
            try:
                # If we die before this, there is nothing. After it, the next start finds it.
                await self._write(self._ours(manifest), self._own_etag)
            except ChangedError:
                raise self._moved() from None
            await self._probe()

    def _ours(self, manifest: Manifest) -> Manifest:
        """The manifest with the name of this process."""
        return replace(manifest, writer=self._writer.name, fence=manifest.fence + 1, software=self._writer.software, moved_to="")

    async def _write(self, manifest: Manifest, etag: str | None) -> None:
        """Writes our manifest in the place of the one with `etag`. Raises `ChangedError`, `RequestError`."""
        has_conditions = self._bucket.has_conditions
        # Until it is known, the manifest says what it said: an earlier one without conditions may arrive after this one.
        is_conditional = manifest.is_conditional if has_conditions is None else has_conditions
        written = replace(manifest, at=utc_text(self._writer.wall_ns()), is_conditional=is_conditional)
        # Until the answer is there, it is not known which one is there.
        self._taken = None
        self._taken = written, await self._put_manifest(written, etag)
        self._has_taken = True

    async def _put_manifest(self, manifest: Manifest, etag: str | None) -> str:
        key, content = self._keys.manifest(self.owner.lane), manifest.encoded
        return await (self._bucket.create(key, content) if etag is None else self._bucket.replace(key, content, etag))

    async def _probe(self) -> None:
        """Finds out, with what is there, whether the service looks at conditions. If it does not, it is written without them from now on."""
        if self._taken is None or self._is_weak:
            return
        self._is_weak = await self._passes_over(None) or await self._passes_over(NO_ETAG)
        self._bucket.has_conditions = not self._is_weak
        manifest, written_etag = self._taken
        if manifest.is_conditional is self._is_weak:
            try:
                # If we die before this, the next start finds out again.
                await self._write(manifest, written_etag)
            except ChangedError:
                raise self._moved() from None

    async def _passes_over(self, etag: str | None) -> bool:
        """Whether a condition that does not hold is passed over, or refused, twice: a guarantee must not be lost by one answer of a proxy."""
        for _ in range(PROBES):
            assert self._taken is not None, "it was written"
            manifest, _ = self._taken
            try:
                written_etag = await self._bucket.put_against(self._keys.manifest(self.owner.lane), manifest.encoded, etag)
            except ChangedError:
                return False
            if written_etag is not None:
                # It was written over the one that is there, with the same content: nothing is lost.
                self._taken = manifest, written_etag
        return True

    def _moved(self) -> TransactionError:
        words = f"{self._path(self._keys.manifest(self.owner.lane))} was moved by another try or process"
        return TransactionError(Answer(Verdict.WAIT, words, "moved"))

    # Writing.

    async def deliver(self, batch: Batch) -> Sequence[Answer]:
        """See `TransactionalReceiver`."""
        if self._taken is None or self._taken[0].cursor != batch.before:
            raise self._moved()
        manifest, etag = self._taken
        answers = BatchAnswers(batch).answers()
        after = batch.before.after(batch.entries, answers)
        async with self._as_transaction_errors():
            token = await self._write_failed(manifest, batch, answers)
            facts = ObjectFacts.of(
                batch.before,
                after,
                state_id=self.owner.state_id,
                lane=self.owner.lane,
                input_name=manifest.input,
                failed_token=token,
            )
            await self._write_object(manifest, batch, facts)
            try:
                # If we die before this, the object is there and does not count yet: the next start finds it, and moves the manifest over it.
                await self._write(manifest.after(after, 1), etag)
            except ChangedError:
                raise self._moved() from None
        return answers

    async def _write_object(self, manifest: Manifest, batch: Batch, facts: ObjectFacts) -> None:
        content = await asyncio.to_thread(_content, batch, is_packed=self._options.compression == "gzip")
        token = "" if self._bucket.has_conditions else self._writer.new_token()
        key = object_key(manifest.folder, facts.first, self._options.suffix, token)
        try:
            # If we die before this, there is nothing of these records. The next start may choose other bounds.
            await self._bucket.create(key, content, facts.metadata)
        except ChangedError:
            stored = await self._bucket.look(key)
            if stored is None or self._facts(manifest, batch.before, stored) != facts:
                # An earlier try arrived late, perhaps with fewer records: `begin` finds out, and compares its chain.
                raise self._moved() from None

    # Failed records.

    async def _write_failed(self, manifest: Manifest, batch: Batch, answers: Sequence[Answer]) -> str:
        """Keeps the records that are not written. Returns what names them; empty if there are none."""
        failed = [
            FailedRecord.of(self.owner.sink, each.record, each.key, each.refusal, batch.wall_ns)
            for each, _ in BatchAnswers(batch).failed(answers)
            if each.refusal is not None
        ]
        if not failed:
            return ""
        token = self._writer.new_token()
        content = b"".join(msgspec.json.encode(each) + b"\n" for each in failed)
        # If we die after this, no object names it, so it does not count.
        await self._bucket.put(self._failed_key(manifest, batch.before.sequence + 1, token), content)
        return token

    async def failed_after(self, sequence: int) -> list[FailedRecord]:
        """See `TransactionalReceiver`. Raises `StateError` if an object names failed records that are not there any more."""
        assert self._found is not None, "`begin` found it"
        manifest, cursor, found = self._found.manifest, self._found.cursor, dict[int, FailedRecord]()
        if not cursor.failed + cursor.skipped:
            return []
        async with self._as_transaction_errors():
            for first, key in await self._objects_after(manifest, sequence, cursor.sequence):
                # If it is gone by now, readers miss its records too.
                if (stored := await self._bucket.look(key)) is not None:
                    token = ObjectFacts.read(stored.metadata, self._path(key)).failed_token
                    kept = await self._failed_records(self._failed_key(manifest, first, token)) if token else ()
                    found |= {each.sequence: each for each in kept if each.sequence > sequence}
        return [found[number] for number in sorted(found)]

    async def _objects_after(self, manifest: Manifest, after: int, through: int) -> list[tuple[int, str]]:
        """The objects that have a record after one and up to another, each with its first record. Foreign names are passed over."""
        keys = await self._bucket.keys(manifest.folder.rstrip("/"))
        found = [(first, key) for key in keys if (first := first_of(key, manifest.folder, self._options.suffix)) is not None]
        firsts = sorted({first for first, _ in found if first <= through})
        # An object ends before the next one; without conditional writes, what is after that was written again.
        wanted = {each for each, following in pairwise([*firsts, through + 1]) if following > after + 1}
        return [(first, key) for first, key in sorted(found) if first in wanted]

    def _failed_key(self, manifest: Manifest, first: int, token: str) -> str:
        return f"{self._keys.failed(manifest.folder)}/{first:020d}-{token}.jsonl"

    async def _failed_records(self, key: str) -> list[FailedRecord]:
        """What an object of failed records has. Raises `StateError` if it is gone, or is not ours."""
        fault = "it is gone"
        if (kept := await self._bucket.read(key)) is not None:
            try:
                return [msgspec.json.decode(line, type=FailedRecord) for line in kept.content.splitlines()]
            except msgspec.MsgspecError as error:
                fault = f"it is not one of ours ({type(error).__name__})"
        raise StateError(
            f"sink {self.owner.sink}: {self._path(key)} has failed records that this state does not have yet, but {fault}",
            hint="restore the object, for example an earlier version of it; "
            "or put an empty object there: then those failed records are not listed here",
        )

    # The connection.

    async def refresh(self) -> None:
        """Does nothing: `begin` reads the secrets again."""

    async def close(self) -> None:
        """Does nothing: the library closes its connections."""

    @asynccontextmanager
    async def _as_transaction_errors(self) -> AsyncIterator[None]:
        where = f"sinks.{self.owner.sink}"
        try:
            yield
        except RequestError as error:
            verdict = Verdict.STOP if error.is_refused else Verdict.WAIT
            words = f"{self._options.endpoint or 'S3'}: {error.words}"
            raise TransactionError(Answer(verdict, words, error.status), remedy=error.remedy(where, RIGHTS)) from error
        except (ConfigurationError, StorageError) as error:
            raise _stop(error.message, error.hint) from error


def _stop(words: str, remedy: str) -> TransactionError:
    return TransactionError(Answer(Verdict.STOP, words), remedy=remedy)


def _content(batch: Batch, *, is_packed: bool) -> bytes:
    """The records that are written, one a line."""
    entries = batch.entries
    if isinstance(entries, HandedBlocks):
        content = b"".join([block.object_lines() for block in entries.blocks])
    else:
        content = b"".join([bytes(each.sent.object) + b"\n" for each in entries if each.refusal is None])
    return gzip.compress(content, compresslevel=6, mtime=0) if is_packed else content
