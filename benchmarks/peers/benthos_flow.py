"""Benthos: a file's lines in batches, `dedupe` with a memory cache, a counter a category. `python -m benchmarks.peers.benthos_flow FILE`.

Its counters add whole numbers only, so there are no sums: less work than the others do. It ends with the file and its counts with it; so it
is held up at its end until its statistics were read over HTTP on 127.0.0.1, and then killed. `work_s` is when they first said that all
was done.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.peers import find_program
from benchmarks.peers.result import arguments, count_lines, print_result

CONFIGURATION: Final = """
http: {{ address: "127.0.0.1:{port}" }}
shutdown_delay: 1h
logger: {{ level: WARN }}
input:
  batched:
    child: {{ file: {{ paths: [ {log} ], scanner: {{ lines: {{}} }}, auto_replay_nacks: false }} }}
    policy: {{ count: 1000, period: 100ms }}
pipeline:
  threads: 2
  processors:
    - dedupe: {{ cache: seen, key: '${{! json("id") }}' }}
    - metric: {{ type: counter, name: counted, labels: {{ category: '${{! json("category") }}' }} }}
output: {{ drop: {{}} }}
cache_resources:
  - label: seen
    memory: {{ default_ttl: 100000h, compaction_interval: "", shards: 2 }}
metrics: {{ json_api: {{}} }}
"""
CATEGORY: Final = re.compile(r'^counted\{.*\bcategory=("(?:[^"\\]|\\.)*")')
POLL_S: Final = 0.1
STALL_LIMIT_S: Final = 60.0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def statistics(port: int) -> Mapping[str, Any]:
    """Its metrics by their names; none as long as it does not answer."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=STALL_LIMIT_S) as answer:
            metrics: Mapping[str, Any] = json.load(answer)
            return metrics
    except (URLError, ConnectionError):
        return {}


def count(process: subprocess.Popen[bytes], port: int, lines: int) -> tuple[dict[str, int], float]:
    """Waits until every line was counted or dropped: the counts by category, and the seconds until then."""
    start_s = grown_s = time.perf_counter()
    known = 0
    while True:
        time.sleep(POLL_S)
        now_s = time.perf_counter()
        if process.poll() is not None:
            raise SystemExit(f"benthos ended with {process.returncode}")
        metrics = statistics(port)
        named = ((CATEGORY.match(name), value) for name, value in metrics.items())
        counts = {json.loads(match[1]): value for match, value in named if match}
        before, known = (
            known,
            sum(counts.values()) + sum(value for name, value in metrics.items() if name.startswith("cache_duplicate{")),
        )
        if known == lines:
            return counts, now_s - start_s
        grown_s = now_s if known > before else grown_s
        if now_s - grown_s > STALL_LIMIT_S:
            raise SystemExit(f"benthos did nothing for {STALL_LIMIT_S:.0f} s; {known} of {lines} lines counted")


def main() -> None:
    """Reads one file."""
    options = arguments(__doc__).parse_args()
    lines, port = count_lines(options.file), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as configuration:
        configuration.write(CONFIGURATION.format(port=port, log=json.dumps(os.path.abspath(options.file))))
        configuration.flush()
        process = subprocess.Popen([find_program("benthos"), "-c", configuration.name])
        try:
            counts, work_s = count(process, port, lines)
        finally:
            process.kill()
            process.wait()
    print_result(lines, [(name, each, None) for name, each in counts.items()], work_s=work_s)


if __name__ == "__main__":
    main()
