"""The totals as a checkpoint shows them: woven or filled, they are what orjson makes of the totals themselves, sorted."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from event_processor.aggregation.categories import shown as shown_module
from event_processor.aggregation.categories.shown import WEAVE_FROM, ShownTotals
from event_processor.aggregation.categories.totals import CategoryTotal, Totals
from event_processor.aggregation.exact_sum import add_exactly, exact_mean
from event_processor.kernels.library import LIBRARY

DEPTH = 2
make_line = shown_module._line
finite = st.floats(-(2.0**960), 2.0**960).map(lambda value: value + 0.0)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
simple_ids = st.one_of(texts, st.integers(-(2**63), 2**63 - 1))


@st.composite
def totals_of(draw: st.DrawFn, ids: st.SearchStrategy[object] = simple_ids) -> CategoryTotal:
    values = draw(st.lists(finite, max_size=4))
    parts = add_exactly((), values)
    total, count = parts[0] if parts else 0.0, draw(st.integers(1, 2**62))
    known = draw(st.booleans())
    mean = float(sum(map(Fraction, values), Fraction(0)) / len(values)) if values and known else None
    least, greatest = (min(values), max(values)) if values else (None, None)
    shown = draw(st.none() | st.sampled_from(["2026-01-01T00:00:00Z", 'a"\\,é']))
    return CategoryTotal(count, total, parts, least, greatest, mean, draw(ids), draw(ids), shown, len(values) if known else None)  # type: ignore[arg-type]


PLAIN = CategoryTotal(1, 0.1, (0.1, 1e-20, 1e-40), 0.1, 0.1, 0.1, "a", 7, None, 1)
EMPTY = CategoryTotal(3, 0.0, (), None, None, None, "", '"', "2026-01-01T00:00:00Z", 0)


def as_orjson_writes(totals: dict[str, CategoryTotal]) -> tuple[bytes, bytes]:
    """Compact, and with a line for each category, as deep as it stands in a checkpoint."""
    plain = msgspec.to_builtins(totals)
    compact = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)
    lines = [
        b"\n      " + orjson.dumps(name) + b": " + orjson.dumps(plain[name], option=orjson.OPT_SORT_KEYS)
        for name in sorted(plain)
    ]
    return compact, b"{" + b",".join(lines) + b"\n    }" if lines else b"{}"


def written(totals: dict[str, CategoryTotal], shown: ShownTotals) -> tuple[bytes, bytes]:
    compact, lined = shown.both_forms(Totals.of(totals))
    around = orjson.dumps({"a": {"b": lined}}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
    plain = orjson.dumps(compact, option=orjson.OPT_SORT_KEYS)
    return plain, around.removeprefix(b'{\n  "a": {\n    "b": ').removesuffix(b"\n  }\n}")


@pytest.mark.skipif(LIBRARY is None, reason="there are no kernels")
@given(st.dictionaries(texts, totals_of(), min_size=1, max_size=12))
@example({"b": PLAIN, "a": EMPTY, "é": PLAIN, "\U00010000": EMPTY, "\uffff": PLAIN})
@example({"only": EMPTY})
@example(
    {
        str(value): CategoryTotal(1, value, (value,), value, value, value, 1, 1, None, 1)
        for value in (1e16, 1e-7, 123456789e14, 5e-324, -0.1)
    }
)
def test_woven_bytes_are_those_of_the_totals(totals: dict[str, CategoryTotal]) -> None:
    assert ShownTotals(DEPTH).woven(Totals.of(totals)) == as_orjson_writes(totals)


@given(
    st.lists(
        st.dictionaries(texts, totals_of(st.one_of(simple_ids, st.tuples(texts, st.integers(0, 9)))), max_size=6), max_size=4
    )
)
def test_filled_objects_are_the_totals_at_each_commit(log: list[dict[str, CategoryTotal]]) -> None:
    shown = ShownTotals(DEPTH)
    totals: dict[str, CategoryTotal] = {}
    for opened in log:
        totals = {**totals, **opened}
        assert written(totals, shown) == as_orjson_writes(totals)


@pytest.mark.parametrize("count", [WEAVE_FROM - 1, WEAVE_FROM])
@pytest.mark.parametrize("last_id", ["x", ("x", 1)])
def test_few_and_many_categories_are_shown_alike_one_commit_after_the_other(count: int, last_id: object) -> None:
    shown = ShownTotals(DEPTH)
    totals: dict[str, CategoryTotal] = {}
    for number in range(count + 2):
        totals[f"category {(7 * number) % (count + 2)}"] = msgspec.structs.replace(
            PLAIN, count=number + 1, values=number + 1, mean=exact_mean(PLAIN.sum_parts, number + 1)
        )
        if number >= count - 3:
            totals["category 0"] = msgspec.structs.replace(EMPTY, count=number, last_id=last_id)
            assert written(totals, shown) == as_orjson_writes(totals)


@pytest.mark.parametrize("text", ["x", "a},", ":{b", '"},"', '":{"'])
def test_many_categories_with_ids_of_several_fields_are_not_written_one_by_one(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one: list[object] = []

    def seen(*arguments: Any) -> Any:
        one_by_one.append(arguments)
        return make_line(*arguments)

    monkeypatch.setattr(shown_module, "_line", seen)
    totals = {f"category {number}": msgspec.structs.replace(PLAIN, first_id=(number, "x")) for number in range(WEAVE_FROM)}
    assert written(totals, ShownTotals(DEPTH)) == as_orjson_writes(totals)
    assert not one_by_one
    by_name = {**totals, text: PLAIN}
    by_id = {**totals, "category 7": msgspec.structs.replace(PLAIN, last_id=(text, "x"))}
    for each in (by_name, by_id):
        assert written(each, ShownTotals(DEPTH)) == as_orjson_writes(each)


def test_a_state_in_the_place_of_another_is_shown_under_its_own_names() -> None:
    shown = ShownTotals(DEPTH)
    for names in ("ab", "cd", "a", "", "c", "d"):
        totals = dict.fromkeys(names, PLAIN)
        assert written(totals, shown) == as_orjson_writes(totals)


def test_numbers_that_are_not_finite_are_shown_as_none() -> None:
    (only,) = orjson.loads(written({"a": EMPTY}, ShownTotals(DEPTH))[0]).values()
    assert (only["min"], only["max"]) == (None, None)
    assert only["mean"] is None
