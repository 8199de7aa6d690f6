"""`version`: shows what is installed here, for a bug report.

Owns: the command, and its output as text or JSON.
Always: an extra that is not installed is shown as such.
Never: no state and no configuration is read.
"""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from typing import Annotated

import typer

from event_processor import __version__
from event_processor.cli.output import write_json, write_lines
from event_processor.kernels.library import LIBRARY, SWITCH, absence

__all__ = ["command"]

_DISTRIBUTION = "event-processor"


def command(*, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show the versions of the program, Python and the dependencies, and whether the kernels are compiled."""
    dependencies = installed_dependencies()
    if as_json:
        about = {"event_processor": __version__, "python": platform.python_version(), "kernels": LIBRARY is not None}
        write_json({**about, "dependencies": dependencies})
        return
    shown = {name: version or "not installed" for name, version in dependencies.items()}
    missing = absence(os.environ.get(SWITCH, ""))
    kernels = f"{missing}: numpy is used instead" if missing else "compiled"
    versions = {_DISTRIBUTION: __version__, "python": platform.python_version(), "kernels": kernels, **shown}
    write_lines(f"{name} {version}" for name, version in versions.items())


def installed_dependencies() -> dict[str, str | None]:
    """The version of each dependency, by name; None if it is not installed."""
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a folder of sources
        return {}
    names = sorted({re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in required})
    return {name: _installed(name) for name in names}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
