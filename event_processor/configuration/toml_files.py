"""The TOML files of a configuration: finds them, parses them, and finds the line of each key.

Owns: `ConfigurationRequest` (what the command line and the environment ask for), the search for files, `Origin`, and parsing.
Always: each string keeps the folder of the file that set it. A file that cannot be read or parsed is a `FileFaultError`.
Never: this file does not know any key.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from event_processor.configuration.configuration import LocatedText

__all__ = [
    "CONFIGURATION_FILE_NAME",
    "SYSTEM_CONFIGURATION_PATH",
    "ConfigurationRequest",
    "FileFaultError",
    "Key",
    "Layer",
    "Origin",
    "element",
    "element_of",
    "located",
    "read_files",
]

SYSTEM_CONFIGURATION_PATH: Final = "/etc/event-processor/event-processor.toml"
CONFIGURATION_FILE_NAME: Final = "event-processor.toml"
CONFIGURATION_VARIABLE: Final = "EVENT_PROCESSOR_CONFIG"
FILE_BYTES_MAX: Final = 1 << 20
"""A configuration is written by hand. A larger file is something else."""

Key: TypeAlias = tuple[str, ...]

_NAME: Final = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED: Final = rf"{_NAME}(?:\s*\.\s*{_NAME})*"
_HEADER: Final = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]")
_ARRAY_MARK: Final = "[["
_ASSIGNMENT: Final = re.compile(rf"\s*({_DOTTED})\s*=")
_ELEMENT: Final = re.compile(r"(.+)\[(\d+)\]", re.DOTALL)
_TRIPLE_QUOTES: Final = re.compile(r'"""' + r"|'''")
_SYNTAX_PLACE: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class ConfigurationRequest:
    """Where a process finds its configuration.

    `config_paths` are the requested files, in order; later files win. `overrides` are values that win over every file, by dotted
    key, each with the option that set it: `{"state.dir": ("/var/lib/x", "--state")}`. A string may be a path; other values are as in
    TOML, with arrays as tuples.
    """

    working_directory: str
    environment: Mapping[str, str] = field(default_factory=dict)
    config_paths: tuple[str, ...] = ()
    overrides: Mapping[str, tuple[object, str]] = field(default_factory=dict)
    system_path: str = SYSTEM_CONFIGURATION_PATH


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from. `place` is a file, a variable or an option. `line` counts from 1; 0 means unknown."""

    kind: Literal["default", "file", "environment", "command line"] = "default"
    place: str = ""
    line: int = 0

    def __str__(self) -> str:
        if self.kind == "environment":
            return f"${self.place}"
        return f"{self.place}:{self.line}" if self.line else self.place or self.kind


class FileFaultError(Exception):
    """A file cannot be used. Says the place in it, and why."""

    def __init__(self, origin: Origin, reason: str) -> None:
        super().__init__(f"{origin}: {reason}")
        self.origin: Final = origin
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Layer:
    """The tables of one file, and the place of each table and key."""

    path: str
    tables: Mapping[str, object]
    origins: Mapping[Key, Origin]


def read_files(request: ConfigurationRequest) -> tuple[list[Layer], list[FileFaultError]]:
    """Reads the files of `request`. Returns the layers in the order of the merge (later ones win), and the files that failed.

    Both are empty if no file was requested and none is at the usual places.
    """
    layers, faults = [], []
    paths, must_exist = _paths(request)
    for path in paths:
        located = os.path.join(os.path.abspath(request.working_directory), path)
        try:
            content = _content(located)
            if content is not None:
                layers.append(parse(path, content, folder=os.path.dirname(located)))
            elif must_exist:
                faults.append(FileFaultError(Origin("file", path), "file not found"))
        except OSError as error:
            faults.append(FileFaultError(Origin("file", path), f"cannot be read: {error.strerror or error}"))
        except FileFaultError as error:
            faults.append(error)
        if (layers or faults) and not must_exist:
            break  # only the first file at the usual places is used
    return layers, faults


def _paths(request: ConfigurationRequest) -> tuple[tuple[str, ...], bool]:
    """The files to read, and whether they were requested. A requested file must exist."""
    if request.config_paths:
        return request.config_paths, True
    if named := request.environment.get(CONFIGURATION_VARIABLE):
        return (named,), True
    return (CONFIGURATION_FILE_NAME, request.system_path), False


def _content(path: str) -> bytes | None:
    """The bytes of a file, at most one more than the limit; None if the file is missing. Raises `OSError`."""
    try:
        with open(path, "rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None


def parse(path: str, content: bytes, *, folder: str) -> Layer:
    """The tables in `content`. Messages name the file by `path`. Its relative paths start from `folder`.

    Raises `FileFaultError` if `content` is not TOML, with line and column if they are known.
    """
    if len(content) > FILE_BYTES_MAX:
        raise FileFaultError(Origin("file", path), f"larger than {FILE_BYTES_MAX} bytes: is this a configuration file?")
    try:
        text = content.decode("utf-8-sig")
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileFaultError(Origin("file", path, line), f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise FileFaultError(Origin("file", path), "nested too deeply") from error
    except ValueError as error:  # from tomllib, or from int() if a number has thousands of digits
        raise _syntax_fault(path, text, str(error)) from error
    origins = {key: Origin("file", path, line) for key, line in key_lines(text).items()}
    return Layer(path, {name: located(value, folder) for name, value in tables.items()}, origins)


def _syntax_fault(path: str, text: str, message: str) -> FileFaultError:
    """The parser's message, with its place moved to the front."""
    place = _SYNTAX_PLACE.search(message)
    reason = message[: place.start()] if place else message
    if place and place[1]:
        return FileFaultError(Origin("file", path, int(place[1])), f"column {place[2]}: not TOML: {reason}")
    line = text.count("\n") + 1 if place else 0
    return FileFaultError(Origin("file", path, line), f"not TOML: {reason}")


def located(value: object, folder: str) -> object:
    """`value` with the folder in every string, and with arrays as tuples."""
    if isinstance(value, str):
        return LocatedText(value, folder)
    if isinstance(value, list):
        return tuple(located(entry, folder) for entry in value)
    if isinstance(value, dict):
        return {name: located(entry, folder) for name, entry in value.items()}
    return value


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, of each table header and each key in a valid TOML text.

    The tables of an array are `name[0]`, `name[1]`, ….

    This is a good guess, not exact, because it reads line by line: a line inside an array that looks like an assignment is read
    as one. Only messages use the result, and only keys that were really parsed are looked up.
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    inside_text = False
    for number, line in enumerate(text.split("\n"), 1):
        if not inside_text:
            if header := _HEADER.match(line):
                table = _table(_names(header[1]), counts, is_array=line.lstrip().startswith(_ARRAY_MARK))
                _note(lines, _names(header[1])[:1], number)
                _note(lines, table, number)
            elif assignment := _ASSIGNMENT.match(line):
                _note(lines, table + _names(assignment[1]), number)
        inside_text ^= len(_TRIPLE_QUOTES.findall(line)) % 2 == 1
    return lines


def _table(names: Key, counts: dict[Key, int], *, is_array: bool) -> Key:
    """The key of the table that a header begins. `counts` has the number of tables of each array so far; it is updated."""
    table: Key = ()
    for depth, name in enumerate(names, start=1):
        place = (*table, name)
        if is_array and depth == len(names):
            counts[place] = counts.get(place, 0) + 1
        table = (*table, element(name, counts[place] - 1)) if place in counts else place
    return table


def element(name: str, number: int) -> str:
    """The name of one table of an array, in keys and in messages."""
    return f"{name}[{number}]"


def element_of(name: str) -> tuple[str, int] | None:
    """Splits a name of `element` into the array and the number; None if it is another name."""
    found = _ELEMENT.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def _note(lines: dict[Key, int], key: Key, number: int) -> None:
    """Notes `number` as the line of `key` and of the tables around it, unless an earlier line named them."""
    for length in range(1, len(key) + 1):
        lines.setdefault(key[:length], number)


def _names(dotted: str) -> Key:
    """Splits a dotted key into its names: `a."b c".d` has three."""
    return tuple(name.strip("\"'") for name in re.findall(_NAME, dotted))
