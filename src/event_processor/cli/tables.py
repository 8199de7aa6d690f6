"""Rows and facts for people: drawn on a terminal, plain and aligned elsewhere.

Always: whatever a category, a path or a reason holds, a cell is one line, and no byte of it reaches the terminal as a command.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from event_processor.cli.output import write_lines

__all__ = ["counted", "one_line", "table_of", "write_facts", "write_table"]


def one_line(value: object) -> str:
    """`value` as a cell shows it: whole numbers in groups of three, nothing for None, what is not printable escaped."""
    if value is None:
        return ""
    text = f"{value:,}" if type(value) is int else str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def counted(count: int, noun: str) -> str:
    """How many of what: "1 record", "2 records"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def write_facts(facts: Mapping[str, object]) -> None:
    """One fact a line: its name, and what it is."""
    width = max(map(len, facts), default=0)
    write_lines(f"{name:<{width}}  {one_line(value)}" for name, value in facts.items())


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The rows below their columns' names; columns of numbers are aligned to the right."""
    if sys.stdout is not None and sys.stdout.isatty():
        console = Console()
        with console.capture() as capture:
            console.print(table_of(columns, rows))
        write_lines(capture.get().splitlines())
    else:
        write_lines(_plain(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """The same as a thing that rich draws."""
    table = Table()
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if _is_numeric(rows, index) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table


def _plain(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [list(columns), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    right = [_is_numeric(rows, index) for index in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]


def _is_numeric(rows: Sequence[Sequence[object]], index: int) -> bool:
    """Whether every cell of the column is a number or empty, and some cell is one."""
    cells = [row[index] for row in rows if row[index] is not None]
    return bool(cells) and all(isinstance(cell, int | float) for cell in cells)
