"""What is wrong in a configuration, in words that say where, what, and what is wanted.

Owns: `Fault`, the error that carries all of them, and the translation of pydantic's errors.
Always: one fault a key. A value that may be a secret is not shown.
Never: nothing here reads a file.
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
]

UNKNOWN_KEY: Final = "a known key"
"""What is wanted where a key is not known."""
GROUPED_FROM: Final = 10_000
"""From here on the digits of a number are grouped."""
SHOWN_CHARACTERS_MAX: Final = 80
_SECRET_NAME: Final = re.compile(r"(?i)(token|password|passwd|secret|credential|api_?key|private_?key)")
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
"""What pydantic's errors, by their type, say is wanted; the names in braces are of the error's context."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to mend. `key` is dotted, and empty where a file as a whole is at fault; `value` is how it stands there, or empty.

    `suggestion` is the known key that an unknown one was probably meant to be, or empty.
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
    """Everything that is wrong in a configuration, in `faults`, by file and line; `files` is what was read, in order."""

    def __init__(self, faults: Sequence[Fault], files: Sequence[str] = ()) -> None:
        self.files: Final = tuple(files)
        self.faults: Final = tuple(sorted(faults, key=lambda fault: (fault.origin.place, fault.origin.line)))
        lines = [str(fault) for fault in self.faults]
        message = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(lines)} faults in the configuration:", *lines])
        super().__init__(message, hint="mend this, then look again: event-processor validate")


@dataclass(frozen=True, slots=True)
class Findings:
    """One fault of a section, before its place is known: `key` from the section's table, and the steps inside its value."""

    key: Key
    inside: str
    value: object
    wanted: str


def findings(errors: Iterable[ErrorDetails], table: Mapping[str, object]) -> list[Findings]:
    """Pydantic's errors about `table`, one a key: what several members of a union want is joined by "or"."""
    by_key: dict[Key, list[tuple[tuple[int, ...], ErrorDetails]]] = {}
    for error in errors:
        key, steps = _place(error, table)
        by_key.setdefault(key, []).append((steps, error))
    found = []
    for key, group in by_key.items():
        # The member of a union that came furthest into the value is the one that was meant.
        deepest = max(len(steps) for steps, _ in group)
        chosen = [(steps, error) for steps, error in group if len(steps) == deepest]
        steps, error = chosen[0]
        wanted = " or ".join(dict.fromkeys(_wanted(entry) for _, entry in chosen))
        inside = "".join(f"[{step}]" for step in steps)
        value = None if error["type"] == "missing" else error["input"]
        found.append(Findings(key, inside, value, wanted))
    return found


def _place(error: ErrorDetails, table: Mapping[str, object]) -> tuple[Key, tuple[int, ...]]:
    """The keys that lead to the value at fault, then the indices inside it; what names a union's member is left out."""
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
    """What would have been right, as a noun."""
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return UNKNOWN_KEY
    if error["type"] == "literal_error":
        return str(context["expected"]).replace("'", '"')
    words = _WANTED.get(error["type"])
    return words.format_map(context) if words else error["msg"].removeprefix("Value error, ")


def nearest(name: str, siblings: Iterable[str], everywhere: Iterable[str], *, prefix: str) -> str:
    """The dotted known key that `name` was probably meant to be, or "": a similar one in its table, or the same one elsewhere."""
    if similar := get_close_matches(name, list(siblings), n=1):
        return f"{prefix}{similar[0]}"
    return next((key for key in everywhere if key.rpartition(".")[2] == name), "")


def shown_value(key: str, value: object) -> str:
    """`value` as it stands in a file, cut to a length, and not at all where `key` may hold a secret itself.

    Keys that end in `_file` or `_env` only say where a secret is, and are shown.
    """
    if value is None:
        return ""
    last = key.rpartition(".")[2]
    if _SECRET_NAME.search(key) and not last.endswith(("_file", "_env")):
        return "(not shown)"
    text = toml_value(value)
    return text if len(text) <= SHOWN_CHARACTERS_MAX else f"{text[:SHOWN_CHARACTERS_MAX]}…"


def toml_key(key: Key) -> str:
    """The names as one dotted key of TOML, quoted where they must be."""
    return ".".join(name if _BARE_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in key)


def toml_value(value: object) -> str:
    """`value` as TOML writes it; a table that says something only by name."""
    if isinstance(value, Mapping):
        return "a table" if value else "{}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(toml_value(entry) for entry in value)}]"
    if isinstance(value, str):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:_}" if isinstance(value, int) and abs(value) >= GROUPED_FROM else str(value)
