"""Rejections by column: they are those that went in, in the order of the log."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from event_processor.model.rejections import Fault, Rejection, Rejections

faults = st.builds(Fault, st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from(["decode", "validate"]))


@given(st.dictionaries(st.integers(0, 99), st.tuples(faults, st.integers(0, 2)), max_size=12), st.booleans())
def test_several_are_joined_in_the_order_of_the_log(by_row: dict[int, tuple[Fault, int]], by_column: bool) -> None:
    expected = [Rejection(row, fault.stage, fault.reason, fault.field) for row, (fault, _) in sorted(by_row.items())]
    parts: list[list[Rejection]] = [[], [], []]
    for row, (fault, part) in by_row.items():
        parts[part].append(Rejection(row, fault.stage, fault.reason, fault.field))
    joined = Rejections.joined([Rejections.of(part) if by_column else part for part in parts])
    assert list(joined) == expected
    assert joined == expected
    assert joined.rows.tolist() == sorted(by_row)
    assert [joined[place] for place in range(len(joined))] == expected
    assert list(joined[1:3]) == expected[1:3]
    assert pickle.loads(pickle.dumps(joined)) == expected
    assert Rejections.of(joined) is joined


def test_many_share_a_reason() -> None:
    many = Rejections(np.arange(3), np.array([0, 1, 0]), [Fault("one"), Fault("other", "f", "decode")])
    assert [(each.row, each.reason, each.field, each.stage) for each in many] == [
        (0, "one", "", "validate"),
        (1, "other", "f", "decode"),
        (2, "one", "", "validate"),
    ]
    assert many != many[:2]
    assert repr(many[:1]) == f"Rejections({[many[0]]!r})"
