"""Columns across a process boundary: the arrays in shared memory, the rest as a message.

Owns: the form of the message.
Always: `unpack` returns what was packed. Its arrays are views of the shared memory: they are valid until that memory is
overwritten. The chunk's content is not sent back, because the parent has it.
"""

from __future__ import annotations

import io
import pickle
from typing import Final

from event_processor.model.columns import Columns

__all__ = ["pack", "unpack"]

_CONTENT: Final = "content"
_ALIGNMENT: Final = 64
_LENGTH_BYTES: Final = 8


def pack(columns: Columns, shared: memoryview) -> bytes:
    """The message for `columns`. Their arrays go to `shared` if all of them fit, else into the message."""
    buffers: list[pickle.PickleBuffer] = []
    body = _pickled(columns, buffers)
    raws = [buffer.raw() for buffer in buffers]
    places, end = [], 0
    for raw in raws:
        places.append((end, end + len(raw)))
        end = -(-(end + len(raw)) // _ALIGNMENT) * _ALIGNMENT
    if end > len(shared):
        return _message([], _pickled(columns, None))
    for (begin, stop), raw in zip(places, raws, strict=True):
        shared[begin:stop] = raw
    return _message(places, body)


def unpack(message: bytes, shared: memoryview, content: bytes) -> Columns:
    """The columns of the chunk that holds `content`."""
    size = int.from_bytes(message[:_LENGTH_BYTES], "little")
    places = pickle.loads(message[_LENGTH_BYTES : _LENGTH_BYTES + size])  # noqa: S301 -- of our own child
    body = memoryview(message)[_LENGTH_BYTES + size :]
    buffers = [shared[begin:end].toreadonly() for begin, end in places]
    columns = _Unpickler(io.BytesIO(body), content, buffers).load()
    assert isinstance(columns, Columns), "only columns are packed"
    return columns


def _message(places: list[tuple[int, int]], body: bytes) -> bytes:
    head = pickle.dumps(places)
    return len(head).to_bytes(_LENGTH_BYTES, "little") + head + body


def _pickled(columns: Columns, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    file = io.BytesIO()
    _Pickler(file, columns.content, buffers).dump(columns)
    return file.getvalue()


class _Pickler(pickle.Pickler):
    """Leaves out the chunk's content."""

    def __init__(self, file: io.BytesIO, content: bytes, buffers: list[pickle.PickleBuffer] | None) -> None:
        super().__init__(file, protocol=5, buffer_callback=None if buffers is None else buffers.append)
        self._content: Final = content

    def persistent_id(self, value: object) -> str | None:
        return _CONTENT if value is self._content else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, content: bytes, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._content: Final = content

    def persistent_load(self, _name: object) -> bytes:
        return self._content
