"""DuckDB, one query in memory with two threads. `python -m benchmarks.peers.duckdb_query FILE [--first]`.

Without an order, `distinct on` keeps whichever record of an id comes first to a thread: fast, and from run to run another result where
duplicates differ from their first. `--first` numbers the rows as they are read, which makes the reading one thread's, and takes the values
of the least number by arg_min; row_number() in a window, a join with the least numbers and distinct on with an order were slower.
Explicit columns spare the sniffing of types, and what is not named is not decoded. That the rows are counted too costs nothing measurable.
"""

from __future__ import annotations

import duckdb

from benchmarks.peers.result import arguments, print_result

EVENTS = "read_ndjson($path, columns = {id: 'VARCHAR', category: 'VARCHAR', value: 'DOUBLE'})"
ANY = f"""
    with events as materialized (from {EVENTS})
    select category, count(*), sum(value), any_value(records)
    from (select distinct on (id) id, category, value from events), (select count(*) as records from events)
    group by category
"""
FIRST = f"""
    with firsts as (
        select arg_min(category, number) as category, arg_min(value, number) as value, count(*) as records
        from (select *, row_number() over () as number from {EVENTS})
        group by id
    )
    select category, count(*), sum(value), sum(records) from firsts group by category
"""


def main() -> None:
    """Reads one file."""
    parser = arguments(__doc__)
    parser.add_argument("--first", action="store_true", help="of the records of an id the first counts")
    options = parser.parse_args()
    with duckdb.connect(":memory:") as connection:
        connection.execute("PRAGMA threads=2")
        rows = connection.execute(FIRST if options.first else ANY, {"path": options.file}).fetchall()
    # `any_value` says the same of every category; `sum` has to be added up.
    records = sum(row[3] for row in rows) if options.first else max((row[3] for row in rows), default=0)
    print_result(int(records), [(name, count, total) for name, count, total, _ in rows])


if __name__ == "__main__":
    main()
