"""Finds the first and the last event by id of each group of a batch, for all groups at once.

Owns: ids as numbers that numpy can compare.
Always: the order is exactly that of `id_order`. Of equal ids the earliest event is first and the latest is last.
Never: makes Python objects of the ids, unless they are of several kinds or have several fields.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from event_processor.columns.ids import IntegerIds, OrderKey, TextIds, WordArray, id_key, typed_ids
from event_processor.kernels.first_and_last import integer_extremes, text_extremes
from event_processor.model.columns import BoolArray, IdColumn, IntArray
from event_processor.model.event import EventId

__all__ = ["Extremes", "Groups", "comparable", "extremes_of", "find_extremes", "one_group", "order_words"]

_Numbers: TypeAlias = "NDArray[np.int64] | NDArray[np.uint64]"
_NumbersAt: TypeAlias = Callable[[IntArray], _Numbers]
_STRINGS_FROM: Final = 2**62
_SEVERAL: Final = 2**63
_SIGN: Final = np.uint64(2**63)
_KIND_BITS: Final = np.uint64(2)


@dataclass(frozen=True, slots=True)
class Groups:
    """The n events of a batch by group. Group i has the places `order[starts[i]:starts[i] + sizes[i]]`, ascending, not empty.

    `numbers` (n,) has the group of each event.
    """

    numbers: IntArray
    order: IntArray
    starts: IntArray
    sizes: IntArray


@dataclass(frozen=True, slots=True)
class Extremes:
    """The places of each group's first and last event by id, (g,) each.

    `greatest`: the place of the last event of all groups. `rising`: all ids of the batch rise.
    """

    first: IntArray
    last: IntArray
    greatest: int
    rising: bool


def find_extremes(ids: IdColumn, groups: Groups) -> Extremes:
    """Finds the first and last events by id of each group. `ids` has at least one."""
    ids = comparable(ids)
    ends = groups.starts + groups.sizes - 1
    if ids.is_ascending():
        return Extremes(groups.order[groups.starts], groups.order[ends], len(ids) - 1, rising=True)
    columns = _number_columns(ids)
    first = _narrowed(columns, groups, np.minimum, 0)
    last = _narrowed(columns, groups, np.maximum, -1)
    return Extremes(first, last, int(_narrowed(columns, one_group(last), np.maximum, -1)[0]), rising=False)


def extremes_of(ids: TextIds | IntegerIds, codes: IntArray | None, group_count: int) -> Extremes | None:
    """As `find_extremes`, by a kernel, for ids that do not all rise; None without a kernel. The places of an empty group are -1.

    `codes` (n,) has the group of each event; None if there is one group.
    """
    if isinstance(ids, IntegerIds):
        found = integer_extremes(ids.numbers, codes, group_count)
    else:
        found = text_extremes(ids.content, ids.begins, ids.ends, codes, group_count)
    return None if found is None else Extremes(*found, rising=False)


def one_group(places: IntArray) -> Groups:
    """Puts all `places` (at least one) into one group."""
    return Groups(np.zeros(len(places), np.int64), places, np.zeros(1, np.int64), np.array([len(places)]))


def order_words(ids: IdColumn) -> WordArray:
    """A number for each id, (m,): if a number is below another, so is its id. Equal numbers say nothing."""
    ids = typed_ids(ids)
    if isinstance(ids, TextIds):
        return (ids.leading_words() >> _KIND_BITS) + np.uint64(_STRINGS_FROM)
    if isinstance(ids, IntegerIds):
        return (ids.numbers.astype(np.int64).view(np.uint64) ^ _SIGN) >> _KIND_BITS
    return np.fromiter(map(_order_word, ids.to_list()), np.uint64, len(ids))


def _order_word(event_id: EventId) -> int:
    """`order_words` for one id."""
    if isinstance(event_id, str):
        return _STRINGS_FROM + (int.from_bytes(event_id.encode(errors="surrogatepass")[:8].ljust(8, b"\0"), "big") >> 2)
    if isinstance(event_id, int):
        return (event_id + 2**63) >> 2
    return _SEVERAL


def comparable(ids: IdColumn) -> TextIds | IntegerIds:
    """The ids in a form that numpy can compare. Ids of several kinds or of several fields become their ranks."""
    typed = typed_ids(ids)
    if isinstance(typed, (TextIds, IntegerIds)):
        return typed
    keys = _sort_keys(typed.to_list())
    ascending = sorted(range(len(keys)), key=keys.__getitem__)
    ranks = np.zeros(len(keys), np.int64)
    ranks[ascending[1:]] = np.cumsum([keys[one] != keys[other] for one, other in zip(ascending[1:], ascending, strict=False)])
    return IntegerIds(ranks)


def _sort_keys(ids: list[EventId]) -> Sequence[OrderKey] | Sequence[tuple[str | int, ...]]:
    """Keys that sort as the ids do. Ids of several fields need no key if each field has one kind."""
    if set(map(type, ids)) == {tuple}:
        several = cast("list[tuple[str | int, ...]]", ids)
        if len(set(map(len, several))) == 1 and all(len(set(map(type, field))) == 1 for field in zip(*several, strict=True)):
            return several
    return list(map(id_key, ids))


def _number_columns(ids: TextIds | IntegerIds) -> list[_NumbersAt]:
    """The columns of numbers that compare the ids at some places: the next column decides ties of the one before."""
    if isinstance(ids, IntegerIds):
        return [ids.numbers.__getitem__]
    texts = ids

    def column(number: int) -> _NumbersAt:
        return lambda places: texts.words(number, places)

    return list(map(column, range(texts.word_count)))


def _narrowed(columns: Sequence[_NumbersAt], groups: Groups, best_of: np.ufunc, tie: int) -> IntArray:
    """The place of the least (or greatest) id of each group. Of equal ids, `tie` 0 takes the earliest, -1 the latest."""
    order, starts, sizes = groups.order, groups.starts, groups.sizes
    for column in columns:
        numbers = column(order)
        kept: BoolArray = numbers == np.repeat(best_of.reduceat(numbers, starts), sizes)
        order = order[kept]
        if len(order) == len(starts):
            return order
        sizes = np.add.reduceat(kept, starts, dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
    places: IntArray = order[starts if tie == 0 else starts + sizes - 1]
    return places
