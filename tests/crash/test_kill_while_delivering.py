"""SIGKILL at every durable call of a run that delivers, and around its sends; resumed, each record came under one key, and none again
after its cursor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.delivery_trial import RECORDS, DeliveryTrial
from support.http_service import HttpService
from support.tally import SCALE, Tally

pytestmark = pytest.mark.crash


@pytest.fixture
def service() -> Iterator[HttpService]:
    with HttpService() as service:
        yield service


def test_a_run_killed_at_any_call_on_the_outbox_or_the_lane_is_resumed(
    tmp_path: Path, service: HttpService, tally: Tally
) -> None:
    trial = DeliveryTrial(tmp_path, service)
    met = 0
    for site, count in sorted(trial.calls().items()):
        reached = 0
        for when in range(1, count + 1) if SCALE > 1 else sorted({1, count}):
            reached += trial.kill_at(site, when)
        # How often a cursor is saved depends on time, the first save does not.
        assert reached > 0, f"{site} was never met again"
        met += reached
    tally("SIGKILL at the Nth call on the outbox and the lane, for every N", "any", met)


@pytest.mark.parametrize(("events_max", "after_s"), [(1, None), (1, 0.0), (1, 0.02), (5, None), (5, 0.0)])
def test_a_run_killed_around_a_send_is_resumed(
    tmp_path: Path, service: HttpService, tally: Tally, events_max: int, after_s: float | None
) -> None:
    trial = DeliveryTrial(tmp_path, service, events_max)
    requests = RECORDS if events_max == 1 else 5
    step = 1 if SCALE > 1 else max(2, requests // 4)
    met = sum(trial.kill_around(number, after_s) for number in range(1, requests + 1, step))
    assert met > 0
    tally("SIGKILL around a send", "before its answer" if after_s is None else f"{after_s * 1000:g} ms after it", met)
