"""The boundary of the process: every outcome becomes an exit code, and every error becomes a message on stderr.

Owns: the exit code of the process, and the printing of errors.
Always: a user sees a traceback only with `--log-level debug`. Each error is printed once, here.
Never: no error is handled here in any other way.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import typer
from typer.main import get_command

from event_processor.cli.command_line import PROGRAM, CommandEntry, application, arranged
from event_processor.cli.completion import CompletedCommand, answer_first_zsh_key, completed_command, is_asked
from event_processor.cli.output import ReaderGoneError, is_coloured
from event_processor.cli.permissions import permission_hint
from event_processor.model.errors import EventProcessorError, ExitCode, StorageError, UsageError

__all__ = ["INTERRUPTED_EXIT_CODE", "Call", "run", "run_application"]

INTERRUPTED_EXIT_CODE: Final = 130
"""128 plus SIGINT, like in shells: Ctrl-C ended a command. (`run` handles SIGINT itself: it commits and exits with 0.)"""
RED: Final = "\x1b[1;31m"
PLAIN: Final = "\x1b[0m"
BUG_HINT: Final = "this is a bug, please report it: repeat the command with --log-level debug, and add 'event-processor version'"


@dataclass(frozen=True, slots=True)
class Call:
    """An application, its arguments, and the command to type before --help."""

    app: typer.Typer
    arguments: Sequence[str]
    asked: str


def run(arguments: Sequence[str], entries: Sequence[CommandEntry]) -> int:
    """Runs the command of `arguments` and returns the exit code of the process. Raises nothing."""

    def make() -> Call:
        if is_asked(os.environ):
            return Call(application(entries, completed_command(os.environ), command_class=CompletedCommand), (), PROGRAM)
        line = arranged(arguments)
        if not line.command:
            answer_first_zsh_key()
        asked = f"{PROGRAM} {line.command}" if line.command in {entry.name for entry in entries} else PROGRAM
        return Call(application(entries, line.command), line.arguments, asked)

    return run_application(arguments, make, PROGRAM)


def run_application(arguments: Sequence[str], make: Callable[[], Call], program: str) -> int:
    """Runs the application of `make` as `program`, and returns the exit code of the process.

    Raises nothing, whatever `make` raises.
    """
    try:
        return _called(make(), program)
    except EventProcessorError as error:
        return _failed(program, arguments, error)
    except ReaderGoneError:
        return ExitCode.OK
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    except OSError as error:
        return _failed(program, arguments, StorageError.from_os("a system call", str(error.filename or "a file"), error))
    except Exception as error:  # noqa: BLE001 (the boundary: any error becomes one line)
        return _failed(
            program, arguments, EventProcessorError(f"internal error: {_in_one_line(error)}", hint=BUG_HINT), bug=error
        )


def _called(call: Call, program: str) -> int:
    """The exit code of the command. Raises the command's errors. Errors of typer become `UsageError`."""
    gc.enable()
    try:
        outcome: object = get_command(call.app).main(args=list(call.arguments), prog_name=program, standalone_mode=False)
    except typer.Abort as error:
        raise UsageError("aborted", hint="answer the question, or use --yes if the command has it") from error
    except typer.TyperException as error:
        raise UsageError(error.format_message(), hint=f"see {call.asked} --help") from error
    except SystemExit as error:
        if is_asked(os.environ) and isinstance(error.code, int):
            return error.code  # an answer to fish: with 1 it completes names of files
        # Typer raises this only if its own output (--help) met a closed pipe.
        raise ReaderGoneError from error
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _failed(program: str, arguments: Sequence[str], error: EventProcessorError, *, bug: Exception | None = None) -> int:
    """Prints the error on stderr, and returns the exit code."""
    code = ExitCode(error.exit_code)
    hint = error.hint
    if isinstance(error, StorageError) and error.errno in (errno.EACCES, errno.EPERM):
        hint = permission_hint(error.path, program, arguments) or hint
    if _value_of("--log-format", arguments) == "json":
        fields = {"level": "error", "event": "failed", "message": error.message, "hint": hint, "exit_code": code}
        text = json.dumps(fields, ensure_ascii=False)
    else:
        named = f"{RED}{program}:{PLAIN}" if is_coloured(sys.stderr, os.environ) else f"{program}:"
        text = f"{named} {error.message}\n  {hint}" if hint else f"{named} {error.message}"
    if bug is not None and _value_of("--log-level", arguments) == "debug":
        text = "".join([*traceback.format_exception(bug), text])
    try:
        sys.stderr.write(f"{text}\n".encode(errors="backslashreplace").decode())
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # no stderr, a closed one, a full disk: the exit code still shows the error
        return code
    return code


def _value_of(option: str, arguments: Sequence[str]) -> str:
    """The last value of an option, anywhere in the arguments; empty if it is not there."""
    found = ""
    for place, argument in enumerate(arguments):
        if argument == option:
            found = next(iter(arguments[place + 1 : place + 2]), "")
        elif argument.startswith(f"{option}="):
            found = argument.partition("=")[2]
    return found


def _in_one_line(error: Exception) -> str:
    """The type and the message of an error, without line breaks."""
    return " ".join(f"{type(error).__name__}: {error}".split())
