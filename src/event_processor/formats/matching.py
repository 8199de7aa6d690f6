"""Lines held against a template, all of them at once.

Owns: which lines follow a template, and where their slots are.
Always: a line that is kept has the template's literals in their order from its begin to its end; what stands in the slots is
for others to look at.
The way: lines of one length mostly have slots of the same widths. Those are compared with one of them as whole lines; the
rest is stepped through, literal by literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from event_processor.byte_words import WORD_BYTES, Words
from event_processor.contracts import BoolArray, IntArray
from event_processor.formats.lines import Lines
from event_processor.formats.template import TEXT, Slot, Template

__all__ = ["Layout", "Match", "layout_of"]

_ALIKE_MIN: Final = 48
"""Fewer lines of one layout are not worth a step of their own."""
_LAYOUTS_MAX: Final = 8
"""So many layouts are tried among the lines of one length."""
_LENGTH_MAX: Final = 4096
"""Longer lines are stepped through."""
_BLOCK_LINES: Final = 4096
"""So many lines are compared at once: what is copied of them stays in the processor's cache."""
_EVERY_BIT: Final = ~np.uint64(0)
_WIDTHS_TRIED_MAX: Final = 40
_FUTILE_MAX: Final = 6
"""So many widths that fit no line, one after the other, tell that most of what is left is at fault."""
_FEW_LINES: Final = 24
"""So few lines are looked at sooner one by one."""
_NUMBER_CHARACTERS: Final = re.compile(rb"[-+.0-9eE]+")

_Masked: TypeAlias = tuple[np.uint64, np.uint64]
_LiteralWords: TypeAlias = tuple[tuple[int, _Masked, _Masked | None], ...]
"""A literal as words to compare, two at a time: how far behind its begin they stand, which of their bits count, and what these are."""


class Match:
    """Which lines follow a template, and where their slots are, for all lines at once."""

    def __init__(self, lines: Lines, words: Words, template: Template, kept: frozenset[int], rows: IntArray) -> None:
        """`rows` are the lines to look at, ascending; `kept` the slots whose places are wanted."""
        self.lines: Final = lines
        self.words: Final = words
        self.rows = rows
        self.columns: Final[dict[str, NDArray[Any]]] = {}
        """What was read of the lines, one entry for each of `rows`."""
        self._template: Final = template
        self._kept: Final = kept
        self._layouts: list[Layout] = []
        self._numbers: IntArray = np.zeros(len(rows), np.int64)
        """For each line the number of its layout; that behind the last stands for a line that has one of its own."""
        self._single: dict[int, tuple[IntArray, IntArray]] = {}
        """Where each slot begins and ends in the lines with layouts of their own, one entry for each of these."""
        self._spans: Final[dict[int, tuple[IntArray, IntArray]]] = {}

    def run(self) -> None:
        """Leaves in `rows` only what follows the template."""
        rows = self.rows
        starts = self.lines.starts[rows]
        numbers = np.full(len(rows), -1)
        for layout, indices in self._common_layouts(starts, self.lines.ends[rows] - starts):
            numbers[indices] = len(self._layouts)
            self._layouts.append(layout)
        found = numbers >= 0
        if not found.all():
            left = (~found).nonzero()[0]
            indices, self._single = self._step_through(left)
            numbers[indices], found[indices] = len(self._layouts), True
        self._numbers = numbers
        self._leave_out(found)

    def _step_through(self, left: IntArray) -> tuple[IntArray, dict[int, tuple[IntArray, IntArray]]]:
        """Looks at the lines that have no common layout; `left` are their places.

        Returns the places of those that follow the template, and where their slots stand.
        """
        good, spans = left[:0], dict.fromkeys(self._kept, (left[:0], left[:0]))
        if len(left) > _FEW_LINES:
            steps = _Steps(self.lines, self.words, self._template, self.rows[left])
            spans = steps.run(self._kept)
            good = left[steps.good]
            left = np.setdiff1d(left, good, assume_unique=True)
        if len(left) > _FEW_LINES:
            return good, spans
        others, singles = self._look_at(left)
        order = np.argsort(np.concatenate([good, others]))
        for slot, (begins, ends) in spans.items():
            spans[slot] = (
                np.concatenate([begins, singles[slot][0]])[order],
                np.concatenate([ends, singles[slot][1]])[order],
            )
        return np.concatenate([good, others])[order], spans

    def _look_at(self, left: IntArray) -> tuple[IntArray, dict[int, tuple[IntArray, IntArray]]]:
        """`_step_through` for a few lines, one by one."""
        good, places = [], []
        for index in left.tolist():
            row = int(self.rows[index])
            layout = layout_of(self._template, self.lines.record(row))
            if layout is not None:
                good.append(index)
                begin = int(self.lines.starts[row])
                places.append([(begin + layout.begins[slot], layout.widths[slot]) for slot in self._kept])
        table = np.array(places, np.int64).reshape(len(good), len(self._kept), 2)
        spans = {slot: (table[:, n, 0], table[:, n, 0] + table[:, n, 1]) for n, slot in enumerate(self._kept)}
        return np.array(good, np.int64), spans

    def _common_layouts(self, starts: IntArray, lengths: IntArray) -> Iterator[tuple[Layout, IntArray]]:
        """The lines of each common layout: the layout, and their places among the rows."""
        counts = np.bincount(np.minimum(lengths, _LENGTH_MAX + 1))[: _LENGTH_MAX + 1]
        for length in (counts >= _ALIKE_MIN).nonzero()[0].tolist():
            pending = (lengths == length).nonzero()[0]
            for _ in range(_LAYOUTS_MAX):
                if len(pending) < _ALIKE_MIN:
                    break
                first = int(starts[pending[0]])
                layout = layout_of(self._template, self.lines.content[first : first + length])
                if layout is None:
                    pending = pending[1:]
                    continue
                same = self._have(layout, starts[pending])
                yield layout, pending[same]
                pending = pending[~same]

    def _have(self, layout: Layout, starts: IntArray) -> BoolArray:
        """Which of the lines that begin at `starts`, all of the layout's length, have its literals in their places."""
        content, wanted_words = self.lines.content, layout.words()
        width = WORD_BYTES * len(wanted_words)
        same = np.zeros(len(starts), np.bool_)
        windows = np.ndarray((max(0, len(content) - width + 1),), f"V{width}", content, strides=(1,))
        # A window at the content's end would reach behind it.
        count = int(np.searchsorted(starts, len(windows)))
        for begin in range(0, count, _BLOCK_LINES):
            end = min(begin + _BLOCK_LINES, count)
            table = windows[starts[begin:end]].view("<u8").reshape(end - begin, -1)
            differing = np.zeros(end - begin, np.uint64)
            for number, (mask, wanted) in enumerate(wanted_words):
                if mask:
                    difference = table[:, number] ^ wanted
                    if mask != _EVERY_BIT:
                        difference &= mask
                    differing |= difference
            same[begin:end] = differing == 0
        return same

    def keep(self, which: BoolArray) -> None:
        """Leaves out the lines that are not marked."""
        if not which.all():
            self._leave_out(which)

    def _leave_out(self, which: BoolArray) -> None:
        is_single = self._numbers == len(self._layouts)
        if self._single and is_single.any():
            kept = which[is_single]
            self._single = {slot: (begins[kept], ends[kept]) for slot, (begins, ends) in self._single.items()}
        self.rows, self._numbers = self.rows[which], self._numbers[which]
        for name, column in self.columns.items():
            self.columns[name] = column[which]
        self._spans.clear()

    def read(self, name: str, column: NDArray[Any], good: BoolArray) -> None:
        """Takes in a column of all lines, and leaves out those that are not `good`."""
        self.columns[name] = column
        self.keep(good)

    def span(self, slot: int) -> tuple[IntArray, IntArray]:
        """Where a kept slot begins and ends in each line."""
        if slot not in self._spans:
            self._spans[slot] = self._placed(slot)
        return self._spans[slot]

    def _placed(self, slot: int) -> tuple[IntArray, IntArray]:
        begins = self.lines.starts[self.rows]
        # A layout of no width, where there is none, so that there is always one to choose.
        layouts = [(layout.begins[slot], layout.widths[slot]) for layout in self._layouts] or [(0, 0)]
        begins = begins + _chosen([begin for begin, _ in layouts], self._numbers)
        ends = begins + _chosen([width for _, width in layouts], self._numbers)
        if self._single and len(self._single[slot][0]):
            is_single = self._numbers == len(self._layouts)
            begins[is_single], ends[is_single] = self._single[slot]
        return begins, ends


def _chosen(values: list[int], numbers: IntArray) -> IntArray | int:
    """The value that each number chooses, any for that behind the last; one for all where there is only one."""
    return values[0] if len(set(values)) == 1 else np.array([*values, 0], np.int64)[numbers]


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide each slot of a line is, and so where everything stands in it: `begins` (from the line's begin) and `widths` by slot."""

    template: Template
    begins: tuple[int, ...]
    widths: tuple[int, ...]

    def words(self) -> list[_Masked]:
        """The words of a line, eight bytes each: which bits count, and what they are."""
        wanted, mask = bytearray(), bytearray()
        for literal, width in zip(self.template.literals, [*self.widths, 0], strict=True):
            wanted += literal + bytes(width)
            mask += b"\xff" * len(literal) + bytes(width)
        missing = bytes(-len(wanted) % WORD_BYTES)
        return list(zip(np.frombuffer(mask + missing, "<u8"), np.frombuffer(wanted + missing, "<u8"), strict=True))


def layout_of(template: Template, line: bytes) -> Layout | None:
    """The layout of `line`; None where it does not follow the template."""
    begins, widths = [], []
    place = 0
    for literal, slot in zip(template.literals, template.slots, strict=False):
        if not line.startswith(literal, place):
            return None
        place += len(literal)
        width = _width_at(line, slot, place)
        begins.append(place)
        widths.append(width)
        place += width
    follows = line.startswith(template.literals[-1], place) and place + len(template.literals[-1]) == len(line)
    return Layout(template, tuple(begins), tuple(widths)) if follows else None


def _width_at(content: bytes, slot: Slot, begin: int) -> int:
    """How wide the value at `begin` is: a text up to its quote, a number as far as its characters go."""
    if slot.kind == TEXT:
        return max(0, content.find(b'"', begin) - begin)
    match = _NUMBER_CHARACTERS.match(content, begin)
    return match.end() - begin if match else 0


class _Steps:
    """Steps through the template for lines of any layout."""

    def __init__(self, lines: Lines, words: Words, template: Template, rows: IntArray) -> None:
        self._lines: Final = lines
        self._words: Final = words
        self._template: Final = template
        self._rows: Final = rows
        self.good = np.arange(len(rows))
        """The places, among the rows, of the lines that follow the template."""

    def run(self, kept: frozenset[int]) -> dict[int, tuple[IntArray, IntArray]]:
        """Sets `good`, and returns where the kept slots begin and end in these."""
        first, *others = map(_literal_words, self._template.literals)
        spans: dict[int, tuple[IntArray, IntArray]] = {}
        places = self._lines.starts[self._rows]
        good = self._stands(first, places)
        places = self._keep(good, places, spans) + len(self._template.literals[0])
        for number, (slot, literal) in enumerate(zip(self._template.slots, others, strict=True)):
            ends, good = self._slot_ends(slot, literal, places)
            if number in kept:
                spans[number] = places, ends
            places = self._keep(good, ends, spans) + len(self._template.literals[number + 1])
        # A line that matched by what stands behind it does not end where it should.
        self._keep(places == self._lines.ends[self._rows[self.good]], places, spans)
        return spans

    def _keep(self, which: BoolArray, places: IntArray, spans: dict[int, tuple[IntArray, IntArray]]) -> IntArray:
        """Leaves out the lines that are not marked; `places` of the others."""
        if which.all():
            return places
        self.good = self.good[which]
        for number, (begins, ends) in spans.items():
            spans[number] = begins[which], ends[which]
        return places[which]

    def _stands(self, literal: _LiteralWords, places: IntArray) -> BoolArray:
        """Whether the literal stands at each place."""
        good: BoolArray | None = None
        for offset, (mask, wanted), second in literal:
            here = places + offset if offset else places
            if second is None:
                same: BoolArray = (self._words.at(here) & mask) == wanted
            else:
                head, tail = self._words.pairs_at(here)
                same = (head == wanted) & ((tail & second[0]) == second[1])
            good = same if good is None else good & same
        assert good is not None, "a literal is at least a byte"
        return good

    def _slot_ends(self, slot: Slot, literal: _LiteralWords, places: IntArray) -> tuple[IntArray, BoolArray]:
        """Where the slot ends in each line, and which lines go on with `literal` there.

        Tries the width that the template's line has, then those of lines that are left.
        """
        ends = places + slot.width
        good = self._stands(literal, ends)
        if good.all():
            return ends, good
        pending = (~good).nonzero()[0]
        futile = 0
        for _ in range(_WIDTHS_TRIED_MAX):
            if len(pending) <= _FEW_LINES or futile == _FUTILE_MAX:
                break
            width = _width_at(self._lines.content, slot, int(places[pending[0]]))
            tried = places[pending] + width
            fits = self._stands(literal, tried)
            ends[pending[fits]] = tried[fits]
            good[pending[fits]] = True
            futile = 0 if fits.any() else futile + 1
            fits[0] = True  # whatever it is, it was looked at
            pending = pending[~fits]
        return ends, good


def _literal_words(literal: bytes) -> _LiteralWords:
    """The literal in steps of sixteen bytes."""
    steps = []
    for offset in range(0, len(literal), 2 * WORD_BYTES):
        head, tail = literal[offset : offset + WORD_BYTES], literal[offset + WORD_BYTES : offset + 2 * WORD_BYTES]
        steps.append((offset, _masked(head), _masked(tail) if tail else None))
    return tuple(steps)


def _masked(part: bytes) -> tuple[np.uint64, np.uint64]:
    """Which bits of a word count, and what they are."""
    return np.uint64((1 << (8 * len(part))) - 1), np.uint64(int.from_bytes(part, "little"))
