"""The distinct texts of one chunk after the other, against a dictionary; whatever was remembered of chunks before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_processor.byte_words import Words
from event_processor.formats import distinct_texts
from event_processor.formats.distinct_texts import DistinctTexts

characters = st.characters(blacklist_categories=("Cs", "Cc"))
texts = st.one_of(
    st.sampled_from(["a", "b", "category-1", "category-2", "sixteen bytes ab"]), st.text(characters, min_size=1, max_size=20)
)
chunks = st.lists(st.lists(texts, max_size=30), max_size=6)


def check(found: DistinctTexts, chunk: list[str]) -> None:
    encoded = [each.encode() for each in chunk]
    content = b"\n".join(encoded) + b" " * 16
    begins = np.cumsum([0, *(len(each) + 1 for each in encoded)])[:-1].astype(np.int64)
    ends = begins + np.array([len(each) for each in encoded], np.int64)
    column = found.of(content, Words(content), begins, ends)
    assert [column.names[code] for code in column.codes.tolist()] == chunk
    assert sorted(column.names) == sorted(set(chunk))


@given(chunks)
def test_each_chunk_gets_its_own_texts(log: list[list[str]]) -> None:
    found = DistinctTexts()
    for chunk in log:
        check(found, chunk)


@given(log=chunks)
def test_it_does_not_matter_that_texts_share_a_slot_or_are_more_than_can_be_remembered(
    log: list[list[str]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distinct_texts, "_KNOWN_BITS", 1)
        patch.setattr(distinct_texts, "_TABLE_BITS", (1, 2))
        patch.setattr(distinct_texts, "_KNOWN_MAX", 5)
        found = DistinctTexts()
        for chunk in log:
            check(found, chunk)
