"""Makes the indexes and views of sql/views.sql: `python views.py`.

Owns: how the file's statements are run.
Always: all of them, or none. It may run any number of times, also while rows are written.
Never: changes a row.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from check import opened

STATEMENTS: Final = Path(__file__).resolve().parent / "sql" / "views.sql"


def main() -> None:
    """Runs the statements in one transaction."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite", help="default: %(default)s")
    database: str = parser.parse_args().database
    with opened(database) as connection:
        cursor = connection.cursor()
        # psycopg begins a transaction by itself; sqlite3 does not before such statements. So no reader finds a view missing.
        if database == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, STATEMENTS.read_text(encoding="utf-8").split(";\n")):
            cursor.execute(statement)
        connection.commit()


if __name__ == "__main__":
    main()
