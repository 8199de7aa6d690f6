"""Results on standard output, the one place that writes there, and notes beside them on standard error.

Always: what was written has left the process, or the failure was raised; a reader that left (`| head`) is no failure of ours.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from event_processor.model.errors import StorageError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from event_processor.operations.log_reader import Progress as Told

__all__ = [
    "ReaderGoneError",
    "confirm",
    "counted",
    "drop_unwritten",
    "one_line",
    "progress_bar",
    "require_answerable",
    "table_of",
    "write_facts",
    "write_json",
    "write_lines",
    "write_notes",
    "write_table",
]


def require_answerable(*, yes: bool) -> None:
    """Raises `UsageError` where `confirm` could not be answered, so that long work before it is not done in vain."""
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise UsageError(
            "this changes the state and asks first, and there is no terminal to ask on", hint="say --yes to answer it now"
        )


def confirm(question: str, *, yes: bool) -> None:
    """Asks on the terminal, unless `yes`. Raises `UsageError` where the answer is no."""
    require_answerable(yes=yes)
    if not yes and not typer.confirm(question, err=True):
        raise UsageError("not done: the answer was no", hint="nothing was changed")


@contextmanager
def progress_bar(words: str) -> Iterator[Told]:
    """Something to tell the bytes to that are done, of how many (0: nobody knows); the bar is gone at the end."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _done_bytes, _size_bytes: None
        return
    # Loaded only where it is drawn: a service starts sooner without it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done_bytes, size_bytes: bar.update(task, completed=done_bytes, total=size_bytes or None)


STANDARD_OUTPUT: Final = "standard output"


class ReaderGoneError(Exception):
    """Whoever read our output closed it; there is nobody to tell anything more."""


def write_json(value: Mapping[str, object]) -> None:
    """`value` as one JSON document, indented; the keys keep their order. Raises as `write_lines` does."""
    write_lines([json.dumps(value, indent=2, ensure_ascii=False)])


def write_lines(lines: Iterable[str]) -> None:
    """Each line, and what could not be encoded (a byte of a file name that is not UTF-8) escaped.

    Raises `StorageError` where the output cannot be written, `ReaderGoneError` where nobody reads it.
    """
    if sys.stdout is None:
        raise _unwritable(errno.EBADF, "it is closed")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        for line in lines:
            sys.stdout.write(f"{line}\n".encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise _unwritable(error.errno or 0, error.strerror or str(error)) from error


def write_notes(lines: Iterable[str]) -> None:
    """Lines beside the result, on standard error. What it does not take is lost: the result and the exit code say the same."""
    try:
        for line in lines:
            sys.stderr.write(f"{line}\n".encode(errors="backslashreplace").decode())
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # no stderr, a closed one, a full disk
        return


def drop_unwritten() -> None:
    """Lets go of what standard output and standard error could not take: it was reported, or there is nowhere to report it.

    The interpreter would try again at its end, and exit with 120 whatever became of the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # closed already: nothing is left in it
            continue


def _unwritable(number: int, reason: str) -> StorageError:
    return StorageError(
        "write", STANDARD_OUTPUT, number, reason, hint="the result is incomplete: send it somewhere with room, again"
    )


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
        # Loaded only if it is drawn: `version` and `--help` start sooner without it.
        from rich.console import Console  # noqa: PLC0415

        console = Console()
        with console.capture() as capture:
            console.print(table_of(columns, rows))
        write_lines(capture.get().splitlines())
    else:
        write_lines(_plain(columns, rows))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """The same as a thing that rich draws."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

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
