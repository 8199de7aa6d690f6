"""Results on standard output, the one place that writes there, and notes beside them on standard error.

Always: what was written has left the process, or the failure was raised; a reader that left (`| head`) is no failure of ours.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from event_processor.errors import StorageError

__all__ = ["ReaderGoneError", "drop_unwritten", "write_json", "write_lines", "write_notes"]

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
