"""A real S3 server on 127.0.0.1, with a folder of its own, and what tests do with its objects.

Owns: `S3Server`: how it is fetched, started and stopped; `s3_of_tests`; `FaultyRoad`, a proxy that answers in its place.
Always: the server is versitygw over a folder if Go can build it, otherwise moto, which keeps objects in memory and takes any secret.
S3_OF_TESTS=moto chooses moto. It is a child that dies with this process, and is stopped by the id it was started with. It is built or installed once
per user, in the user's cache folder. Every wait is bounded.
Never: trusts a server that it did not start; imports the package.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import obstore
from obstore.store import S3Store

from support.processes import wait_until

__all__ = ["ACCESS_KEY", "SECRET", "FaultyRoad", "S3Server", "s3_of_tests"]

VERSION: Final = "v1.8.0"
MOTO_VERSION: Final = "5.2.5"
ACCESS_KEY: Final = "tester"
SECRET: Final = "only-for-tests"
BUCKETS: Final = count(1)


@dataclass(frozen=True, slots=True)
class Program:
    """What a server is started from, and with. `checks_signatures`: whether a secret that is wrong is refused."""

    command: tuple[str, ...]
    checks_signatures: bool


@cache
def program() -> Program:
    """The program in the cache. The first time it is made, which takes some minutes, and needs the network."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "event-processor-tests"
    base.mkdir(parents=True, exist_ok=True)
    if shutil.which("go") and os.environ.get("S3_OF_TESTS") != "moto":
        with suppress(AssertionError):  # no network for modules, or a Go that is too old
            return Program((str(_made(base / f"versitygw-{VERSION}", _build)),), True)
    return Program((str(_made(base / f"moto-{MOTO_VERSION}", _install) / "bin" / "python"), "-m", "moto.server"), False)


def _made(target: Path, make: Callable[[Path], None]) -> Path:
    """The target, made if it is not there. One process makes it, others wait."""
    with open(target.parent / f"{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            make(target)
    return target


def _build(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="making-", dir=target.parent) as folder:
        command = ["go", "install", f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"]
        _run(command, {**os.environ, "GOBIN": folder})
        Path(folder, "versitygw").rename(target)


def _install(target: Path) -> None:
    """An environment of its own. It cannot be renamed, so one that is not whole is removed."""
    try:
        _run([sys.executable, "-m", "venv", str(target)], dict(os.environ))
        _run([str(target / "bin" / "python"), "-m", "pip", "install", "-q", f"moto[server]=={MOTO_VERSION}"], dict(os.environ))
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _run(command: list[str], environment: dict[str, str]) -> None:
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, (ended.stdout + ended.stderr).decode(errors="replace")[-2000:]


@dataclass
class S3Server:
    """A context manager: inside, the server runs. `folder` exists."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, and waits until its port is open. It has the same port and objects as before."""
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
        (self.folder / "objects").mkdir(exist_ok=True)
        command, address = list(program().command), f"127.0.0.1:{self.port}"
        if program().checks_signatures:
            command += ["--quiet", "--port", address, "posix", str(self.folder / "objects")]
        else:
            command += ["-H", "127.0.0.1", "-p", str(self.port)]
        environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET}
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *command], env=environment, stdout=log, stderr=log, cwd=self.folder
            )
        wait_until(self._has_port, f"the S3 server opens port {self.port}")

    def _has_port(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def new_bucket(self) -> str:
        """An empty bucket of its own."""
        name = f"bucket-{next(BUCKETS)}"
        if program().checks_signatures:
            (self.folder / "objects" / name).mkdir()
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
            connection.request("PUT", f"/{name}")
            assert connection.getresponse().status == 200
            connection.close()
        return name

    @property
    def checks_signatures(self) -> bool:
        """Whether a secret that is wrong is refused."""
        return program().checks_signatures

    def store(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self.address,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )

    def put(self, bucket: str, key: str, content: bytes) -> str:
        """Makes or replaces an object. Returns its ETag."""
        return str(obstore.put(self.store(bucket), key, content, use_multipart=False)["e_tag"])

    def delete(self, bucket: str, key: str) -> None:
        obstore.delete(self.store(bucket), key)


@contextmanager
def s3_of_tests() -> Iterator[S3Server]:
    """A running server."""
    with tempfile.TemporaryDirectory(prefix="s3-") as folder, S3Server(Path(folder)) as server:
        yield server


@dataclass
class FaultyRoad:
    """A proxy before a server. `fault` looks at each request (method, path with query, headers) and says what happens to it.

    None: it is passed on. A number: the status that is answered instead. "stall": nothing is answered until the end. Another text: 403 with
    this code, or another status before the code ("404 NoSuchKey"). `seen` has the requests.
    """

    server: S3Server
    fault: Callable[[str, str, dict[str, str]], int | str | None] = lambda _method, _path, _headers: None
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ends = threading.Event()
        self._http: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        assert self._http is not None
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        road = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                road._answer(self)

            do_HEAD = do_PUT = do_GET  # noqa: N815 - as the library names it

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append((request.command, request.path, headers))
        body = request.rfile.read(int(headers.get("content-length", "0")))
        fault = self.fault(request.command, request.path, headers)
        if fault == "stall":
            self._ends.wait()
            return
        with suppress(ConnectionError):
            if fault is not None:
                status, answer = _answer_of(fault)
                request.send_response(status)
                request.send_header("Content-Length", str(len(answer)))
                request.end_headers()
                request.wfile.write(answer)
                return
            self._pass_on(request, body)

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        try:
            # The host is a part of what was signed.
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
            request.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    request.send_header(name, value)
            length = answer.getheader("Content-Length") if request.command == "HEAD" else str(len(content))
            request.send_header("Content-Length", length or "0")
            request.end_headers()
            if request.command != "HEAD":
                request.wfile.write(content)
        finally:
            connection.close()


def _answer_of(fault: int | str) -> tuple[int, bytes]:
    """The status and the body."""
    if isinstance(fault, int):
        return fault, b""
    status, _, code = fault.rpartition(" ")
    return int(status or 403), f"<Error><Code>{code}</Code></Error>".encode()
