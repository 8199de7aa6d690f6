"""Classes of the user that the configuration names: `"package.module:Class"`.

Owns: the import of such a class, the creation of an object from it, and the faults of all classes that a configuration names.
Always: a class that cannot be used is a `ConfigurationError`. It names the key, and says how to fix it.
Never: no method of the user's object is called here.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from event_processor.configuration.configuration import Configuration
from event_processor.model.errors import ConfigurationError

__all__ = ["load_class", "make_own", "unusable_classes"]


def load_class(key: str, import_string: str) -> object:
    """The object that "package.module:Class" names, or None if the module does not have it.

    Raises `ConfigurationError` with `key` if the text has another form, or if the module cannot be imported.
    """
    module_name, colon, class_name = import_string.partition(":")
    if not (module_name and colon and class_name):
        raise ConfigurationError(f'{key}: "{import_string}" does not name a class', hint='write it as "package.module:Class"')
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:  # any error of an imported module is a fault of the configuration
        raise ConfigurationError(
            f'{key}: cannot import "{module_name}": {type(error).__name__}: {error}',
            hint="install the package into this environment, or correct the name",
        ) from error
    for part in class_name.split("."):
        found = getattr(found, part, None)
    return found


def make_own(key: str, reference: str, options: Mapping[str, object], *, method: str, page: str) -> Any:
    """Creates an object of the user's class `reference` with `options`. The object has the method `method`.

    Raises `ConfigurationError` with `key` and the page that has an example, if the class is not found or the object cannot be
    created.
    """
    made = load_class(key, reference)
    try:
        own = made(dict(options))  # type: ignore[operator]  # if it cannot be called, this raises
    except Exception as error:
        raise ConfigurationError(
            f'{key}: "{reference}" cannot be created: {type(error).__name__}: {error}',
            hint=f"the class is called with the table of its options; {page} has an example",
        ) from error
    if not callable(getattr(own, method, None)):
        raise ConfigurationError(f'{key}: "{reference}" has no method {method}', hint=f"{page} has an example")
    return own


def unusable_classes(configuration: Configuration) -> Iterator[tuple[str, str, str]]:
    """Imports every class of the user that the configuration names. Yields key, reference, and what is wanted, of each bad one."""
    references = {f"transforms[{number}].class": each.class_ or "" for number, each in enumerate(configuration.transforms)}
    references["event.model"] = configuration.event.model
    for name, source in configuration.sources.items():
        references |= {f"sources.{name}.{key}": reference for key, reference in source.own_classes().items()}
    for name, sink in configuration.sinks.items():
        references |= {f"sinks.{name}.{key}": reference for key, reference in sink.own_classes().items()}
    for key, reference in references.items():
        if reference and (wanted := _missing(key, reference)):
            yield key, reference, wanted


def _missing(key: str, reference: str) -> str:
    """What is wanted instead of a class that cannot be used; empty if it can be used."""
    try:
        found = load_class(key, reference)
    except ConfigurationError as error:
        cause = error.__cause__
        return f"a module that can be imported ({type(cause).__name__}: {cause}): {error.hint}"
    module, _, name = reference.partition(":")
    if found is None:
        return f"a class that exists: the module {module} has no {name}"
    if key == "event.model" and not (isinstance(found, type) and issubclass(found, BaseModel)):
        return "a class derived from pydantic.BaseModel"
    return "" if callable(found) else f"a class: {name} cannot be called"
