"""Everything that a command shows: results on standard output; notes, questions and progress on standard error.

Owns: lines, JSON, tables (drawn on a terminal, otherwise plain and aligned), the progress bar (only on a terminal), and the
question before a state is changed.
Always: a written line has left the process, or the error was raised. A reader that left (`| head`) is not an error. A cell of a
table is one line, whatever a category, a path or a reason holds, and none of its bytes can control the terminal.
Never: no other file writes to standard output. A missing answer never counts as yes.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

import typer

from event_processor.model.errors import StorageError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from event_processor.engine.state import Counts
    from event_processor.operations.processing import PhasedProgress

__all__ = [
    "ReaderGoneError",
    "confirm",
    "counted",
    "drop_unwritten",
    "foreign_notes",
    "is_coloured",
    "one_line",
    "progress_bar",
    "require_answerable",
    "shown_name",
    "table_of",
    "write_facts",
    "write_json",
    "write_lines",
    "write_notes",
    "write_table",
]


def require_answerable(*, yes: bool) -> None:
    """Raises `UsageError` if `confirm` could get no answer. Call it before long work, so that the work is not wasted."""
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise UsageError("this changes the state and asks first, but there is no terminal", hint="use --yes to confirm")


def confirm(question: str, *, yes: bool) -> None:
    """Asks on the terminal, unless `yes`. Raises `UsageError` if the answer is no."""
    require_answerable(yes=yes)
    if not yes and not typer.confirm(question, err=True):
        raise UsageError("not done: the answer was no", hint="nothing was changed")


@contextmanager
def progress_bar(words: str) -> Iterator[PhasedProgress]:
    """Yields a callback `(bytes_done, bytes_total, phase)`; the total is 0 if unknown. The bar disappears at the end.

    A phase, if given, takes the place of `words`.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda _done_bytes, _size_bytes, _phase="": None
        return
    # Imported only if it is drawn: a service starts faster without it.
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
        yield lambda done_bytes, size_bytes, phase="": bar.update(
            task, completed=done_bytes, total=size_bytes or None, description=phase or words
        )


STANDARD_OUTPUT: Final = "standard output"


class ReaderGoneError(Exception):
    """The reader of our output closed it. No more output is possible."""


def write_json(value: Mapping[str, object]) -> None:
    """Writes `value` as one JSON document, indented, with keys in their order. Raises like `write_lines`."""
    write_lines([json.dumps(value, indent=2, ensure_ascii=False)])


def write_lines(lines: Iterable[str]) -> None:
    """Writes each line. What cannot be encoded (a byte of a file name that is not UTF-8) is escaped.

    Raises `StorageError` if the output cannot be written, `ReaderGoneError` if the reader closed it.
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
    """Writes notes to standard error. A note that cannot be written is lost: the result and the exit code show the same."""
    try:
        for line in lines:
            sys.stderr.write(f"{line}\n".encode(errors="backslashreplace").decode())
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # no stderr, a closed one, a full disk
        return


def drop_unwritten() -> None:
    """Discards what standard output and standard error could not take. This was reported already, or cannot be reported.

    Otherwise the interpreter would try to write it again at its end, and would exit with 120.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # closed already, so nothing is left in it
            continue


def _unwritable(number: int, reason: str) -> StorageError:
    return StorageError(
        "write",
        STANDARD_OUTPUT,
        number,
        reason,
        hint="the result is incomplete: repeat the command with an output that has room",
    )


def one_line(value: object) -> str:
    """`value` as a cell shows it: whole numbers in groups of three digits, None as nothing, unprintable characters escaped."""
    if value is None:
        return ""
    text = f"{value:,}" if type(value) is int else str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def shown_name(value: object) -> str:
    """An id, or the name of a group, as it can be typed again: an integer without separators, several fields as JSON."""
    return (
        json.dumps(value, ensure_ascii=False)
        if isinstance(value, tuple | list | dict | bool)
        else ""
        if value is None
        else str(value)
    )


def is_coloured(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Whether text to this stream may have colours: only on a terminal, and not with $NO_COLOR or on a dumb one."""
    if stream is None or environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    try:
        return stream.isatty()
    except (OSError, ValueError):  # a closed one
        return False


def counted(count: int, noun: str) -> str:
    """A count and its noun: "1 record", "2 records"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def foreign_notes(counts: Counts) -> Iterator[str]:
    """The line about records of other shards, if there are any."""
    if counts.of_other_shards:
        yield f"{counts.of_other_shards} more were read: they belong to other shards (foreign)"


def write_facts(facts: Mapping[str, object]) -> None:
    """Writes one fact a line: its name and its value."""
    width = max(map(len, facts), default=0)
    write_lines(f"{name:<{width}}  {one_line(value)}" for name, value in facts.items())


def write_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Writes the rows below the names of their columns. Columns of numbers are aligned to the right."""
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
    """The table in the form that rich draws."""
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
    """Whether every cell of the column is a number or empty, and at least one is a number."""
    cells = [row[index] for row in rows if row[index] is not None]
    return bool(cells) and all(isinstance(cell, int | float) for cell in cells)
