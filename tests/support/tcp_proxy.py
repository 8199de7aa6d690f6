"""A TCP proxy on 127.0.0.1 that fails as networks fail: refuses, resets, freezes, slows down, cuts at a word of the protocol.

Owns: `TcpProxy`, in a thread of its own.
Always: `stop` ends every connection. What was forwarded is counted, so that a test can wait for it.
Never: understands a protocol: it only looks for bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Self

__all__ = ["TcpProxy"]

WITHIN_S: Final = 30.0
PIECE_BYTES: Final = 65_536


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    swallows_answers: bool = False

    def abort(self) -> None:
        """Resets both sides."""
        self.client.transport.abort()
        self.server.transport.abort()


@dataclass
class TcpProxy:
    """A context manager: inside, `port` leads to `target_port`, as long as nothing is broken.

    `delay_s`: each piece waits so long. `refuses`: new connections are reset at once. `cuts`: how often a cut has happened.
    """

    target_port: int
    port: int = 0
    delay_s: float = 0.0
    refuses: bool = False
    connections: int = 0
    cuts: int = 0
    _word: bytes = b""
    _when: Literal["before", "after"] = "before"
    _skipped: int = 0
    _open: set[_Connection] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="tcp-proxy", daemon=True)
        self._thread.start()
        assert started.wait(WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()

    def freeze(self) -> None:
        """Forwards nothing from now on, in both directions; connections stay open: a cable is out."""
        self._call(self._flowing.clear)

    def thaw(self) -> None:
        """Forwards again, also what came meanwhile."""
        self._call(self._flowing.set)

    def reset(self) -> None:
        """Resets every connection that is open."""
        self._call(self._abort_all)

    def cut_at(self, word: bytes, when: Literal["before", "after"], skipped: int = 0) -> None:
        """When a client sends `word`, after so many times that it did before, its connection is reset.

        "before": the server does not get the word. "after": it gets it and has begun to answer, but the client never knows.
        """
        self._when, self._word, self._skipped = when, word, skipped

    def _is_next(self) -> bool:
        self._skipped -= 1
        return self._skipped < 0

    def _abort_all(self) -> None:
        for each in list(self._open):
            each.abort()

    def _call(self, function: Callable[[], None]) -> None:
        done = threading.Event()

        def called() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(called)
        assert done.wait(WITHIN_S)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(asyncio.start_server(self._accepted, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    async def _stop(self) -> None:
        # Accepts nothing from now on. The server is closed when all tasks have ended: a connection that was accepted just now could not
        # be made for a closed server, and would stay open.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        self._flowing.set()
        await asyncio.sleep(0)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            self._abort_all()
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=0)
            await asyncio.sleep(0)
        self._server.close()
        await self._server.wait_closed()
        for _ in range(3):  # a connection that was reset is gone a round later
            await asyncio.sleep(0)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.refuses:
                raise ConnectionRefusedError
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, server_writer)
        self._open.add(connection)
        answered = asyncio.Event()
        up = asyncio.create_task(self._forward(reader, server_writer, connection, answered, is_client=True))
        down = asyncio.create_task(self._forward(server_reader, writer, connection, answered, is_client=False))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the proxy stops
        finally:
            connection.abort()
            for task in (up, down):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task
            self._open.discard(connection)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        answered: asyncio.Event,
        *,
        is_client: bool,
    ) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._flowing.wait()
            await asyncio.sleep(self.delay_s)
            if is_client and self._word and self._word in piece and self._is_next():
                self._word = b""
                if self._when == "after":
                    connection.swallows_answers = True
                    answered.clear()
                    writer.write(piece)
                    await writer.drain()
                    await answered.wait()
                self.cuts += 1
                connection.abort()
                return
            if not is_client and connection.swallows_answers:
                answered.set()
                continue
            writer.write(piece)
            await writer.drain()
