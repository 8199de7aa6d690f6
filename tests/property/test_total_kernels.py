"""The kernels of totals against their numpy twins, and both against plain Python."""

import os
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.aggregation.categories import totals as totals_module
from event_processor.aggregation.categories.batch import (
    AcceptedEvents,
    BatchTotals,
    batch_totals_by_kernel,
    batch_totals_by_numpy,
)
from event_processor.aggregation.categories.totals import Totals, add_batch
from event_processor.aggregation.exact_sum import added_by_group, added_by_numpy, canonical_by_group, canonical_by_numpy
from event_processor.columns.ids import IntegerIds, TextIds, text_ids
from event_processor.kernels.first_and_last import integer_extremes, leading_words, text_extremes, text_peaks, texts_rise
from event_processor.kernels.library import LIBRARY
from event_processor.kernels.totals import add_sums, settle, total_groups
from event_processor.model.columns import CategoryColumn, FloatArray, IdColumn

if os.environ.get("CI") == "true":
    pytestmark: list[pytest.MarkDecorator] = []
else:
    pytestmark = [pytest.mark.skipif(LIBRARY is None, reason="the kernels were not compiled")]

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-(2.0**959), max_value=2.0**959)
values = finite.map(lambda value: value + 0.0)
hard = st.sampled_from([1e-320, -1e-320, 5e-324, 2.0**-1022, 2.0**959, -(2.0**959), 1e16, -1e16, 0.1, 1.0, 2.0**-53, 0.0])
powers = st.builds(lambda sign, power: sign * 2.0**power, st.sampled_from([-1.0, 1.0]), st.integers(-1074, 958))
cents = st.integers(-(10**9), 10**9).map(lambda number: number / 100)
numbers = st.sampled_from([cents, hard, values, powers, st.one_of(cents, hard), st.one_of(values, hard, powers, cents)])
texts = st.one_of(
    st.lists(st.sampled_from("a\0\x01bé\U0001f600"), max_size=20).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.builds("{:020d}".format, st.integers(0, 30)),
    st.builds("common-prefix-{}".format, st.integers(0, 300)),
)
id_lists = st.one_of(
    st.lists(texts, min_size=1, max_size=40),
    st.lists(st.builds("common-prefix-{:x}".format, st.integers(0, 300)), min_size=1, max_size=40),
    st.lists(st.builds("{:030d}".format, st.integers(0, 99)), min_size=1, max_size=40).map(sorted),
    st.lists(st.sampled_from(["", "\0", "\0\0", "\xff" * 5, "\U0010ffff" * 3]), min_size=1, max_size=20),
)


def canonical(total: Fraction) -> list[float]:
    parts = []
    while total:
        parts.append(float(total))
        total -= Fraction(parts[-1])
    return parts


def exact(terms: Iterable[float]) -> Fraction:
    return sum(map(Fraction, terms), Fraction(0))


def packed(ids: list[str], gap: bytes = b"") -> TextIds:
    """The ids in a content that ends with the last of them."""
    content, begins, ends = bytearray(), [], []
    for each in ids:
        content += gap
        begins.append(len(content))
        content += each.encode()
        ends.append(len(content))
    return TextIds(bytes(content), np.array(begins, np.int64), np.array(ends, np.int64))


@st.composite
def batches(draw: st.DrawFn) -> AcceptedEvents:
    ids = draw(id_lists)
    count, width = len(ids), draw(st.integers(1, 6))
    column: list[float] = draw(st.lists(draw(numbers), min_size=count, max_size=count))
    has_value = None
    if draw(st.booleans()):
        has_value = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
        column = [number if has else 0.0 for number, has in zip(column, has_value, strict=True)]
    categories = None
    if draw(st.booleans()):
        codes = np.array(draw(st.lists(st.integers(0, width - 1), min_size=count, max_size=count)))
        categories = CategoryColumn(codes, [f"c{code}" for code in range(width)])
    values = np.array(column) if draw(st.integers(0, 9)) else None
    of_integers = draw(st.booleans())
    known = {each: number for number, each in enumerate(sorted(set(ids)))}
    column_of_ids = (
        IntegerIds(np.array([known[each] - 3 for each in ids])) if of_integers else packed(ids, b"x" * draw(st.integers(0, 3)))
    )
    return AcceptedEvents(column_of_ids, categories, values, has_value, None)


def assert_same(events: AcceptedEvents, found: BatchTotals, expected: BatchTotals) -> None:
    assert list(found.names) == list(expected.names)
    assert found.sizes.tolist() == expected.sizes.tolist()
    for name in ("first", "last"):
        assert getattr(found.extremes, name).tolist() == getattr(expected.extremes, name).tolist()
    assert found.extremes.rising == expected.extremes.rising
    assert events.ids[found.extremes.greatest] == events.ids[expected.extremes.greatest]
    if events.values is not None:
        assert found.least.tobytes() == expected.least.tobytes()
        assert found.greatest.tobytes() == expected.greatest.tobytes()
        one, other = canonical_by_group(found.terms), canonical_by_group(expected.terms)
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


def assert_as_in_python(events: AcceptedEvents, found: BatchTotals) -> None:
    count = len(events.ids)
    codes = [0] * count if events.categories is None else events.categories.codes.tolist()
    names = [""] if events.categories is None else events.categories.names
    keys = [each.encode() if isinstance(each, str) else each for each in events.ids.to_list()]
    for row, name in enumerate(found.names):
        mine = [place for place in range(count) if names[codes[place]] == name]
        assert found.sizes[row] == len(mine)
        assert found.extremes.first[row] == min(mine, key=lambda place: (keys[place], place))
        assert found.extremes.last[row] == max(mine, key=lambda place: (keys[place], place))
        if events.values is not None:
            valued = [place for place in mine if events.has_value is None or events.has_value[place]]
            column = events.values[valued].tolist()
            assert found.least[row] == min(column, default=np.inf)
            assert found.greatest[row] == max(column, default=-np.inf)
            assert exact(float(term[row]) for term in found.terms) == exact(column)
    assert found.extremes.rising == (keys == sorted(keys))
    assert keys[found.extremes.greatest] == max(keys)


def test_the_kernels_are_there_where_all_has_to_be_tested() -> None:
    assert LIBRARY is not None


@given(batches())
def test_a_batch_is_the_same_by_kernel_by_numpy_and_in_python(events: AcceptedEvents) -> None:
    expected = batch_totals_by_numpy(events)
    assert_as_in_python(events, expected)
    found = batch_totals_by_kernel(events)
    if found is not None:  # it may say that the values are too far apart
        assert_same(events, found, expected)
        assert_as_in_python(events, found)
    else:
        assert events.values is not None
        assert spread(events.values) > 53 * 3 - 3 * 7 - 53


def spread(column: FloatArray) -> float:
    """How many bits lie between the greatest and the least magnitude."""
    used = np.abs(column[column != 0.0])
    return float(np.log2(used.max()) - np.log2(used.min())) if len(used) else 0.0


def many_ids(kind: str, random: np.random.Generator, count: int) -> IdColumn:
    if kind == "integers":
        return IntegerIds(random.integers(-(2**63), 2**63 - 1, count))
    if kind == "rising":
        return packed([f"{number // 3:036d}" for number in range(count)], b"......")
    if kind == "prefixed":
        return packed([f"evt-2024-01-{number:x}" for number in random.integers(0, count, count)], b"......")
    return packed([random.bytes(8).hex() for _ in range(count)], b"......")


@pytest.mark.parametrize("group_count", [1, 8, 3000])
@pytest.mark.parametrize("kind", ["cents", "exponents", "cancelling", "subnormal", "great"])
@pytest.mark.parametrize("ids", ["rising", "random", "prefixed", "integers"])
def test_a_great_batch_is_the_same(group_count: int, kind: str, ids: str) -> None:
    random, count = np.random.default_rng(group_count), 20_000
    column = {
        "cents": random.integers(-(10**6), 10**6, count) / 100,
        "exponents": np.ldexp(random.random(count) - 0.5, random.integers(-20, 20, count)),
        "cancelling": np.concatenate([half := random.standard_normal(count // 2), -half])[random.permutation(count)],
        "subnormal": random.integers(-(2**40), 2**40, count) * 5e-324,
        "great": np.ldexp(random.random(count) - 0.5, 959),
    }[kind] + 0.0
    has_value = random.random(count) < 0.9
    column[~has_value] = 0.0
    events = AcceptedEvents(
        ids=many_ids(ids, random, count),
        categories=CategoryColumn(random.integers(0, group_count, count), [str(code) for code in range(group_count)]),
        values=column,
        has_value=has_value,
        timestamps=None,
    )
    found = batch_totals_by_kernel(events)
    assert found is not None
    assert_same(events, found, batch_totals_by_numpy(events))
    if group_count == 8:
        assert_as_in_python(events, found)


def test_values_too_far_apart_are_left_to_numpy() -> None:
    assert total_groups(None, np.array([2.0**900, 2.0**-900]), None, 2, 1) is None
    assert total_groups(None, np.array([2.0**1020] * 9), None, 9, 1) is None


def test_values_that_reach_just_over_the_terms() -> None:
    # Of three values a head takes 51 bits: three reach from 2^0 down to 2^-152 or so.
    found = [total_groups(None, np.array([0.75, -0.5, 2.0**-power]), None, 3, 1) for power in range(140, 170)]
    assert found[0] is not None
    assert found[-1] is None
    for power, each in enumerate(found, 140):
        if each is not None:
            assert exact(each.terms[:, 0].tolist()) == Fraction(1, 4) + Fraction(1, 2**power)


@pytest.mark.parametrize("drop", range(24, 64))
def test_small_values_of_all_digits_beside_a_great_one_do_not_round(drop: int) -> None:
    small = np.ldexp(2.0**53 - 1 - 2 * np.arange(4094), -53 - drop)
    column = np.concatenate([[1.0], small])
    found = total_groups(None, column, None, len(column), 1)
    assert found is not None
    assert exact(found.terms[:, 0].tolist()) == exact(column.tolist())


@pytest.mark.parametrize("seed", range(4))
def test_integers_that_tie_and_the_greatest_and_least_of_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    column = random.choice(np.array([-(2**63), -(2**63) + 1, -1, 0, 2**63 - 2, 2**63 - 1]), 200)
    codes = random.integers(0, 40, 200)
    found = integer_extremes(column, codes, 40)
    assert found is not None
    keys = column.tolist()
    for group in range(40):
        mine = np.flatnonzero(codes == group).tolist()
        assert found[0][group] == min(mine, key=lambda place: (keys[place], place), default=-1)
        assert found[1][group] == max(mine, key=lambda place: (keys[place], place), default=-1)
    assert keys[found[2]] == max(keys)


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1])
def test_an_integer_at_either_end_alone(number: int) -> None:
    found = integer_extremes(np.array([number]), None, 1)
    assert found is not None
    assert [found[0].tolist(), found[1].tolist(), found[2]] == [[0], [0], 0]


def test_an_empty_group_and_a_code_out_of_range() -> None:
    found = total_groups(np.array([2, 0, 2]), np.array([1.0, 5.0, -1.0]), np.array([True, False, True]), 3, 4)
    assert found is not None
    assert found.sizes.tolist() == [1, 0, 2, 0]
    assert found.first.tolist() == [1, -1, 0, -1]
    assert found.last.tolist() == [1, -1, 2, -1]
    assert found.least.tolist() == [np.inf, np.inf, -1.0, np.inf]
    assert found.greatest.tolist() == [-np.inf, -np.inf, 1.0, -np.inf]
    for wrong in (-1, 4, 2**62):
        codes = np.array([0, wrong])
        assert total_groups(codes, None, None, 2, 4) is None
        assert integer_extremes(np.array([1, 0]), codes, 4) is None
        assert text_extremes(b"ab", np.array([1, 0]), np.array([2, 1]), codes, 4) is None


@given(id_lists, st.integers(0, 9))
def test_texts_rise_and_lead_as_in_numpy(ids: list[str], gap: int) -> None:
    column = packed(ids, b"\xff" * gap)
    encoded = [each.encode() for each in ids]
    rises = texts_rise(column.content, column.begins, column.ends)
    assert rises == column.rises_in_words() == (encoded == sorted(encoded))
    words = leading_words(column.content, column.begins, column.ends)
    assert words is not None
    assert words.tolist() == [int.from_bytes(each[:8].ljust(8, b"\0"), "big") for each in encoded]
    if max(map(len, encoded)):
        assert words.tolist() == text_ids(ids).words(0).tolist()


@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (0, 5), (3, 2), (5, 5), (2**62, 2**62 + 1)])
def test_a_text_outside_of_the_content_is_left_alone(begin: int, end: int) -> None:
    for begins, ends in (([0, begin], [1, end]), ([begin, 0], [end, 1])):
        spans = np.array(begins), np.array(ends)
        assert texts_rise(b"abcd", *spans) is None
        assert leading_words(b"abcd", *spans) is None
        assert text_extremes(b"abcd", *spans, None, 1) is None


def test_columns_that_do_not_lie_together_are_read_as_they_are() -> None:
    spans = np.array([[0, 1], [1, 2], [2, 3]])
    assert texts_rise(b"abc", spans[:, 0], spans[:, 1]) is True
    assert texts_rise(b"abc", spans[::-1, 0], spans[::-1, 1]) is False
    found = total_groups(np.array([0, 9, 1, 9])[::2], np.array([1.0, 2.0, 3.0, 4.0])[::2], None, 2, 2)
    assert found is not None
    assert found.least.tolist() == [1.0, 3.0]


terms_of_groups = numbers.flatmap(
    lambda kind: st.integers(1, 20).flatmap(
        lambda width: st.lists(st.lists(kind, min_size=width, max_size=width), min_size=1, max_size=9)
    )
)


@given(terms_of_groups)
def test_settled_terms_are_canonical(columns: list[list[float]]) -> None:
    terms = np.array(columns)
    expected = [canonical(exact(column)) for column in terms.T.tolist()]
    settled = terms.copy()
    unsettled = settle(settled)
    assert unsettled is not None
    for group, parts in enumerate(expected):
        mine = settled[:, group].tolist()
        assert exact(mine) == exact(parts)
        if not unsettled[group]:
            assert mine == [*parts, *[0.0] * (len(mine) - len(parts))]
    assert not np.signbit(settled[settled == 0.0]).any()
    by_kernel = canonical_by_group([np.ascontiguousarray(row) for row in terms])
    by_numpy = canonical_by_numpy(terms.copy())
    assert by_kernel.shape == by_numpy.shape
    assert by_kernel.tobytes() == by_numpy.tobytes()


@given(terms_of_groups, terms_of_groups, st.randoms(use_true_random=False))
def test_terms_are_added_to_the_rows_they_belong_to(before: list[list[float]], terms: list[list[float]], random) -> None:  # type: ignore[no-untyped-def]
    parts = canonical_by_numpy(np.array(before))
    width, group_count = len(before[0]), len(terms[0])
    parts = np.concatenate([parts, np.zeros((len(parts), group_count))], axis=1)
    rows = np.array(random.sample(range(width + group_count), group_count))
    added = [np.array(term) for term in terms]
    by_kernel, by_numpy = added_by_group(parts, rows, added), added_by_numpy(parts, rows, added)
    for column in range(width + group_count):
        place = rows.tolist().index(column) if column in rows else None
        mine = [] if place is None else [term[place] for term in terms]
        expected = canonical(exact([*parts[:, column].tolist(), *mine]))
        for found in (by_kernel, by_numpy):
            assert found[:, column].tolist() == [*expected, *[0.0] * (len(found) - len(expected))]
    assert by_kernel.shape == by_numpy.shape
    assert by_kernel.tobytes() == by_numpy.tobytes()


def test_terms_in_the_wrong_order_do_not_settle_soon() -> None:
    terms = np.array([[2.0 ** (-60 * power), 1.0, 0.0] for power in reversed(range(14))])
    unsettled = settle(terms.copy())
    assert unsettled is not None
    assert unsettled.tolist() == [True, False, False]
    expected = [[2.0 ** (-60 * power), 14.0 * (not power), 0.0] for power in range(14)]
    assert canonical_by_group(list(terms)).tolist() == expected
    assert added_by_group(terms[:0], np.array([1, 0, 2]), list(terms))[:, [1, 0, 2]].tolist() == expected


def test_a_zero_is_positive() -> None:
    terms = np.array([[-0.0], [-0.0]])
    assert settle(terms) is not None
    assert terms.tobytes() == np.zeros((2, 1)).tobytes()


def test_more_terms_than_the_kernel_takes_are_left_to_numpy() -> None:
    terms = np.array([2.0**-power for power in range(0, 34, 2)]).reshape(-1, 1)
    assert settle(terms) is None
    assert add_sums(terms[:10], np.array([0]), terms[10:]) is None
    assert add_sums(terms[:4], np.array([1]), terms[:1]) is None
    assert canonical_by_group(list(terms)).tolist() == [[exact(terms[:, 0].tolist())]]
    assert added_by_group(terms[:10], np.array([0]), list(terms[10:])).tolist() == [[exact(terms[:, 0].tolist())]]


@given(st.lists(batches(), min_size=1, max_size=4))
def test_totals_of_batches_are_those_that_numpy_gives(events: list[AcceptedEvents]) -> None:
    def totals_by(make) -> Totals:  # type: ignore[no-untyped-def]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(totals_module, "batch_totals", make)
            found = Totals.of({})
            for batch in events:
                found = add_batch(found, batch, lambda column: [None] * len(column.to_list()))
        return found

    by_kernel = totals_by(lambda batch: batch_totals_by_kernel(batch) or batch_totals_by_numpy(batch))
    assert dict(by_kernel) == dict(totals_by(batch_totals_by_numpy))


@pytest.mark.parametrize(("begin", "end"), [(-1, 0), (3, 4), (2**62, 2**62 + 1)])
def test_peaks_of_texts_outside_of_the_content_are_not_told(begin: int, end: int) -> None:
    assert text_peaks(b"abc", np.array([0, 1, begin]), np.array([1, 2, end])) is None
    found = text_peaks(b"aba", np.arange(3), np.arange(3) + 1)
    assert found is not None
    assert found.tolist() == [True, True, False]
