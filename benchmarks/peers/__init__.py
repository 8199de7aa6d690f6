"""What a user would pick instead: other programs that do this work, or the nearest that they can, on the same log.

The work: string ids, each category's count and sum of `value`, an event counted once though its line may come twice. Run each with the
repository's root on the module path: `python -m benchmarks.peers.msgspec_loop FILE`.

Owns: `PEERS`, what there is to compare with, what each promises and whether it can run here.
Always: each runs as a process of its own and prints one JSON line, its last: `{"records", "accepted", "categories": {name: {"count", "sum"}}}`;
`sum` is null where the peer has none, and `work_s` stands beside them where the seconds of the work itself can be told from those of a slow
start. `python -m benchmarks.peers.check FILE` compares all of them with a plain model.
Never: a library of a peer is imported here. The project needs none of them; they live in an environment of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeAlias

__all__ = ["INSTALLED_WITH", "PEERS", "ROOT", "Peer", "Promises", "bench_python", "find_program"]

Kept: TypeAlias = Literal["first", "any", "all"]

ROOT: Final = Path(__file__).resolve().parents[2]
PYTHON_VARIABLE: Final = "EVENT_PROCESSOR_BENCH_PYTHON"
LIBRARIES: Final = "requirements/bench.lock"
PROBE_LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Promises:
    """What holds for a peer's result: it survives a crash; an id counts once; a sum is the rounded sum, not that of some order of additions."""

    durable: bool
    dedup: bool
    exact: bool
    note: str


@dataclass(frozen=True, slots=True)
class Peer:
    """One program to compare with.

    `module` is its script in this folder and `options` what follows the file; a peer without a script cannot run, for the reason `absent`.
    `library` is what the script imports, looked for in the peers' environment; `programs` are looked for on PATH. Of the records
    with one id it keeps the `first`, `any` or `all`. `records_max` is the largest log that ends in reasonable time, 0 for any.
    """

    name: str
    describes: str
    promises: Promises
    module: str = ""
    options: tuple[str, ...] = ()
    library: str = ""
    programs: tuple[str, ...] = ()
    keeps: Kept = "first"
    records_max: int = 0
    absent: str = ""

    def command(self, path: str) -> list[str]:
        """What to run over the log at `path`. Raises `LookupError` for a peer that cannot run anywhere."""
        if not self.module:
            raise LookupError(f"{self.name}: {self.absent}")
        interpreter = bench_python() if self.library else sys.executable
        return [interpreter, "-m", f"benchmarks.peers.{self.module}", path, *self.options]

    def missing(self) -> str:
        """Why it cannot run here and what would mend that; empty where it can."""
        if self.absent:
            return self.absent
        for program in self.programs:
            if not find_program(program):
                return f"{program} is not on PATH: {INSTALLED_WITH.get(program, 'install it')}"
        if self.library and self.library not in libraries(bench_python()):
            return f"{self.library} is not installed for {PYTHON_VARIABLE} or .venv-bench: pip install -r {LIBRARIES}"
        return ""


INSTALLED_WITH: Final = {
    "rsyslogd": "install the package rsyslog",
    "java": "install a Java 17 runtime",
    "benthos": "install Go 1.25 or later and call make bench again",
    "otelcol": "install Go 1.26 or later and call make bench again",
}
KNOWN_LIBRARIES: Final = ("duckdb", "polars", "bytewax", "pyspark")


def bench_python() -> str:
    """The interpreter that has the peers' libraries, whether or not it is there."""
    return os.environ.get(PYTHON_VARIABLE) or str(ROOT / ".venv-bench" / "bin" / "python")


def find_program(name: str) -> str:
    """Where a program is, empty where it is not: with the peers' interpreter, on PATH, or where daemons lie, which only root has on it."""
    places = os.pathsep.join([os.path.dirname(bench_python()), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=places) or ""


@cache
def libraries(interpreter: str) -> frozenset[str]:
    """Which of the peers' libraries an interpreter can import; none where there is no such interpreter."""
    probe = f"import importlib.util as u; print(*(name for name in {KNOWN_LIBRARIES!r} if u.find_spec(name)))"
    try:
        ran = subprocess.run([interpreter, "-I", "-c", probe], capture_output=True, text=True, timeout=PROBE_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(ran.stdout.split())


IN_MEMORY: Final = "in memory, gone with the process"
FLOAT_SUMS: Final = "sums in floating point, as the additions fall"

PEERS: Final[tuple[Peer, ...]] = (
    Peer(
        name="msgspec loop",
        describes="by hand: decode_lines in chunks, a set of ids, a dict of totals; one thread",
        promises=Promises(
            durable=False, dedup=True, exact=False, note=f"{IN_MEMORY}; {FLOAT_SUMS}; every id in memory; a bad line ends it"
        ),
        module="msgspec_loop",
    ),
    Peer(
        name="orjson loop",
        describes="by hand: loads line by line, a set of ids, a dict of totals; one thread",
        promises=Promises(
            durable=False, dedup=True, exact=False, note=f"{IN_MEMORY}; {FLOAT_SUMS}; every id in memory; a bad line ends it"
        ),
        module="orjson_loop",
    ),
    Peer(
        name="DuckDB, any",
        describes="one query over read_ndjson, distinct on (id), group by category; two threads",
        promises=Promises(
            durable=False,
            dedup=True,
            exact=False,
            note=f"{IN_MEMORY}; which record of an id counts differs from run to run; {FLOAT_SUMS}; a bad line ends it",
        ),
        module="duckdb_query",
        library="duckdb",
        keeps="any",
    ),
    Peer(
        name="DuckDB, first",
        describes="the same, the record of the least row number by arg_min; the reading is then one thread's",
        promises=Promises(durable=False, dedup=True, exact=False, note=f"{IN_MEMORY}; {FLOAT_SUMS}; a bad line ends it"),
        module="duckdb_query",
        options=("--first",),
        library="duckdb",
    ),
    Peer(
        name="Polars",
        describes="one lazy query: scan_ndjson, unique(id, keep first), group_by; two threads",
        promises=Promises(
            durable=False, dedup=True, exact=False, note=f"{IN_MEMORY}; {FLOAT_SUMS}; the whole log in memory; a bad line ends it"
        ),
        module="polars_query",
        library="polars",
    ),
    Peer(
        name="Bytewax",
        describes="FileSource, msgspec, a stateful step with the set of ids, one with the totals; one worker, no snapshots",
        promises=Promises(durable=False, dedup=True, exact=False, note=f"{IN_MEMORY}; {FLOAT_SUMS}; every id in memory"),
        module="bytewax_flow",
        library="bytewax",
    ),
    Peer(
        name="Bytewax, snapshots",
        describes="the same with a recovery store and a snapshot a second; the ids in 16 sets by their hash",
        promises=Promises(
            durable=True,
            dedup=True,
            exact=False,
            note=f"to the last snapshot; each writes every set of ids anew, so it grows dearer; {FLOAT_SUMS}; every id in memory",
        ),
        module="bytewax_flow",
        options=("--snapshots",),
        records_max=1_000_000,
        library="bytewax",
    ),
    Peer(
        name="rsyslog",
        describes="imfile, mmjsonparse, dyn_inc: counts only, nothing deduplicated, nothing summed",
        promises=Promises(
            durable=False,
            dedup=False,
            exact=False,
            note="the place in the file survives, the counts do not; no sums; ids are not read",
        ),
        module="rsyslog_counts",
        programs=("rsyslogd",),
        keeps="all",
    ),
    Peer(
        name="Benthos",
        describes="lines in batches of 1,000, dedupe by a memory cache, a counter a category: no sums; two threads",
        promises=Promises(
            durable=False,
            dedup=True,
            exact=False,
            note=f"{IN_MEMORY}; which record of an id counts is not said; no sums; every id in memory",
        ),
        module="benthos_flow",
        programs=("benthos",),
        keeps="any",
        records_max=1_000_000,
    ),
    Peer(
        name="Spark local[2]",
        describes="batch: read.json with a schema, dropDuplicates(id), groupBy; two cores",
        promises=Promises(
            durable=False,
            dedup=True,
            exact=False,
            note=f"{IN_MEMORY}: begun anew after a crash; which record of an id counts is not said; {FLOAT_SUMS}",
        ),
        module="spark_batch",
        library="pyspark",
        programs=("java",),
        keeps="any",
    ),
)
