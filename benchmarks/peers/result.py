"""What every peer is called with and what it prints.

Owns: the one argument and the one line, and how many lines a file has, for who has to wait for a daemon. Never: anything but the standard library, for a peer's interpreter may have no more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

__all__ = ["arguments", "count_lines", "print_result"]

BLOCK_BYTES = 1 << 20


def arguments(documentation: str | None) -> argparse.ArgumentParser:
    """A parser that knows FILE; a peer adds its options."""
    parser = argparse.ArgumentParser(description=(documentation or "").partition("\n")[0])
    parser.add_argument("file")
    return parser


def count_lines(path: str) -> int:
    """How many lines there are."""
    lines = 0
    with open(path, "rb", buffering=0) as log:
        while content := log.read(BLOCK_BYTES):
            lines += content.count(b"\n")
    return lines


def print_result(records: int, categories: Iterable[tuple[str, int, float | None]], *, work_s: float | None = None) -> None:
    """Prints the line; `categories` are (name, count, sum), `work_s` the seconds of the work where a peer's start is slow."""
    rows = sorted(categories)
    by_name = {name: {"count": count, "sum": total} for name, count, total in rows}
    line: dict[str, object] = {"records": records, "accepted": sum(count for _, count, _ in rows), "categories": by_name}
    if work_s is not None:
        line["work_s"] = round(work_s, 3)
    print(json.dumps(line, ensure_ascii=False), flush=True)
