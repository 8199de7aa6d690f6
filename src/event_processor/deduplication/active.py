"""The active file: the ids learnt since the last segment was sealed, appended commit by commit.

The form: frames, one after another. A frame is 16 bytes of head, a checksum and the number of rows, and the rows, 16 bytes
each. The checksum (xxh3_64, seeded with the frame's offset) covers the number and the rows, so that a flipped bit and a frame in
the wrong place are both seen.

Always: what lies within the committed length is whole frames.
Never: a frame is not changed once written; what lies beyond the committed length was never committed, and is cut off.
"""

from __future__ import annotations

import os
import struct
from typing import Final

import numpy as np
import xxhash

from event_processor.deduplication.runs import ROW_BYTES, Run, sort_rows
from event_processor.durable import FileSystem, read_range, storage_call
from event_processor.errors import StateError

__all__ = ["encode_frame", "read_active"]

_CHECKSUM: Final = struct.Struct("<Q")
_HEAD: Final = struct.Struct("<QQ")


def encode_frame(run: Run, offset: int) -> bytes:
    """The frame of `run`, to be appended at `offset`."""
    content = len(run).to_bytes(_CHECKSUM.size, "little") + run.rows().tobytes()
    return _CHECKSUM.pack(xxhash.xxh3_64_intdigest(content, offset)) + content


def read_active(fs: FileSystem, path: str, committed_bytes: int, committed_ids: int) -> tuple[Run, int]:
    """All ids within the committed length, and in how many frames they stand. Raises `StateError` where they are not what was written, `StorageError`."""
    content = _read_committed(fs, path, committed_bytes)
    parts = []
    offset = 0
    while offset < committed_bytes:
        start = offset + _HEAD.size
        if start > committed_bytes:
            raise _damaged(path, f"the frame at byte {offset} is cut off")
        checksum, count = _HEAD.unpack_from(content, offset)
        end = start + count * ROW_BYTES
        if end > committed_bytes or xxhash.xxh3_64_intdigest(content[offset + _CHECKSUM.size : end], offset) != checksum:
            raise _damaged(path, f"the frame at byte {offset} does not match its checksum")
        parts.append(content[start:end])
        offset = end
    rows = np.frombuffer(b"".join(parts), dtype="<u8").reshape(-1, 2)
    if len(rows) != committed_ids:
        raise _damaged(path, f"holds {len(rows)} ids, but {committed_ids} were committed")
    run, _ = sort_rows(rows)
    return run, len(parts)


def _read_committed(fs: FileSystem, path: str, committed_bytes: int) -> memoryview:
    with storage_call("read", path):
        if fs.status(path) is None:
            raise _damaged(path, "is missing, though the checkpoint names it")
        descriptor = fs.open(path, os.O_RDONLY)
        try:
            content = read_range(fs, descriptor, committed_bytes, 0)
        finally:
            fs.close(descriptor)
    if len(content) != committed_bytes:
        raise _damaged(path, f"holds {len(content)} bytes, but {committed_bytes} were committed")
    return memoryview(content)


def _damaged(path: str, reason: str) -> StateError:
    return StateError(
        f"{path}: {reason}",
        hint="put back the file as it was, or make the state anew from the log: event-processor replay",
    )
