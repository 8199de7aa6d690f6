"""Makes the records of the live stream: `python stream.py` writes each row of the CSV as a line of JSON to work/transactions.jsonl.

Owns: what a sender of single transactions would send. `event-processor produce` sends it.
Always: line n of the result is row n of the file, good or bad. Numbers keep their digits: -952,40 becomes -952.40.
Never: repairs a row. A cell that is no number stays a text, and a line that has not seven cells stays as it is.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
FIELDS: Final = ("id", "description", "amount", "timestamp", "merchant", "operation_type", "side")
INTEGER: Final = re.compile(r"-?(0|[1-9]\d*)")
NUMBER: Final = re.compile(r"-?(0|[1-9]\d*)(,\d+)?")


def records(lines: Iterator[str]) -> Iterator[str]:
    """Each line of the file after its header, as a record without a line end."""
    next(lines, None)
    for line in lines:
        yield record(line.rstrip("\r\n"))


def record(line: str) -> str:
    """One row as a JSON object. What is no row stays as it is."""
    try:
        ((number, description, amount, *others),) = csv.reader([line], delimiter=";", strict=True)
        cells = [
            number if INTEGER.fullmatch(number) else json.dumps(number),
            json.dumps(description, ensure_ascii=False),
            # The digits of the file: a double would lose the zero of 952,40.
            amount.replace(",", ".") if NUMBER.fullmatch(amount) else json.dumps(amount or None),
            *(json.dumps(cell, ensure_ascii=False) for cell in others),
        ]
        pairs = [f'"{name}": {cell}' for name, cell in zip(FIELDS, cells, strict=True)]
    except (ValueError, csv.Error):
        return line
    return "{" + ", ".join(pairs) + "}"


def written(source: Path, target: Path) -> int:
    """Writes a file of records that appears whole. How many. Raises `OSError`."""
    unfinished = target.with_name(f".{target.name}.unfinished")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(encoding="utf-8", newline="\n") as lines, unfinished.open("w", encoding="utf-8", newline="") as file:
        count = sum(1 for each in records(lines) if file.write(f"{each}\n"))
    unfinished.replace(target)
    return count


def main() -> None:
    """Writes the file, and prints what is in it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--csv", type=Path, default=HERE / "data" / "transactions.csv", help="default: %(default)s")
    parser.add_argument("--output", type=Path, default=HERE / "work" / "transactions.jsonl", help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        count = written(arguments.csv, arguments.output)
    except OSError as error:
        raise SystemExit(f"{error.filename}: {error.strerror}; make the CSV: python generate.py") from error
    print(json.dumps({"file": str(arguments.output), "records": count}))


if __name__ == "__main__":
    main()
