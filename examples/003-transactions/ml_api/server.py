"""The service over HTTP: one thread for each connection.

Owns: the paths, the limits of a request, and the answers.
Always: an answer is JSON. A request that is refused gets its reason.
Never: waits for a slow client longer than `READ_S`, or reads more than `BODY_BYTES_MAX` of a body.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from ml_api.prediction import RefusedError, predictions

BODY_BYTES_MAX: Final = 16 << 20
READ_S: Final = 30
VERSION: Final = "1"


class PredictionServer(ThreadingHTTPServer):
    """The service on one address. Port 0 takes a free one."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int) -> None:
        """Listens. Raises `OSError` if the address cannot be used."""
        super().__init__((host, port), PredictionHandler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is gone is no error of ours; anything else is printed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def address(self) -> str:
        """Where it listens, such as "http://127.0.0.1:8000"."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"


class PredictionHandler(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = READ_S
    wbufsize = 1 << 16  # head and body leave together
    routes: Final = {"/predict": "POST", "/health": "GET"}

    def do_GET(self) -> None:
        """`GET /health`."""
        if self.routes.get(self.path) == "GET":
            self._answer(200, {"status": "healthy", "version": VERSION})
        else:
            self._wrong_route()

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """`POST /predict`."""
        if self.routes.get(self.path) != "POST":
            self._wrong_route()
            return
        body = self._body()
        if body is None:
            return
        try:
            self._answer(200, predictions(body))
        except RefusedError as error:
            self._answer(422, {"detail": error.faults})

    def _body(self) -> bytes | None:
        """The body; None if it was refused."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            self._refuse(411, "a Content-Length is needed")
            return None
        if len(length) > 9 or int(length) > BODY_BYTES_MAX:
            self._refuse(413, f"at most {BODY_BYTES_MAX} bytes")
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the client is gone: nothing can be answered
            self.close_connection = True
            return None
        return body

    def _wrong_route(self) -> None:
        if self.path in self.routes:
            self._refuse(405, "Method Not Allowed", {"Allow": self.routes[self.path]})
        else:
            self._refuse(404, "Not Found")

    def _refuse(self, status: int, words: str, headers: dict[str, str] | None = None) -> None:
        """Answers without reading the body. So the connection cannot be used again."""
        self.close_connection = True
        self._answer(status, {"detail": words}, {"Connection": "close", **(headers or {})})

    def _answer(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(document, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
