"""Hostile clients of all kinds at once, one thread for each kind, until standard input ends.

`hostile_clients.py PORT TOKEN` prints `ready` when each kind came once, and at the end how often each came, as JSON.
Always: a kind comes again as soon as it was refused. Standard library alone, in a process of its own.
Never: asks for anything that the server should do.
"""

from __future__ import annotations

import gzip
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from threading import Event, Thread
from typing import Final

LARGE_BYTES: Final = 100_000_000
BLOCK: Final = b"x" * 65_536
TIMEOUT_S: Final = 60.0


def requests(token: str) -> dict[str, list[bytes]]:
    """What each kind sends, by its name: a head, then the body as often as the server takes it."""
    host = b"HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    known = host + f"Authorization: Bearer {token}\r\n".encode()
    bomb = gzip.compress(b"[" + b"0," * (LARGE_BYTES // 20) + b"0]")
    chunk = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK)
    return {
        "a body of 100 MB": [b"POST /v1/events %sContent-Length: %d\r\n\r\n" % (known, LARGE_BYTES), BLOCK],
        "a body without an end": [b"POST /v1/events %sTransfer-Encoding: chunked\r\n\r\n" % known, chunk],
        "a compressed bomb": [
            b"POST /v1/events %sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (known, len(bomb), bomb)
        ],
        "a wrong token": [b"GET /v1/state %sAuthorization: Bearer wrong\r\n\r\n" % host],
        "a foreign name": [b"GET /v1/state %s\r\n" % known.replace(b"127.0.0.1", b"attacker.example")],
        "a header in a parameter": [b"GET /v1/records?id=a%%0d%%0aSet-Cookie:%%20a=b %sX: a\r\n b\r\n\r\n" % known],
    }


def sent(client: socket.socket, parts: list[bytes]) -> Iterator[None]:
    """Sends the head, then the body up to its length. Ends early if the server does."""
    head, *body = parts
    client.sendall(head)
    for _ in range(LARGE_BYTES // len(BLOCK) if body else 0):
        client.sendall(body[0])
        yield


def come(port: int, parts: list[bytes], ended: Event, count: list[int]) -> None:
    """Comes again and again."""
    while not ended.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as client:
            with suppress(OSError):
                for _ in sent(client, parts):
                    pass
            client.recv(4096)
        count[0] += 1


def main() -> None:
    """Begins all kinds, and ends them with standard input."""
    port, ended = int(sys.argv[1]), Event()
    kinds = requests(sys.argv[2])
    counts: dict[str, list[int]] = {name: [0] for name in kinds}
    threads = [Thread(target=come, args=(port, parts, ended, counts[name]), daemon=True) for name, parts in kinds.items()]
    for thread in threads:
        thread.start()
    while not all(each[0] for each in counts.values()):
        ended.wait(0.01)
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()
    print(json.dumps({name: each[0] for name, each in counts.items()}), flush=True)


if __name__ == "__main__":
    main()
