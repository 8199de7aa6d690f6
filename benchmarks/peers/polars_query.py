"""Polars, one lazy query with two threads. `python -m benchmarks.peers.polars_query FILE`.

The in-memory engine was faster than the streaming one here, in time and in CPU, at a million and at three million records. The schema spares the
sniffing of types, and what it does not name is not decoded. The number of records travels along as a constant column: a second scan for it
cost more.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = "2"  # read once, when the library is imported

import polars as pl

from benchmarks.peers.result import arguments, print_result

SCHEMA = {"id": pl.String, "category": pl.String, "value": pl.Float64}


def main() -> None:
    """Reads one file."""
    options = arguments(__doc__).parse_args()
    events = pl.scan_ndjson(options.file, schema=SCHEMA).with_columns(pl.len().alias("records"))
    firsts = events.unique(subset="id", keep="first")
    totals = firsts.group_by("category").agg(pl.len().alias("count"), pl.col("value").sum(), pl.col("records").first())
    rows = totals.collect(engine="in-memory").rows()
    print_result(max((row[3] for row in rows), default=0), [(name, count, total) for name, count, total, _ in rows])


if __name__ == "__main__":
    main()
