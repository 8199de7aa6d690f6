"""Why it is not faster, in words: the figures are made by hand, and each sentence has only what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from event_processor.engine.delivery.reports import LaneReport
from event_processor.engine.stages import STAGES, StageClock
from event_processor.operations.bottleneck import Bottleneck, bottleneck_of
from event_processor.operations.history import COLUMNS, TIMES, Past
from event_processor.storage.ring import RingRecords
from support.engine import FakeClock

NOW_S = 1_700_000_000
NAMES = (*COLUMNS, *TIMES)


def past(*records: tuple[int, dict[str, float]], alive: bool = True) -> Past:
    """Records by how many seconds ago their second was."""
    found = sorted((NOW_S - ago_s, values) for ago_s, values in records)
    begins_s = np.array([begin_s for begin_s, _ in found], np.int64)
    values = np.array([[values.get(name, 0.0) for name in NAMES] for _, values in found]).reshape(-1, len(NAMES))
    return Past(1, RingRecords("process 1", begins_s, begins_s, values), alive)


def minute(**values: float) -> list[tuple[int, dict[str, float]]]:
    """The same in each of the sixty seconds that are over."""
    return [(ago_s, values) for ago_s in range(2, 62)]


def said(past: Past, *lanes: LaneReport, full: bool = False) -> Bottleneck:
    return bottleneck_of(past, lanes, now_s=NOW_S, outbox_is_full=full)


def lane(**facts: Any) -> LaneReport:
    known = LaneReport("api", "events", "sending", "", "", 0, "", 0, 0, 10, 0, 0, 1234, 5, waits_for={"limit": 0.9, "idle": 0.1})
    return replace(known, limit="15 requests a second", mean_request_ms=81.6, **facts)


def test_without_a_daemon_it_says_so() -> None:
    assert said(past(*minute(waiting_s=1.0), alive=False)).words == "No daemon runs."
    assert said(Past(1, None, False)).words == "No daemon runs."
    other = said(Past(1, None, False, True))
    assert other.words == "It is not known: no daemon keeps its figures here.", "it may be replay, or the disk is full"


def test_a_daemon_that_is_fast_enough_waits_for_records_and_says_what_it_once_counted() -> None:
    once = (600, {"records": 1_204_000.0})
    found = said(past(once, *minute(records=120.0, waiting_s=0.95, fsync_s=0.05)))
    assert found.words == (
        "Waiting for records: the input brings 120 a second. In one second of the last hour it counted 1.2 million."
    )
    assert [(each.stage, each.share) for each in found.stages[:2]] == [("waiting", 0.95), ("fsync", 0.05)]
    assert {each.stage for each in found.stages} == set(STAGES)


def test_a_daemon_that_wrote_nothing_lately_has_waited_since() -> None:
    found = said(past((52, {"records": 500.0, "decoding_s": 1.0})))
    # Fifty seconds of waiting after one second of work.
    assert found.words == "Waiting for records: the input brings 9.8 a second."
    assert found.stages[0].share == pytest.approx(50 / 51, abs=0.001)
    assert said(past((500, {"records": 1.0, "decoding_s": 1.0}))).words == "Waiting for records: the input brings 0 a second."


def test_a_busy_daemon_that_keeps_up_says_how_busy_it_is() -> None:
    found = said(past(*minute(records=1000.0, lag_s=0.9, waiting_s=0.4, fsync_s=0.5, commit_s=0.1, syncs=100.0, sync_s=0.5)))
    assert found.words == (
        "Waiting for records: the input brings 1,000 a second. "
        "60% of the time it is busy, most of it with waiting for the disk (fsync)."
    )


def test_a_daemon_with_a_backlog_names_the_stage_that_takes_most() -> None:
    disk = said(past(*minute(records=1000.0, lag_s=9.0, fsync_s=0.71, waiting_s=0.2, ids_s=0.09, syncs=200.0, sync_s=0.82)))
    assert disk.words == "Waiting for the disk: 71% of the time goes into fsync (4.1 ms each)."
    assert "batch.pace_ms" in disk.hint
    decoding = said(past(*minute(records=1000.0, lag_s=9.0, decoding_s=0.6, ids_s=0.3, fsync_s=0.1)))
    assert decoding.words == "Decoding records: 60% of the time."
    assert "engine.workers" in decoding.hint
    ids = said(past(*minute(records=1000.0, decoding_s=0.3, ids_s=0.65, waiting_s=0.05)))
    assert ids.words == "Looking for duplicates: 65% of the time.", "a loop without slack is busy, whatever the lag is"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "The sink api waits for its limit of 15 requests a second. 1,234 records wait."),
        (
            {"waits_for": {"answers": 1.0}},
            "The sink api waits for the answers of its service (82 ms each). 1,234 records wait.",
        ),
        ({"waits_for": {"held": 1.0}}, "The sink api waits because its service asked for it. 1,234 records wait."),
        ({"waits_for": {"outage": 0.6, "limit": 0.4}}, "The sink api waits for its service, which takes nothing now. 1,234 records wait."),
        ({"waits_for": {"stopped": 1.0}, "state": "paused"}, "The sink api is paused. 1,234 records wait."),
        ({"waits_for": {"sending": 1.0}}, "The sink api sends as fast as it can. 1,234 records wait."),
    ],
)  # fmt: skip
def test_if_counting_keeps_up_a_slow_sink_is_named_with_its_reason(facts: dict[str, Any], words: str) -> None:
    found = said(past(*minute(records=20.0, waiting_s=1.0)), lane(**facts))
    assert found.words == f"Counting keeps up. {words}"
    assert found.hint
    assert [(each.sink, each.words) for each in found.sinks] == [("api", words)]


def test_a_sink_that_has_nothing_to_send_is_no_reason() -> None:
    idle = lane(waits_for={"idle": 0.9, "limit": 0.1}, pending=0)
    found = said(past(*minute(records=20.0, waiting_s=1.0)), idle)
    assert found.words == "Waiting for records: the input brings 20 a second."
    assert [each.words for each in found.sinks] == ["The sink api has nothing to send."]


def test_if_the_outbox_is_full_the_sink_that_fills_it_is_the_reason() -> None:
    other = lane(sink="other", pending_bytes=1, pending=1)
    found = said(past(*minute(waiting_s=1.0, lag_bytes=100.0)), other, lane(), full=True)
    assert found.words == (
        "The sources are paused, because the outbox is full. "
        "The sink api waits for its limit of 15 requests a second. 1,234 records wait."
    )


def test_each_moment_belongs_to_one_stage_and_a_commit_is_divided_as_it_was() -> None:
    clock = FakeClock()
    synced = [(0, 0.0)]
    stages = StageClock(clock, lambda: synced[-1])

    def job() -> int:
        clock.now_s += 4.0
        synced.append((3, 3.0))
        return 7

    stages.lap("reading")
    clock.now_s += 2.0
    stages.lap("decoding")
    commit = stages.timed(job)
    assert commit() == 7
    stages.committed(commit)
    # A commit beside the loop: of its four seconds, the loop waited for one.
    clock.now_s += 1.0
    stages.committed(commit)
    found = dict(zip(STAGES, stages.seconds(), strict=True))
    assert found == {**dict.fromkeys(STAGES, 0.0), "decoding": 2.0, "fsync": 3.75, "commit": 1.25}
    assert stages.syncs() == (6, 6.0)
