"""One connection, guarded at the socket: what a client may do before and after the application sees its request.

Owns: the deadlines for a header, for the next request and for taking an answer; the limits of connections, of a header's bytes and of
requests sent ahead; and how a connection is closed whose request was not read to its end.
Always: each deadline ends the connection, so no client holds one for longer than it works. Everything that is buffered has a limit.
Never: limits a body (`guard.py` does: it can answer).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from event_processor.configuration.http_options import HttpOptions

__all__ = ["ConnectionLimits", "GuardedConnection"]

HEADER_BYTES_MAX: Final = 32_768
HEADERS_MAX: Final = 100
FRAMING_BYTES_MAX: Final = 65_536
FRAMING_PER_BODY_BYTE: Final = 16
"""What frames a body (the sizes of chunks, their extensions, trailers) may be so large: a chunk of one byte has six bytes around it."""
AHEAD_MAX: Final = 16
"""A client may send this number of requests before the first is answered."""
LINGER_S: Final = 2.0
"""After an answer to a request that was not read to its end, the rest is discarded for at most this long. Otherwise the kernel would
reset the connection, and the client could lose the answer."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of each connection; times in seconds."""

    connections_max: int
    header_timeout_s: float
    idle_timeout_s: float
    stall_timeout_s: float

    @classmethod
    def of(cls, options: HttpOptions) -> ConnectionLimits:
        """Those of the configuration."""
        return cls(options.connections_max, options.header_timeout_s, options.idle_timeout_s, options.stall_timeout_s)


class GuardedConnection(HttpToolsProtocol):
    """A connection of HTTP/1.1. Used by the server's loop alone."""

    def __init__(self, config: Config, server_state: ServerState, limits: ConnectionLimits) -> None:
        super().__init__(config, server_state, {})
        self._limits: Final = limits
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._in_header = True
        """Whether a header is awaited or incomplete; not while a body comes."""
        self._header_bytes = 0
        self._received_bytes = 0
        self._body_bytes = 0
        self._is_lingering = False

    # The calls of the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self._limits.connections_max:
            transport.write(_closing_answer(503, "Service Unavailable", "too many connections"))
            transport.close()
            self.transport = transport
            return
        super().connection_made(transport)
        self._await_header(self._limits.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        # It is None if the connection was refused: nothing knows it then.
        if self.flow is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_lingering or self.flow is None or self.transport.is_closing():
            return
        if self._in_header:
            if not self._header_bytes:
                self._await_header(self._limits.header_timeout_s)
            self._header_bytes += len(data)
        else:
            self._received_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_header and self._header_bytes > HEADER_BYTES_MAX:
            self._refuse(431, "Request Header Fields Too Large", f"a header has at most {HEADER_BYTES_MAX} bytes")
        elif len(self.pipeline) > AHEAD_MAX or self._is_mostly_framing:
            self.transport.abort()

    def eof_received(self) -> None:
        if self._is_lingering:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self._limits.stall_timeout_s, self._abort)

    def resume_writing(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    # The calls of the parser.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_header = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > HEADERS_MAX:
            self._refuse(431, "Request Header Fields Too Large", f"a request has at most {HEADERS_MAX} header fields")

    def on_headers_complete(self) -> None:
        self._in_header = False
        self._header_bytes = self._received_bytes = self._body_bytes = 0
        self._stop_header_timer()
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            self._refuse(505, "HTTP Version Not Supported", "this server speaks HTTP/1.1")
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        # The next request's header, if it comes now, is measured from its first byte.
        self._in_header = True
        self._header_bytes = 0
        if not self.transport.is_closing():
            super().on_message_complete()

    # The calls of the application.

    def on_response_complete(self) -> None:
        # With requests waiting, the answer was to an earlier one than `cycle`, and that one was complete.
        if not self.pipeline and self.cycle.more_body and not self.transport.is_closing():
            self._linger()
            return
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        # A client that has not taken its answer would hold the connection while it is closed.
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    @property
    def _is_mostly_framing(self) -> bool:
        return self._received_bytes > FRAMING_BYTES_MAX + FRAMING_PER_BODY_BYTE * self._body_bytes

    def _linger(self) -> None:
        """Closes the connection after its answer, although the request goes on."""
        self._is_lingering = True
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._stop_header_timer()
        self._header_timer = self.loop.call_later(LINGER_S, self._abort)

    def _await_header(self, timeout_s: float) -> None:
        self._stop_header_timer()
        self._header_timer = self.loop.call_later(timeout_s, self._header_is_late)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_is_late(self) -> None:
        if self._header_bytes:
            self._refuse(408, "Request Timeout", "the header came too slowly")
        else:
            self.transport.abort()

    def _refuse(self, code: int, phrase: str, words: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # An answer is under way: another one would be taken for a part of it.
            self.transport.abort()
            return
        self.transport.write(_closing_answer(code, phrase, words))
        self.transport.close()
        self._header_timer = self.loop.call_later(LINGER_S, self._abort)

    def _abort(self) -> None:
        self.transport.abort()


def _closing_answer(code: int, phrase: str, words: str) -> bytes:
    content = f"{words}\n".encode()
    head = f"HTTP/1.1 {code} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    return head.encode() + content
