"""What a worker process does: it decodes what it is handed until its parent goes away.

The protocol, over one connection: first the parent sends where modules are found and what makes the decoder, and the child answers `READY`; then, for each chunk,
the parent writes the content into its slot and sends a `Task`, and the child answers with the message that `wire.unpack` reads, the
arrays behind the content in the same slot. The end of the connection ends the child, so it cannot outlive its parent.
"""

from __future__ import annotations

import pickle
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
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
    """A chunk without its content, which stands in the shared memory; arrays may go behind it, up to `end`."""

    chunk: Chunk
    begin: int
    content_bytes: int
    end: int


def serve(connection: Connection, memory: SharedMemory) -> None:
    """Answers until the connection ends."""
    # A model of the user's is found where the parent finds it.
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
    return Chunk(chunk.source, chunk.generation, chunk.offset, content, chunk.position, final=chunk.final, head=chunk.head)


def main() -> None:
    """The child's entry: its arguments are the descriptors of the connection and of the memory, and the memory's size."""
    # Whoever stops the service stops the parent; the child goes when the connection ends.
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
