"""The program as a shell or another process calls it, run by a warm Python: a command that takes the program's place.

Owns: `make_commands`, which makes a folder of such commands, for PATH; and the command, which asks the server of `warm_python.py` for a run
with its own arguments, environment, working directory, input and output.
Always: the command ends as the run does, by the same exit code or signal. A signal that asks a program for something is sent on to the run. If
the command is killed, so is the run, but a little later: a test that goes on at once after a kill starts the program itself.
Never: imports anything that a start would wait for. The umask and limits of its caller are not sent; no test sets any.
"""

import json
import os
import signal
import socket
import sys

NUMBER_BYTES = 8
SENT_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def make_commands(folder: str, address: str, *programs: str) -> None:
    """Makes a command in `folder` for each of these scripts, which are Python. `address`: of the server."""
    for program in programs:
        path = os.path.join(folder, os.path.basename(program))
        with open(path, "w", encoding="utf-8") as file:
            # Without the packages of the environment, an interpreter starts in a few hundredths of a second.
            file.write(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{__file__}" "{address}" "{program}" "$@"\n')
        os.chmod(path, 0o755)


def _run(address: str, arguments: list[str]) -> int:
    """The exit code of the run, negative if a signal ended it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as own:
        own.connect(f"\0{address}")
        socket.send_fds(own, [json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
        pid = _received(own)
        for number in SENT_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda received, _: os.kill(pid, received))
        own.send(b"g")
        return _received(own)


def _received(own: socket.socket) -> int:
    return int.from_bytes(own.recv(NUMBER_BYTES), "little", signed=True)


if __name__ == "__main__":
    if "EVENT_PROCESSOR_NATIVE" in os.environ:  # it is read when the program is imported
        os.execv(sys.argv[2], sys.argv[2:])
    code = _run(sys.argv[1], sys.argv[2:])
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
