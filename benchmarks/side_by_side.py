"""The daemon beside what a user would pick instead, on the same files, in turns: what one more event costs each.

Always: each one's answer is compared with the generator's own account before its time counts. A row says what it promises, for most of them
promise less: nothing on disk, no duplicates found, sums that depend on the order of additions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.generate import LogShape, category_totals
from benchmarks.measure import Contestant, MeasurementError, Slope, Usage, run, slopes
from benchmarks.peers import PEERS, Kept, Peer
from benchmarks.progress import Progress
from benchmarks.results import Json
from benchmarks.subjects import Logs, daemon, decode_only, knows_key
from benchmarks.whole import WORKERS

__all__ = ["OURS", "YARDSTICK", "check_answer", "measure_side_by_side"]

OURS: Final = "event-processor"
OURS_TWO: Final = "event-processor, two workers"
YARDSTICK: Final = "msgspec decodes, and nothing else"
SHAPE: Final = LogShape()
RELATIVE_TOLERANCE: Final = 1e-9


def check_answer(answer: Json, records: int, totals: Mapping[str, tuple[int, float]], keeps: Kept) -> None:
    """Raises `MeasurementError` where an answer is not that of the first `records` records, of which `totals` are the accepted ones.

    Where any record of an id may count, or all do, the categories differ from run to run or by right, and only the numbers are compared.
    """
    accepted = records if keeps == "all" else sum(count for count, _ in totals.values())
    if (answer["records"], answer["accepted"]) != (records, accepted):
        raise MeasurementError(
            f"answered {answer['records']} records, {answer['accepted']} accepted; expected {records}, {accepted}"
        )
    if keeps != "first":
        return
    for name, (count, total) in totals.items():
        found = answer["categories"].get(name, {"count": 0, "sum": 0.0})
        if found["count"] != count or not math.isclose(found["sum"], total, rel_tol=RELATIVE_TOLERANCE):
            raise MeasurementError(f"answered {found} for {name}; expected {count}, {total}")


def measure_side_by_side(folder: Path, sizes: tuple[int, int], turns: int, progress: Progress) -> Json:
    """Every program that can run here: the results, by name."""
    logs = Logs(folder)
    able = [peer for peer in PEERS if not peer.missing()]
    contestants = [decode_only(YARDSTICK, logs, SHAPE, sizes), daemon(OURS, logs, SHAPE, sizes)]
    if knows_key(folder / "probe", WORKERS.format(2)):
        contestants.append(daemon(OURS_TWO, logs, SHAPE, sizes, WORKERS.format(2)))
    contestants += [_contestant(peer, logs, sizes) for peer in able]
    found, failures = slopes(contestants, turns, progress)
    ours = {"describes": "the daemon, `run --once`, defaults", "durable": True, "dedup": True, "exact": True, "note": ""}
    nothing = {"describes": "the yardstick", "durable": False, "dedup": False, "exact": False, "note": "no totals"}
    results: dict[str, Json] = {}
    for name in (OURS, OURS_TWO, YARDSTICK):
        if name in found or name in failures:
            results[name] = {**(nothing if name == YARDSTICK else ours), **_told(name, found, failures)}
    for peer in PEERS:
        promises = peer.promises
        results[peer.name] = {
            "describes": peer.describes,
            "durable": promises.durable,
            "dedup": promises.dedup,
            "exact": promises.exact,
            "note": promises.note,
            **({"missing": peer.missing()} if peer not in able else _told(peer.name, found, failures)),
        }
    return results


def _told(name: str, found: Mapping[str, Slope], failures: Mapping[str, str]) -> Json:
    """The figures of one, and how many times ours it takes, where both ran at the same sizes or not."""
    if name not in found:
        return {"failed": failures[name]}
    told = found[name].to_json()
    if OURS in found:
        told["times_ours"] = round(found[name].ratio(found[OURS]), 2)
    if YARDSTICK in found:
        told["times_decode_only"] = round(found[name].ratio(found[YARDSTICK]), 2)
    return told


@cache
def _totals(records: int) -> Mapping[str, tuple[int, float]]:
    return category_totals(SHAPE, records)


def _contestant(peer: Peer, logs: Logs, sizes: tuple[int, int]) -> Contestant:
    """One of them, over a shorter log where it is too slow for the whole."""
    large = min(sizes[1], peer.records_max or sizes[1])

    def run_once(records: int) -> Usage:
        usage, said = run(peer.command(str(logs.log(SHAPE, records))))
        try:
            answer: Json = json.loads(next(line for line in reversed(said.splitlines()) if line.startswith('{"')))
        except (StopIteration, json.JSONDecodeError):
            raise MeasurementError(f"no answer: {said[-500:]}") from None
        check_answer(answer, records, _totals(records), peer.keeps)
        return usage

    return Contestant(peer.name, (large * sizes[0] // sizes[1], large), run_once)
