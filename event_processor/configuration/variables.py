"""Variables in the values of a configuration: `${NAME}` of the environment, and `{shard}`.

Owns: the form of a variable, and which values are left to the reader of the file.
Always: a path keeps the text as it was written, so that the hash of a configuration does not depend on the environment.
Never: looks up a variable in a key that ends with `_file`: only the service may have it, and it is read when the file is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from event_processor.configuration.configuration import LocatedText
from event_processor.configuration.toml_files import Key

__all__ = ["SHARD_PLACE", "with_shard", "with_variables"]

_VARIABLE: Final = re.compile(r"\$(\$?)\{(\w+)\}")
READ_LATER: Final = "_file"
SHARD_PLACE: Final = "{shard}"


def with_variables(value: object, environment: Mapping[str, str], missing: dict[Key, str], key: Key = ()) -> object:
    """`value` with `${NAME}` replaced by the variable NAME in every string; `$${NAME}` means `${NAME}`.

    Tables and arrays are looked through. A variable that is not set stays as it is, and goes to `missing`, by key.
    """
    if isinstance(value, LocatedText):
        return value if key and key[-1].endswith(READ_LATER) else _replaced(value, environment, missing, key)
    if isinstance(value, Mapping):
        return {name: with_variables(entry, environment, missing, (*key, name)) for name, entry in value.items()}
    if isinstance(value, tuple):
        return tuple(with_variables(entry, environment, missing, key) for entry in value)
    return value


def with_shard(value: object, shard: str) -> object:
    """`value` with `{shard}` replaced by `shard`, such as "2-of-8", if it is a text; unchanged if `shard` is empty."""
    if not isinstance(value, LocatedText) or not shard or SHARD_PLACE not in value:
        return value
    return LocatedText(value.replace(SHARD_PLACE, shard), value.folder, written=value.written)


def _replaced(text: LocatedText, environment: Mapping[str, str], missing: dict[Key, str], key: Key) -> LocatedText:
    def found(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        if match[2] not in environment:
            missing.setdefault(key, match[2])
            return match[0]
        return environment[match[2]]

    replaced = _VARIABLE.sub(found, text)
    return text if replaced == text else LocatedText(replaced, text.folder, written=str(text))
