"""The kernels of the index against their twins in numpy, and against the xxhash library, sorted lists and sets."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from event_processor.columns.ids import IntegerIds, TextIds
from event_processor.deduplication import bloom_filter as filters
from event_processor.deduplication.bloom_filter import BLOCK_WORDS, Filter, Probe, blocks_for, set_bits_by_numpy
from event_processor.deduplication.fingerprints import Xxh3Fingerprinter
from event_processor.deduplication.high_water import HighWaterMarks
from event_processor.deduplication.index import firsts_by_numpy, taken_by_numpy
from event_processor.deduplication.runs import Run, contains_by_numpy, join_by_numpy, sort_by_numpy
from event_processor.kernels.fingerprints import KERNELS, FingerprintKernels
from event_processor.kernels.library import LIBRARY, SWITCH

Pair: TypeAlias = tuple[int, int]

CONTINUOUS_INTEGRATION: Final = "CI" in os.environ and os.environ.get(SWITCH) != "off"
SEEDS: Final = [0, 1, 2**32, 2**63, 2**64 - 1, 0x0123_4567_89AB_CDEF]
PATTERNS: Final = filters.BIT_PATTERNS
words = st.one_of(st.integers(0, 5), st.integers(2**64 - 3, 2**64 - 1), st.integers(0, 2**64 - 1))
pairs = st.tuples(words, words)
many_pairs = st.lists(pairs, max_size=200)

pytestmark = pytest.mark.skipif(LIBRARY is None and not CONTINUOUS_INTEGRATION, reason="there is no library")


def kernels() -> FingerprintKernels:
    assert KERNELS is not None, "the library was compiled here"
    return KERNELS


def array_of(rows: Sequence[Pair]) -> np.ndarray:
    return np.array(rows, dtype=np.uint64).reshape(-1, 2)


def pairs_of(hi: np.ndarray, lo: np.ndarray) -> list[Pair]:
    return list(zip(hi.tolist(), lo.tolist(), strict=True))


def columns_of(rows: Sequence[Pair], is_view: bool) -> tuple[np.ndarray, np.ndarray]:
    """As columns of their own, or as views of rows."""
    array = array_of(rows)
    return (array[:, 0], array[:, 1]) if is_view else (array[:, 0].copy(), array[:, 1].copy())


def random_pairs(count: int, seed: int) -> list[Pair]:
    chance = random.Random(seed)
    return [(chance.getrandbits(64), chance.getrandbits(64)) for _ in range(count)]


def skewed(count: int) -> dict[str, list[Pair]]:
    """Batches that are as no hash gives them."""
    chance = random.Random(count)
    return {
        "at random": random_pairs(count, count),
        "all equal": [(7, 7)] * count,
        "one hi, rising": [(7, place) for place in range(count)],
        "one hi, falling": [(2**64 - 1, count - place) for place in range(count)],
        "one hi, at random": [(7, chance.getrandbits(64)) for _ in range(count)],
        "few rows, again and again": [(chance.randrange(3) << 62, chance.randrange(3)) for _ in range(count)],
        "high bits equal, falling": [(count - place, place % 3) for place in range(count)],
        "low bits alone": [(1 << 63 | chance.getrandbits(10), chance.getrandbits(3)) for _ in range(count)],
        "in order": sorted(random_pairs(count, count)),
        "in order, backwards": sorted(random_pairs(count, count), reverse=True),
        "one in a hundred twice": [row for row in random_pairs(count, 1) for _ in range(1 + (row[0] % 100 == 0))],
    }


def expected_row(text: bytes, seed: int) -> list[int]:
    digest = xxhash.xxh3_128_digest(text, seed)
    return [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")]


@pytest.mark.parametrize("seed", SEEDS)
def test_each_width_hashes_as_in_the_library_at_the_end_of_the_content_too(seed: int) -> None:
    chance = random.Random(seed)
    for width in range(4, 129):
        content = chance.randbytes(2 * width + 3)
        begins = np.array([0, 1, width + 3, len(content) - width])
        rows = kernels().hash_texts(content, begins, begins + width, seed)
        assert rows is not None
        assert rows.tolist() == [expected_row(content[begin : begin + width], seed) for begin in begins.tolist()], width


@pytest.mark.parametrize("seed", SEEDS)
def test_texts_of_many_widths_hash_in_one_call(seed: int) -> None:
    chance = random.Random(seed)
    content = chance.randbytes(4096)
    widths = np.array([chance.randrange(4, 129) for _ in range(1000)])
    begins = np.array([chance.randrange(4096 - width + 1) for width in widths.tolist()])
    rows = kernels().hash_texts(content, begins, begins + widths, seed)
    assert rows is not None
    texts = [content[begin : begin + width] for begin, width in zip(begins.tolist(), widths.tolist(), strict=True)]
    assert rows.tolist() == [expected_row(text, seed) for text in texts]
    fingerprinter = Xxh3Fingerprinter(seed.to_bytes(8, "big"))
    column = TextIds(content, begins, begins + widths)
    assert fingerprinter.rows(column).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("begin", "end"), [(0, 3), (0, 129), (2, 2), (-1, 5), (197, 201), (9, 3), (2**62, 2**62 + 9), (201, 205)]
)
def test_what_is_too_short_too_long_or_outside_is_left_to_the_library(begin: int, end: int) -> None:
    begins, ends = np.array([0, begin, 1]), np.array([9, end, 9])
    assert kernels().hash_texts(bytes(200), begins, ends, 1) is None


@pytest.mark.parametrize("widths", [(14,), (36,), (4, 128), (3, 14), (129, 14), (0, 5)])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 700])
def test_a_column_of_texts_hashes_as_each_of_them_does(widths: tuple[int, ...], count: int) -> None:
    chance = random.Random(count)
    texts = [chance.randbytes(chance.choice(widths)).hex()[: chance.choice(widths)].encode() for _ in range(count)]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    column = TextIds(b"".join(texts), ends - np.array([len(text) for text in texts], np.int64), ends)
    fingerprinter = Xxh3Fingerprinter(bytes(range(8)))
    seed = int.from_bytes(bytes(range(8)), "big")
    assert fingerprinter.rows(column).tolist() == [expected_row(text, seed) for text in texts]


@given(numbers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=90), seed=st.integers(0, 2**64 - 1))
def test_integers_hash_as_their_eight_bytes(numbers: list[int], seed: int) -> None:
    rows = kernels().hash_numbers(np.array(numbers, np.int64), seed)
    assert rows.tolist() == [expected_row(number.to_bytes(8, "little", signed=True), seed) for number in numbers]
    fingerprinter = Xxh3Fingerprinter(seed.to_bytes(8, "big"))
    column = np.array(numbers, np.int64)
    seed_of_integers = (seed + 0x9E37_79B9_7F4A_7C15) % 2**64
    expected = [expected_row(number.to_bytes(8, "little", signed=True), seed_of_integers) for number in numbers]
    assert fingerprinter.rows(IntegerIds(column)).tolist() == expected


def check_sorted(rows: Sequence[Pair]) -> None:
    hi, lo, places = kernels().sort_rows(array_of(rows))
    expected = sorted(range(len(rows)), key=lambda place: (rows[place], place))
    assert places.tolist() == expected
    assert pairs_of(hi, lo) == [rows[place] for place in expected]
    twin, twin_places = sort_by_numpy(array_of(rows))
    assert places.tolist() == twin_places.tolist()
    assert pairs_of(hi, lo) == pairs_of(twin.hi, twin.lo)


@given(many_pairs)
def test_rows_are_sorted_and_equal_ones_keep_their_order(rows: list[Pair]) -> None:
    check_sorted(rows)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 64, 65, 1000, 20_000])
@pytest.mark.parametrize("shape", skewed(1))
def test_rows_of_any_distribution_are_sorted(shape: str, count: int) -> None:
    check_sorted(skewed(count)[shape])


def test_a_sort_of_what_falls_into_one_bucket_takes_no_square_of_its_time() -> None:
    falling, equal = np.arange(400_000, 0, -1, dtype=np.uint64), np.full(400_000, 7, np.uint64)
    for rows in (np.column_stack((falling, equal)), np.column_stack((equal, falling))):
        hi, lo, places = kernels().sort_rows(rows)
        assert (places == np.arange(400_000)[::-1]).all()
        assert (rows[::-1] == np.column_stack((hi, lo))).all()


def test_a_sort_of_more_rows_than_it_has_buckets() -> None:
    check_sorted(random_pairs(300_000, 5))


@given(st.lists(st.tuples(many_pairs, st.booleans()), min_size=1, max_size=12))
def test_runs_become_one(parts: list[tuple[list[Pair], bool]]) -> None:
    runs = [columns_of(sorted(rows), is_view) for rows, is_view in parts]
    joined = kernels().join(runs)
    assert pairs_of(*joined) == sorted(row for rows, _ in parts for row in rows)
    twin = join_by_numpy([Run(hi, lo) for hi, lo in runs])
    assert pairs_of(*joined) == pairs_of(twin.hi, twin.lo)


@pytest.mark.parametrize("count", [*range(1, 18), 63, 64, 65])
def test_runs_of_any_number_and_length_become_one(count: int) -> None:
    chance = random.Random(count)
    parts = [sorted(random_pairs(chance.choice([0, 1, 2, 50, 3000]), place)) for place in range(count)]
    joined = kernels().join([columns_of(rows, chance.random() < 0.5) for rows in parts])
    assert pairs_of(*joined) == sorted(row for rows in parts for row in rows)


@pytest.mark.parametrize("shape", skewed(1))
def test_runs_of_any_distribution_become_one(shape: str) -> None:
    rows = skewed(999)[shape]
    parts = [sorted(rows[start::7]) for start in range(7)]
    assert pairs_of(*kernels().join([columns_of(part, False) for part in parts])) == sorted(rows)


@given(many_pairs, many_pairs, st.booleans())
def test_a_search_finds_exactly_what_is_there(held: list[Pair], sought: list[Pair], is_view: bool) -> None:
    run, batch = columns_of(sorted(set(held)), is_view), columns_of(sorted([*sought, *held[::3]]), is_view)
    found = kernels().contains(run, batch).tolist()
    assert found == [row in set(held) for row in pairs_of(*batch)]
    assert found == contains_by_numpy(Run(*run), Run(*batch)).tolist()


@pytest.mark.parametrize("shape", skewed(1))
@pytest.mark.parametrize("stride", [1, 2, 33, 900])
def test_a_search_finds_exactly_what_is_there_whatever_its_distribution(shape: str, stride: int) -> None:
    rows = sorted(set(skewed(5000)[shape]))
    run, batch = columns_of(rows[::2], True), columns_of(rows[::stride], False)
    assert kernels().contains(run, batch).tolist() == [row in set(rows[::2]) for row in rows[::stride]]


@given(many_pairs, pairs, st.booleans())
def test_the_count_through_a_bound_is_exact(held: list[Pair], bound: Pair, is_view: bool) -> None:
    for sought in [bound, *held[:3]]:
        run = Run(*columns_of(sorted(set(held)), is_view))
        count = run.count_through(np.uint64(sought[0]), np.uint64(sought[1]))
        assert count == sum(row <= sought for row in set(held))


@given(many_pairs, st.booleans())
def test_columns_become_rows(rows: list[Pair], is_view: bool) -> None:
    assert kernels().rows_of(columns_of(rows, is_view)).tolist() == array_of(rows).tolist()


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 5000])
@pytest.mark.parametrize("block_count", [1, 2, 137, 4000])
def test_a_filter_holds_and_says_what_its_twin_does(count: int, block_count: int) -> None:
    rows = sorted(random_pairs(count, block_count))
    run = Run(*columns_of(rows, False))
    filled, twin = np.zeros(block_count * BLOCK_WORDS, np.uint64), np.zeros(block_count * BLOCK_WORDS, np.uint64)
    kernels().filter_add(filled, 0, block_count, PATTERNS, (run.hi, run.lo))
    set_bits_by_numpy(twin, 0, block_count, run)
    assert filled.tolist() == twin.tolist()
    assert kernels().filter_hits(filled, PATTERNS, (run.hi, run.lo)).tolist() == list(range(count))
    asked = Run(*columns_of(sorted([*random_pairs(3000, 9), *rows[::5]]), False))
    hits = kernels().filter_hits(filled, PATTERNS, (asked.hi, asked.lo))
    assert hits.tolist() == Filter(filled).hits_by_numpy(Probe.of(asked)).tolist()


def test_a_filter_is_filled_piece_by_piece_and_nothing_outside_its_piece() -> None:
    run = Run(*columns_of(sorted(random_pairs(2000, 3)), False))
    blocks = blocks_for(2000)
    upper = run.part(1000, 2000)
    first = (int(upper.hi[0]) >> 32) * blocks >> 32
    filled, twin = np.zeros((blocks - first) * BLOCK_WORDS, np.uint64), np.zeros((blocks - first) * BLOCK_WORDS, np.uint64)
    kernels().filter_add(filled, first, blocks, PATTERNS, (upper.hi, upper.lo))
    set_bits_by_numpy(twin, first, blocks, upper)
    assert filled.tolist() == twin.tolist()
    for words_count, first_block in ((len(filled) - BLOCK_WORDS, first), (len(filled), first + 1), (0, first)):
        with pytest.raises(AssertionError, match="lies in one of these blocks"):
            kernels().filter_add(np.zeros(words_count, np.uint64), first_block, blocks, PATTERNS, (upper.hi, upper.lo))


@pytest.mark.parametrize("bits", [3, 4, 12])
@pytest.mark.parametrize("count", [0, 1, 33, 400])
def test_marks_are_those_of_the_high_bits(bits: int, count: int) -> None:
    held = columns_of(sorted(random_pairs(count, 1)), False)[0]
    marks = np.zeros((1 << bits) // 8, np.uint8)
    kernels().marks_set(marks, 64 - bits, held)
    marked = {hi >> (64 - bits) for hi in held.tolist()}
    assert np.flatnonzero(np.unpackbits(marks, bitorder="little")).tolist() == sorted(marked)


@given(st.lists(many_pairs, max_size=5), many_pairs, st.sampled_from([3, 4, 9]), st.booleans(), st.data())
def test_a_search_in_runs_takes_out_what_one_of_them_holds(
    held: list[list[Pair]], sought: list[Pair], bits: int, is_view: bool, data: st.DataObject
) -> None:
    runs = [columns_of(sorted(set(rows)), is_view) for rows in held]
    asked = sorted({*sought, *(rows[0] for rows in held if rows), *(rows[-1] for rows in held if rows)})
    wanted = data.draw(st.lists(st.booleans(), min_size=len(asked), max_size=len(asked)))
    assert searched(runs, bits, asked, wanted) == [
        is_wanted and not any(row in rows for rows in held) for row, is_wanted in zip(asked, wanted, strict=True)
    ]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 130])
def test_a_search_in_more_runs_than_are_asked_at_once(count: int) -> None:
    rows = sorted(random_pairs(1000, 5))
    held = [rows[number::150] for number in range(count)]
    assert searched([columns_of(run, False) for run in held], 16, rows, [True] * 1000) == [
        place % 150 >= count for place in range(1000)
    ]


def searched(runs: list[tuple[np.ndarray, np.ndarray]], bits: int, asked: list[Pair], wanted: list[bool]) -> list[bool]:
    """What is left of `wanted` when it was looked for in the runs."""
    marks = np.zeros((1 << bits) // 8, np.uint8)
    for hi, _ in runs:
        kernels().marks_set(marks, 64 - bits, hi)
    answers = np.array(wanted, np.uint8)
    kernels().search_runs(marks, 64 - bits, kernels().described(runs), columns_of(asked, False), answers)
    assert set(answers.tolist()) <= {0, 1}
    return list(map(bool, answers.tolist()))


def test_what_no_mark_stands_for_is_not_looked_for() -> None:
    run = columns_of([(5, 5)], False)
    answers = np.ones(1, np.uint8)
    kernels().search_runs(np.zeros(1, np.uint8), 61, kernels().described([run]), run, answers)
    assert answers.tolist() == [1]


@given(many_pairs, st.data())
def test_firsts_are_told_from_repetitions_and_the_doubtful_from_the_known(rows: list[Pair], data: st.DataObject) -> None:
    known = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_)
    run, places = sort_by_numpy(array_of(rows))
    firsts, doubtful, asked = kernels().firsts((run.hi, run.lo), places, known)
    twin_firsts, twin_doubtful, twin_asked = firsts_by_numpy(run, places, known)
    assert (firsts.tolist(), doubtful.tolist()) == (twin_firsts.tolist(), twin_doubtful.tolist())
    assert pairs_of(*asked) == pairs_of(twin_asked.hi, twin_asked.lo)
    assert [row for row, first in zip(pairs_of(run.hi, run.lo), firsts.tolist(), strict=True) if first] == sorted(set(rows))
    count = len(doubtful)
    answers = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    held = {row for row, is_new in zip(pairs_of(*asked), answers.tolist(), strict=True) if not is_new}
    new, by_id = kernels().take_new((run.hi, run.lo), places, firsts, doubtful, answers)
    twin_new, twin_by_id = taken_by_numpy(run, places, twin_firsts, twin_doubtful, answers)
    assert pairs_of(*new) == pairs_of(twin_new.hi, twin_new.lo) == sorted(set(rows) - held)
    expected = [row not in rows[:place] and row not in held for place, row in enumerate(rows)]
    assert by_id.tolist() == twin_by_id.tolist() == expected


@given(many_pairs, st.data())
def test_those_that_a_mask_names_are_picked(rows: list[Pair], data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    picked = kernels().pick(np.array(mask, np.bool_), columns_of(rows, False))
    assert pairs_of(*picked) == [row for row, is_picked in zip(rows, mask, strict=True) if is_picked]


@pytest.mark.parametrize("place", [-1, 3, 2**62])
def test_a_place_out_of_bounds_is_refused(place: int) -> None:
    places, values = np.array([0, place, 1]), np.ones(3, np.bool_)
    run, nothing = columns_of([(1, 1), (1, 2), (2, 1)], False), np.zeros(0, np.int64)
    with pytest.raises(AssertionError, match="the place of an id"):
        kernels().firsts(run, places, values)
    with pytest.raises(AssertionError, match="the place of an id"):
        kernels().take_new(run, places, values, nothing, nothing.astype(np.bool_))
    with pytest.raises(AssertionError, match="the place of an id"):
        kernels().take_new(run, np.arange(3), values, np.array([place]), np.ones(1, np.bool_))


letters = st.text(alphabet="09Zaé𝄞\0", max_size=4)
long_texts = st.builds(lambda text, count: text * count, st.sampled_from(["ab", "b", "é", "evt-0"]), st.integers(1, 70))
tied = st.builds(lambda length, last: "x" * length + last, st.integers(0, 66), st.sampled_from("abc\0ÿ"))


def column_of(texts: Sequence[str]) -> TextIds:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return TextIds(b"".join(encoded), ends - np.array([len(text) for text in encoded], np.int64), ends)


@given(st.lists(st.lists(st.one_of(letters, long_texts, tied), max_size=70), max_size=4))
def test_texts_above_their_marks_are_those_that_the_twin_names(batches: list[list[str]]) -> None:
    twin, marks = HighWaterMarks(()), dict[int, bytes]()
    for batch in batches:
        column = column_of(batch)
        found = kernels().texts_above(column.content, column.begins, column.ends, marks)
        assert found is not None
        above, raised = found
        assert above.tolist() == [
            1 <= len(text.encode()) <= 64 and text.encode() > marks.get(len(text.encode()), b"") for text in batch
        ]
        assert above.tolist() == twin.pass_over_texts_by_numpy(column).tolist()
        marks |= raised
        assert [marks[width].decode() for width in sorted(marks)] == twin.to_list()


@pytest.mark.parametrize(("begin", "end"), [(-1, 5), (9, 3), (197, 201), (2**62, 2**62 + 9)])
def test_texts_outside_of_the_content_are_left_to_the_twin(begin: int, end: int) -> None:
    assert kernels().texts_above(bytes(200), np.array([0, begin]), np.array([9, end]), {}) is None


def unaligned(column: np.ndarray) -> np.ndarray:
    """The same column at an odd place, as a column may stand that came from another process."""
    return np.frombuffer(b"\0" + column.tobytes(), column.dtype, offset=1)


def test_columns_that_are_not_aligned_are_as_good() -> None:
    rows = sorted(random_pairs(500, 1))
    hi, lo = columns_of(rows, False)
    run, places = (unaligned(hi), unaligned(lo)), unaligned(np.arange(500))
    assert not run[0].flags.aligned
    kernel, all_of_them = kernels(), np.ones(500, np.bool_)
    assert pairs_of(*kernel.join([run, columns_of(rows, True)])) == sorted([*rows, *rows])
    assert kernel.contains(run, run).all()
    assert kernel.rows_of(run).tolist() == array_of(rows).tolist()
    assert pairs_of(*kernel.pick(all_of_them, run)) == rows
    firsts, doubtful, _ = kernel.firsts(run, places, all_of_them)
    assert firsts.all()
    assert not len(doubtful)
    new, by_id = kernel.take_new(run, places, firsts, doubtful, np.zeros(0, np.bool_))
    assert pairs_of(*new) == rows
    assert by_id.all()
    filled, twin = np.zeros(80, np.uint64), np.zeros(80, np.uint64)
    kernel.filter_add(filled, 0, 10, PATTERNS, run)
    kernel.filter_add(twin, 0, 10, PATTERNS, (hi, lo))
    assert filled.tolist() == twin.tolist()
    assert len(kernel.filter_hits(filled, PATTERNS, run)) == 500
    assert kernel.sort_rows(unaligned(array_of(rows).reshape(-1)).reshape(-1, 2))[2].tolist() == list(range(500))
    assert kernel.hash_numbers(places, 3).tolist() == kernel.hash_numbers(np.arange(500), 3).tolist()
    texts = kernel.hash_texts(bytes(600), places, unaligned(np.arange(500) + 9), 3)
    assert texts is not None
    marks = np.zeros(8, np.uint8)
    kernel.marks_set(marks, 58, run[0])
    answers, held = np.ones(500, np.uint8), columns_of(rows, True)
    kernel.search_runs(marks, 58, kernel.described([held]), run, answers)
    assert not answers.any()
