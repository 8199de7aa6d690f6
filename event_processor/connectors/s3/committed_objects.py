"""The objects that a sink has committed, for `verify --sink`.

Owns: `S3Objects`: the manifests of a sink, which objects count, and how an object is read.
Always: the manifests are read first, at the start. An object that counts is never written again, so what is read later is what they name.
Never: takes the manifest; changes anything; compares a record (`compared_objects.py` does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from event_processor.connectors.s3.bucket_writing import Stored, WritableBucket
from event_processor.connectors.s3.client import RequestError
from event_processor.connectors.s3.compared_objects import NamedObject, NamedObjects, ObjectComparison
from event_processor.connectors.s3.manifest import Manifest
from event_processor.connectors.s3.sink_options import S3SinkOptions, SinkKeys, first_of
from event_processor.model.committed_rows import LaneOfRows, RowCounts
from event_processor.model.errors import ConfigurationError, NotAnsweredError, StateError
from event_processor.model.messages import cut
from event_processor.model.transactions import CursorOwner, RemoteCursor

__all__ = ["S3Objects"]

TRIES_MAX: Final = 5
"""A command does not wait for long."""
RIGHTS: Final = "list the bucket, and to read its objects"
T = TypeVar("T")


class S3Objects:
    """See `CommittedRows`."""

    kind: Final = "objects"
    noun: Final = "manifest"

    def __init__(self, options: S3SinkOptions, bucket: WritableBucket, *, sink: str, pipeline: str, shard: str) -> None:
        """Connects, and reads the manifests of the sink and of its retried records."""
        self._options: Final = options
        self._bucket: Final = bucket
        self._sink: Final = sink
        self._keys: Final = SinkKeys(options, CursorOwner(pipeline, sink, sink, "", "", shard=shard))
        self._manifests: Final[dict[str, Manifest | None]] = {}
        self._runner: Final = asyncio.Runner()
        try:
            self._answered(bucket.connect)
            # If they were read after the state, a daemon could have written records that the state does not know.
            for lane in (sink, f"{sink}.retry"):
                self._manifest(lane)
        except BaseException:
            self._runner.close()
            raise

    @property
    def table(self) -> str:
        """See `CommittedRows`."""
        return self._path(self._keys.manifest(self._sink).removesuffix("manifest.json"))

    def obstacle(self, lane: LaneOfRows) -> str:  # noqa: ARG002 - every input can be compared
        """See `CommittedRows`."""
        return ""

    def cursor(self, lane: LaneOfRows) -> RemoteCursor | None:
        """See `CommittedRows`."""
        manifest = self._manifest_of(lane)
        return manifest.cursor if manifest else None

    def comparison(self, lane: LaneOfRows, cursor: RemoteCursor, differences_max: int) -> ObjectComparison:
        """See `CommittedRows`."""
        manifest = self._manifest_of(lane)
        if manifest is None or manifest.started_after != lane.started_after:
            # The lane has written nothing yet.
            return ObjectComparison(lane, cursor, NamedObjects([], [], self._read, self._path, self._look), differences_max)
        parent, _, _ = manifest.folder.rstrip("/").rpartition("/")
        keys = self._answered(lambda: self._bucket.keys(parent))
        # A daemon may have moved the manifest since: its newer objects are named too.
        latest = self._fetched(self._keys.manifest(manifest.moved_to or lane.owner.lane)) or manifest
        named, unnamed = [], []
        for key in keys:
            first = first_of(key, manifest.folder, self._options.suffix)
            if first is not None and first <= cursor.sequence:
                named.append(NamedObject(first, key))
            elif first is None or first > latest.through:
                unnamed.append(key)
        aside = (f"{parent}/manifest.json", f"{self._keys.failed(manifest.folder)}/")
        unnamed = [self._path(key) for key in unnamed if not key.startswith(aside)]
        found = NamedObjects(
            sorted(named), unnamed, self._read, self._path, self._look, self._keys.failed(manifest.folder), manifest
        )
        return ObjectComparison(lane, cursor, found, differences_max)

    def counts(self, lanes: Sequence[LaneOfRows]) -> RowCounts:
        """See `CommittedRows`. What is not named is counted by the comparison."""
        found = [manifest.delivered for each in lanes if (manifest := self._manifest_of(each)) is not None]
        return RowCounts(sum(found), 0, 0)

    def close(self) -> None:
        """See `CommittedRows`."""
        self._runner.close()

    def _path(self, key: str) -> str:
        return f"s3://{self._options.bucket}/{key}"

    def _manifest_of(self, lane: LaneOfRows) -> Manifest | None:
        """The manifest of a lane, also under an earlier name. None if it counts the records of another input: then the lane begins anew."""
        owner = lane.owner
        for name in (owner.lane, *(each for each, _ in reversed(lane.earlier))):
            manifest, is_own = self._manifest(name), name == owner.lane
            if manifest is None or manifest.moved_to not in (("",) if is_own else ("", owner.lane)):
                continue
            if manifest.state_id == owner.state_id:
                return manifest if manifest.input == owner.input else None
            if is_own:
                raise StateError(
                    f"sink {self._sink}: {self._path(self._keys.manifest(name))} is of another state of the pipeline {owner.pipeline}: "
                    f"{cut(manifest.state_id)}, not {owner.state_id}",
                    hint="restore that state; or give this pipeline another state.name, or another url, which begin anew",
                )
        return None

    def _manifest(self, lane: str) -> Manifest | None:
        """The manifest under the name of a lane, as it was when it was first asked for."""
        if lane not in self._manifests:
            self._manifests[lane] = self._fetched(self._keys.manifest(lane))
        return self._manifests[lane]

    def _fetched(self, key: str) -> Manifest | None:
        stored = self._read(key)
        return Manifest.decoded(stored.content, self._path(key)) if stored else None

    def _read(self, key: str) -> Stored | None:
        return self._answered(lambda: self._bucket.read(key))

    def _look(self, key: str) -> Stored | None:
        return self._answered(lambda: self._bucket.look(key))

    def _answered(self, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to a request. Raises `NotAnsweredError`, `ConfigurationError`."""
        where = f"sinks.{self._sink}"
        for tries in range(1, TRIES_MAX + 1):
            try:
                return self._runner.run(request())
            except RequestError as error:
                words = f"{where}: {self._options.endpoint or 'S3'}: {error.words}"
                if error.is_refused:
                    raise ConfigurationError(words, hint=error.remedy(where, RIGHTS)) from error
                if tries == TRIES_MAX:
                    raise NotAnsweredError(words, hint="make the service available, then repeat the command") from error
        raise AssertionError("the last try returns or raises")
