"""From a pydantic model to a compiled decoder: a block of JSON lines becomes columns, in C.

Owns: where the fields of a record stand (dotted names reach inside objects), the msgspec struct that reads them, and the
translation of a user's own model into such a struct.
Always: what a compiled model accepts, the model accepts; the reverse need not hold, since what it refuses is judged by the
model itself. A record that lacks a field of the event, or has something else around it, is no fault here.
Never: a type whose meaning differs between pydantic and msgspec is translated; such a model is left to pydantic.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from event_processor.model.errors import ConfigurationError

__all__ = ["load_class", "make_own"]


def load_class(key: str, import_string: str) -> object:
    """What "package.module:Class" names, None where the module has no such thing. Raises `ConfigurationError`, which names `key`."""
    module_name, colon, class_name = import_string.partition(":")
    if not (module_name and colon and class_name):
        raise ConfigurationError(f'{key}: "{import_string}" names no class', hint='write it as "package.module:Class"')
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # whatever a module raises while it is imported is a fault of the configuration
        raise ConfigurationError(
            f'{key}: cannot import "{module_name}": {type(error).__name__}: {error}',
            hint="install the package into this environment, or correct the name",
        ) from error
    for part in class_name.split("."):
        found = getattr(found, part, None)
    return found


def make_own(key: str, reference: str, options: Mapping[str, object], *, method: str, page: str) -> Any:
    """An object of the user's: the class that `reference` names, made with `options`. It has the method.

    Raises `ConfigurationError`, which names `key` and the page with an example, where there is no such class, or it cannot be made.
    """
    made = load_class(key, reference)
    try:
        own = made(dict(options))  # type: ignore[operator]  # what it is, a call tells
    except Exception as error:
        raise ConfigurationError(
            f'{key}: "{reference}" cannot be made: {type(error).__name__}: {error}',
            hint=f"it is called with the table of its options; {page} has an example",
        ) from error
    if not callable(getattr(own, method, None)):
        raise ConfigurationError(f'{key}: "{reference}" has no method {method}', hint=f"{page} has an example")
    return own
