"""Exact sums against fractions."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from event_processor.aggregation.exact_sum import add_exactly

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
