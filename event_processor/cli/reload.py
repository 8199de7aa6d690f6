"""`reload`: lets the daemon read its configuration again, and says how that ended.

Owns: the command and its output.
Always: exit code 0 means that the daemon works with the configuration as it is on disk.
Never: the signal is not sent here; `operations/reload.py` does that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Annotated

import msgspec
import typer

from event_processor.assembly import Environment
from event_processor.cli.context import Invocation, invocation, load, real_environment
from event_processor.cli.output import one_line, write_json, write_lines
from event_processor.configuration.faults import ConfigurationFaultsError
from event_processor.model.errors import NotAnsweredError
from event_processor.operations.conditions import ReloadAnswer
from event_processor.operations.reload import reload_daemon

__all__ = ["command"]


def command(
    context: typer.Context,
    *,
    timeout_s: Annotated[float, typer.Option(min=1, max=3600, help="How long to wait for the answer, in seconds.")] = 50.0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Let the daemon read its configuration again (HUP), and wait for the answer.

    Exits with 78 if the configuration has a fault or the reload is refused, and with 69 if no daemon answers.
    """
    answer = _reloaded(invocation(context), timeout_s)
    if as_json:
        write_json(msgspec.to_builtins(answer))
    else:
        write_lines([one_line(_words(answer))])


def _reloaded(called: Invocation, timeout_s: float) -> ReloadAnswer:
    """The daemon's answer. The daemon is asked even if we find faults, because its `status` then shows the refusal."""
    main_process = os.environ.get("MAINPID", "")
    try:
        configuration = load(called).configuration
    except ConfigurationFaultsError as faults:
        with suppress(NotAnsweredError):
            reload_daemon(faults.state_directory, Environment(), timeout_s=timeout_s, main_process=main_process)
        raise
    environment = real_environment(configuration)
    return reload_daemon(str(configuration.state.dir), environment, timeout_s=timeout_s, main_process=main_process)


def _words(answer: ReloadAnswer) -> str:
    if answer.outcome == "unchanged":
        return "reloaded: nothing changed"
    return f"reloaded: {', '.join(answer.changed)}"
