"""A Python that has imported the program already and forks for each run: a start costs a tenth of what a new interpreter costs.

Owns: the server, which is this file run as a program, and its client. They share a socket; each run has one of its own beside it.
Always: a run is a process in a session of its own. Before it only imports happened; the environment is the server's. It is killed if the
process that started it ends without it, however that ends.
Never: a run starts before the test says so; until then strace can attach to it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

__all__ = ["WarmProcess", "WarmPython"]

Request: TypeAlias = tuple[list[str], str]
"""The arguments, from the `-m` or the script on, and the working directory."""

PACKAGE: Final = "event_processor"
MESSAGE_BYTES_MAX: Final = 65_536
NUMBER_BYTES: Final = 8
PR_SET_PTRACER: Final = 0x59616D61
GO: Final = b"g"


class WarmProcess:
    """A run that was forked; `poll` and `wait` are those of `subprocess.Popen`."""

    def __init__(self, own: socket.socket, tracer: Sequence[str]) -> None:
        """`tracer`: strace with its options; it is attached before the run begins. None if empty."""
        self._own: Final = own
        self._exit_code: int | None = None
        self.pid: Final = self._received()
        self._tracer = _attached(tracer, self.pid) if tracer else None
        own.send(GO)

    def poll(self) -> int | None:
        """The exit code, negative if a signal ended it; None if it runs."""
        if self._exit_code is None and select.select([self._own], [], [], 0)[0]:
            self._end()
        return self._exit_code

    def wait(self, timeout_s: float) -> int:
        """The exit code. Raises `subprocess.TimeoutExpired`."""
        if self._exit_code is None:
            if not select.select([self._own], [], [], timeout_s)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout_s)
            self._end()
        assert self._exit_code is not None
        return self._exit_code

    def _end(self) -> None:
        self._exit_code = self._received()
        self._own.close()
        if self._tracer is not None:  # its record is whole once it has ended
            self._tracer.communicate()

    def _received(self) -> int:
        return int.from_bytes(self._own.recv(NUMBER_BYTES, socket.MSG_WAITALL), "little", signed=True)


def _attached(tracer: Sequence[str], pid: int) -> subprocess.Popen[str]:
    """strace, once it says that it has the process."""
    # Its filter in the kernel is for those that it starts itself, and -qq would keep it from saying so.
    options = [word for word in tracer if word not in {"--seccomp-bpf", "-qq"}]
    process = subprocess.Popen([*options, "-p", str(pid)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.readline()
    assert "attached" in said, said
    return process


class WarmPython:
    """The client: a server for one environment. It ends with the process that started it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment: Final = dict(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._server: Final = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=self.environment,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def start(self, arguments: Sequence[str], log: BinaryIO, tracer: Sequence[str] = ()) -> WarmProcess:
        """Runs `python` with these arguments, what it says appended to `log`."""
        own, theirs = socket.socketpair()
        with theirs:
            request = json.dumps([list(arguments), os.getcwd()]).encode()
            socket.send_fds(self._control, [request], [theirs.fileno(), log.fileno()])
        return WarmProcess(own, tracer)

    def close(self) -> None:
        """Ends the server; once more does nothing. Runs go on."""
        atexit.unregister(self.close)
        self._control.close()
        self._server.wait()

    @staticmethod
    def can_start(arguments: Sequence[str]) -> bool:
        """Whether these are a module or a script, without options of the interpreter's."""
        return arguments[0] == "-m" or arguments[0].endswith(".py")


def _serve(control: socket.socket) -> Request | None:
    """Forks for each request. Returns the request in the process that is to do it; None in the server, when the test process has closed its end."""
    while True:
        _reap()
        content, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES_MAX, 2)
        if not content:
            return None
        own, log = socket.socket(fileno=descriptors[0]), descriptors[1]
        if os.fork() == 0:
            control.close()
            return _forked(json.loads(content), own, log)
        own.close()
        os.close(log)


def _reap() -> None:
    """Forgets those that waited for runs which have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _forked(request: Request, own: socket.socket, log: int) -> Request:
    """Forks the run, and returns in it. The process between waits for it, says how it ended, and ends itself."""
    pid = os.fork()
    if pid:
        _kill_if_left_alone(pid, own)
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            own.send(os.waitstatus_to_exitcode(status).to_bytes(NUMBER_BYTES, "little", signed=True))
        os._exit(0)
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.chdir(request[1])
    # Anyone may trace it: where only ancestors may, strace is none.
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    own.send(os.getpid().to_bytes(NUMBER_BYTES, "little"))  # now it may be traced, and killed by its session
    went = own.recv(1)
    own.close()
    if went != GO:
        os._exit(1)
    return request


def _kill_if_left_alone(pid: int, own: socket.socket) -> None:
    """Waits for the end of the run `pid`. If the other end of `own` is closed before, kills the run and what it started."""
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    # Only a hang-up is waited for: what can be read is for the run.
    poll.register(own, 0)
    if ended not in (descriptor for descriptor, _ in poll.poll()):
        with suppress(ProcessLookupError):  # it may not have its session yet
            os.kill(pid, signal.SIGKILL)
            os.killpg(pid, signal.SIGKILL)


def _run(arguments: list[str]) -> None:
    """What `python` does with the arguments."""
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")


def _import_the_program() -> None:
    package = importlib.import_module(PACKAGE)
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):  # an extra that is not installed
                importlib.import_module(module.name)
    gc.freeze()


if __name__ == "__main__":
    _import_the_program()
    if asked := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _run(asked[0])
