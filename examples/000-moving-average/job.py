"""The moving average as a job: a file or an object in, rows out, in one command.

    python job.py events.json --window_size 10
    python job.py s3://bucket/prefix/events.jsonl --server http://127.0.0.1:8321

Without --server it starts one (server.toml), and stops it at the end. A file is uploaded in pieces; a piece whose answer is lost is sent from
the offset that the server names. The submission has a key, so that it can be repeated. It needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
PIPELINE = "event-processor"
SIZE = "aggregates.delivery_time.window.size_s"
PIECE_BYTES = 1_000_000
TRIES = 60
LATER = frozenset({408, 409, 429, 503})
"""These may be answered otherwise a moment later."""


class Client:
    """Asks the server, again if it does not answer or asks for patience."""

    def __init__(self, server: str) -> None:
        self.server = server.rstrip("/")

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[Mapping[str, str], bytes]:
        """The header and the content of an answer."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        for tries in range(1, TRIES + 1):
            try:
                with urlopen(Request(f"{self.server}{path}", body, fields, method=method), timeout=60) as answer:  # noqa: S310
                    return answer.headers, answer.read()
            except HTTPError as error:
                problem = json.loads(error.read() or b"{}")
                if error.code not in LATER or tries == TRIES:
                    raise SystemExit(f"{method} {path}: {problem.get('detail')}; {problem.get('hint')}") from error
            except (URLError, TimeoutError, ConnectionError):
                if tries == TRIES:
                    raise
            time.sleep(0.5)
        raise AssertionError("the last try has answered, or raised")

    def post(self, path: str, value: object, **headers: str) -> dict[str, Any]:
        """What is answered to `value`."""
        return dict(json.loads(self.ask(path, "POST", json.dumps(value).encode(), **headers)[1]))

    def announce(self, file: Path) -> str:
        """The id of an upload to which the file is to be sent."""
        return str(self.post("/v1/uploads", {"length": file.stat().st_size})["id"])

    def upload(self, file: Path, upload: str) -> None:
        """Sends the whole file to an upload."""
        size_bytes = file.stat().st_size
        with file.open("rb") as content:
            while (offset := int(self.ask(f"/v1/uploads/{upload}", "HEAD")[0]["Upload-Offset"])) < size_bytes:
                content.seek(offset)
                self.send(f"/v1/uploads/{upload}", content.read(PIECE_BYTES), offset)

    def send(self, path: str, piece: bytes, offset: int) -> None:
        """Sends a piece once. Whether it counts, the server says afterwards: its answer may be lost."""
        try:
            with urlopen(Request(f"{self.server}{path}", piece, {"Upload-Offset": str(offset)}, method="PATCH"), timeout=60):  # noqa: S310
                return
        except HTTPError as error:
            if error.code not in LATER:
                raise SystemExit(f"PATCH {path}: {error.code}") from error
        except (URLError, TimeoutError, ConnectionError):
            pass
        time.sleep(0.5)

    def finished(self, job: str) -> dict[str, Any]:
        """The job, when it has ended."""
        while True:
            found = json.loads(self.ask(f"/v1/jobs/{job}")[1])
            if found["state"] not in ("queued", "running"):
                return dict(found)
            time.sleep(0.2)


@contextmanager
def started() -> Iterator[str]:
    """A server for this one job; its address."""
    command = [sys.executable, "-m", "event_processor", "--config", str(HERE / "server.toml"), "--set", "http.listen=127.0.0.1:0"]
    server = subprocess.Popen([*command, "--log-format", "json", "run"], stderr=subprocess.PIPE)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            said = json.loads(line)
            if said.get("event") == "http_listening":
                yield str(said["address"])
                return
        raise SystemExit(f"the server ended with {server.wait()}")
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Submits the job, waits for it, and writes its rows."""
    parser = argparse.ArgumentParser(description="The moving average of a file or an object, as a job.")
    parser.add_argument("input", help="a file, or a URL s3://…")
    parser.add_argument("--window_size", type=int, default=10, help="minutes")
    parser.add_argument("--server", default="", help="the address of a running server; by default one is started")
    given = parser.parse_args()
    if given.server:
        run(Client(given.server), given)
        return
    with started() as server:
        run(Client(server), given)


def run(client: Client, given: argparse.Namespace) -> None:
    """One job, from its input to its rows on standard output."""
    is_object = given.input.startswith("s3://")
    source = {"url": given.input} if is_object else {"upload": client.announce(Path(given.input))}
    asked = {"pipeline": PIPELINE, "input": source, "parameters": {SIZE: 60 * given.window_size}}
    submitted = client.post("/v1/jobs", asked, Idempotency_Key=str(uuid.uuid4()))
    if not is_object:
        # The job works on what has come.
        client.upload(Path(given.input), source["upload"])
    job = client.finished(submitted["id"])
    if job["state"] != "done":
        raise SystemExit(f"the job {job['id']} is {job['state']}: {job['error']}; {job['hint']}")
    sys.stdout.write(client.ask(f"/v1/jobs/{job['id']}/result")[1].decode())
    print(f"job {job['id']}: {job['summary']['records']} records", file=sys.stderr)


if __name__ == "__main__":
    main()
