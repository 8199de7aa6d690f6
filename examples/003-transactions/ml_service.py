"""The prediction service as a process of this machine: `python ml_service.py start|stop|status|logs`.

Owns: the process that it starts, `SERVICE`; `running`, a service for one block.
Always: a service that runs already is used as it is. Only a process that is ours is stopped.
Never: starts two services on one port.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from background import Background

PORT: Final = 8000
SERVICE: Final = Background("ml_api", word="ml_api")


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
        raise SystemExit(f"the prediction service did not start; see {SERVICE.log}")
    try:
        yield address
    finally:
        process.terminate()
        process.wait()


def _started(port: int) -> tuple[subprocess.Popen[bytes], str]:
    """A service of this process, and its address; "" if it did not start."""
    process = SERVICE.start([sys.executable, "-m", "ml_api", "--port", str(port)], stdout=subprocess.PIPE)
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
        print(f"prediction service: did not start; see {SERVICE.log}")
        return 1
    SERVICE.keep(process)
    print(f"prediction service: {address}")
    return 0


def stop() -> int:
    """Stops the service that `start` started."""
    print(f"prediction service: {SERVICE.stop()}")
    return 0


def status() -> int:
    """0 if a service answers, otherwise 69."""
    address = f"http://127.0.0.1:{PORT}"
    healthy = is_healthy(address)
    print(f"prediction service: {f'healthy at {address}' if healthy else f'none at {address}'}")
    return 0 if healthy else 69


def logs() -> int:
    """Prints the end of the log."""
    print(SERVICE.log_end())
    return 0


if __name__ == "__main__":
    commands = {"start": start, "stop": stop, "status": status, "logs": logs}
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("command", choices=commands)
    sys.exit(commands[parser.parse_args().command]())
