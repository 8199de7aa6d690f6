"""A worker process: decodes chunks until its parent ends.

Owns: the protocol, over one connection. First the parent sends its module search path and a callable that makes the decoder; the
child answers `READY`. Then, for each chunk, the parent writes the content into a slot and sends a `Task`. The child answers with
the message that `wire.unpack` reads; its arrays are after the content in the same slot.
Always: the child ends when the connection ends, so it cannot outlive its parent.
"""

from __future__ import annotations

import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Final

from event_processor.engine.decoding.decoder import Decoder
from event_processor.engine.decoding.shared_memory import SharedMemory
from event_processor.engine.decoding.wire import pack
from event_processor.kernels.memory import keep_freed_memory
from event_processor.model.event import Chunk

__all__ = ["READY", "Task", "serve"]

READY: Final = b"ready"


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk without its content, which is in the shared memory. Arrays may be written after the content, up to `end`."""

    chunk: Chunk
    begin: int
    content_bytes: int
    end: int


def serve(connection: Connection, memory: SharedMemory) -> None:
    """Answers tasks until the connection ends."""
    # Modules of the user are found at the same paths as in the parent.
    sys.path[:] = pickle.loads(connection.recv_bytes())  # noqa: S301 -- of our own parent
    make_decoder: Callable[[], Decoder] = pickle.loads(connection.recv_bytes())  # noqa: S301 -- of our own parent
    decode = make_decoder()
    connection.send_bytes(READY)
    while True:
        task: Task = pickle.loads(connection.recv_bytes())  # noqa: S301
        content_end = task.begin + task.content_bytes
        chunk = _with_content(task.chunk, bytes(memory.view[task.begin : content_end]))
        connection.send_bytes(pack(decode(chunk), memory.view[content_end : task.end]))


def _with_content(chunk: Chunk, content: bytes) -> Chunk:
    return replace(chunk, content=content)


def main() -> None:
    """The child's entry point. Its arguments are the descriptors of the connection and of the memory, and the memory's size."""
    # Signals that stop the service are for the parent. The child ends when the connection ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()
    connection, descriptor, size_bytes = map(int, sys.argv[1:])
    try:
        serve(Connection(connection), SharedMemory(descriptor, size_bytes))
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main()
