"""Rows as the text of a COPY, column by column.

Owns: how a value is written there.
Always: the same text as the driver would send row by row. What it would refuse, or writes in another way, is left to it.
Never: connects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

from event_processor.connectors.sql.dialect import Row, Rows

__all__ = ["copy_text"]

NULL: Final = r"\N"
_SPECIAL: Final = re.compile(r"[\x00\b\t\n\v\f\r\\]")
_ESCAPES: Final = str.maketrans({"\b": r"\b", "\t": r"\t", "\n": r"\n", "\v": r"\v", "\f": r"\f", "\r": r"\r", "\\": r"\\"})


def copy_text(rows: Rows, shared: Row) -> str | None:
    """The rows, each followed by the shared values; None if a value is not one that is written here."""
    columns = [_written(column) for column in rows.columns]
    ends = [_written((value,)) for value in shared]
    texts = [column for column in columns if column is not None]
    if len(texts) < len(columns) or None in ends:
        return None
    end = "".join(f"\t{found[0]}" for found in ends if found is not None) + "\n"
    return end.join([*map("\t".join, zip(*texts, strict=True)), ""])


def _written(column: Sequence[Any]) -> Sequence[str] | None:
    kinds = set(map(type, column))
    if type(None) in kinds:
        present = _written([value for value in column if value is not None])
        if present is None:
            return None
        texts = iter(present)
        return [NULL if value is None else next(texts) for value in column]
    if not kinds:
        return ()
    if kinds == {str}:
        return _escaped(column)
    if kinds == {int} or (kinds == {float} and all(map(isfinite, column))):
        return list(map(str, column))
    return ["t" if value else "f" for value in column] if kinds == {bool} else None


def _escaped(texts: Sequence[str]) -> Sequence[str] | None:
    joined = "".join(texts)
    if _SPECIAL.search(joined) is None:
        return texts
    # The driver refuses a NUL.
    return None if "\0" in joined else [text.translate(_ESCAPES) for text in texts]
