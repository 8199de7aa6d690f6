"""The TOML files of a configuration: which ones are read, and their tables with the line that each key stands on.

Owns: `ConfigurationRequest` (what the process was told), the search for files, `Origin`, and parsing.
Always: each string keeps the folder of the file that set it. Whatever cannot be read or parsed is a `FileFaultError`.
Never: nothing here knows which keys there are.
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
    "read_files",
]

SYSTEM_CONFIGURATION_PATH: Final = "/etc/event-processor/event-processor.toml"
CONFIGURATION_FILE_NAME: Final = "event-processor.toml"
CONFIGURATION_VARIABLE: Final = "EVENT_PROCESSOR_CONFIG"
FILE_BYTES_MAX: Final = 1 << 20
"""A configuration is written by hand; what is larger is some other file."""

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
    """What a process was told about its configuration.

    `config_paths` are the files asked for, in order, later ones win; `overrides` are values that go before every file, by
    dotted key, each with the option that set it: `{"state.dir": ("/var/lib/x", "--state")}`.
    """

    working_directory: str
    environment: Mapping[str, str] = field(default_factory=dict)
    config_paths: tuple[str, ...] = ()
    overrides: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    system_path: str = SYSTEM_CONFIGURATION_PATH


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: `place` is a file, a variable or an option; `line` counts from 1, and is 0 where it is not known."""

    kind: Literal["default", "file", "environment", "command line"] = "default"
    place: str = ""
    line: int = 0

    def __str__(self) -> str:
        if self.kind == "environment":
            return f"${self.place}"
        return f"{self.place}:{self.line}" if self.line else self.place or self.kind


class FileFaultError(Exception):
    """One file that cannot be used: where in it, and why."""

    def __init__(self, origin: Origin, reason: str) -> None:
        super().__init__(f"{origin}: {reason}")
        self.origin: Final = origin
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Layer:
    """The tables of one file, and where each table and key of it stands."""

    path: str
    tables: Mapping[str, object]
    origins: Mapping[Key, Origin]


def read_files(request: ConfigurationRequest) -> tuple[list[Layer], list[FileFaultError]]:
    """The files that `request` leads to, in the order in which they are laid over one another, and those that failed.

    Both are empty where no file was asked for and none stands where files are looked for.
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
                faults.append(FileFaultError(Origin("file", path), "there is no such file"))
        except OSError as error:
            faults.append(FileFaultError(Origin("file", path), f"it cannot be read: {error.strerror or error}"))
        except FileFaultError as error:
            faults.append(error)
        if (layers or faults) and not must_exist:
            break  # only the first of the usual places counts
    return layers, faults


def _paths(request: ConfigurationRequest) -> tuple[tuple[str, ...], bool]:
    """The files to read, and whether somebody asked for them, so that they must be there."""
    if request.config_paths:
        return request.config_paths, True
    if named := request.environment.get(CONFIGURATION_VARIABLE):
        return (named,), True
    return (CONFIGURATION_FILE_NAME, request.system_path), False


def _content(path: str) -> bytes | None:
    """The bytes of a file, one beyond the limit at the most; None where there is none. Raises `OSError`."""
    try:
        with open(path, "rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None


def parse(path: str, content: bytes, *, folder: str) -> Layer:
    """The tables in `content`; `path` is how messages name the file, `folder` where its relative paths start.

    Raises `FileFaultError` with line and column where it is no TOML.
    """
    if len(content) > FILE_BYTES_MAX:
        raise FileFaultError(Origin("file", path), f"it is larger than {FILE_BYTES_MAX} bytes: is it a configuration?")
    try:
        text = content.decode("utf-8-sig")
        tables = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileFaultError(Origin("file", path, line), f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise FileFaultError(Origin("file", path), "it is nested too deeply") from error
    except ValueError as error:  # of tomllib, and of int() for a number of thousands of digits
        raise _syntax_fault(path, text, str(error)) from error
    origins = {key: Origin("file", path, line) for key, line in key_lines(text).items()}
    return Layer(path, {name: _located(value, folder) for name, value in tables.items()}, origins)


def _syntax_fault(path: str, text: str, message: str) -> FileFaultError:
    """The parser's complaint, with its place pulled to the front."""
    place = _SYNTAX_PLACE.search(message)
    reason = message[: place.start()] if place else message
    if place and place[1]:
        return FileFaultError(Origin("file", path, int(place[1])), f"column {place[2]}: not TOML: {reason}")
    line = text.count("\n") + 1 if place else 0
    return FileFaultError(Origin("file", path, line), f"not TOML: {reason}")


def _located(value: object, folder: str) -> object:
    """The same value with its folder in every string, and arrays as tuples."""
    if isinstance(value, str):
        return LocatedText(value, folder)
    if isinstance(value, list):
        return tuple(_located(entry, folder) for entry in value)
    if isinstance(value, dict):
        return {name: _located(entry, folder) for name, entry in value.items()}
    return value


def key_lines(text: str) -> dict[Key, int]:
    """The line, from 1, of each table header and each key in a TOML text that parses. The tables of an array are `name[0]`, `name[1]`, ….

    It reads line by line and so is a good guess only: a line inside an array that looks like an assignment is taken for
    one. Nothing but messages depends on it, and only keys that were parsed are ever asked for.
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
    """The key of the table that a header begins; `counts` has the tables of each array so far, and is kept."""
    table: Key = ()
    for depth, name in enumerate(names, start=1):
        place = (*table, name)
        if is_array and depth == len(names):
            counts[place] = counts.get(place, 0) + 1
        table = (*table, element(name, counts[place] - 1)) if place in counts else place
    return table


def element(name: str, number: int) -> str:
    """How a table of an array is named, in a key and in a message."""
    return f"{name}[{number}]"


def element_of(name: str) -> tuple[str, int] | None:
    """The array and the number that `element` made the name of; None where it is another name."""
    found = _ELEMENT.fullmatch(name)
    return (found[1], int(found[2])) if found else None


def _note(lines: dict[Key, int], key: Key, number: int) -> None:
    """The first line that names a key or a table is where it stands, and where those above it begin."""
    for length in range(1, len(key) + 1):
        lines.setdefault(key[:length], number)


def _names(dotted: str) -> Key:
    """`a."b c".d` as its three names."""
    return tuple(name.strip("\"'") for name in re.findall(_NAME, dotted))
