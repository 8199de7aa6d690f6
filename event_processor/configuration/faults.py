"""The faults of a configuration. Each says where it is, what is wrong, and what is wanted.

Owns: `Fault`, the error that carries all faults, and the translation of pydantic's errors.
Always: a key has at most one fault. A value that may be a secret is not shown.
Never: no file is read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from pydantic_core import ErrorDetails

from event_processor.configuration.toml_files import Key, Origin
from event_processor.model.errors import ConfigurationError

__all__ = [
    "UNKNOWN_KEY",
    "ConfigurationFaultsError",
    "Fault",
    "Findings",
    "findings",
    "nearest",
    "shown_value",
    "toml_key",
    "toml_value",
    "written_toml",
]

UNKNOWN_KEY: Final = "a known key"
"""The `wanted` of a fault about an unknown key."""
GROUPED_FROM: Final = 10_000
"""Numbers from this size on are shown with grouped digits."""
SHOWN_CHARACTERS_MAX: Final = 80
_SECRET_NAME: Final = re.compile(r"(?i)(token|password|passwd|secret|credential|api_?key|private_?key)")
_ADDRESS_SECRET: Final = re.compile(
    r"(?i)(://[^\s/@:]*:(?=[^\s\"]*@)|[?&;\s][^=&\s]*(?:password|token|secret|key)[^=&\s]*=)[^\s\"&]*?(?=@[^@\s]*$|[\"&\s]|$)"
)
"""A password before the host of an address, or in its query."""
_BARE_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_WANTED: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "mapping_type": "a table",
    "missing": "a value: this key has no default",
    "model_type": "a table",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_type": "a string",
    "too_short": "an array of at least {min_length}",
    "tuple_type": "an array",
}
"""Pydantic's error type -> what is wanted. The names in braces come from the error's context."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to fix.

    `key` is dotted; it is empty if the fault is about a whole file. `value` is the value as written, or empty.

    `suggestion` is a known key that is similar to an unknown one, or empty.
    """

    origin: Origin
    key: str
    value: str
    wanted: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin.kind != "default" else ""
        if not self.key:
            return f"{where}{self.wanted}"
        named = f"{where}{self.key} = {self.value}" if self.value else f"{where}{self.key}"
        meant = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        problem = "not a known key" if self.wanted == UNKNOWN_KEY else f"wanted: {self.wanted}"
        return f"{named}: {problem}{meant}"


class ConfigurationFaultsError(ConfigurationError):
    """All faults of a configuration, in `faults`, sorted by file and line. `files` are the files that were read, in order.

    `state_directory`: where the state would be if the faults were none; empty if unknown.
    """

    def __init__(self, faults: Sequence[Fault], files: Sequence[str] = (), *, state_directory: str = "") -> None:
        self.files: Final = tuple(files)
        self.state_directory: Final = state_directory
        self.faults: Final = tuple(sorted(faults, key=lambda fault: (fault.origin.place, fault.origin.line)))
        lines = [str(fault) for fault in self.faults]
        message = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} faults in the configuration:", *lines])
        these = "this" if len(lines) == 1 else "these"
        super().__init__(message, hint=f"fix {these}, then run 'event-processor validate'")


@dataclass(frozen=True, slots=True)
class Findings:
    """One fault of a section, before its place is known.

    `key` starts at the section's table; `inside` is the path inside its value.
    """

    key: Key
    inside: str
    value: object
    wanted: str


def findings(errors: Iterable[ErrorDetails], table: Mapping[str, object]) -> list[Findings]:
    """Translates pydantic's errors about `table`: one finding a key.

    If several members of a union failed, "or" joins what they want.
    """
    by_key: dict[Key, list[tuple[tuple[int, ...], ErrorDetails]]] = {}
    for error in errors:
        key, steps = _place(error, table)
        by_key.setdefault(key, []).append((steps, error))
    found = []
    for key, group in by_key.items():
        # The user probably meant the member of the union that matched the value most deeply.
        deepest = max(len(steps) for steps, _ in group)
        chosen = [(steps, error) for steps, error in group if len(steps) == deepest]
        steps, error = chosen[0]
        wanted = " or ".join(dict.fromkeys(_wanted(entry) for _, entry in chosen))
        inside = "".join(f"[{step}]" for step in steps)
        value = None if error["type"] == "missing" else error["input"]
        found.append(Findings(key, inside, value, wanted))
    return found


def _place(error: ErrorDetails, table: Mapping[str, object]) -> tuple[Key, tuple[int, ...]]:
    """The keys that lead to the bad value, then the indices inside it. Names of a union's members are left out."""
    names: list[str] = []
    steps: list[int] = []
    value: object = table
    for step in error["loc"]:
        if isinstance(value, Mapping) and isinstance(step, str):
            names.append(step)
            value = value.get(step)
        elif isinstance(value, tuple) and isinstance(step, int) and step < len(value):
            steps.append(step)
            value = value[step]
    return tuple(names), tuple(steps)


def _wanted(error: ErrorDetails) -> str:
    """What the error wants, as a noun."""
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return UNKNOWN_KEY
    if error["type"] == "literal_error":
        return str(context["expected"]).replace("'", '"')
    words = _WANTED.get(error["type"])
    return words.format_map(context) if words else error["msg"].removeprefix("Value error, ")


def nearest(name: str, siblings: Iterable[str], everywhere: Iterable[str], *, prefix: str) -> str:
    """A known dotted key that the user probably meant: a similar name in the same table, or the same name elsewhere. Or ""."""
    if similar := get_close_matches(name, list(siblings), n=1):
        return f"{prefix}{similar[0]}"
    return next((key for key in everywhere if key.rpartition(".")[2] == name), "")


def shown_value(key: str, value: object) -> str:
    """`value` as TOML, cut to `SHOWN_CHARACTERS_MAX`. If `key` may hold a secret, "(not shown)"; the password of an address is `***`.

    Keys that end in `_file` or `_env` only name the place of a secret, so they are shown.
    """
    if value is None:
        return ""
    last = key.rpartition(".")[2]
    if _SECRET_NAME.search(key) and not last.endswith(("_file", "_env")):
        return "(not shown)"
    text = _ADDRESS_SECRET.sub(r"\1***", toml_value(value))
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def toml_key(key: Key) -> str:
    """The names as one dotted TOML key. Names are quoted if they must be."""
    return ".".join(name if _BARE_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in key)


def toml_value(value: object) -> str:
    """`value` as TOML. A table that is not empty is only named as such."""
    if isinstance(value, Mapping):
        return "a table" if value else "{}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(toml_value(entry) for entry in value)}]"
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:_}" if isinstance(value, int) and abs(value) >= GROUPED_FROM else str(value)


def written_toml(value: object) -> str:
    """`value` as TOML that can be read again. A table is written in braces."""
    if isinstance(value, Mapping) and value:
        return f"{{ {', '.join(f'{toml_key((str(name),))} = {written_toml(inner)}' for name, inner in value.items())} }}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(written_toml, value))}]"
    return toml_value(value)
