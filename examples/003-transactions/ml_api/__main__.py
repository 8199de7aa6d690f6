"""`python -m ml_api`: runs the service until SIGTERM or Ctrl-C.

Owns: the command line. The first line that it prints is its address; then a line for each request, to stderr.
Always: the port is given back at the end.
Never: answers a request (`server.py` does).
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from types import FrameType

from ml_api.server import PredictionServer


def main() -> None:
    """Listens, and answers until it is asked to stop."""
    parser = argparse.ArgumentParser(prog="ml_api", description="Predicts the category of transactions.")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 in a container; default %(default)s")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one; default %(default)s")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    try:
        server = PredictionServer(arguments.host, arguments.port)
    except (OSError, OverflowError) as error:
        raise SystemExit(f"cannot listen on {arguments.host}:{arguments.port}: {error}; choose another --port") from error
    with server:
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.1)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
