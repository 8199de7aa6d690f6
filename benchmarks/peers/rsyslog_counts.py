"""rsyslog: a file's lines parsed as JSON and counted by category. `python -m benchmarks.peers.rsyslog_counts FILE`.

It has no way to drop duplicates and none to add up values, so this is less work than the others do. A daemon never ends: it is done when its
own statistics, written once a second, say that every line was counted; then it is stopped. `work_s` is therefore finer than the
process's time: the seconds until it was last busy. Its configuration opens no socket.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.peers import find_program
from benchmarks.peers.result import arguments, count_lines, print_result

CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="1m")
module(load="imfile")
module(load="mmjsonparse")
module(load="impstats" interval="1" format="json" resetCounters="off" log.syslog="off" log.file="{statistics}")
main_queue(queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="4096")
dyn_stats(name="categories" resettable="off" maxCardinality="1000000")
input(type="imfile" file="{log}" tag="events" ruleset="count")
ruleset(name="count") {{
  action(type="mmjsonparse" cookie="")
  set $.counted = dyn_inc("categories", $!category);
}}
"""
POLL_S = 0.1
BUSY_TICKS = 2
"""So much CPU time between two polls is work; statistics alone take less."""
STALL_LIMIT_S = 60.0
STOP_LIMIT_S = 30.0


class Counts:
    """What the statistics say: those of the last complete line of each kind."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self.parsed = 0
        self.categories: dict[str, int] = {}
        self.reports = 0

    def read_on(self) -> None:
        """Reads what was written since the last time. A line is a date, a colon and a JSON object."""
        try:
            with open(self._path, "rb") as statistics:
                statistics.seek(self._offset)
                content = statistics.read()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line[line.index(b"{") :]))

    def _take(self, statistic: dict[str, Any]) -> None:
        if statistic.get("origin") == "dynstats.bucket" and statistic["name"] == "categories":
            self.categories = statistic["values"]
            self.reports += 1
        elif statistic["name"].endswith("mmjsonparse"):
            self.parsed = statistic["processed"]


def cpu_ticks(process_id: int) -> int:
    """CPU time of a process and all its threads, in clock ticks."""
    with open(f"/proc/{process_id}/stat") as status:
        fields = status.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@contextmanager
def daemon(path: str, folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """rsyslog over one file, stopped and waited for at the end."""
    configuration = os.path.join(folder, "rsyslog.conf")
    with open(configuration, "w") as file:
        file.write(CONFIGURATION.format(folder=folder, statistics=os.path.join(folder, "statistics"), log=os.path.abspath(path)))
    process = subprocess.Popen([find_program("rsyslogd"), "-n", "-f", configuration, "-i", os.path.join(folder, "pid")])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def count(process: subprocess.Popen[bytes], counts: Counts, path: str) -> tuple[int, float]:
    """Waits until every line was counted: the number of lines, and the seconds until the daemon was last busy."""
    start_s = busy_s = time.perf_counter()
    lines = count_lines(path)
    ticks = 0
    settled = 0
    while True:
        time.sleep(POLL_S)
        now_s = time.perf_counter()
        if process.poll() is not None:
            raise SystemExit(f"rsyslogd ended with {process.returncode}")
        before, ticks = ticks, cpu_ticks(process.pid)
        if ticks - before >= BUSY_TICKS:
            busy_s = now_s
        counts.read_on()
        if sum(counts.categories.values()) == lines:
            return lines, busy_s - start_s
        # Lines without a category are counted nowhere: it has ended where two reports more bring nothing after the last was parsed.
        settled = settled or (counts.reports if counts.parsed == lines else 0)
        if settled and counts.reports > settled + 1:
            return lines, busy_s - start_s
        if now_s - busy_s > STALL_LIMIT_S:
            raise SystemExit(f"rsyslogd did nothing for {STALL_LIMIT_S:.0f} s; {counts.parsed} of {lines} lines parsed")


def main() -> None:
    """Reads one file."""
    options = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = Counts(os.path.join(folder, "statistics"))
        with daemon(options.file, folder) as process:
            lines, work_s = count(process, counts, options.file)
    print_result(lines, [(name, each, None) for name, each in counts.categories.items()], work_s=work_s)


if __name__ == "__main__":
    main()
