"""What a shell asks while a person types: words are completed as they are meant, wherever the global options are.

Owns: whether a shell asks, and for which command; the words that typer then reads from the environment; `CompletedCommand`; what zsh is
given to load.
Always: a global option is completed after the command as before it, and its value is known to what completes names.
Never: imports a command, or anything heavy.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from importlib import import_module
from typing import Final

import typer
from typer.core import TyperCommand

from event_processor.cli.command_line import GLOBAL_OPTIONS, arranged
from event_processor.model.errors import UsageError

__all__ = ["CompletedCommand", "answer_first_zsh_key", "completed_command", "is_asked"]

SUFFIX: Final = "EVENT_PROCESSOR_COMPLETE"
"""How the variable ends with which a shell asks."""
BASH_WORDS: Final = "COMP_WORDS"
BASH_CURSOR: Final = "COMP_CWORD"
LINE: Final = "_TYPER_COMPLETE_ARGS"
"""zsh and fish: the line up to the cursor. bash has all words, and the number of the word at the cursor."""
ONE_LINE_COLUMNS: Final = "10000"
SCRIPTS: Final = "typer._completion_shared"
ZSH_END: Final = "compdef %(complete_func)s %(prog_name)s\n"
ZSH_CALL: Final = 'if [[ $funcstack[1] == _%(prog_name)s ]]; then %(complete_func)s "$@"; fi\n'


class CompletedCommand(TyperCommand):
    """A command after which the global options are completed too."""

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> list[object]:  # type: ignore[override]
        """Its own options, and the global ones."""
        root = ctx.find_root()
        shared = root.command.shell_complete(root, incomplete) if incomplete.startswith("-") else []
        return [*super().shell_complete(ctx, incomplete), *(item for item in shared if item.value in GLOBAL_OPTIONS)]


def is_asked(environment: Mapping[str, str]) -> bool:
    """Whether a shell asks for completions."""
    return any(name.endswith(SUFFIX) for name in environment)


def answer_first_zsh_key() -> None:
    """Completes the script that is installed for zsh: zsh reads it at the first Tab, and typer's own only answers from the second on.

    Does nothing if typer keeps its scripts elsewhere, or ends them otherwise.
    """
    with suppress(ImportError, AttributeError, KeyError):
        scripts: dict[str, str] = import_module(SCRIPTS)._completion_scripts  # noqa: SLF001 (typer offers no other place)
        if scripts["zsh"].endswith(ZSH_END):
            scripts["zsh"] += ZSH_CALL


def completed_command(environment: MutableMapping[str, str]) -> str:
    """The command whose words a shell completes now; empty if it is not typed yet. Puts the words before the cursor in typer's order.

    If the value of a global option is typed now, the command is left out: typer completes such a value only before it.
    """
    # typer fits each sentence to the width of a screen, but fish takes every line for a completion of its own.
    environment["COLUMNS"] = ONE_LINE_COLUMNS
    program, *before, at_cursor = _words(environment)
    option = [before.pop()] if before and before[-1] in GLOBAL_OPTIONS else []
    try:
        line = arranged(before)
    except UsageError:  # `--config --set`: neither has its value
        return ""
    is_value = bool(option) or at_cursor.startswith(tuple(f"{each}=" for each in GLOBAL_OPTIONS))
    words = [program, *line.of_program, *(option if is_value else line.rest), at_cursor]
    environment[BASH_WORDS], environment[BASH_CURSOR] = shlex.join(words), str(len(words) - 1)
    # A blank at the end says that a new word begins.
    environment[LINE] = shlex.join(words) if at_cursor else f"{shlex.join(words[:-1])} "
    return "" if is_value else line.command


def _words(environment: Mapping[str, str]) -> list[str]:
    """The words up to the cursor: the program first, the last as far as it is typed."""
    if BASH_CURSOR in environment:
        words = _split(environment.get(BASH_WORDS, ""))[: int(environment[BASH_CURSOR]) + 1]
        return words if len(words) > int(environment[BASH_CURSOR]) else [*words, ""]
    line = environment.get(LINE, "")
    words = _split(line) or [""]
    return [*words, ""] if line.endswith(" ") or len(words) == 1 else words


def _split(line: str) -> list[str]:
    """As a shell does. An open quote ends with the line."""
    for closed in (line, f"{line}'", f'{line}"'):
        try:
            return shlex.split(closed)
        except ValueError:
            continue
    return line.split()
