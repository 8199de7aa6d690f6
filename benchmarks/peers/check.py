"""Compares every peer that can run here with a plain model of the work: `python -m benchmarks.peers.check FILE [NAME…]`.

A small file is enough. Prints a line a peer, and ends with 1 where one of them is wrong. A peer that keeps any record of an id is held to what
must be so whichever it keeps: the number of ids, and bounds for each category and for the sum of all.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers import PEERS, ROOT, Peer
from benchmarks.peers.result import arguments

TIME_LIMIT_S = 600.0
TOLERANCE = 1e-9
"""Of a sum in floating point, as a share of it."""


@dataclass
class Model:
    """Every record of a log by its id, in the log's order: (category, value)."""

    records: int = 0
    by_id: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, path: str) -> Model:
        """Reads a log of well-formed events."""
        model = cls()
        with open(path, encoding="utf-8") as log:
            for line in log:
                event = json.loads(line)
                model.records += 1
                model.by_id.setdefault(event["id"], []).append((event["category"], event["value"]))
        return model

    def totals(self, *, everything: bool) -> dict[str, tuple[int, float]]:
        """Count and correctly rounded sum by category: of the first record of each id, or of all."""
        values: dict[str, list[float]] = {}
        for records in self.by_id.values():
            for category, value in records if everything else records[:1]:
                values.setdefault(category, []).append(value)
        return {category: (len(each), math.fsum(each)) for category, each in values.items()}


def faults(peer: Peer, said: dict[str, Any], model: Model) -> Iterator[str]:
    """What is wrong with a peer's result, in words."""
    accepted = model.records if peer.keeps == "all" else len(model.by_id)
    if (said["records"], said["accepted"]) != (model.records, accepted):
        yield f"records and accepted are {said['records']} and {said['accepted']}, not {model.records} and {accepted}"
    found = {name: (each["count"], each["sum"]) for name, each in said["categories"].items()}
    if peer.keeps == "any":
        yield from faults_of_any(found, model)
        return
    expected = model.totals(everything=peer.keeps == "all")
    for name in sorted(found.keys() | expected.keys()):
        count, total = found.get(name, (0, 0.0))
        expected_count, expected_total = expected.get(name, (0, 0.0))
        close = total is None or math.isclose(total, expected_total, rel_tol=TOLERANCE)
        if count != expected_count or not close:
            yield f"{name}: {count} and {total}, not {expected_count} and {expected_total}"


def faults_of_any(found: dict[str, tuple[int, float | None]], model: Model) -> Iterator[str]:
    """What no choice of records explains."""
    possible: Counter[str] = Counter()
    sure: Counter[str] = Counter()
    for records in model.by_id.values():
        names = {category for category, _ in records}
        possible.update(names)
        sure.update(names if len(names) == 1 else ())
    for name in sorted(found.keys() | sure.keys()):
        count = found.get(name, (0, 0.0))[0]
        if not sure[name] <= count <= possible[name]:
            yield f"{name}: {count}, not {sure[name]} to {possible[name]}"
    if any(each is None for _, each in found.values()):
        return
    least = math.fsum(min(value for _, value in records) for records in model.by_id.values())
    most = math.fsum(max(value for _, value in records) for records in model.by_id.values())
    total = math.fsum(each for _, each in found.values() if each is not None)
    slack = TOLERANCE * max(abs(least), abs(most))
    if not least - slack <= total <= most + slack:
        yield f"the sum of all is {total}, not {least} to {most}"


def run(peer: Peer, path: str) -> tuple[dict[str, Any], float]:
    """Runs a peer: what it says and the seconds it took. Raises `subprocess.SubprocessError` where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start_s = time.perf_counter()
    ran = subprocess.run(peer.command(path), capture_output=True, text=True, env=environment, timeout=TIME_LIMIT_S, check=True)
    said: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return said, time.perf_counter() - start_s


def verdict(peer: Peer, path: str, model: Model) -> tuple[bool, str]:
    """Whether a peer is right or cannot run here, and what to say of it."""
    absent = peer.missing()
    if absent:
        return True, f"left out: {absent}"
    if peer.records_max and model.records > peer.records_max:
        return True, f"left out: more than {peer.records_max} records"
    try:
        said, wall_s = run(peer, path)
    except subprocess.CalledProcessError as error:
        return False, f"ended with {error.returncode}: {str(error.stderr).strip()[-500:]}"
    except subprocess.TimeoutExpired:
        return False, f"took more than {TIME_LIMIT_S:.0f} s"
    wrong = list(faults(peer, said, model))
    work = f", {said['work_s']} s of it work" if "work_s" in said else ""
    return not wrong, "; ".join(wrong[:3]) or f"as the model has it, {wall_s:.2f} s{work}"


def main(called: Sequence[str] | None = None) -> int:
    """Checks them all, or those that are named."""
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="of the peers, all where none is given")
    options = parser.parse_args(called)
    path = os.path.abspath(options.file)
    model = Model.of(path)
    right = True
    for peer in PEERS:
        if not options.names or peer.name in options.names:
            good, words = verdict(peer, path, model)
            right &= good
            print(f"{'ok   ' if good else 'WRONG'}  {peer.name}: {words}", flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
