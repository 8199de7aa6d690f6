"""Exact sums against fractions."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from event_processor.aggregation import exact_sum
from event_processor.aggregation.exact_sum import add_exactly, canonical_by_group, exact_mean, exact_means, sum_by_group

values = st.floats(allow_nan=False, allow_infinity=False, min_value=-(2.0**959), max_value=2.0**959).map(
    lambda value: value + 0.0
)
adversarial = st.one_of(values, st.sampled_from([1e16, -1e16, 0.1, 1.0, 5e-324, -5e-324, 2.0**959, -(2.0**959), 0.0]))


def canonical_parts(total: Fraction) -> tuple[float, ...]:
    parts = []
    while total:
        parts.append(float(total))
        total -= Fraction(parts[-1])
    return tuple(parts)


@given(st.lists(adversarial, max_size=40))
def test_the_parts_are_the_total_rounded_and_what_remains_of_it_rounded(numbers: list[float]) -> None:
    assert add_exactly((), numbers) == canonical_parts(sum(map(Fraction, numbers), Fraction(0)))


@given(st.lists(st.lists(adversarial, max_size=10), max_size=8), st.randoms())
def test_the_parts_do_not_depend_on_batches_or_on_order(batches: list[list[float]], random) -> None:  # type: ignore[no-untyped-def]
    parts: tuple[float, ...] = ()
    for batch in batches:
        parts = add_exactly(parts, batch)
    shuffled = [number for batch in batches for number in batch]
    random.shuffle(shuffled)
    assert parts == add_exactly((), shuffled)


def test_a_total_of_zero_has_no_parts() -> None:
    assert add_exactly((1e16, 0.1), [-0.1, -1e16]) == ()


def test_a_small_value_beside_a_large_one_is_not_lost() -> None:
    assert add_exactly((), [1e16, 0.1, -1e16]) == (0.1,)


powers = st.builds(lambda sign, exponent: sign * 2.0**exponent, st.sampled_from([-1, 1]), st.integers(-1074, 958))
ties = st.builds(
    lambda sign, exponent: sign * 2.0**-exponent, st.sampled_from([-1, 1]), st.sampled_from([0, 1, 52, 53, 54, 106, 159])
)
cents = st.integers(-(10**7), 10**7).map(lambda number: number / 100)
kinds = st.sampled_from([adversarial, powers, ties, cents, st.one_of(adversarial, powers, ties, cents)])
groups_of_values = kinds.flatmap(lambda kind: st.lists(st.lists(kind, min_size=1, max_size=8), min_size=1, max_size=6))


@pytest.fixture(params=[None, exact_sum.FEW_GROUPS, 0], ids=["kernel", "few groups", "many groups"], scope="module")
def few_groups(request: pytest.FixtureRequest) -> Iterator[int | None]:
    """Up to which number of groups each is settled alone in numpy; None: a kernel settles them, where there is one."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param is not None:
            patch.setattr(exact_sum, "FEW_GROUPS", request.param)
            patch.setattr(exact_sum, "settle", lambda terms: None)
        yield request.param


@given(groups=groups_of_values, before=st.lists(values, max_size=4), seed=st.randoms())
def test_the_parts_of_many_groups_are_those_of_each_alone(few_groups: int | None, groups, before, seed) -> None:  # type: ignore[no-untyped-def]
    placed = [(group, number) for group, numbers in enumerate(groups) for number in numbers]
    seed.shuffle(placed)
    codes, numbers = np.array([group for group, _ in placed]), np.array([number for _, number in placed])
    added = sum_by_group(numbers, codes, np.bincount(codes))
    earlier = canonical_parts(sum(map(Fraction, before), Fraction(0)))
    parts = canonical_by_group([*(np.full(len(groups), part) for part in earlier), *added])
    for group, mine in enumerate(groups):
        found = parts[:, group].tolist()
        expected = canonical_parts(sum(map(Fraction, [*mine, *before]), Fraction(0)))
        assert found == [*expected, *[0.0] * (len(found) - len(expected))]
    assert not len(parts) or parts[-1].any()
    assert not np.signbit(parts[parts == 0.0]).any()


@given(st.integers(2, 3000), st.integers(-1074, 900), st.sampled_from([-1.0, 1.0]))
def test_many_values_of_all_digits_do_not_round_on_the_way(count: int, exponent: int, sign: float) -> None:
    numbers = np.ldexp(sign - sign * np.arange(1, count + 1) * 2.0**-53, exponent) + 0.0
    parts = canonical_by_group(sum_by_group(numbers, np.zeros(count, np.int64), np.array([count])))
    assert tuple(parts[:, 0].tolist()) == canonical_parts(sum(map(Fraction, numbers.tolist()), Fraction(0)))


def test_values_too_far_apart_for_a_few_rounds_are_summed_all_the_same() -> None:
    numbers = [2.0**exponent for exponent in range(-1000, 950, 130)]
    parts = canonical_by_group(sum_by_group(np.array(numbers), np.zeros(len(numbers), np.int64), np.array([len(numbers)])))
    assert tuple(parts[:, 0].tolist()) == canonical_parts(sum(map(Fraction, numbers), Fraction(0)))


counts = st.one_of(st.integers(1, 9), st.integers(1, 2**53))


@settings(max_examples=400)
@given(st.lists(st.tuples(kinds.flatmap(lambda kind: st.lists(kind, max_size=6)), counts), min_size=1, max_size=8))
@example([([0.1, 0.2, 0.3], 3), ([0.1] * 3, 3), ([], 1), ([2.0**960] * 3, 3), ([5e-324], 2), ([1.0, 2.0**-53], 1)])
@example([([1.0, 2.0**-53, 2.0**-106], 1), ([3.0, 3 * 2.0**-53], 3), ([1.0, -(2.0**-54)], 1)])
def test_a_mean_is_the_exact_total_divided_and_rounded_once(rows: list[tuple[list[float], int]]) -> None:
    expected = [float(sum(map(Fraction, values), Fraction(0)) / count) for values, count in rows]
    parts = [add_exactly((), values) for values, _ in rows]
    assert [exact_mean(each, count) for each, (_, count) in zip(parts, rows, strict=True)] == expected
    columns = np.zeros((max(map(len, parts)), len(rows)))
    for place, each in enumerate(parts):
        columns[: len(each), place] = each
    assert exact_means(columns, np.array([count for _, count in rows])).tolist() == expected


def test_no_values_have_no_mean() -> None:
    assert np.isnan(exact_means(np.array([[3.0, 0.0]]), np.array([-1, 0]))).all()
