"""What a lane without a limit is compared with: a receiver, and a loop that sends each line of a log, as one writes it by hand.

`http_loop.py serve` prints its address; `http_loop.py send URL LOG` sends.
Always: the loop has as many requests under way as a lane by default, one line each, through one client.
Never: keeps anything, or tries again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2

CONCURRENCY = 4


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            place = head.lower().index(b"content-length:") + len(b"content-length:")
            await reader.readexactly(int(head[place : head.index(b"\r", place)]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    except (asyncio.IncompleteReadError, OSError):
        writer.close()


async def serve() -> None:
    """Answers until it is killed."""
    server = await asyncio.start_server(_exchange, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def send(url: str, lines: Iterator[bytes]) -> None:
    """Sends each line."""
    limits = httpx2.Limits(max_keepalive_connections=CONCURRENCY)
    async with httpx2.AsyncClient(limits=limits, trust_env=False) as client:

        async def worker(lines: Iterator[bytes]) -> None:
            for number, line in enumerate(lines):
                headers = {"Content-Type": "application/json", "Idempotency-Key": f"{id(lines)}:{number}"}
                response = await client.post(f"{url}/records", content=line, headers=headers)
                response.raise_for_status()

        await asyncio.gather(*(worker(lines) for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        asyncio.run(send(sys.argv[2], iter(Path(sys.argv[3]).read_bytes().splitlines())))
