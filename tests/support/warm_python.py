"""A Python that has imported the program already and forks for each run: a start costs a tenth of what a new interpreter costs.

Owns: the server, which is this file run as a program, and its client. They share a socket; each run has one of its own beside it. Other
processes find the server by its address, as `warm_command.py` does.
Always: a run is a process in a session of its own, with the environment that its request has. Before it only imports happened. It is killed
if the process that started it ends without it, however that ends.
Never: a run starts before the test says so; until then strace can attach to it.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import importlib.util
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

Request: TypeAlias = tuple[list[str], str, dict[str, str]]
"""The arguments, from the `-m` or the script on, the working directory, and the environment."""

PACKAGE: Final = "event_processor"
ONLY_AT_A_START: Final = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "OPENBLAS_", "EVENT_PROCESSOR_NATIVE")
"""Variables of these names are read before a run is forked. `PYTHONPATH` alone is done again."""
MESSAGE_BYTES_MAX: Final = 131_072
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
    """The client: a server that was started with an environment. It ends with the process that started it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment: Final = dict(environment)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind("")  # the kernel chooses a free name, which is no file
            listener.listen()
            self.address: Final[str] = listener.getsockname()[1:].decode()
            descriptors = [theirs.fileno(), listener.fileno()]
            self._server: Final = subprocess.Popen(
                [sys.executable, __file__, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=self.environment,
                pass_fds=descriptors,
            )
        atexit.register(self.close)

    def start(
        self,
        arguments: Sequence[str],
        log: BinaryIO,
        tracer: Sequence[str] = (),
        *,
        environment: Mapping[str, str] | None = None,
    ) -> WarmProcess:
        """Runs `python` with these arguments, what it says appended to `log`. `environment`: by default that of the server."""
        own, theirs = socket.socketpair()
        with theirs, open(os.devnull, "rb") as nothing:
            given = self.environment if environment is None else environment
            request = json.dumps([list(arguments), os.getcwd(), dict(given)]).encode()
            descriptors = [each.fileno() for each in (theirs, nothing, log, log)]
            socket.send_fds(self._control, [request], descriptors)
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

    def can_have(self, environment: Mapping[str, str]) -> bool:
        """Whether a run can have this environment: what counts at a start only is the server's, and PYTHONPATH hides nothing of what is imported."""
        if _only_at_a_start(environment) != _only_at_a_start(self.environment):
            return False
        more = set(_folders(environment)) - set(_folders(self.environment))
        return not any(_hides_a_module(name) for folder in more for name in os.listdir(folder))


def _only_at_a_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(ONLY_AT_A_START) and name != "PYTHONPATH"}


def _folders(environment: Mapping[str, str]) -> list[str]:
    """The folders of its PYTHONPATH."""
    return [os.path.abspath(each) for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]


def _hides_a_module(name: str) -> bool:
    """Whether a file or folder of this name may come before a module that the server has, or offers connectors, which are looked for once."""
    stem, _, ending = name.partition(".")
    return ending.endswith("-info") or (
        ending in {"", "py"} and stem.isidentifier() and importlib.util.find_spec(stem) is not None
    )


def _serve(control: socket.socket, listener: socket.socket) -> Request | None:
    """Forks for each request. Returns the request in the process that is to do it; None in the server, when the test process has closed its end."""
    while True:
        _reap()
        if control in select.select([control, listener], [], [])[0]:
            content, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES_MAX, 4)
            if not content:
                return None
            own, streams = socket.socket(fileno=descriptors[0]), descriptors[1:]
        else:
            own, _ = listener.accept()
            content, streams, _, _ = socket.recv_fds(own, MESSAGE_BYTES_MAX, 3)
        if content and os.fork() == 0:
            control.close()
            listener.close()
            return _forked(json.loads(content), own, streams)
        own.close()
        for each in streams:
            os.close(each)


def _reap() -> None:
    """Forgets those that waited for runs which have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _forked(request: Request, own: socket.socket, streams: Sequence[int]) -> Request:
    """Forks the run, and returns in it. The process between waits for it, says how it ended, and ends itself."""
    pid = os.fork()
    if pid:
        # A reader of what the run says must see its end.
        for each in streams:
            os.close(each)
        _kill_if_left_alone(pid, own)
        _, status = os.waitpid(pid, 0)
        with suppress(BrokenPipeError):
            own.send(os.waitstatus_to_exitcode(status).to_bytes(NUMBER_BYTES, "little", signed=True))
        os._exit(0)
    os.setsid()
    for number, each in enumerate(streams):
        os.dup2(each, number)
        os.close(each)
    os.chdir(request[1])
    _set_environment(request[2])
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


def _set_environment(environment: Mapping[str, str]) -> None:
    """Makes this the environment, and puts the folders that its PYTHONPATH has more at the front, as a new interpreter does."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = [each for each in _folders(environment) if each not in sys.path]


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
    if asked := _serve(*(socket.socket(fileno=int(number)) for number in sys.argv[1:])):
        _run(asked[0])
