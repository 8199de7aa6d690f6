"""The batch run from nothing to rows: `python batch.py` makes the file, loads it, makes the views, prints figures and checks them.

Owns: the order of the steps. Each step is a program that can also be called by hand (HOWTO.md).
Always: a second run changes no row. It ends with the code of the first step that failed.
Never: writes a table. Only event-processor does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import IO, Final

from background import HERE, WORK
from check import BATCH, opened
from ml_service import PORT, running

CSV: Final = HERE / "data" / "transactions.csv"
LOG: Final = WORK / "batch.log"
FIGURES: Final = (
    "SELECT category, transactions, amount_total FROM figures_by_category WHERE processing_type = '{}' ORDER BY category"
)
WITHOUT: Final = "SELECT COUNT(*) FROM transactions_without_prediction WHERE processing_type = '{}'"


class StepError(Exception):
    """A step failed, and has said why. `code`: its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


def environment() -> dict[str, str]:
    """The environment of a step: Python finds the example's modules."""
    folders = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": folders}


def call(*command: str, log: IO[str] | None = None) -> None:
    """Runs a step here. Its stderr goes to `log`, and is shown if the step fails. Raises `StepError`."""
    sys.stdout.flush()
    finished = subprocess.run(
        [sys.executable, *command],
        cwd=HERE,
        env=environment(),
        check=False,
        text=True,
        stderr=None if log is None else subprocess.PIPE,
    )
    if log is not None:
        log.write(finished.stderr)
        # Lines of the log are JSON; the others are for people.
        for line in finished.stderr.splitlines():
            if not line.startswith("{"):
                print(line)
    if finished.returncode:
        raise StepError(finished.returncode)


def print_figures(database: str, processing_type: str) -> None:
    """Prints what one pipeline wrote into the tables, by category."""
    with opened(database) as connection:
        cursor = connection.cursor()
        cursor.execute(FIGURES.format(processing_type))
        rows = cursor.fetchall()
        cursor.execute(WITHOUT.format(processing_type))
        ((without,),) = cursor.fetchall()
    print(f"\n{'category':<20}{'transactions':>12}{'amount':>16}")
    for category, transactions, amount in rows:
        print(f"{category:<20}{transactions:>12,}{amount:>16,.2f}")
    print(f"{'without prediction':<20}{without:>12,}\n")


def load(database: str, api: str, port: int) -> None:
    """Loads the file, makes the views, prints the figures, and checks. Raises `StepError`."""
    if not CSV.exists():
        call("generate.py")
    settings = [word for name in ("event-processor", "batch", database) for word in ("--config", f"{name}.toml")]
    WORK.mkdir(exist_ok=True)
    with LOG.open("a", encoding="utf-8") as log, nullcontext(api) if api else running(port) as address:
        program = ("-m", "event_processor", *settings, "--set", f"services.ml.base_url={address}")
        call(*program, "run", "--once", log=log)
        call(*program, "verify", log=log)
    call("views.py", "--database", database)
    print_figures(database, BATCH)
    call("check.py", "--csv", str(CSV), "--database", database)


def main() -> int:
    """Runs every step; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite", help="default: %(default)s")
    parser.add_argument("--api", default="", help="the address of a prediction service that runs")
    parser.add_argument("--api-port", type=int, default=PORT, help="of one on this machine; 0: a free one; default: %(default)s")
    arguments = parser.parse_args()
    began = time.monotonic()
    try:
        load(arguments.database, arguments.api, arguments.api_port)
    except StepError as error:
        print(f"batch: failed; its log is {LOG}")
        return error.code
    print(f"batch: done in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
