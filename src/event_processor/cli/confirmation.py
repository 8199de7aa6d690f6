"""The question before a state is changed for good. Never: silence is not taken for a yes."""

from __future__ import annotations

import sys

import typer

from event_processor.errors import UsageError

__all__ = ["confirm", "require_answerable"]


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
