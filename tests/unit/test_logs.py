"""The generated logs: repeatable, and as hostile as they claim, by the independent model's word."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given

from support.logs import adversarial_log, clean_log, logs, odd_records
from support.reference import Options, evaluate


def test_the_same_seed_gives_the_same_log_and_another_seed_another() -> None:
    assert clean_log(50, 1) == clean_log(50, 1) != clean_log(50, 2)
    assert adversarial_log(400, 1) == adversarial_log(400, 1) != adversarial_log(400, 2)


def test_a_clean_log_has_no_bad_record_some_duplicates_and_some_disorder() -> None:
    content = clean_log(1000, 3, duplicates_share=0.1)
    result = evaluate(content, Options(buffer_events=4))
    assert (result.counts["records"], result.counts["rejected"], result.counts["blank"]) == (1000, 0, 0)
    assert result.counts["duplicate"] > 50
    assert result.counts["late"] > 0
    assert evaluate(clean_log(1000, 3, duplicates_share=0), Options(buffer_events=64)).counts["late"] == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_an_adversarial_log_holds_every_outcome_many_times(seed: int) -> None:
    content = adversarial_log(2000, seed)
    result = evaluate(content, Options(buffer_events=64))
    assert all(result.counts[name] >= 10 for name in ("accepted", "duplicate", "rejected", "blank", "late"))
    assert max(one.length for one in result.rejected) > 1_048_576
    assert {one.stage for one in result.rejected} == {"source", "event"}
    assert not content.endswith(b"\n")
    assert result.counts["records"] == content.count(b"\n")


def test_odd_records_are_mostly_bad_but_not_all() -> None:
    records = odd_records(Random(0))
    outcomes = [evaluate(record + b"\n").counts for record in records]
    assert len(records) > 150
    assert sum(one["rejected"] > 0 for one in outcomes) > 100
    assert sum(one["accepted"] > 0 for one in outcomes) > 40


@given(content=logs())
def test_the_model_gives_every_record_of_any_small_log_one_outcome(content: bytes) -> None:
    for finished in (False, True):
        result = evaluate(content, Options(buffer_events=3, finished=finished))
        counts = result.counts
        assert counts["records"] == counts["accepted"] + counts["duplicate"] + counts["rejected"] + counts["blank"]
        assert counts["records"] == content.count(b"\n") + (finished and not content.endswith(b"\n") and content != b"")
        assert len(result.released) == counts["accepted"] == sum(total.count for total in result.categories.values())
        assert len(result.rejected) == counts["rejected"]
