"""The controller: assigns files to workers through the topic "files", and shows how far each is.

Owns: which file is written to which partition, and the table.
Always: it keeps nothing. What it knows is in the topics, so it may end at any time: workers go on, and `assign` of the same files shows the rest.
Never: starts or stops a process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from clients import ProgressReader, ProgressWriter
from rich.live import Live
from stages import ASSIGNED, DONE, FILES_PARTITIONS, INCOMPLETE, Report

__all__ = ["assign", "columns", "known", "table"]

SILENCE_S: Final = 30.0
STRIDE: Final = 5
"""A worker has neighbouring partitions. So neighbouring files go to partitions that are far apart, and in the end to all of them."""
COLUMNS: Final = ("file", "state", "worker", "records", "rejected", "")


def assign(files: Sequence[str]) -> int:
    """Assigns files, and shows their progress until nothing more happens to them.

    0 if all are done; 66 if one is incomplete; 65 if a reader failed.
    """
    paths = list(dict.fromkeys(os.path.abspath(file) for file in files))
    reports = {path: Report(path, ASSIGNED) for path in paths}
    reader, writer = ProgressReader(from_now=True), ProgressWriter()
    for report in reports.values():
        writer.report(report)
    writer.flush()
    for number, path in enumerate(paths):
        writer.assign(path, number * STRIDE % FILES_PARTITIONS)
    writer.flush()
    with _screen() as live:
        while not all(report.is_last for report in reports.values()):
            _show_next(reader, reports, live)
    reader.close()
    states = {report.state for report in reports.values()}
    return 0 if states == {DONE} else 66 if states <= {DONE, INCOMPLETE} else 65


def _screen() -> AbstractContextManager[Live | None]:
    """A table that changes, on a terminal."""
    return Live(auto_refresh=False) if sys.stdout.isatty() else nullcontext()


def _show_next(reader: ProgressReader, reports: dict[str, Report], live: Live | None) -> None:
    """Waits for the next report of these files. In a pipe, each is a line."""
    is_silent = True
    for report in reader.next(SILENCE_S):
        is_silent = False
        if report.file in reports and report.state != ASSIGNED:
            reports[report.file] = report
            if live is None:
                print(report, flush=True)
    if is_silent:
        print(f"no report for {SILENCE_S:.0f} s: 'python topics.py status' shows which processes run", flush=True)
    if live is not None:
        live.update("\n".join(table(reports.values())), refresh=True)


def known() -> Mapping[str, Report]:
    """The last report of each file that was ever assigned, by name."""
    reader = ProgressReader(from_now=False)
    found = {report.file: report for report in reader.existing()}
    reader.close()
    return dict(sorted(found.items()))


def table(reports: Iterable[Report]) -> list[str]:
    """The lines of a table, with its header."""
    rows = [(each.name, each.state, each.worker, f"{each.records}", f"{each.rejected}", each.words) for each in reports]
    return columns([COLUMNS, *rows])


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines; every column as wide as its widest cell, except the last."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)][:-1]
    return ["  ".join([*map(str.ljust, row[:-1], widths), row[-1]]).rstrip() for row in rows]
