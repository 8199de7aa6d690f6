"""The prediction service as a process of this machine: `python ml_service.py start|stop|status|logs`.

Owns: the process that it starts, its number (work/ml_api.pid) and its log (work/ml_api.log); `running`, a service for one block.
Always: a service that runs already is used as it is. Only a process that is ours is stopped.
Never: starts two services on one port.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
WORK: Final = HERE / "work"
PID: Final = WORK / "ml_api.pid"
LOG: Final = WORK / "ml_api.log"
PORT: Final = 8000
STOP_S: Final = 10.0
LOG_LINES: Final = 20


def is_healthy(address: str) -> bool:
    """Whether a prediction service answers there."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:  # noqa: S310 - http, and nothing else
            found = json.load(answer)
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("status") == "healthy"


@contextmanager
def running(port: int = PORT) -> Iterator[str]:
    """The address of a service. One that runs at the port is used; otherwise one is started, for the block.

    If something else has the port, or it is 0, a free one is taken. Raises `SystemExit` if no service starts.
    """
    address = f"http://127.0.0.1:{port}"
    if port and is_healthy(address):
        yield address
        return
    process, address = _started(port)
    if not address and port:
        process, address = _started(0)
        print(f"port {port} is taken by something else; the prediction service is at {address}")
    if not address:
        raise SystemExit(f"the prediction service did not start; see {LOG}")
    try:
        yield address
    finally:
        process.terminate()
        process.wait()


def _started(port: int) -> tuple[subprocess.Popen[bytes], str]:
    """A service of this process, and its address; "" if it did not start."""
    WORK.mkdir(exist_ok=True)
    with LOG.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ml_api", "--port", str(port)],
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout is not None
    with process.stdout as output:
        address = output.readline().decode().strip()
    if not address:
        process.wait()
    return process, address


def start() -> int:
    """Starts the service, and leaves it running."""
    address = f"http://127.0.0.1:{PORT}"
    if is_healthy(address):
        print(f"prediction service: runs already at {address}")
        return 0
    process, address = _started(PORT)
    if not address:
        print(f"prediction service: did not start; see {LOG}")
        return 1
    PID.write_text(f"{process.pid}\n")
    print(f"prediction service: {address}")
    process.returncode = 0  # it outlives this process, which does not wait for it
    return 0


def _own() -> int | None:
    """The number of the process that `start` started, if it still runs."""
    try:
        number = int(PID.read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return number if b"ml_api" in command else None  # another process may have the number by now


def stop() -> int:
    """Stops the service that `start` started."""
    number = _own()
    if number is None:
        print("prediction service: none that was started here")
    else:
        os.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while _own() is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        print("prediction service: stopped" if _own() is None else f"prediction service: process {number} does not stop")
    PID.unlink(missing_ok=True)
    return 0


def status() -> int:
    """0 if a service answers, otherwise 69."""
    address = f"http://127.0.0.1:{PORT}"
    healthy = is_healthy(address)
    print(f"prediction service: {f'healthy at {address}' if healthy else f'none at {address}'}")
    return 0 if healthy else 69


def logs() -> int:
    """Prints the end of the log."""
    lines = LOG.read_text(encoding="utf-8", errors="replace").splitlines() if LOG.exists() else []
    print("\n".join(lines[-LOG_LINES:]) or f"{LOG}: empty")
    return 0


if __name__ == "__main__":
    commands = {"start": start, "stop": stop, "status": status, "logs": logs}
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("command", choices=commands)
    sys.exit(commands[parser.parse_args().command]())
