"""Builds the typer application: global options first, and only the called command's module is imported.

Owns: `CommandEntry`, the global options, and the order of arguments.
Always: a global option may be given before or after the command.
Never: no command is run here.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Final

import typer
from typer.core import TyperCommand

from event_processor import __version__
from event_processor.cli.examples import epilog
from event_processor.cli.invocation import Invocation, LogFormat, LogLevel
from event_processor.cli.output import write_lines
from event_processor.model.errors import ExitCode, UsageError

__all__ = ["GLOBAL_OPTIONS", "PROGRAM", "CommandEntry", "CommandLine", "application", "arranged"]

PROGRAM: Final = "event-processor"
GLOBAL_OPTIONS: Final = ("--config", "--set", "--state", "--log-format", "--log-level")
"""Each takes a value, and may be anywhere before a `--`. No command may have an option of the same name."""


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command: its name, the module that defines `command` (or `app`, for a group), and its sentence in --help."""

    name: str
    module: str
    summary: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The arguments in typer's order: first `of_program`, the global options. `command` is the name of the called command, or empty."""

    of_program: tuple[str, ...]
    rest: tuple[str, ...]
    command: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.of_program, *self.rest)


def arranged(arguments: Sequence[str]) -> CommandLine:
    """Moves global options to the front, so that they may also follow the command. Raises `UsageError` if one has no value."""
    front: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += [argument, *remaining]
        elif argument in GLOBAL_OPTIONS:
            value = next(remaining, None)
            if value is None:
                raise UsageError(f"{argument} needs a value", hint=f"see {PROGRAM} --help")
            front += [argument, value]
        elif argument.startswith(tuple(f"{option}=" for option in GLOBAL_OPTIONS)):
            front.append(argument)
        else:
            rest.append(argument)
    command = next((argument for argument in rest if not argument.startswith("-")), "")
    return CommandLine(tuple(front), tuple(rest), command)


def application(entries: Sequence[CommandEntry], called: str, *, command_class: type[TyperCommand] | None = None) -> typer.Typer:
    """The typer application. It lists every command, and loads only the command `called`, as one of `command_class`."""
    is_drawn = sys.stdout is not None and sys.stdout.isatty()
    app = typer.Typer(
        name=PROGRAM,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if is_drawn else None,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(invoke_without_command=True)(global_options)
    for entry in entries:
        if entry.name != called:
            # A summary that is only `help` would be cut to the width of the terminal.
            app.command(entry.name, help=entry.summary, short_help=entry.summary)(_not_loaded)
            continue
        module, below = import_module(entry.module), epilog(entry.name, is_drawn=is_drawn)
        if (group := getattr(module, "app", None)) is not None:
            for each in group.registered_commands:
                each.short_help = each.short_help or _first_sentence(each.callback)
                each.cls = command_class or each.cls
            app.add_typer(group, name=entry.name, short_help=entry.summary, epilog=below)
        else:
            command: Callable[..., None] = module.command
            app.command(entry.name, cls=command_class, short_help=entry.summary, epilog=below)(command)
    return app


def _first_sentence(callback: Callable[..., object] | None) -> str:
    """The first sentence of a command's help, whole."""
    text = " ".join(inspect.cleandoc(callback.__doc__ or "").split("\n\n")[0].split()) if callback else ""
    return f"{text.partition('. ')[0].rstrip('.')}." if text else ""


def _not_loaded() -> None:
    """A placeholder in the list, for a command whose module is not needed."""
    raise AssertionError("the called command is loaded")


def global_options(
    context: typer.Context,
    *,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="A configuration file. May be repeated; later files win."),
    ] = None,
    state: Annotated[str | None, typer.Option(metavar="DIR", help="The state directory. Wins over state.dir.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A value as in TOML, or text. May be repeated; wins over every file."),
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Format of the log on stderr.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="Minimum log level.")] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Exactly-once aggregates from append-only logs.

    Without --config, the first of these is used: $EVENT_PROCESSOR_CONFIG, ./event-processor.toml,
    /etc/event-processor/event-processor.toml. Other keys have their defaults. Global options may be given before or after the
    command. Results go to stdout, logs to stderr.
    """
    context.obj = Invocation(tuple(config or ()), tuple(set_ or ()), state, log_format, log_level)
    if version:
        write_lines([f"{PROGRAM} {__version__}"])
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.USAGE)
