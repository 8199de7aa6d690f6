"""An object as a source, beside bare ranged reads.

Owns: the contestants, the objects that they read, and the server.
Always: the same records in one object, read to its end. Bare ranged reads that decode with msgspec; the source alone, decoded the same way; and
the daemon, which also finds duplicates, keeps totals and commits. A run counts only if every record was read.
Never: measures the server: it is the same for all, and shares the processors with them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.generate import LogShape
from benchmarks.kafka import shares_of
from benchmarks.measure import ROOT, Contestant, MeasurementError, Usage, run, slopes
from benchmarks.peers.s3_loop import ACCESS_KEY, SECRET
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import PROGRAM, Logs, committed_state

__all__ = ["Objects", "measure_s3", "reading", "s3_server"]

LOOP: Final = ROOT / "benchmarks" / "peers" / "s3_loop.py"
SHAPE: Final = LogShape(duplicate_share=0.0)
BARE, ALONE, TOTALS = "bare ranged reads that decode", "the source alone, decoded", "event-processor, totals only"
BESIDE: Final[Mapping[str, str]] = {ALONE: BARE, TOTALS: BARE}
"""What each contestant is compared with."""
CONFIGURATION: Final = """\
[sources.events]
type = "s3"
url = "{url}"
endpoint = "{endpoint}"
access_key_id = "{user}"
secret_access_key_file = "secret"
[order]
buffer_events = 0
"""


@dataclass
class Objects:
    """An object of the records of a log, made when it is first asked for. `server`: of the tests."""

    server: Any
    logs: Logs
    bucket: str = ""
    _made: dict[int, str] = field(default_factory=dict)

    def of(self, records: int) -> str:
        """The key of an object with so many records."""
        if records not in self._made:
            self.bucket = self.bucket or self.server.new_bucket()
            key = f"events-{records}.jsonl"
            self.server.put(self.bucket, key, self.logs.log(SHAPE, records).read_bytes())
            self._made[records] = key
        return self._made[records]


@contextmanager
def s3_server() -> Iterator[Any]:
    """A server of our own, as the tests start it. Raises `MeasurementError` if there is none."""
    sys.path.append(str(ROOT / "tests"))
    from support.s3_server import s3_of_tests  # noqa: PLC0415 - the extra may be missing

    try:
        with s3_of_tests() as server:
            yield server
    except AssertionError as error:
        raise MeasurementError(str(error)) from error


def measure_s3(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """All contestants, in turns."""
    try:
        with s3_server() as server:
            objects = Objects(server, Logs(folder))
            for records in sizes:
                objects.of(records)
            contestants = [Contestant(name, sizes, partial(once, objects)) for name, once in reading().items()]
            found, failures = slopes(contestants, turns, progress)
    except (MeasurementError, ImportError) as error:
        return {TOTALS: {"failed": str(error)}}
    rows = {name: each.to_json() | shares_of(name, found, BESIDE) for name, each in found.items()}
    return {**rows, **{name: {"failed": why} for name, why in failures.items()}}


def reading() -> Mapping[str, Callable[[Objects, int], Usage]]:
    """Each reads an object of so many records, and is checked."""
    return {BARE: _bare, ALONE: _alone, TOTALS: _totals}


def _bare(objects: Objects, records: int) -> Usage:
    key = objects.of(records)
    return _counted([str(LOOP), objects.server.address, objects.bucket, key], records)


def _alone(objects: Objects, records: int) -> Usage:
    key = objects.of(records)
    url = f"s3://{objects.bucket}/{key}"
    return _counted(["-m", "benchmarks.object_only", objects.server.address, url, str(records)], records)


def _counted(arguments: list[str], records: int) -> Usage:
    usage, said = run([sys.executable, *arguments])
    if json.loads(said)["records"] != records:
        raise MeasurementError(f"read {said}, expected {records} records")
    return usage


def _totals(objects: Objects, records: int) -> Usage:
    """`run --once` without a state."""
    folder = objects.logs.folder / "daemon"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    url = f"s3://{objects.bucket}/{objects.of(records)}"
    (folder / "secret").write_text(SECRET, encoding="utf-8")
    text = CONFIGURATION.format(url=url, endpoint=objects.server.address, user=ACCESS_KEY)
    (folder / "pipeline.toml").write_text(text, encoding="utf-8")
    usage = run([*PROGRAM, "--config", os.fspath(folder / "pipeline.toml"), "run", "--once"])[0]
    counts = committed_state(folder / "state" / "checkpoint.json")["counts"]
    if (counts["records"], counts["accepted"]) != (records, records):
        raise MeasurementError(f"counted {counts}, expected {records} events")
    return usage
