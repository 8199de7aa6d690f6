"""The names of fields in the configuration: dotted, with quotes around a key that has dots itself.

Owns: `name_keys`.
Always: `payload.size` names the key `size` inside `payload`. `'payload."a.b".size'` names a key with a dot. A name without quotes
also finds a key that is written with the dots (`columns.field_paths` says in which order).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_quoted", "name_keys"]

_QUOTED_KEY: Final = re.compile(r'"([^"]+)"|([^".][^.]*)')
_QUOTED_NAME: Final = re.compile(r'(?:"[^"]+"|[^".][^.]*)(?:\.(?:"[^"]+"|[^".][^.]*))*')


def is_quoted(name: str) -> bool:
    """Whether a key of the name is in quotes, so that the name is exact."""
    return '"' in name and _QUOTED_NAME.fullmatch(name) is not None and any(each[1] for each in _QUOTED_KEY.finditer(name))


def name_keys(name: str) -> tuple[str, ...]:
    """The keys of a name, outermost first: `'a."x.y".b'` has the keys `a`, `x.y` and `b`. A key may be empty if nothing is quoted."""
    if not is_quoted(name):
        return tuple(name.split("."))
    return tuple(each[1] or each[2] for each in _QUOTED_KEY.finditer(name))
